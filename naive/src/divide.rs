//! Division and remainder, with the guards that the verifier puts around them.
//!
//! The processor divides rdx:rax and traps on zero and on the one quotient
//! that does not fit. Both registers are kept on the stack unless they are the
//! destination.

use tailor_bpf::{AluOp, Reg, Src, Width};
use tailor_emit::Gpr;
use tailor_emit::asm::{AluOp as Simple, Cc, Label, Width as MachineWidth};

use crate::jit::{Jit, width};
use crate::regs::{AUX, AX, gpr};

/// What one division computes.
#[derive(Clone, Copy)]
struct Division {
    signed: bool,
    remainder: bool,
    w: Width,
    dst: Gpr,
}

enum Divisor {
    Reg(Gpr),
    Imm(i32),
}

impl Jit<'_> {
    /// `dst = dst op src`
    pub(crate) fn divide(&mut self, op: AluOp, w: Width, dst: Reg, src: Src) {
        let division = Division {
            signed: matches!(op, AluOp::Sdiv | AluOp::Smod),
            remainder: matches!(op, AluOp::Mod | AluOp::Smod),
            w,
            dst: gpr(dst),
        };
        match src {
            Src::Imm(imm) => self.divide_by_constant(division, imm),
            Src::Reg(src) => {
                let src = gpr(src);
                match (division.signed, division.remainder) {
                    (false, false) => self.guarded_div(division, src),
                    (false, true) => self.guarded_mod(division, src),
                    (true, false) => self.guarded_sdiv(division, src),
                    (true, true) => self.guarded_smod(division, src),
                }
            }
        }
    }

    fn divide_by_constant(&mut self, d: Division, imm: i32) {
        match imm {
            // The verifier refuses these; what they mean is known all the same.
            0 if d.remainder => self.mov_reg(d.w, d.dst, d.dst),
            0 => self.asm.zero(d.dst),
            -1 if d.signed && d.remainder => self.asm.zero(d.dst),
            -1 if d.signed => self.asm.neg(width(d.w), d.dst),
            _ => self.raw_division(d, Divisor::Imm(imm)),
        }
    }

    /// `if src != 0 goto do; w_dst ^= w_dst; goto done; do: dst /= src; done:`
    fn guarded_div(&mut self, d: Division, src: Gpr) {
        let (divide, done) = (self.asm.label(), self.asm.label());
        self.asm.test(width(d.w), src, src);
        self.asm.jcc(Cc::Ne, divide);
        self.asm.zero(d.dst);
        self.asm.jmp(done);
        self.asm.bind(divide);
        self.raw_division(d, Divisor::Reg(src));
        self.asm.bind(done);
    }

    /// `if src == 0 goto none; dst %= src; goto done; none: w_dst = w_dst; done:`,
    /// of which 64 bits need only the first two.
    fn guarded_mod(&mut self, d: Division, src: Gpr) {
        let none = self.asm.label();
        self.asm.test(width(d.w), src, src);
        self.asm.jcc(Cc::E, none);
        self.raw_division(d, Divisor::Reg(src));
        self.keep_dividend(d, none, None);
    }

    /// The divisor plus one is 1 for a divisor of 0 and 0 for -1; unsigned it
    /// is more for all others. `dst / -1` is `-dst`, which cannot trap.
    fn guarded_sdiv(&mut self, d: Division, src: Gpr) {
        let (divide, negate, done) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.divisor_plus_one(d, src, divide);
        self.asm.test(width(d.w), AX, AX);
        self.asm.jcc(Cc::E, negate);
        self.asm.zero(d.dst);
        self.asm.bind(negate);
        self.asm.neg(width(d.w), d.dst);
        self.asm.jmp(done);
        self.asm.bind(divide);
        self.raw_division(d, Divisor::Reg(src));
        self.asm.bind(done);
    }

    fn guarded_smod(&mut self, d: Division, src: Gpr) {
        let (divide, none, joined) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.divisor_plus_one(d, src, divide);
        self.asm.cmp_imm(width(d.w), AX, 1);
        self.asm.jcc(Cc::E, none);
        self.asm.zero(d.dst);
        self.asm.jmp(joined);
        self.asm.bind(divide);
        self.raw_division(d, Divisor::Reg(src));
        self.keep_dividend(d, none, Some(joined));
    }

    fn divisor_plus_one(&mut self, d: Division, src: Gpr, divide: Label) {
        self.asm.mov(MachineWidth::W64, AX, src);
        self.asm.alu_imm(Simple::Add, width(d.w), AX, 1);
        self.asm.cmp_imm(width(d.w), AX, 1);
        self.asm.jcc(Cc::A, divide);
    }

    /// The end of a remainder, and (at `none`) the case of a divisor of 0.
    fn keep_dividend(&mut self, d: Division, none: Label, joined: Option<Label>) {
        if let Some(joined) = joined {
            self.asm.bind(joined);
        }
        match d.w {
            Width::W64 => self.asm.bind(none),
            Width::W32 => {
                let done = self.asm.label();
                self.asm.jmp(done);
                self.asm.bind(none);
                self.asm.mov(MachineWidth::W32, d.dst, d.dst);
                self.asm.bind(done);
            }
        }
    }

    /// The division itself.
    fn raw_division(&mut self, d: Division, divisor: Divisor) {
        let w = width(d.w);
        if d.dst != Gpr::RAX {
            self.asm.push(Gpr::RAX);
        }
        if d.dst != Gpr::RDX {
            self.asm.push(Gpr::RDX);
        }
        let divisor = match divisor {
            Divisor::Imm(imm) => {
                self.asm.mov_simm32(AUX, imm);
                AUX
            }
            Divisor::Reg(src @ (Gpr::RAX | Gpr::RDX)) => {
                self.asm.mov(MachineWidth::W64, AUX, src);
                AUX
            }
            Divisor::Reg(src) => src,
        };
        if d.dst != Gpr::RAX {
            self.asm.mov(w, Gpr::RAX, d.dst);
        }
        if d.signed {
            self.asm.sign_to_rdx(w);
            self.asm.idiv(w, divisor);
        } else {
            self.asm.zero(Gpr::RDX);
            self.asm.div(w, divisor);
        }
        let result = if d.remainder { Gpr::RDX } else { Gpr::RAX };
        if d.dst != result {
            self.asm.mov(w, d.dst, result);
        }
        if d.dst != Gpr::RDX {
            self.asm.pop(Gpr::RDX);
        }
        if d.dst != Gpr::RAX {
            self.asm.pop(Gpr::RAX);
        }
    }
}
