//! Lifting arithmetic, moves and byte order.
//!
//! A 32-bit operation works on the low halves and zero-extends its result.

use tailor_ir::{InstData, Opcode, Payload, Type, Value};

use super::Lifter;
use crate::Error;
use crate::insn::{AluOp, EndKind, Imm64, Reg, Size, Src, Width};

impl Lifter<'_> {
    /// The second operand of an operation, immediates sign-extended to its width.
    pub(super) fn operand(&mut self, w: Width, src: Src) -> Value {
        match (w, src) {
            (Width::W64, Src::Reg(reg)) => self.read(reg),
            (Width::W32, Src::Reg(reg)) => self.read_low(reg),
            (Width::W64, Src::Imm(imm)) => self.b.iconst(Type::I64, imm.into()),
            (Width::W32, Src::Imm(imm)) => self.b.iconst(Type::I32, imm.into()),
        }
    }

    /// The low half of a register; what was extended is taken as it was.
    fn read_low(&mut self, reg: Reg) -> Value {
        let value = self.read(reg);
        match self.b.func().def(value) {
            Some(InstData { op: Opcode::Uext32, args, .. }) => args[0],
            _ => self.b.unary(Opcode::Trunc, value),
        }
    }

    /// Writes a result of either width, zero-extended.
    pub(super) fn write_extended(&mut self, reg: Reg, value: Value) {
        let value = match self.b.func().ty(value) {
            Type::I32 => self.b.unary(Opcode::Uext32, value),
            Type::I64 => value,
        };
        self.write(reg, value);
    }

    pub(super) fn alu(&mut self, op: AluOp, w: Width, dst: Reg, src: Src) {
        let lhs = self.operand(w, Src::Reg(dst));
        let rhs = self.operand(w, src);
        let result = self.b.binary(opcode(op), lhs, rhs);
        self.write_extended(dst, result);
    }

    pub(super) fn mov(&mut self, w: Width, dst: Reg, src: Src) {
        let value = self.operand(w, src);
        self.write_extended(dst, value);
    }

    pub(super) fn mov_sx(&mut self, w: Width, from: Size, dst: Reg, src: Reg) {
        let value = match from {
            Size::B | Size::H => {
                let value = self.operand(w, Src::Reg(src));
                let op = if from == Size::B { Opcode::Sext8 } else { Opcode::Sext16 };
                self.b.unary(op, value)
            }
            Size::W | Size::D => {
                let low = self.read_low(src);
                self.b.unary(Opcode::Sext32, low)
            }
        };
        self.write_extended(dst, value);
    }

    pub(super) fn neg(&mut self, w: Width, dst: Reg) {
        let value = self.operand(w, Src::Reg(dst));
        let result = self.b.unary(Opcode::Neg, value);
        self.write_extended(dst, result);
    }

    /// Everything but the addressed low bytes is cleared, also where the order stays.
    pub(super) fn byte_order(&mut self, kind: EndKind, size: Size, dst: Reg) {
        let swaps = kind != EndKind::Le;
        let result = match size {
            Size::B | Size::H => {
                let value = self.read(dst);
                if swaps {
                    self.b.unary(Opcode::Bswap16, value)
                } else {
                    let mask = self.b.iconst(Type::I64, 0xffff);
                    self.b.binary(Opcode::And, value, mask)
                }
            }
            Size::W | Size::D => {
                let w = if size == Size::W { Width::W32 } else { Width::W64 };
                let value = self.operand(w, Src::Reg(dst));
                if swaps { self.b.unary(Opcode::Bswap, value) } else { value }
            }
        };
        self.write_extended(dst, result);
    }

    pub(super) fn load_imm(&mut self, dst: Reg, value: Imm64) -> Result<(), Error> {
        let value = match value {
            Imm64::Const(value) => self.b.iconst(Type::I64, value as i64),
            Imm64::Map(map) => self.b.address(Opcode::MapAddr, Payload::Map(map)),
            Imm64::MapValue(map, offset) => {
                self.b.address(Opcode::MapValue, Payload::MapValue { map, offset })
            }
            Imm64::Function(func) => self.b.address(Opcode::FuncAddr, Payload::Func(func)),
            Imm64::Pseudo(kind, ..) => {
                return Err(self.error(format!("unlinked 64-bit immediate of kind {kind}")));
            }
        };
        self.write(dst, value);
        Ok(())
    }
}

fn opcode(op: AluOp) -> Opcode {
    match op {
        AluOp::Add => Opcode::Iadd,
        AluOp::Sub => Opcode::Isub,
        AluOp::Mul => Opcode::Imul,
        AluOp::Div => Opcode::Udiv,
        AluOp::Sdiv => Opcode::Sdiv,
        AluOp::Mod => Opcode::Urem,
        AluOp::Smod => Opcode::Srem,
        AluOp::Or => Opcode::Or,
        AluOp::And => Opcode::And,
        AluOp::Xor => Opcode::Xor,
        AluOp::Lsh => Opcode::Shl,
        AluOp::Rsh => Opcode::Lshr,
        AluOp::Arsh => Opcode::Ashr,
    }
}
