//! Moves, arithmetic and comparisons.

use tailor_lower::x64::inst::{Mem, Rhs};
use tailor_lower::{Gpr, Symbol};

use super::operands::{Operands, RhsRm};
use super::{EmitError, Emitter};
use crate::asm::{AluOp, Extend, Rm, ShiftOp, Width};

impl Emitter<'_> {
    pub(super) fn mov(
        &mut self,
        at: usize,
        w: Width,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let (dst, src) = (ops.rm()?, ops.rm()?);
        let narrow = self.result_bytes(at) <= 4;
        let w = if narrow { Width::W32 } else { w };
        match (dst, src) {
            // Onto itself, what a move can do is to clear the upper half, if anyone reads that.
            (Rm::Reg(dst), Rm::Reg(src)) if dst != src || (w == Width::W32 && !narrow) => {
                self.asm.mov(w, dst, src);
            }
            (Rm::Reg(_), Rm::Reg(_)) => {}
            (Rm::Reg(dst), Rm::Mem(src)) => self.asm.load(w, dst, src),
            (Rm::Mem(dst), Rm::Reg(src)) if w == Width::W64 || narrow => {
                self.asm.store(w.bytes() as u8, dst, src);
            }
            _ => return ops.broken("a copy within memory, or one that extends there"),
        }
        Ok(())
    }

    pub(super) fn imm(&mut self, value: u64, mut ops: Operands<'_>) -> Result<(), EmitError> {
        let dst = ops.reg()?;
        match value {
            0 if !self.flags.now() => self.asm.alu(AluOp::Xor, Width::W32, dst, dst),
            _ => self.asm.mov_imm(dst, value),
        }
        Ok(())
    }

    pub(super) fn addr(&mut self, symbol: Symbol, mut ops: Operands<'_>) -> Result<(), EmitError> {
        self.asm.movabs_symbol(ops.reg()?, symbol);
        Ok(())
    }

    pub(super) fn lea(
        &mut self,
        w: Width,
        mem: &Mem,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let dst = ops.reg()?;
        let mem = ops.mem(mem)?;
        if mem.index.is_none() && mem.disp == 0 {
            self.asm.mov(w, dst, mem.base);
        } else {
            self.asm.lea(w, dst, mem);
        }
        Ok(())
    }

    pub(super) fn alu(
        &mut self,
        op: AluOp,
        w: Width,
        rhs: &Rhs,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let dst = ops.tied()?;
        match (op, ops.rhs(rhs)?) {
            (_, RhsRm::Rm(rm)) => self.asm.alu(op, w, dst, rm),
            // -128 fits a byte and 128 does not; nothing reads the flags, which differ.
            (AluOp::Add, RhsRm::Imm(128)) => self.asm.alu_imm(AluOp::Sub, w, dst, -128),
            (AluOp::Sub, RhsRm::Imm(128)) => self.asm.alu_imm(AluOp::Add, w, dst, -128),
            (_, RhsRm::Imm(imm)) => self.asm.alu_imm(op, w, dst, imm),
        }
        self.flagged = Some((dst, w));
        Ok(())
    }

    pub(super) fn imul(
        &mut self,
        at: usize,
        w: Width,
        rhs: &Rhs,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let dst = ops.tied()?;
        match ops.rhs(rhs)? {
            RhsRm::Rm(rm) => self.asm.imul(w, dst, rm),
            RhsRm::Imm(_) => return Err(self.broken(at, "imul with an immediate is ImulImm")),
        }
        Ok(())
    }

    pub(super) fn imul_imm(
        &mut self,
        w: Width,
        imm: i32,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let (dst, src) = (ops.reg()?, ops.rm()?);
        self.asm.imul_imm(w, dst, src, imm);
        Ok(())
    }

    pub(super) fn neg(&mut self, w: Width, mut ops: Operands<'_>) -> Result<(), EmitError> {
        self.asm.neg(w, ops.tied()?);
        Ok(())
    }

    pub(super) fn shift_imm(
        &mut self,
        op: ShiftOp,
        w: Width,
        count: u8,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        self.asm.shift_imm(op, w, ops.tied()?, count);
        Ok(())
    }

    pub(super) fn shift_cl(
        &mut self,
        op: ShiftOp,
        w: Width,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let dst = ops.tied()?;
        ops.fixed(Gpr::RCX)?;
        self.asm.shift_cl(op, w, dst);
        Ok(())
    }

    pub(super) fn shift_x(
        &mut self,
        op: ShiftOp,
        w: Width,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let (dst, src, count) = (ops.reg()?, ops.rm()?, ops.reg()?);
        if matches!(op, ShiftOp::Rol | ShiftOp::Ror) {
            return ops.broken("BMI2 has no rotation by a register");
        }
        self.asm.shift_x(op, w, dst, src, count);
        Ok(())
    }

    pub(super) fn bswap(&mut self, w: Width, mut ops: Operands<'_>) -> Result<(), EmitError> {
        self.asm.bswap(w, ops.tied()?);
        Ok(())
    }

    pub(super) fn bswap16(&mut self, mut ops: Operands<'_>) -> Result<(), EmitError> {
        let dst = ops.tied()?;
        self.asm.rol16(dst, 8);
        self.asm.extend(Extend::Zero16, dst, dst);
        Ok(())
    }

    pub(super) fn swap16(&mut self, mut ops: Operands<'_>) -> Result<(), EmitError> {
        self.asm.rol16(ops.tied()?, 8);
        Ok(())
    }

    pub(super) fn ext(&mut self, extend: Extend, mut ops: Operands<'_>) -> Result<(), EmitError> {
        let (dst, src) = (ops.reg()?, ops.rm()?);
        if extend != Extend::None64 || src != Rm::Reg(dst) {
            self.asm.extend(extend, dst, src);
        }
        Ok(())
    }

    pub(super) fn cmp(
        &mut self,
        w: Width,
        rhs: &Rhs,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let a = ops.reg()?;
        match ops.rhs(rhs)? {
            RhsRm::Rm(b) => self.asm.cmp(w, a, b),
            // Sets the same flags and is a byte shorter.
            RhsRm::Imm(0) => self.asm.test(w, a, a),
            RhsRm::Imm(imm) => self.asm.cmp_imm(w, a, imm),
        }
        Ok(())
    }

    pub(super) fn test(
        &mut self,
        w: Width,
        rhs: &Rhs,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let a = ops.reg()?;
        match ops.rhs(rhs)? {
            RhsRm::Rm(b) => self.asm.test(w, b, a),
            RhsRm::Imm(imm) => self.asm.test_imm(w, a, imm),
        }
        Ok(())
    }
}
