//! Branches, calls, exits and tail-call sites.

use regalloc2::Block;
use tailor_lower::{FuncRef, Gpr, MapRef, Symbol};

use super::{EmitError, Emitter, Site};
use crate::asm::{AluOp, Assembler, Cc, Label, Mem, Width};
use crate::layout::{
    MAX_TAIL_CALLS, PROG_ARRAY_MAX_ENTRIES, PROG_ARRAY_SLOT_SHIFT, PROG_ARRAY_SLOTS,
    RECORD_TAIL_CALLS,
};
use tailor_regalloc::cost::TAIL_CALL_SUCCEEDS;

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
        self.asm.call_cell(Symbol::HelperCell(helper));
        Ok(())
    }

    pub(super) fn call_local(&mut self, callee: FuncRef) -> Result<(), EmitError> {
        self.asm.call_symbol(Symbol::Function(callee));
        Ok(())
    }

    pub(super) fn ret(&mut self) -> Result<(), EmitError> {
        self.epilogue();
        self.asm.ret();
        Ok(())
    }

    pub(super) fn trap(&mut self) -> Result<(), EmitError> {
        self.asm.ud2();
        Ok(())
    }

    /// Finds the target's address, or falls through; the counter goes up only
    /// for a slot that is set. rax is the site's own; index and array keep
    /// their registers.
    pub(super) fn tail_call(
        &mut self,
        direct: Option<(MapRef, u32)>,
        block: Block,
    ) -> Result<(), EmitError> {
        let asm = &mut self.asm;
        let count = Mem::new(Gpr::RECORD, RECORD_TAIL_CALLS);
        let out = asm.label();
        let first = asm.here();
        if direct.is_none() {
            // Only the low half of the index counts.
            let max_entries = Mem::new(Gpr::RSI, PROG_ARRAY_MAX_ENTRIES);
            asm.mov(Width::W32, Gpr::RAX, Gpr::RDX);
            asm.cmp(Width::W32, Gpr::RAX, max_entries);
            asm.jcc(Cc::Ae, out);
        }
        asm.cmp_imm(Width::W32, count, MAX_TAIL_CALLS);
        asm.jcc(Cc::Ae, out);
        let slot = match direct {
            None => Mem::indexed(Gpr::RSI, Gpr::RAX, PROG_ARRAY_SLOT_SHIFT, PROG_ARRAY_SLOTS),
            Some((map, key)) => {
                asm.movabs_symbol(Gpr::RAX, Symbol::MapSlot(map, key));
                Mem::new(Gpr::RAX, 0)
            }
        };
        asm.load(Width::W64, Gpr::RAX, slot);
        asm.test(Width::W64, Gpr::RAX, Gpr::RAX);
        asm.jcc(Cc::E, out);
        let found = asm.here();
        asm.inc(Width::W32, count);
        self.epilogue();
        let exit = self.asm.here();
        self.asm.jmp_rm(Gpr::RAX);
        self.asm.bind(out);
        let frequency = self.frequencies[block.index()];
        self.weights.from(found, frequency * TAIL_CALL_SUCCEEDS);
        self.weights.from(out, frequency * (1.0 - TAIL_CALL_SUCCEEDS));
        self.sites.push(Site { first, exit, direct });
        Ok(())
    }
}
