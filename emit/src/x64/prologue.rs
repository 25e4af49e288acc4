//! Prologue, epilogue, and what a tail call undoes.
//!
//! Under the saving convention registers are pushed first and rsp is lowered
//! then; under a kernel's the frame starts with rbp, and everything up to there
//! is skipped by tail calls. Registers that are saved only where they are needed
//! are saved and restored by moves, here only at tail calls.

use regalloc2::Allocation;
use tailor_lower::{Convention, Gpr};

use super::{EmitError, Emitter, control};
use crate::asm::{AluOp, Width};
use crate::{FrameBelief, FunctionKind, Unwound, kernel};

impl Emitter<'_> {
    /// Saves and makes room.
    pub(super) fn prologue(&mut self, kind: FunctionKind) {
        let frame = &self.allocated.frame;
        let start = self.asm.here();
        self.weights.from(start, 1.0);
        if frame.frame_pointer {
            self.kernel_prologue(kind);
        }
        for &reg in &frame.saved {
            self.asm.push(reg);
        }
        if !frame.frame_pointer {
            control::lower_stack(&mut self.asm, frame.adjust);
        }
    }

    /// All but the pushes of saved registers.
    fn kernel_prologue(&mut self, kind: FunctionKind) {
        let frame = &self.allocated.frame;
        let asm = &mut self.asm;
        let is_program = kind == FunctionKind::Program;
        let counts = frame.counter_bytes > 0;
        asm.nop(5);
        match counts && is_program {
            true => asm.alu(AluOp::Xor, Width::W64, Gpr::COUNTER, Gpr::COUNTER),
            false => asm.nop(3),
        }
        asm.push(Gpr::RBP);
        asm.mov(Width::W64, Gpr::RBP, Gpr::RSP);
        // The landing point of tail calls.
        control::lower_stack(asm, frame.adjust);
        if counts {
            kernel::push_counter(asm, is_program, &mut self.weights);
        }
    }

    /// Drops the frame and restores, before a return.
    pub(super) fn epilogue(&mut self) {
        if self.allocated.frame.frame_pointer {
            self.pop_saved();
            self.asm.leave();
        } else {
            self.drop_frame();
        }
    }

    /// What the tail call at `inst` undoes: it restores what is saved in slots
    /// there, and drops the frame.
    pub(super) fn unwind(&mut self, inst: usize) -> Result<(), EmitError> {
        let allocated = self.allocated;
        for placed in allocated.restored_at(inst).rev() {
            self.move_value(inst, placed.slot, Allocation::reg(placed.reg.preg()), 8)?;
        }
        self.drop_frame();
        Ok(())
    }

    /// A frame pointer stays, and rax becomes what it was at a kernel's landing
    /// point.
    fn drop_frame(&mut self) {
        let frame = &self.allocated.frame;
        if !frame.frame_pointer {
            control::raise_stack(&mut self.asm, frame.adjust);
            self.pop_saved();
            return;
        }
        self.pop_saved();
        for _ in 0..frame.counter_bytes / 8 {
            self.asm.pop(Gpr::COUNTER);
        }
        control::raise_stack(&mut self.asm, frame.adjust);
    }

    fn pop_saved(&mut self) {
        for &reg in self.allocated.frame.saved.iter().rev() {
            self.asm.pop(reg);
        }
    }

    /// The same as a record of it.
    pub(super) fn unwinds(&self, inst: usize) -> Unwound {
        let frame = &self.allocated.frame;
        let mut registers = frame.saved.clone();
        registers.extend(self.allocated.restored_at(inst).map(|placed| placed.reg));
        Unwound { registers, bytes: frame.unwound_bytes() }
    }

    pub(super) fn belief(&self) -> FrameBelief {
        let frame = &self.allocated.frame;
        let mut saved = frame.saved.clone();
        saved.extend(self.allocated.placed.iter().map(|placed| placed.reg));
        FrameBelief {
            saved,
            frame_pointer: frame.frame_pointer,
            frame_bytes: frame.frame_bytes(),
            padding_bytes: frame.padding,
            red_zone: frame.red_zone,
        }
    }

    /// Where tail calls enter.
    pub(super) fn landing(&self) -> u32 {
        match self.function.convention {
            Convention::Saving => 0,
            Convention::Kernel { landing } => landing,
        }
    }
}
