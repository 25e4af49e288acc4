//! Shifts and rotations. Counts are taken modulo the width, as the processor does.

use regalloc2::{Operand, VReg};
use smallvec::SmallVec;
use tailor_ir::{InstData, Opcode, Value};

use super::Selector;
use super::address::{Sum, Term};
use crate::x64::inst::{MInst, ShiftOp, Width};
use crate::x64::regs::Gpr;

/// `src << left` and `src >> right`.
struct Rotation {
    src: Value,
    left: Value,
    right: Value,
}

impl Selector<'_> {
    /// The rules for opcodes of this group.
    pub(super) fn select_shift(&mut self, data: &InstData, dst: VReg) {
        let op = match data.op {
            Opcode::Shl => ShiftOp::Shl,
            Opcode::Lshr => ShiftOp::Shr,
            _ => ShiftOp::Sar,
        };
        let width = Width::of(data.ty);
        let (src, count) = (data.args[0], data.args[1]);
        if let Some(number) = self.number(count) {
            let count = number & u64::from(data.ty.bits() - 1);
            return self.shift_by(op, width, dst, src, count as u8);
        }
        let count = self.strip_mask(count, data.ty.bits() - 1);
        self.shift_variable(op, width, dst, src, count);
    }

    /// Shift by a constant less than the width.
    pub(super) fn shift_by(&mut self, op: ShiftOp, width: Width, dst: VReg, src: Value, count: u8) {
        if count == 0 {
            return self.copy(width, dst, src);
        }
        if op == ShiftOp::Shl && count == 1 && self.stays_live(src) {
            let sum =
                Sum { terms: SmallVec::from_buf([Term::Value(src), Term::Value(src)]), disp: 0 };
            return self.lea(&sum, width, dst);
        }
        self.unary(MInst::ShiftImm(op, width, count), width, dst, src);
    }

    fn shift_variable(&mut self, op: ShiftOp, width: Width, dst: VReg, src: Value, count: Value) {
        if self.options.features.bmi2 {
            let src = self.reg(src, width);
            let count = self.reg(count, Width::W32);
            let operands = [Operand::reg_def(dst), Operand::any_use(src), Operand::reg_use(count)];
            return self.out.push(MInst::ShiftX(op, width), &operands);
        }
        self.shift_by_cl(op, width, dst, src, count);
    }

    /// A shift or rotation with the count in rcx.
    fn shift_by_cl(&mut self, op: ShiftOp, width: Width, dst: VReg, src: Value, count: Value) {
        let src = self.own_reg(src, width);
        let count = self.own_reg(count, Width::W32);
        let operands = [
            Operand::reg_reuse_def(dst, 1),
            Operand::reg_use(src),
            Operand::reg_fixed_use(count, Gpr::RCX.preg()),
        ];
        self.out.push(MInst::ShiftCl(op, width), &operands);
    }

    /// `(x << m) op (x >> n)` as a rotation, if both counts make up the width.
    /// False if it is not one.
    pub(super) fn select_rotation(&mut self, data: &InstData, dst: VReg) -> bool {
        let Some(rotation) = self.rotation(data) else {
            return false;
        };
        let (width, bits) = (Width::of(data.ty), u64::from(data.ty.bits()));
        let Rotation { src, left, right } = rotation;
        let number = |count| self.number(count).map(|count| count % bits);
        match (number(left), number(right)) {
            // With the counts 0 and 0 only an `or` gives back what was rotated.
            (Some(left), Some(right)) if left + right == bits => {
                self.shift_by(ShiftOp::Rol, width, dst, src, left as u8);
            }
            (None, None) if data.op == Opcode::Or => {
                let mask = data.ty.bits() - 1;
                if self.complements(right, left, bits) {
                    let count = self.strip_mask(left, mask);
                    self.shift_by_cl(ShiftOp::Rol, width, dst, src, count);
                } else if self.complements(left, right, bits) {
                    let count = self.strip_mask(right, mask);
                    self.shift_by_cl(ShiftOp::Ror, width, dst, src, count);
                } else {
                    return false;
                }
            }
            _ => return false,
        }
        true
    }

    /// The two shifts of one value behind a sum or a bitwise or.
    fn rotation(&self, data: &InstData) -> Option<Rotation> {
        let shift = |value: Value, op: Opcode| {
            let shift = self.def(value).filter(|def| def.op == op && def.ty == data.ty)?;
            let only_here = self.values.uses(value) == 1 && !self.requested(value);
            let same_type = self.function.ty(value) == data.ty;
            (only_here && same_type).then_some((shift.args[0], shift.args[1]))
        };
        let (a, b) = (data.args[0], data.args[1]);
        let (shl, shr) = match shift(a, Opcode::Shl) {
            Some(shl) => (shl, shift(b, Opcode::Lshr)?),
            None => (shift(b, Opcode::Shl)?, shift(a, Opcode::Lshr)?),
        };
        let same = self.values.root(shl.0) == self.values.root(shr.0);
        same.then_some(Rotation { src: shl.0, left: shl.1, right: shr.1 })
    }

    /// Whether a count is `bits - other`, modulo `bits`.
    fn complements(&self, count: Value, other: Value, bits: u64) -> bool {
        let mask = bits as u32 - 1;
        let Some(data) = self.def(self.strip_mask(count, mask)) else {
            return false;
        };
        let subtracted = match data.op {
            Opcode::Neg => data.args[0],
            Opcode::Isub if self.number(data.args[0]).is_some_and(|n| n % bits == 0) => {
                data.args[1]
            }
            _ => return false,
        };
        let bare = |value| self.values.root(self.strip_mask(value, mask));
        bare(subtracted) == bare(other)
    }

    /// A count without an `and` that keeps all bits of `mask`.
    fn strip_mask(&self, count: Value, mask: u32) -> Value {
        let Some(data) = self.def(count).filter(|data| data.op == Opcode::And) else {
            return count;
        };
        let (a, b) = (data.args[0], data.args[1]);
        let keeps = |value| {
            let number = self.number(value);
            number.is_some_and(|number| number as u32 & mask == mask)
        };
        match (keeps(a), keeps(b)) {
            (_, true) => a,
            (true, _) => b,
            _ => count,
        }
    }
}
