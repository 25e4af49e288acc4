//! Jumps, calls, exits.

use tailor_bpf::cfg::TAIL_CALL;
use tailor_bpf::helpers::packet_load;
use tailor_bpf::{Callee, Cond, Error, Op, Reg, Size, Src, Width};
use tailor_emit::asm::{AluOp, Cc, Width as AsmWidth};
use tailor_emit::{Gpr, Symbol};

use crate::jit::{Jit, width};
use crate::regs::gpr;

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

    /// A call; a tail call is one too.
    pub(crate) fn call(&mut self, pc: usize, callee: Callee) -> Result<(), Error> {
        match callee {
            Callee::Helper(TAIL_CALL) => self.tail_call(pc),
            Callee::Helper(id) => {
                // Before 6.12 the counter was handed to helpers too.
                let rules = self.frame.rules;
                if self.frame.counts && !rules.shares_counter && !rules.fixed {
                    self.load_counter();
                }
                self.asm.call_symbol(Symbol::Helper(id));
            }
            Callee::Function(func) => {
                if self.frame.counts && !self.frame.rules.fixed {
                    self.load_counter();
                }
                self.asm.call_symbol(Symbol::Function(func));
            }
            Callee::Relative(_) => return Err(self.error(pc, "the call was not linked")),
            Callee::Register(_) => {
                return Err(self.error(pc, "calls through a register are not supported yet"));
            }
            Callee::Kfunc(id) => {
                return Err(self.error(pc, format!("kernel function {id} is not available")));
            }
        }
        Ok(())
    }

    /// What the verifier makes of `LD_ABS` and `LD_IND`: a call with the
    /// context in R6, and an exit with 0 where the packet has no such bytes.
    pub(crate) fn load_packet(&mut self, size: Size, index: Option<Reg>, off: i32) {
        let [ctx, offset] = [Reg::R1, Reg::R2].map(gpr);
        self.asm.mov(AsmWidth::W64, ctx, gpr(Reg::R6));
        match index {
            None => self.asm.mov_simm32(offset, off),
            Some(index) => {
                self.asm.mov(AsmWidth::W64, offset, gpr(index));
                if off != 0 {
                    self.asm.alu_imm(AluOp::Add, AsmWidth::W64, offset, off);
                }
            }
        }
        self.asm.call_symbol(Symbol::Helper(packet_load(size)));
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
