//! Addition, subtraction, bitwise operations, negation.

use regalloc2::{Operand, VReg};
use smallvec::{SmallVec, smallvec};
use tailor_ir::{InstData, Opcode, Value};

use super::Selector;
use super::address::{Sum, Term};
use super::operands::Right;
use crate::x64::inst::{AluOp, Extend, MInst, Rhs, Width};

impl Selector<'_> {
    /// `dst = a + b`, and everything below that fits in one `lea`.
    pub(super) fn select_add(&mut self, data: &InstData, dst: VReg) {
        let (a, b) = (data.args[0], data.args[1]);
        let width = Width::of(data.ty);
        // A load as operand saves more than a `lea` does.
        let (first, last) = self.constant_last(data);
        if self.foldable_operand(last, width).is_some() {
            return self.alu(AluOp::Add, width, dst, first, last);
        }
        let sum = self.sum(&[a, b], data.ty);
        self.select_sum(&sum, width, dst);
    }

    /// `dst = a - b`.
    pub(super) fn select_sub(&mut self, data: &InstData, dst: VReg) {
        let (a, b) = (data.args[0], data.args[1]);
        let width = Width::of(data.ty);
        if self.number(a) == Some(0) {
            return self.unary(MInst::Neg(width), width, dst, b);
        }
        if let Some(number) = self.number(b) {
            let mut sum = self.sum(&[a], data.ty);
            if sum.add((number as i64).wrapping_neg(), data.ty) {
                return self.select_sum(&sum, width, dst);
            }
        }
        self.alu(AluOp::Sub, width, dst, a, b);
    }

    /// Bitwise and; masks that are extensions become such.
    pub(super) fn select_and(&mut self, data: &InstData, dst: VReg) {
        let (a, b) = self.constant_last(data);
        let mut width = Width::of(data.ty);
        if let Some(mask) = self.number(b) {
            let extend = match mask {
                0xff => Some(Extend::Zero8),
                0xffff => Some(Extend::Zero16),
                0xffff_ffff => Some(Extend::Zero32),
                _ => None,
            };
            if let Some(extend) = extend {
                return self.extend(extend, dst, a);
            }
            if mask >> 32 == 0 {
                width = Width::W32;
            }
        }
        self.alu_commuting(AluOp::And, width, dst, a, b);
    }

    /// `dst = a op b` where the order does not matter.
    pub(super) fn select_commuting(&mut self, op: AluOp, data: &InstData, dst: VReg) {
        let (a, b) = self.constant_last(data);
        self.alu_commuting(op, Width::of(data.ty), dst, a, b);
    }

    /// `dst = op src`, in place.
    pub(super) fn unary(&mut self, inst: MInst, width: Width, dst: VReg, src: Value) {
        let src = self.own_reg(src, width);
        self.out.push(inst, &[Operand::reg_reuse_def(dst, 1), Operand::reg_use(src)]);
    }

    /// `dst = src`, zero-extended if narrow.
    pub(super) fn copy(&mut self, width: Width, dst: VReg, src: Value) {
        match width {
            Width::W32 => self.extend(Extend::Zero32, dst, src),
            Width::W64 => {
                let src = self.reg(src, width);
                self.out.push(MInst::Mov(width), &[Operand::reg_def(dst), Operand::reg_use(src)]);
            }
        }
    }

    /// The operands of a commuting operation: first what may be overwritten,
    /// last what is part of the instruction.
    pub(super) fn constant_last(&self, data: &InstData) -> (Value, Value) {
        let (a, b) = (data.args[0], data.args[1]);
        let width = Width::of(data.ty);
        let rank = |value| {
            if self.number(value).is_some() {
                4
            } else if self.foldable_operand(value, width).is_some() {
                3
            } else if self.stays_live(value) {
                2
            } else {
                u32::from(self.constant(value).is_some())
            }
        };
        if rank(a) > rank(b) { (b, a) } else { (a, b) }
    }

    /// `dst = a op b` where the order does not matter; a constant is `b`.
    fn alu_commuting(&mut self, op: AluOp, width: Width, dst: VReg, a: Value, b: Value) {
        let in_register = self.number(b).is_some() && self.immediate(b, width).is_none();
        if in_register && (self.stays_live(a) || self.foldable_operand(a, width).is_some()) {
            self.alu(op, width, dst, b, a);
        } else {
            self.alu(op, width, dst, a, b);
        }
    }

    /// `dst = a op b`, in place of `a`.
    pub(super) fn alu(&mut self, op: AluOp, width: Width, dst: VReg, a: Value, b: Value) {
        let right = self.right(b, width);
        self.alu_right(op, width, dst, a, right);
    }

    fn alu_right(&mut self, op: AluOp, width: Width, dst: VReg, a: Value, right: Right) {
        let a = self.own_reg(a, width);
        self.two_address(MInst::Alu(op, width, right.rhs), dst, a, right.operands);
    }

    /// An instruction whose result replaces its first use.
    pub(super) fn two_address(
        &mut self,
        inst: MInst,
        dst: VReg,
        src: VReg,
        rest: SmallVec<[Operand; 2]>,
    ) {
        let mut operands: SmallVec<[Operand; 4]> = SmallVec::new();
        operands.extend([Operand::reg_reuse_def(dst, 1), Operand::reg_use(src)]);
        operands.extend(rest);
        self.out.push(inst, &operands);
    }

    /// `dst = sum`: in place of a term that is not needed any more, else `lea`.
    fn select_sum(&mut self, sum: &Sum, width: Width, dst: VReg) {
        match *sum.terms {
            [Term::Value(a)] if sum.disp == 0 => return self.copy(width, dst, a),
            [Term::Value(a)] if !self.stays_live(a) => {
                let right = Right { rhs: Rhs::Imm(sum.disp), operands: SmallVec::new() };
                return self.alu_right(AluOp::Add, width, dst, a, right);
            }
            [Term::Value(a), Term::Value(b)] if sum.disp == 0 => {
                let a_dies = self.constant(a).is_none() && !self.stays_live(a);
                let b_dies = self.constant(b).is_none() && !self.stays_live(b);
                if a_dies || b_dies {
                    let (a, b) = if a_dies { (a, b) } else { (b, a) };
                    // No load becomes part of this: parts of the sum may be used elsewhere
                    // too, and would load once more.
                    let operands = smallvec![Operand::any_use(self.reg(b, width))];
                    let right = Right { rhs: Rhs::Reg, operands };
                    return self.alu_right(AluOp::Add, width, dst, a, right);
                }
            }
            _ => {}
        }
        self.lea(sum, width, dst);
    }

    /// `dst = sum` without changing any of its terms.
    pub(super) fn lea(&mut self, sum: &Sum, width: Width, dst: VReg) {
        let (mem, regs) = self.sum_operand(sum, width);
        let mut operands: SmallVec<[Operand; 4]> = SmallVec::new();
        operands.push(Operand::reg_def(dst));
        operands.extend(regs.into_iter().map(Operand::reg_use));
        self.out.push(MInst::Lea(width, mem), &operands);
    }

    /// The rules for opcodes of this group.
    pub(super) fn select_arith(&mut self, data: &InstData, dst: VReg) {
        match data.op {
            Opcode::Iadd | Opcode::Or | Opcode::Xor if self.select_rotation(data, dst) => {}
            Opcode::Iadd => self.select_add(data, dst),
            Opcode::Isub => self.select_sub(data, dst),
            Opcode::And => self.select_and(data, dst),
            Opcode::Or => self.select_commuting(AluOp::Or, data, dst),
            Opcode::Xor => self.select_commuting(AluOp::Xor, data, dst),
            _ => {
                let width = Width::of(data.ty);
                self.unary(MInst::Neg(width), width, dst, data.args[0]);
            }
        }
    }
}
