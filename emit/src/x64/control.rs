//! Branches, calls, exits.

use regalloc2::Block;
use tailor_lower::{Convention, FuncRef, Gpr, Symbol};
use tailor_regalloc::Allocated;

use super::operands::Operands;
use super::{EmitError, Emitter};
use crate::asm::{AluOp, Assembler, Cc, Label, Mem, Width};

/// `sub rsp, bytes`
pub(super) fn lower_stack(asm: &mut Assembler, bytes: u32) {
    move_stack(asm, AluOp::Sub, AluOp::Add, bytes);
}

/// `add rsp, bytes`
pub(super) fn raise_stack(asm: &mut Assembler, bytes: u32) {
    move_stack(asm, AluOp::Add, AluOp::Sub, bytes);
}

fn move_stack(asm: &mut Assembler, op: AluOp, opposite: AluOp, bytes: u32) {
    match bytes {
        0 => {}
        // -128 fits a byte and 128 does not.
        128 => asm.alu_imm(opposite, Width::W64, Gpr::RSP, -128),
        _ => asm.alu_imm(op, Width::W64, Gpr::RSP, bytes as i32),
    }
}

fn inverted(cc: Cc) -> Cc {
    match cc {
        Cc::B => Cc::Ae,
        Cc::Ae => Cc::B,
        Cc::E => Cc::Ne,
        Cc::Ne => Cc::E,
        Cc::Be => Cc::A,
        Cc::A => Cc::Be,
        Cc::L => Cc::Ge,
        Cc::Ge => Cc::L,
        Cc::Le => Cc::G,
        Cc::G => Cc::Le,
    }
}

/// Whether what drops the frame and returns takes more bytes than a short jump.
pub(super) fn is_longer_than_a_jump(allocated: &Allocated) -> bool {
    const JUMP: usize = 2;
    let frame = &allocated.frame;
    let pops = frame.saved.iter().map(|reg| 1 + usize::from(reg.enc() >= 8)).sum::<usize>();
    // `leave`, or at least four bytes for what raises rsp.
    let drops = match frame.frame_pointer {
        true => 1,
        false => {
            if frame.adjust > 0 {
                4
            } else {
                0
            }
        }
    };
    drops + pops + 1 > JUMP
}

impl Emitter<'_> {
    /// The label of successor `n` of `block`.
    fn successor(&self, block: Block, n: usize) -> Result<Label, EmitError> {
        let data = &self.function.blocks[block.index()];
        match data.succs.get(n) {
            Some(succ) => Ok(self.labels[succ.index()]),
            None => {
                let last = data.end.saturating_sub(1) as usize;
                Err(self.broken(last, "a branch has no successor to go to"))
            }
        }
    }

    pub(super) fn jmp(&mut self, block: Block, next: Option<Block>) -> Result<(), EmitError> {
        let target = self.successor(block, 0)?;
        self.go(target, next);
        Ok(())
    }

    /// Jumps unless that is where the code continues anyway.
    fn go(&mut self, target: Label, next: Option<Block>) {
        if next.map(|next| self.labels[next.index()]) != Some(target) {
            self.asm.jmp(target);
        }
    }

    pub(super) fn jcc(
        &mut self,
        cc: Cc,
        block: Block,
        next: Option<Block>,
    ) -> Result<(), EmitError> {
        let taken = self.successor(block, 0)?;
        let other = self.successor(block, 1)?;
        if taken == other {
            self.go(taken, next);
        } else if next.map(|next| self.labels[next.index()]) == Some(taken) {
            self.asm.jcc(inverted(cc), other);
        } else {
            self.asm.jcc(cc, taken);
            self.go(other, next);
        }
        Ok(())
    }

    pub(super) fn call_helper(&mut self, helper: u32) -> Result<(), EmitError> {
        match self.function.convention {
            Convention::Saving => self.asm.call_cell(Symbol::HelperCell(helper)),
            // Through the thunk that aligns the stack.
            Convention::Kernel { .. } => self.asm.call_symbol(Symbol::Helper(helper)),
        }
        Ok(())
    }

    pub(super) fn call_local(&mut self, callee: FuncRef) -> Result<(), EmitError> {
        self.asm.call_symbol(Symbol::Function(callee));
        Ok(())
    }

    /// The address of a kernel's counter.
    pub(super) fn counter(&mut self, mut ops: Operands<'_>) -> Result<(), EmitError> {
        let place = Mem::new(Gpr::RBP, self.allocated.frame.counter());
        self.asm.load(Width::W64, ops.reg()?, place);
        Ok(())
    }

    /// What drops the frame is made once, unless it is no longer than a jump.
    pub(super) fn ret(&mut self, block: Block, next: Option<Block>) -> Result<(), EmitError> {
        if let Some(shared) = self.shared_return {
            if shared.block != block {
                self.go(shared.label, next);
                return Ok(());
            }
            if shared.label != self.labels[block.index()] {
                self.asm.bind(shared.label);
            }
            self.weights.from(shared.label, shared.frequency);
        }
        self.epilogue();
        self.asm.ret();
        Ok(())
    }

    pub(super) fn trap(&mut self) -> Result<(), EmitError> {
        self.asm.ud2();
        Ok(())
    }
}
