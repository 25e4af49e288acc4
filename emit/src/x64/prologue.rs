//! Prologue, epilogue, and what a tail call undoes.
//!
//! Under the saving convention registers are pushed first and rsp is lowered
//! then; under a kernel's the frame starts with rbp, and everything up to there
//! is skipped by tail calls.

use tailor_lower::{Convention, Gpr};

use super::{Emitter, control};
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
            self.unwind();
        }
    }

    /// The same before a tail call: a frame pointer stays, and rax becomes what
    /// it was at a kernel's landing point.
    pub(super) fn unwind(&mut self) {
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

    pub(super) fn unwinds(&self) -> Unwound {
        let frame = &self.allocated.frame;
        Unwound { registers: frame.saved.clone(), bytes: frame.unwound_bytes() }
    }

    pub(super) fn belief(&self) -> FrameBelief {
        let frame = &self.allocated.frame;
        FrameBelief {
            saved: frame.saved.clone(),
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
