//! Loads, stores and atomic operations.

use tailor_lower::x64::inst::Mem;
use tailor_lower::{AtomicOp, Gpr};

use super::operands::Operands;
use super::{EmitError, Emitter};
use crate::asm::{AluOp, Cc, Extend, Width};

impl Emitter<'_> {
    pub(super) fn load(
        &mut self,
        extend: Extend,
        mem: &Mem,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let dst = ops.reg()?;
        let mem = ops.mem(mem)?;
        self.asm.extend(extend, dst, mem);
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        bytes: u8,
        mem: &Mem,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let src = ops.reg()?;
        let mem = ops.mem(mem)?;
        self.asm.store(bytes, mem, src);
        Ok(())
    }

    pub(super) fn store_imm(
        &mut self,
        bytes: u8,
        imm: i32,
        mem: &Mem,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let mem = ops.mem(mem)?;
        self.asm.store_imm(bytes, mem, imm);
        Ok(())
    }

    pub(super) fn cmp_mem_imm(
        &mut self,
        bytes: u8,
        imm: i32,
        mem: &Mem,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let mem = ops.mem(mem)?;
        self.asm.cmp_mem_imm(bytes, mem, imm);
        Ok(())
    }

    pub(super) fn test_mem_imm(
        &mut self,
        bytes: u8,
        imm: i32,
        mem: &Mem,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let mem = ops.mem(mem)?;
        match bytes {
            1 => self.asm.test_byte_imm(mem, imm as u8),
            4 => self.asm.test_imm32(Width::W32, mem, imm),
            8 => self.asm.test_imm32(Width::W64, mem, imm),
            _ => return ops.broken("tests memory of 1, 4 or 8 bytes"),
        }
        Ok(())
    }

    pub(super) fn alu_mem(
        &mut self,
        op: AluOp,
        w: Width,
        imm: Option<i32>,
        mem: &Mem,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        match imm {
            Some(imm) => {
                let mem = ops.mem(mem)?;
                self.asm.alu_imm(op, w, mem, imm);
            }
            None => {
                let src = ops.reg()?;
                let mem = ops.mem(mem)?;
                self.asm.alu_store(op, w, mem, src);
            }
        }
        Ok(())
    }

    /// The operation of a locked instruction; an exchange has none.
    fn locked_op(&self, at: usize, op: AtomicOp) -> Result<AluOp, EmitError> {
        match op {
            AtomicOp::Add => Ok(AluOp::Add),
            AtomicOp::And => Ok(AluOp::And),
            AtomicOp::Or => Ok(AluOp::Or),
            AtomicOp::Xor => Ok(AluOp::Xor),
            AtomicOp::Xchg => Err(self.broken(at, "an exchange is an AtomicFetch")),
        }
    }

    pub(super) fn atomic(
        &mut self,
        at: usize,
        op: AtomicOp,
        w: Width,
        mem: &Mem,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let src = ops.reg()?;
        let mem = ops.mem(mem)?;
        let op = self.locked_op(at, op)?;
        self.asm.lock_alu(op, w, mem, src);
        Ok(())
    }

    pub(super) fn atomic_imm(
        &mut self,
        at: usize,
        op: AtomicOp,
        w: Width,
        imm: i32,
        mem: &Mem,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let mem = ops.mem(mem)?;
        let op = self.locked_op(at, op)?;
        self.asm.lock_alu_imm(op, w, mem, imm);
        Ok(())
    }

    pub(super) fn atomic_fetch(
        &mut self,
        at: usize,
        op: AtomicOp,
        w: Width,
        mem: &Mem,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        let reg = ops.tied()?;
        let mem = ops.mem(mem)?;
        match op {
            AtomicOp::Add => self.asm.lock_xadd(w, mem, reg),
            AtomicOp::Xchg => self.asm.xchg_mem(w, mem, reg),
            _ => return Err(self.broken(at, "only add and exchange fetch in one instruction")),
        }
        Ok(())
    }

    /// Reads the old value, then tries to replace it until it was still there.
    pub(super) fn atomic_loop(
        &mut self,
        at: usize,
        op: AtomicOp,
        w: Width,
        mem: &Mem,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        ops.fixed(Gpr::RAX)?;
        let new = ops.reg()?;
        let src = ops.reg()?;
        let mem = ops.mem(mem)?;
        let op = self.locked_op(at, op)?;
        let index = mem.index.map(|(reg, _)| reg);
        let uses = [Some(src), Some(mem.base), index];
        if uses.contains(&Some(Gpr::RAX)) || uses.contains(&Some(new)) || new == Gpr::RAX {
            return ops.broken("an operand that is read in every round is overwritten");
        }
        // A failed exchange loads rax, zero-extended, just as this load does.
        self.asm.load(w, Gpr::RAX, mem);
        let again = self.asm.here();
        self.asm.mov(w, new, Gpr::RAX);
        self.asm.alu(op, w, new, src);
        self.asm.lock_cmpxchg(w, mem, new);
        self.asm.jcc(Cc::Ne, again);
        Ok(())
    }

    pub(super) fn cmpxchg(
        &mut self,
        at: usize,
        w: Width,
        mem: &Mem,
        mut ops: Operands<'_>,
    ) -> Result<(), EmitError> {
        ops.fixed(Gpr::RAX)?;
        ops.fixed(Gpr::RAX)?;
        let src = ops.reg()?;
        let mem = ops.mem(mem)?;
        self.asm.lock_cmpxchg(w, mem, src);
        // One that succeeds leaves the upper half of the expected value.
        if w == Width::W32 && self.result_bytes(at) > 4 {
            self.asm.mov(w, Gpr::RAX, Gpr::RAX);
        }
        Ok(())
    }
}
