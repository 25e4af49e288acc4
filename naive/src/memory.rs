//! Loads and stores, those of context fields included.
//!
//! Every memory operand has a displacement, of one byte if it fits: that is
//! how the kernel encodes them, where an assembler would leave out a zero.

use tailor_bpf::facts::CtxAccess;
use tailor_bpf::{Error, Op, Reg, Size, Src, Width, ctx};
use tailor_emit::Gpr;
use tailor_emit::asm::{AluOp as Simple, Extend, ShiftOp, Width as MachineWidth};

use crate::jit::Jit;
use crate::regs::gpr;

/// What precedes the operand bytes of an instruction.
#[derive(Clone, Copy)]
pub(crate) struct Opcode {
    /// 0x66 or 0xf0.
    pub(crate) prefix: Option<u8>,
    /// The fixed bits of the REX prefix, without any of which it is left out.
    pub(crate) rex: u8,
    /// After the prefixes.
    pub(crate) bytes: &'static [u8],
}

const REX: u8 = 0x40;
pub(crate) const REX_W: u8 = 0x48;

impl Jit<'_> {
    /// An instruction with a register (or an opcode extension) and memory.
    pub(crate) fn memory(&mut self, opcode: Opcode, reg: u8, base: Gpr, off: i32) {
        self.asm.bytes(opcode.prefix.as_slice());
        let rex = opcode.rex | (reg >> 3) << 2 | base.enc() >> 3;
        if rex != 0 {
            self.asm.bytes(&[REX | rex]);
        }
        self.asm.bytes(opcode.bytes);
        // No base is rsp or r12, which would need another byte.
        let operand = (reg & 7) << 3 | base.enc() & 7;
        match i8::try_from(off) {
            Ok(off) => self.asm.bytes(&[REX | operand, off as u8]),
            Err(_) => {
                self.asm.bytes(&[0x80 | operand]);
                self.asm.bytes(&off.to_le_bytes());
            }
        }
    }

    /// A load or store.
    pub(crate) fn access(&mut self, pc: usize, op: Op) -> Result<(), Error> {
        if let Some(&access) = self.facts.ctx_accesses.get(&(pc as u32)) {
            return self.ctx_access(pc, op, access);
        }
        match op {
            Op::Load { size, signed, dst, base, off } => {
                self.load(size, signed, gpr(dst), gpr(base), off.into());
            }
            Op::Store { size, base, off, src } => self.store(size, gpr(base), off.into(), src),
            _ => {}
        }
        Ok(())
    }

    /// `dst = *(size *)(base + off)`
    pub(crate) fn load(&mut self, size: Size, signed: bool, dst: Gpr, base: Gpr, off: i32) {
        let (rex, bytes): (u8, &[u8]) = match (size, signed) {
            (Size::B, false) => (REX_W, &[0x0f, 0xb6]),
            (Size::H, false) => (REX_W, &[0x0f, 0xb7]),
            (Size::W, false) => (0, &[0x8b]),
            (Size::B, true) => (REX_W, &[0x0f, 0xbe]),
            (Size::H, true) => (REX_W, &[0x0f, 0xbf]),
            (Size::W, true) => (REX_W, &[0x63]),
            (Size::D, _) => (REX_W, &[0x8b]),
        };
        let opcode = Opcode { prefix: None, rex, bytes };
        self.memory(opcode, dst.enc(), base, off);
    }

    /// `*(size *)(base + off) = src`
    pub(crate) fn store_reg(&mut self, size: Size, base: Gpr, off: i32, src: Gpr) {
        let prefix = (size == Size::H).then_some(0x66);
        let mut rex = if size == Size::D { REX_W } else { 0 };
        // Without a prefix the bytes of rbp, rsi and rdi have no name.
        if size == Size::B && matches!(src, Gpr::RBP | Gpr::RSI | Gpr::RDI) {
            rex = REX;
        }
        let bytes = if size == Size::B { &[0x88] } else { &[0x89] };
        self.memory(Opcode { prefix, rex, bytes }, src.enc(), base, off);
    }

    /// The same, or of a constant.
    pub(crate) fn store(&mut self, size: Size, base: Gpr, off: i32, src: Src) {
        match src {
            Src::Reg(src) => self.store_reg(size, base, off, gpr(src)),
            Src::Imm(imm) => {
                let prefix = (size == Size::H).then_some(0x66);
                let rex = if size == Size::D { REX_W } else { 0 };
                let bytes = if size == Size::B { &[0xc6] } else { &[0xc7] };
                self.memory(Opcode { prefix, rex, bytes }, 0, base, off);
                let width = size.bytes().min(4) as usize;
                self.asm.bytes(&imm.to_le_bytes()[..width]);
            }
        }
    }

    /// A load or store of a context field, as the verifier rewrites it: the
    /// whole field at its native place, then what a narrower load wants of it.
    fn ctx_access(&mut self, pc: usize, op: Op, access: CtxAccess) -> Result<(), Error> {
        let field = ctx::KINDS
            .get(access.kind as usize)
            .and_then(|kind| kind.fields.get(access.field as usize))
            .ok_or_else(|| self.error(pc, "no such context field"))?;
        let off = i32::from(field.native_offset);
        match op {
            Op::Load { size, signed, dst, base, .. } => {
                self.load(field.native_size, false, gpr(dst), gpr(base), off);
                if size < field.size {
                    self.narrow(field.native_size, size, 8 * access.part, dst);
                }
                if signed {
                    self.mov_sx(Width::W64, size, dst, dst);
                }
            }
            Op::Store { base, src, .. } => self.store(field.native_size, gpr(base), off, src),
            _ => {}
        }
        Ok(())
    }

    /// Keeps so many bytes of a field's value, from a bit on.
    fn narrow(&mut self, native: Size, size: Size, shift: u8, dst: Reg) {
        let w = match native {
            Size::D => MachineWidth::W64,
            _ => MachineWidth::W32,
        };
        if shift > 0 {
            self.asm.shift_imm(ShiftOp::Shr, w, gpr(dst), shift);
        }
        match size {
            Size::B | Size::H => {
                let mask = (1 << size.bits()) - 1;
                self.asm.alu_imm(Simple::And, MachineWidth::W32, gpr(dst), mask);
            }
            Size::W => self.asm.extend(Extend::Zero32, gpr(dst), gpr(dst)),
            Size::D => {}
        }
    }
}
