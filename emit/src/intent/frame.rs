//! Prologues, epilogues and unwinding, of both conventions.

use tailor_lower::{Convention, Gpr};

use super::line::{Line, Op, Place};
use super::{Check, IntentError};
use crate::FunctionKind;
use crate::layout::MAX_TAIL_CALLS;

const RAX: Op = Op::Reg(Gpr::RAX, 8);

impl Check<'_> {
    pub(super) fn prologue(&mut self) -> Result<(), IntentError> {
        let frame = &self.allocated.frame;
        if frame.frame_pointer {
            self.kernel_prologue()?;
        }
        for &reg in &frame.saved {
            self.reader.take(Line::of("push", [Op::r64(reg)]))?;
        }
        if frame.frame_pointer { Ok(()) } else { self.move_stack("sub", "add") }
    }

    /// Twelve bytes that tail calls skip, the last of which make rbp the frame's
    /// base; then room, and the counter with its address.
    fn kernel_prologue(&mut self) -> Result<(), IntentError> {
        let frame = &self.allocated.frame;
        let (counts, starts) = (frame.counter_bytes > 0, self.kind == FunctionKind::Program);
        self.reader.take_nop(5)?;
        match counts && starts {
            true => self.reader.take(Line::of("xor", [RAX, RAX]))?,
            false => self.reader.take_nop(3)?,
        }
        self.reader.take(Line::of("push", [Op::r64(Gpr::RBP)]))?;
        self.reader.take(Line::of("mov", [Op::r64(Gpr::RBP), Op::r64(Gpr::RSP)]))?;
        if let Convention::Kernel { landing } = self.function.convention {
            self.reader.is_at(landing)?;
        }
        self.move_stack("sub", "add")?;
        if counts && starts {
            // A number up to the limit is the counter itself, else its address.
            self.reader.take(Line::of("cmp", [RAX, Op::Imm(i64::from(MAX_TAIL_CALLS))]))?;
            let address = self.reader.take_branch("ja")?;
            self.reader.take(Line::of("push", [RAX]))?;
            self.reader.take(Line::of("mov", [RAX, Op::r64(Gpr::RSP)]))?;
            let done = self.reader.take_branch("jmp")?;
            self.reader.is_at(address)?;
            self.reader.take(Line::of("push", [RAX]))?;
            self.reader.is_at(done)?;
            self.reader.take(Line::of("push", [RAX]))
        } else if counts {
            self.reader.take(Line::of("push", [RAX]))?;
            self.reader.take(Line::of("push", [RAX]))
        } else {
            Ok(())
        }
    }

    /// Before a return.
    pub(super) fn epilogue(&mut self) -> Result<(), IntentError> {
        if !self.allocated.frame.frame_pointer {
            return self.drop_frame();
        }
        self.pop_saved()?;
        self.reader.take(Line::of("leave", []))
    }

    /// Before the tail call at `inst`: registers in slots, last to first, then the frame.
    pub(super) fn unwind(&mut self, inst: usize) -> Result<(), IntentError> {
        let allocated = self.allocated;
        for placed in allocated.restored_at(inst).rev() {
            let slot = self.place(placed.slot).sized(8);
            self.reader.take(Line::of("mov", [Op::r64(placed.reg), slot]))?;
        }
        self.drop_frame()
    }

    /// What a kernel's landing point is behind stays.
    fn drop_frame(&mut self) -> Result<(), IntentError> {
        let frame = &self.allocated.frame;
        if !frame.frame_pointer {
            self.move_stack("add", "sub")?;
            return self.pop_saved();
        }
        self.pop_saved()?;
        for _ in 0..frame.counter_bytes / 8 {
            self.reader.take(Line::of("pop", [RAX]))?;
        }
        self.move_stack("add", "sub")
    }

    fn pop_saved(&mut self) -> Result<(), IntentError> {
        let mut saved = self.allocated.frame.saved.iter().rev();
        saved.try_for_each(|&reg| self.reader.take(Line::of("pop", [Op::r64(reg)])))
    }

    fn move_stack(
        &mut self,
        name: &'static str,
        opposite: &'static str,
    ) -> Result<(), IntentError> {
        let bytes = i64::from(self.allocated.frame.adjust);
        if bytes == 0 {
            return Ok(());
        }
        let by = |name, bytes| Line::of(name, [Op::r64(Gpr::RSP), Op::Imm(bytes)]);
        self.reader.take_one(&[by(name, bytes), by(opposite, -bytes)])
    }

    /// Where a kernel's prologue put the counter's address.
    pub(super) fn counter_place(&self) -> Place {
        let frame = &self.allocated.frame;
        // The counter lies above it, behind the room.
        let disp = -(frame.adjust as i32) - 16;
        Place::Mem { base: Gpr::RBP, index: None, disp }
    }
}
