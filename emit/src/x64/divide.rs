//! Division and remainder, total as eBPF's.
//!
//! Unsigned, only the divisor 0 is special: the quotient is 0, the remainder
//! the dividend. Both are put in place first (by a conditional move, for a
//! quotient) and the instruction is jumped over, so that the usual path takes
//! no branch.
//!
//! Signed, the divisors 0 and -1 are special, since MIN / -1 traps. With d the
//! divisor and x the dividend, both are one multiplication: x / d is x * d
//! (0 or -x) and x % d is x * (d + 1) (x or 0), wrapping; and `d + 1 <= 1`,
//! unsigned, tells them from all others.
//!
//! The divisor may share rax with the dividend (x / x), never rdx. At 32 bits
//! every path ends with an instruction that clears the upper half.

use tailor_lower::Gpr;

use super::operands::Operands;
use super::{EmitError, Emitter};
use crate::asm::{Cc, Label, Mem, Width};

impl Emitter<'_> {
    pub(super) fn div(
        &mut self,
        at: usize,
        signed: bool,
        w: Width,
        nonzero: bool,
        ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let divisor = self.divisor(at, ops)?;
        if signed {
            self.divide_signed(w, divisor, nonzero, [Gpr::RAX, divisor]);
            return Ok(());
        }
        let out = self.asm.label();
        self.asm.zero(Gpr::RDX);
        if !nonzero {
            self.asm.test(w, divisor, divisor);
            self.asm.cmov(Cc::E, w, Gpr::RAX, Gpr::RDX);
            self.asm.jcc(Cc::E, out);
        }
        self.asm.div(w, divisor);
        self.asm.bind(out);
        Ok(())
    }

    pub(super) fn rem(
        &mut self,
        at: usize,
        signed: bool,
        w: Width,
        nonzero: bool,
        ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let divisor = self.divisor(at, ops)?;
        if signed {
            self.divide_signed(w, divisor, nonzero, [Gpr::RDX, Gpr::RAX]);
            return Ok(());
        }
        let out = self.asm.label();
        if !nonzero {
            self.asm.mov(w, Gpr::RDX, Gpr::RAX);
            self.asm.test(w, divisor, divisor);
            self.asm.jcc(Cc::E, out);
        }
        self.asm.zero(Gpr::RDX);
        self.asm.div(w, divisor);
        self.asm.bind(out);
        Ok(())
    }

    /// Both results at once, or where the divisor may be 0 or -1 the product instead
    /// that is the wanted one.
    fn divide_signed(&mut self, w: Width, divisor: Gpr, nonzero: bool, product: [Gpr; 2]) {
        let out = self.asm.label();
        if !nonzero {
            let usual = self.special_divisors(w, divisor);
            self.asm.imul(w, product[0], product[1]);
            self.asm.jmp(out);
            self.asm.bind(usual);
        }
        self.asm.sign_to_rdx(w);
        self.asm.idiv(w, divisor);
        self.asm.bind(out);
    }

    /// Leaves `divisor + 1` in rdx and goes to the label returned unless that is 0 or 1.
    fn special_divisors(&mut self, w: Width, divisor: Gpr) -> Label {
        let usual = self.asm.label();
        self.asm.lea(w, Gpr::RDX, Mem::new(divisor, 1));
        self.asm.cmp_imm(w, Gpr::RDX, 1);
        self.asm.jcc(Cc::A, usual);
        usual
    }

    /// Both definitions and the dividend have fixed places; the divisor is last.
    fn divisor(&mut self, at: usize, mut ops: Operands<'_>) -> Result<Gpr, EmitError> {
        let (first, second) = (ops.reg()?, ops.reg()?);
        ops.fixed(Gpr::RAX)?;
        let divisor = ops.reg()?;
        if (first, second) != (Gpr::RAX, Gpr::RDX) {
            return Err(self.broken(at, "a division defines rax and rdx"));
        }
        if divisor == Gpr::RDX {
            return Err(self.broken(at, "the divisor is in rdx"));
        }
        Ok(divisor)
    }
}
