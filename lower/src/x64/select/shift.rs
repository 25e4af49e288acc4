//! Shifts and rotations. Counts are taken modulo the width, as the processor does.

use regalloc2::{Operand, VReg};
use smallvec::SmallVec;
use tailor_ir::{InstData, Opcode, Value};

use super::Selector;
use super::address::{Sum, Term};
use crate::x64::inst::{MInst, ShiftOp, Width};
use crate::x64::regs::Gpr;

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
        let src = self.own_reg(src, width);
        let count = self.own_reg(count, Width::W32);
        let operands = [
            Operand::reg_reuse_def(dst, 1),
            Operand::reg_use(src),
            Operand::reg_fixed_use(count, Gpr::RCX.preg()),
        ];
        self.out.push(MInst::ShiftCl(op, width), &operands);
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
