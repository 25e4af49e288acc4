//! Lifting loads, stores, atomic operations and context accesses.
//!
//! Registers are 64 bits wide, so loads are too. Stores and atomic operations
//! of at most 32 bits take the low half.

use tailor_ir::{Access, Opcode, Region, Type, Value};

use super::Lifter;
use crate::ctx::{Field, FieldValue, KINDS};
use crate::facts::CtxAccess;
use crate::insn::{AtomicOp, Op, Reg, Size, Src, Width};

impl Lifter<'_> {
    pub(super) fn memory(&mut self, op: Op) {
        let ctx_access = self.own.ctx_accesses.get(&(self.pc as u32)).copied();
        match (op, ctx_access) {
            (Op::Load { size, signed, dst, base, off }, Some(access)) => {
                let value = self.ctx_load(access, size, signed, base, off);
                self.write(dst, value);
            }
            (Op::Load { size, signed, dst, base, off }, None) => {
                let (address, access) = self.location(base, off, size);
                let op = if signed { Opcode::Sload } else { Opcode::Load };
                let value = self.b.load(op, Type::I64, address, access);
                self.write(dst, value);
            }
            (Op::Store { base, off, src, .. }, Some(access)) => {
                self.ctx_store(access, base, off, src);
            }
            (Op::Store { size, base, off, src }, None) => {
                let value = self.operand(width(size), src);
                let (address, access) = self.location(base, off, size);
                self.b.store(address, value, access);
            }
            (Op::Atomic { op, w, fetch, base, off, src }, _) => {
                self.atomic(op, w, fetch, (base, off), src);
            }
            (Op::CmpXchg { w, base, off, src }, _) => self.cmpxchg(w, base, off, src),
            (Op::LoadAcquire { size, dst, base, off }, _) => {
                let (address, access) = self.location(base, off, size);
                let value = self.b.load(Opcode::LoadAcquire, Type::I64, address, access);
                self.write(dst, value);
            }
            (Op::StoreRelease { size, base, off, src }, _) => {
                let value = self.operand(width(size), Src::Reg(src));
                let (address, access) = self.location(base, off, size);
                self.b.store_release(address, value, access);
            }
            _ => {}
        }
    }

    fn atomic(&mut self, op: AtomicOp, w: Width, fetch: bool, at: (Reg, i16), src: Reg) {
        let operand = self.operand(w, Src::Reg(src));
        let (address, access) = self.location(at.0, at.1, size(w));
        let fetch = fetch || op == AtomicOp::Xchg;
        if let Some(old) = self.b.atomic(op, fetch, address, operand, access) {
            self.write_extended(src, old);
        }
    }

    fn cmpxchg(&mut self, w: Width, base: Reg, off: i16, src: Reg) {
        let expected = self.operand(w, Src::Reg(Reg::R0));
        let new = self.operand(w, Src::Reg(src));
        let (address, access) = self.location(base, off, size(w));
        let old = self.b.atomic_cas(address, expected, new, access);
        self.write_extended(Reg::R0, old);
    }

    /// An access's address and what is known of it.
    fn location(&mut self, base: Reg, off: i16, size: Size) -> (Value, Access) {
        let in_frame = self.own.frame_accesses.get(&(self.pc as u32));
        let object = in_frame.and_then(|&at| Some((at, self.own.stack_object_at(at)?)));
        match object {
            Some((at, index)) => {
                let region = Region::Stack(self.slots[index]);
                (self.frame_address(at), Access { offset: 0, size, region })
            }
            None => {
                let access = Access { offset: off.into(), size, region: Region::Any };
                (self.read(base), access)
            }
        }
    }

    fn ctx_load(
        &mut self,
        access: CtxAccess,
        size: Size,
        signed: bool,
        base: Reg,
        off: i16,
    ) -> Value {
        let field = field(access);
        let context = self.context(access, base, off);
        let value = self.b.ctx_load(Type::I64, context, access.kind, access.field);
        if field.value != FieldValue::Scalar || (size >= field.size && !signed) {
            return value;
        }
        // Shift the part that is read to the top and back down.
        let unused = 64 - size.bits();
        let above = self.b.iconst(Type::I64, i64::from(unused) - 8 * i64::from(access.part));
        let unused = self.b.iconst(Type::I64, unused.into());
        let at_top = self.b.binary(Opcode::Shl, value, above);
        let shift = if signed { Opcode::Ashr } else { Opcode::Lshr };
        self.b.binary(shift, at_top, unused)
    }

    fn ctx_store(&mut self, access: CtxAccess, base: Reg, off: i16, src: Src) {
        let value = self.operand(width(field(access).native_size), src);
        let context = self.context(access, base, off);
        self.b.ctx_store(context, value, access.kind, access.field);
    }

    /// The context itself, which the access's base may lie beyond.
    fn context(&mut self, access: CtxAccess, base: Reg, off: i16) -> Value {
        let base = self.read(base);
        let accessed = i64::from(field(access).offset) + i64::from(access.part);
        match i64::from(off) - accessed {
            0 => base,
            distance => {
                let distance = self.b.iconst(Type::I64, distance);
                self.b.binary(Opcode::Iadd, base, distance)
            }
        }
    }
}

fn field(access: CtxAccess) -> &'static Field {
    &KINDS[usize::from(access.kind)].fields[usize::from(access.field)]
}

/// The width of the values that an access of this size takes.
fn width(size: Size) -> Width {
    if size == Size::D { Width::W64 } else { Width::W32 }
}

fn size(w: Width) -> Size {
    match w {
        Width::W32 => Size::W,
        Width::W64 => Size::D,
    }
}
