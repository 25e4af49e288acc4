//! Prologue, epilogue, and where things are in the frame.
//!
//! From the return address down: rbp, the eBPF stack rounded to eight bytes,
//! with a tail call in reach the counter (and since 6.12 the pointer to it),
//! then the callee-saved registers. With the fixed prologue the registers come
//! first and a counter is always there.

use smallvec::SmallVec;
use tailor_emit::asm::{AluOp, Width};
use tailor_emit::{Assembler, FrameBelief, FunctionKind, Gpr, Unwound, WeightLabels, kernel};

use crate::variant::{Rules, Variant};

/// Tail calls that an invocation may make.
pub(crate) const MAX_TAIL_CALLS: i8 = 33;
/// eBPF stack of a program with tail calls under the fixed prologue, and the most
/// that a program can have there.
pub(crate) const FULL_STACK: u32 = 512;
/// Bytes of the slot that counts for `may_goto`.
pub(crate) const BUDGET_BYTES: u32 = 8;

/// A function's frame.
pub(crate) struct Frame {
    pub(crate) rules: Rules,
    /// Bytes of eBPF stack, as counted.
    depth: u32,
    /// Displacement from rbp of what is left of the function's `may_goto` budget.
    pub(crate) budget: Option<i32>,
    /// There is a counter here.
    pub(crate) counts: bool,
    /// The entry of a program starts counting; a subprogram is given the counter.
    is_program: bool,
    /// Pushed in this order.
    saved: SmallVec<[Gpr; 6]>,
}

impl Frame {
    /// `budget` says that the function needs the slot of `may_goto`, `counts` that
    /// a tail call can be reached.
    pub(crate) fn new(
        variant: Variant,
        depth: u32,
        budget: bool,
        kind: FunctionKind,
        saved: SmallVec<[Gpr; 6]>,
        counts: bool,
    ) -> Frame {
        let rules = variant.rules();
        let is_program = kind == FunctionKind::Program;
        let depth = if budget { depth + BUDGET_BYTES } else { depth };
        let budget = budget.then_some(-(depth as i32));
        let frame = Frame { rules, depth, budget, counts, is_program, saved };
        if !rules.fixed {
            return frame;
        }
        Frame {
            depth: if counts { FULL_STACK.max(depth) } else { depth },
            counts: true,
            saved: SmallVec::from_slice(&[Gpr::RBX, Gpr::R13, Gpr::R14, Gpr::R15]),
            ..frame
        }
    }

    /// The eBPF stack as allocated.
    fn rounded(&self) -> u32 {
        self.depth.next_multiple_of(8)
    }

    /// Displacement from rbp of the counter that is handed on: the pointer to
    /// it or, before 6.12, eight bytes with the count in the upper half.
    pub(crate) fn counter(&self) -> i32 {
        let above = match (self.rules.shares_counter, self.rules.fixed) {
            (true, _) => 8,
            (false, true) => self.saved_bytes(),
            (false, false) => 0,
        };
        -8 - (above + self.rounded()) as i32
    }

    fn saved_bytes(&self) -> u32 {
        8 * self.saved.len() as u32
    }

    fn counter_bytes(&self) -> u32 {
        match (self.counts, self.rules.shares_counter) {
            (true, true) => 16,
            (true, false) => 8,
            (false, _) => 0,
        }
    }

    pub(crate) fn prologue(&self, asm: &mut Assembler, weights: &mut WeightLabels) {
        weights.from(asm.here(), 1.0);
        match self.rules.fixed {
            true => self.fixed_prologue(asm),
            false => self.variable_prologue(asm, weights),
        }
    }

    /// The same bytes in every function but for the size of the stack, so that
    /// all of it can be skipped.
    fn fixed_prologue(&self, asm: &mut Assembler) {
        asm.push(Gpr::RBP);
        asm.mov(Width::W64, Gpr::RBP, Gpr::RSP);
        asm.alu_imm32(AluOp::Sub, Width::W64, Gpr::RSP, self.rounded() as i32);
        for &reg in &self.saved {
            asm.push(reg);
        }
        // push 0
        asm.bytes(&[0x6a, 0]);
    }

    fn variable_prologue(&self, asm: &mut Assembler, weights: &mut WeightLabels) {
        asm.nop(5);
        let starts = self.counts && self.is_program;
        match (starts, self.rules.shares_counter) {
            (true, true) => asm.alu(AluOp::Xor, Width::W64, Gpr::RAX, Gpr::RAX),
            (true, false) => asm.alu(AluOp::Xor, Width::W32, Gpr::RAX, Gpr::RAX),
            (false, true) => asm.nop(3),
            (false, false) => asm.nop(2),
        }
        asm.push(Gpr::RBP);
        asm.mov(Width::W64, Gpr::RBP, Gpr::RSP);
        // The landing point of tail calls.
        if self.depth > 0 {
            asm.alu_imm32(AluOp::Sub, Width::W64, Gpr::RSP, self.rounded() as i32);
        }
        match (self.counts, self.rules.shares_counter) {
            (true, true) => kernel::push_counter(asm, self.is_program, weights),
            (true, false) => asm.push(Gpr::RAX),
            (false, _) => {}
        }
        for &reg in &self.saved {
            asm.push(reg);
        }
    }

    fn pop_saved(&self, asm: &mut Assembler) {
        for &reg in self.saved.iter().rev() {
            asm.pop(reg);
        }
    }

    /// Leaves the function.
    pub(crate) fn epilogue(&self, asm: &mut Assembler) {
        if self.rules.fixed {
            // The counter, into a register that is restored next.
            asm.pop(Gpr::RBX);
        }
        self.pop_saved(asm);
        asm.leave();
        asm.ret();
    }

    /// Undoes what follows the landing point; rax becomes what it was there.
    pub(crate) fn unwind_to_landing(&self, asm: &mut Assembler) {
        if self.rules.fixed {
            return;
        }
        self.pop_saved(asm);
        for _ in 0..self.counter_bytes() / 8 {
            asm.pop(Gpr::RAX);
        }
        if self.depth > 0 {
            asm.alu_imm32(AluOp::Add, Width::W64, Gpr::RSP, self.rounded() as i32);
        }
    }

    /// What a tail call undoes.
    pub(crate) fn unwinds(&self) -> Unwound {
        match self.rules.fixed {
            true => Unwound::default(),
            false => Unwound {
                registers: self.saved.clone(),
                bytes: self.rounded() + self.counter_bytes() + self.saved_bytes(),
            },
        }
    }

    pub(crate) fn belief(&self) -> FrameBelief {
        FrameBelief {
            saved: self.saved.clone(),
            frame_pointer: true,
            frame_bytes: 8 + self.rounded() + self.counter_bytes() + self.saved_bytes(),
            padding_bytes: self.rounded() - self.depth,
            red_zone: 0,
        }
    }
}
