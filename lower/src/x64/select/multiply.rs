//! Multiplication, division, remainder.

use regalloc2::{Operand, VReg};
use smallvec::SmallVec;
use tailor_ir::{InstData, Opcode, Value};

use super::Selector;
use super::address::{Sum, Term};
use crate::x64::inst::{MInst, ShiftOp, Width};
use crate::x64::regs::Gpr;

impl Selector<'_> {
    /// Low half of a product; by a constant with shifts or `lea` where one
    /// instruction does.
    fn select_mul(&mut self, data: &InstData, dst: VReg) {
        let (a, b) = self.constant_last(data);
        let width = Width::of(data.ty);
        let Some(number) = self.number(b) else {
            let right = self.right_rm(b, width);
            let a = self.own_reg(a, width);
            return self.two_address(MInst::Imul(width, right.rhs), dst, a, right.operands);
        };
        if number.is_power_of_two() {
            return self.shift_by(ShiftOp::Shl, width, dst, a, number.trailing_zeros() as u8);
        }
        if let 3 | 5 | 9 = number {
            let shift = (number - 1).trailing_zeros() as u8;
            let sum = Sum {
                terms: SmallVec::from_buf([Term::Value(a), Term::Shifted(a, shift, a)]),
                disp: 0,
            };
            return self.lea(&sum, width, dst);
        }
        if let Some(imm) = self.immediate(b, width) {
            let a = self.reg(a, width);
            let operands = [Operand::reg_def(dst), Operand::any_use(a)];
            return self.out.push(MInst::ImulImm(width, imm), &operands);
        }
        let right = self.right_rm(b, width);
        let a = self.own_reg(a, width);
        self.two_address(MInst::Imul(width, right.rhs), dst, a, right.operands);
    }

    /// Quotient or remainder. Both expand to several instructions that write
    /// rdx before they read the divisor, so that rdx is an early definition.
    fn select_division(&mut self, data: &InstData, dst: VReg) {
        let (a, b) = (data.args[0], data.args[1]);
        let signed = matches!(data.op, Opcode::Sdiv | Opcode::Srem);
        let w = self.division_width(data, signed);
        let nonzero = match self.number(b) {
            Some(number) => number != 0 && !(signed && self.immediate(b, w) == Some(-1)),
            None => false,
        };
        let dividend = self.own_reg(a, w);
        let divisor = self.reg(b, w);
        let other = self.out.new_vreg();
        let (rax, rdx) = (Gpr::RAX.preg(), Gpr::RDX.preg());
        let uses = [Operand::reg_fixed_use(dividend, rax), Operand::reg_use(divisor)];
        let (inst, defs) = match data.op {
            Opcode::Udiv | Opcode::Sdiv => (MInst::Div { signed, w, nonzero }, [dst, other]),
            _ => (MInst::Rem { signed, w, nonzero }, [other, dst]),
        };
        let defs =
            [Operand::reg_fixed_def(defs[0], rax), Operand::reg_fixed_def_at_start(defs[1], rdx)];
        self.out.push(inst, &[defs[0], defs[1], uses[0], uses[1]]);
    }

    /// Narrow division is faster, and the same where both upper halves are zero.
    fn division_width(&self, data: &InstData, signed: bool) -> Width {
        let narrow = |value: Value| self.values.zero_upper(value);
        if !signed && narrow(data.args[0]) && narrow(data.args[1]) {
            Width::W32
        } else {
            Width::of(data.ty)
        }
    }

    /// The rules for opcodes of this group.
    pub(super) fn select_multiply(&mut self, data: &InstData, dst: VReg) {
        match data.op {
            Opcode::Imul => self.select_mul(data, dst),
            _ => self.select_division(data, dst),
        }
    }
}
