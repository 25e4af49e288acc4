//! Prologue, epilogue, and where things are in the frame.
//!
//! From the return address down: rbp, the eBPF stack rounded to eight bytes,
//! with a tail call in reach the counter (or the pointer to it) and the
//! pointer to the counter, then the callee-saved registers.

use smallvec::SmallVec;
use tailor_emit::asm::{AluOp, Cc, Width};
use tailor_emit::{Assembler, FrameBelief, FunctionKind, Gpr};

/// Tail calls that an invocation may make.
pub(crate) const MAX_TAIL_CALLS: i8 = 33;
/// Bytes of the prologue that a tail call's target skips.
pub(crate) const LANDING: u32 = 12;

/// A function's frame.
pub(crate) struct Frame {
    /// Bytes of eBPF stack, as counted.
    depth: u32,
    /// A tail call can be reached, so the two counter slots are there.
    pub(crate) counts: bool,
    /// The entry of a program starts counting; a subprogram is given the pointer.
    is_program: bool,
    /// Pushed in this order.
    saved: SmallVec<[Gpr; 6]>,
}

impl Frame {
    pub(crate) fn new(
        depth: u32,
        kind: FunctionKind,
        saved: SmallVec<[Gpr; 6]>,
        counts: bool,
    ) -> Frame {
        Frame { depth, counts, is_program: kind == FunctionKind::Program, saved }
    }

    /// The eBPF stack as allocated.
    fn rounded(&self) -> u32 {
        self.depth.next_multiple_of(8)
    }

    /// Displacement from rbp of the pointer to the counter.
    pub(crate) fn counter_pointer(&self) -> i32 {
        -16 - self.rounded() as i32
    }

    pub(crate) fn prologue(&self, asm: &mut Assembler) {
        asm.nop(5);
        if self.counts && self.is_program {
            asm.alu(AluOp::Xor, Width::W64, Gpr::RAX, Gpr::RAX);
        } else {
            asm.nop(3);
        }
        asm.push(Gpr::RBP);
        asm.mov(Width::W64, Gpr::RBP, Gpr::RSP);
        // The landing point of tail calls.
        if self.depth > 0 {
            asm.alu_imm32(AluOp::Sub, Width::W64, Gpr::RSP, self.rounded() as i32);
        }
        if self.counts {
            self.push_counter(asm);
        }
        for &reg in &self.saved {
            asm.push(reg);
        }
    }

    /// rax holds the counter where counting starts, or after a tail call from
    /// such a function; else the pointer to it, which is larger than any count.
    fn push_counter(&self, asm: &mut Assembler) {
        if self.is_program {
            let (pointer, done) = (asm.label(), asm.label());
            asm.cmp_imm(Width::W64, Gpr::RAX, i32::from(MAX_TAIL_CALLS));
            asm.jcc(Cc::A, pointer);
            asm.push(Gpr::RAX);
            asm.mov(Width::W64, Gpr::RAX, Gpr::RSP);
            asm.jmp(done);
            asm.bind(pointer);
            asm.push(Gpr::RAX);
            asm.bind(done);
        } else {
            asm.push(Gpr::RAX);
        }
        asm.push(Gpr::RAX);
    }

    fn pop_saved(&self, asm: &mut Assembler) {
        for &reg in self.saved.iter().rev() {
            asm.pop(reg);
        }
    }

    /// Leaves the function.
    pub(crate) fn epilogue(&self, asm: &mut Assembler) {
        self.pop_saved(asm);
        asm.leave();
        asm.ret();
    }

    /// Undoes what follows the landing point; rax becomes what it was there.
    pub(crate) fn unwind_to_landing(&self, asm: &mut Assembler) {
        self.pop_saved(asm);
        asm.pop(Gpr::RAX);
        asm.pop(Gpr::RAX);
        if self.depth > 0 {
            asm.alu_imm32(AluOp::Add, Width::W64, Gpr::RSP, self.rounded() as i32);
        }
    }

    pub(crate) fn belief(&self) -> FrameBelief {
        let counter = if self.counts { 16 } else { 0 };
        FrameBelief {
            saved: self.saved.clone(),
            frame_pointer: true,
            frame_bytes: 8 + self.rounded() + counter + 8 * self.saved.len() as u32,
            padding_bytes: self.rounded() - self.depth,
            red_zone: 0,
        }
    }
}
