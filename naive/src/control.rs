//! Jumps, calls, exits.

use tailor_bpf::cfg::TAIL_CALL;
use tailor_bpf::helpers::packet_load;
use tailor_bpf::{CALL_BY_NUMBER, Callee, Cond, Error, MAY_GOTO_BUDGET, Op, Reg, Size, Src, Width};
use tailor_emit::asm::{AluOp, Cc, Width as AsmWidth};
use tailor_emit::{Gpr, Symbol};

use crate::jit::{Jit, width};
use crate::regs::{AX, gpr};

impl Jit<'_> {
    /// An unconditional jump, unless it goes to the next bytes anyway.
    pub(crate) fn jump(&mut self, pc: usize, op: Op) -> Result<(), Error> {
        let target = self.target(pc, op)?;
        if !self.is_empty(pc) {
            self.asm.jmp(target);
        }
        Ok(())
    }

    /// A conditional jump, which stays even if it goes nowhere.
    pub(crate) fn branch(&mut self, pc: usize, op: Op) -> Result<(), Error> {
        let Op::Branch { cond, w, dst, src, .. } = op else {
            return Ok(());
        };
        let target = self.target(pc, op)?;
        self.compare(cond, w, gpr(dst), src);
        self.asm.jcc(condition(cond), target);
        Ok(())
    }

    fn compare(&mut self, cond: Cond, w: Width, dst: Gpr, src: Src) {
        let w = width(w);
        let tests = matches!(cond, Cond::Set | Cond::Clear);
        match src {
            Src::Reg(src) if tests => self.asm.test(w, dst, gpr(src)),
            Src::Reg(src) => self.asm.cmp(w, dst, gpr(src)),
            Src::Imm(imm) if tests => self.asm.test_imm32(w, dst, imm),
            Src::Imm(0) => self.asm.test(w, dst, dst),
            // rax has no form of its own here.
            Src::Imm(imm) => match i8::try_from(imm) {
                Ok(_) => self.asm.cmp_imm(w, dst, imm),
                Err(_) => self.asm.cmp_imm32(w, dst, imm),
            },
        }
    }

    /// Fills the slot that counts for `may_goto`, as the verifier has it done.
    pub(crate) fn start_may_goto(&mut self) {
        if let Some(slot) = self.frame.budget {
            let budget = Src::Imm(MAY_GOTO_BUDGET as i32);
            self.store(Size::D, gpr(Reg::FP), slot, budget);
        }
    }

    /// What the verifier makes of `may_goto`: jump if nothing is left, else count.
    pub(crate) fn may_goto(&mut self, pc: usize, op: Op) -> Result<(), Error> {
        let out = self.target(pc, op)?;
        if let Some(slot) = self.frame.budget {
            let frame = gpr(Reg::FP);
            self.load(Size::D, false, AX, frame, slot);
            self.asm.test(AsmWidth::W64, AX, AX);
            self.asm.jcc(Cc::E, out);
            self.asm.alu_imm(AluOp::Sub, AsmWidth::W64, AX, 1);
            self.store_reg(Size::D, frame, slot, AX);
        }
        Ok(())
    }

    /// A binary search for the slot in the register. (Kernels that know indirect
    /// jumps have machine addresses in their tables, and jump to those.)
    pub(crate) fn indirect_jump(&mut self, pc: usize, target: Reg) -> Result<(), Error> {
        let block = self.facts.cfg.block_at(pc as u32);
        let block = block.map(|block| &self.facts.cfg.blocks[block as usize]);
        let table = block.map_or(Vec::new(), |block| self.facts.jump_targets(block));
        if table.is_empty() {
            return Err(self.error(pc, "the jump has no table"));
        }
        self.search(gpr(target), &table);
        Ok(())
    }

    fn search(&mut self, value: Gpr, table: &[(u32, u32)]) {
        if let [(_, block)] = table {
            return self.asm.jmp(self.labels[*block as usize]);
        }
        let (left, right) = table.split_at(table.len() / 2);
        let high = self.asm.label();
        self.asm.cmp_imm32(AsmWidth::W64, value, right[0].0 as i32);
        self.asm.jcc(Cc::Ae, high);
        self.search(value, left);
        self.asm.bind(high);
        self.search(value, right);
    }

    /// A call; a tail call is one too.
    pub(crate) fn call(&mut self, pc: usize, callee: Callee) -> Result<(), Error> {
        match callee {
            Callee::Helper(TAIL_CALL) => self.tail_call(pc),
            Callee::Helper(id) => self.call_helper(id),
            Callee::Register(reg) => {
                // What finds the helper takes its number as a sixth argument.
                self.asm.mov(AsmWidth::W64, Gpr::SIXTH_ARG, gpr(reg));
                self.call_helper(CALL_BY_NUMBER);
            }
            Callee::Function(func) => {
                if self.frame.counts && !self.frame.rules.fixed {
                    self.load_counter();
                }
                self.asm.call_symbol(Symbol::Function(func));
            }
            Callee::Relative(_) => return Err(self.error(pc, "the call was not linked")),
            Callee::Kfunc(id) => {
                return Err(self.error(pc, format!("kernel function {id} is not available")));
            }
        }
        Ok(())
    }

    fn call_helper(&mut self, id: u32) {
        // Before 6.12 the counter was handed to helpers too.
        let rules = self.frame.rules;
        if self.frame.counts && !rules.shares_counter && !rules.fixed {
            self.load_counter();
        }
        self.asm.call_symbol(Symbol::Helper(id));
    }

    /// What the verifier makes of `LD_ABS` and `LD_IND`: a call with the
    /// context in R6, and an exit with 0 where the packet has no such bytes.
    pub(crate) fn load_packet(&mut self, size: Size, index: Option<Reg>, off: i32) {
        let [ctx, offset] = [Reg::R1, Reg::R2].map(gpr);
        // The offset first: the index may be in R1.
        match index {
            None => self.asm.mov_simm32(offset, off),
            Some(index) => {
                self.asm.mov(AsmWidth::W64, offset, gpr(index));
                if off != 0 {
                    self.asm.alu_imm(AluOp::Add, AsmWidth::W64, offset, off);
                }
            }
        }
        self.asm.mov(AsmWidth::W64, ctx, gpr(Reg::R6));
        self.call_helper(packet_load(size));
        let inside = self.asm.label();
        let result = gpr(Reg::R0);
        self.asm.test(AsmWidth::W64, result, result);
        self.asm.jcc(Cc::Ge, inside);
        self.asm.alu(AluOp::Xor, AsmWidth::W32, result, result);
        self.exit();
        self.asm.bind(inside);
    }

    /// One epilogue for a function: further exits jump back to the first.
    pub(crate) fn exit(&mut self) {
        match self.epilogue {
            Some(epilogue) => self.asm.jmp(epilogue),
            None => {
                let here = self.asm.here();
                self.epilogue = Some(here);
                self.weights.from(here, self.exits());
                self.frame.epilogue(&mut self.asm);
                self.weigh();
            }
        }
    }
}

fn condition(cond: Cond) -> Cc {
    match cond {
        Cond::Eq | Cond::Clear => Cc::E,
        Cond::Ne | Cond::Set => Cc::Ne,
        Cond::Ult => Cc::B,
        Cond::Ule => Cc::Be,
        Cond::Ugt => Cc::A,
        Cond::Uge => Cc::Ae,
        Cond::Slt => Cc::L,
        Cond::Sle => Cc::Le,
        Cond::Sgt => Cc::G,
        Cond::Sge => Cc::Ge,
    }
}
