//! Comparisons, fused with the branch that they decide.

use regalloc2::Operand;
use smallvec::SmallVec;
use tailor_ir::{Cond, Opcode, Type, Value};

use super::Selector;
use super::operands::FoldedLoad;
use crate::x64::inst::{Cc, MInst, Rhs, Width};

/// A condition on two values, in the width in which it is to be decided.
#[derive(Clone, Copy)]
pub(super) struct Compare {
    pub cond: Cond,
    pub width: Width,
    pub lhs: Value,
    pub rhs: Value,
}

impl Selector<'_> {
    /// Sets the flags for a condition; the code to test them with.
    pub(super) fn compare(&mut self, cond: Cond, ty: Type, lhs: Value, rhs: Value) -> Cc {
        let mut compare = Compare { cond, width: Width::of(ty), lhs, rhs };
        if self.number(lhs).is_some() && self.number(rhs).is_none() {
            compare.swap();
        }
        if matches!(cond, Cond::Set | Cond::Clear) {
            return self.test(compare);
        }
        if let Some(cc) = self.compare_bits(compare) {
            return cc;
        }
        if let Some(cc) = self.compare_memory(compare) {
            return cc;
        }
        self.narrow(&mut compare);
        if self.number(compare.rhs) == Some(0) {
            return self.compare_zero(compare);
        }
        let foldable = |value| self.foldable_operand(value, compare.width).is_some();
        let immediate = self.immediate(compare.rhs, compare.width).is_some();
        if foldable(compare.lhs) && !foldable(compare.rhs) && !immediate {
            compare.swap();
        }
        let lhs = self.reg(compare.lhs, compare.width);
        let right = self.right(compare.rhs, compare.width);
        let mut operands: SmallVec<[Operand; 4]> = SmallVec::new();
        operands.push(Operand::reg_use(lhs));
        operands.extend(right.operands);
        self.out.push(MInst::Cmp(compare.width, right.rhs), &operands);
        code(compare.cond)
    }

    /// `lhs & rhs` against zero.
    fn test(&mut self, mut compare: Compare) -> Cc {
        let cond = match compare.cond {
            Cond::Set => Cond::Ne,
            Cond::Clear => Cond::Eq,
            other => other,
        };
        // Without the upper half only whether there is a bit can be told.
        let short = self.number(compare.rhs).is_some_and(|mask| mask >> 32 == 0);
        if short && matches!(cond, Cond::Eq | Cond::Ne) {
            compare.width = Width::W32;
        }
        if let Some(()) = self.test_memory(&compare, cond) {
            return code(cond);
        }
        let foldable = |value| self.foldable_operand(value, compare.width).is_some();
        let immediate = self.immediate(compare.rhs, compare.width).is_some();
        if foldable(compare.lhs) && !immediate {
            compare.swap();
        }
        let lhs = self.reg(compare.lhs, compare.width);
        let right = self.right(compare.rhs, compare.width);
        let mut operands: SmallVec<[Operand; 4]> = SmallVec::new();
        operands.push(Operand::reg_use(lhs));
        operands.extend(right.operands);
        self.out.push(MInst::Test(compare.width, right.rhs), &operands);
        code(cond)
    }

    /// Whether memory has any of some bits, which are part of the instruction.
    fn test_memory(&mut self, compare: &Compare, cond: Cond) -> Option<()> {
        let mask = self.number(compare.rhs)?;
        let load = self.foldable_load(compare.lhs)?;
        let bytes = load.size.bytes().min(compare.width.bytes());
        if !matches!(cond, Cond::Eq | Cond::Ne) || mask == 0 || bytes < 8 && mask >> (8 * bytes) > 0
        {
            return None;
        }
        // One byte if all bits are in it: the shortest form.
        let lowest = mask.trailing_zeros() / 8;
        let (bytes, shift, imm) = if mask >> (8 * lowest) <= 0xff {
            (1, lowest as i32, (mask >> (8 * lowest)) as i32)
        } else if bytes == 4 {
            (4, 0, mask as i32)
        } else if bytes == 8 {
            (8, 0, i32::try_from(mask as i64).ok()?)
        } else {
            return None;
        };
        let offset = load.offset.checked_add(shift)?;
        let (mem, regs) = self.address(load.address, offset);
        self.out.push(MInst::TestMemImm(bytes, imm, mem), &regs);
        Some(())
    }

    /// `(a & b) == 0` and the like, where nobody else wants `a & b`.
    fn compare_bits(&mut self, compare: Compare) -> Option<Cc> {
        if self.number(compare.rhs) != Some(0) || self.requested(compare.lhs) {
            return None;
        }
        let data = self.def(compare.lhs)?;
        let fits = data.op == Opcode::And
            && self.values.uses(compare.lhs) == 1
            && Width::of(data.ty) == compare.width;
        let cond = match compare.cond {
            Cond::Ult | Cond::Uge => return None,
            Cond::Ule => Cond::Eq,
            Cond::Ugt => Cond::Ne,
            other => other,
        };
        if !fits {
            return None;
        }
        let (lhs, rhs) = self.constant_last(data);
        Some(self.test(Compare { cond, width: compare.width, lhs, rhs }))
    }

    /// Memory against an immediate.
    fn compare_memory(&mut self, compare: Compare) -> Option<Cc> {
        let number = self.number(compare.rhs)?;
        let load = self.foldable_load(compare.lhs)?;
        let (cond, imm) = narrow_compare(load, compare, number)?;
        let bytes = load.size.bytes().min(compare.width.bytes()) as u8;
        // Decoders stall on an immediate of two bytes.
        if bytes == 2 && i8::try_from(imm).is_err() {
            return None;
        }
        let (mem, regs) = self.address(load.address, load.offset);
        self.out.push(MInst::CmpMemImm(bytes, imm, mem), &regs);
        Some(code(cond))
    }

    /// A register against zero: a shorter instruction sets the same flags.
    fn compare_zero(&mut self, compare: Compare) -> Cc {
        let lhs = self.reg(compare.lhs, compare.width);
        let operands = [Operand::reg_use(lhs), Operand::any_use(lhs)];
        self.out.push(MInst::Test(compare.width, Rhs::Reg), &operands);
        code(compare.cond)
    }

    /// Makes a 64-bit comparison a 32-bit one if both upper halves are zero:
    /// shorter, and more constants are immediates.
    fn narrow(&self, compare: &mut Compare) {
        if compare.width == Width::W32 {
            return;
        }
        let (Some(lhs), Some(rhs)) = (self.low_half(compare.lhs), self.low_half(compare.rhs))
        else {
            return;
        };
        *compare = Compare { cond: unsigned(compare.cond), width: Width::W32, lhs, rhs };
    }

    /// A value whose low half is the given value's low half, if the latter's
    /// upper half is zero.
    fn low_half(&self, value: Value) -> Option<Value> {
        if let Some(number) = self.number(value) {
            return (number >> 32 == 0).then_some(value);
        }
        match self.def(value) {
            Some(data)
                if data.op == Opcode::Uext32
                    && self.values.uses(value) == 1
                    && !self.requested(value) =>
            {
                Some(data.args[0])
            }
            _ => self.values.zero_upper(value).then_some(value),
        }
    }
}

impl Compare {
    fn swap(&mut self) {
        self.cond = self.cond.swap();
        (self.lhs, self.rhs) = (self.rhs, self.lhs);
    }
}

/// The condition and the immediate, sign-extended from the memory's size, that
/// decide in the memory's size what was to be decided of the extended value.
fn narrow_compare(load: FoldedLoad, compare: Compare, number: u64) -> Option<(Cond, i32)> {
    let (size, width) = (load.size.bytes(), compare.width.bytes());
    if size >= width {
        let imm = match compare.width {
            Width::W32 => number as i32,
            Width::W64 => i32::try_from(number as i64).ok()?,
        };
        return Some((compare.cond, imm));
    }
    if load.signed {
        // Sign-extended to one width, then zero-extended to another: not here.
        if Width::of(load.ty) != compare.width {
            return None;
        }
        let number = match compare.width {
            Width::W32 => i64::from(number as i32),
            Width::W64 => number as i64,
        };
        let limit = 1i64 << (8 * size - 1);
        // Sign extension keeps the order, signed and unsigned.
        return (-limit..limit).contains(&number).then_some((compare.cond, number as i32));
    }
    let shift = 64 - 8 * size;
    let imm = ((number << shift) as i64 >> shift) as i32;
    (number >> (8 * size) == 0).then_some((unsigned(compare.cond), imm))
}

/// The condition that decides the same of values that are not negative.
fn unsigned(cond: Cond) -> Cond {
    match cond {
        Cond::Slt => Cond::Ult,
        Cond::Sle => Cond::Ule,
        Cond::Sgt => Cond::Ugt,
        Cond::Sge => Cond::Uge,
        other => other,
    }
}

fn code(cond: Cond) -> Cc {
    match cond {
        Cond::Eq | Cond::Clear => Cc::E,
        Cond::Ne | Cond::Set => Cc::Ne,
        Cond::Ult => Cc::B,
        Cond::Ule => Cc::Be,
        Cond::Ugt => Cc::A,
        Cond::Uge => Cc::Ae,
        Cond::Slt => Cc::L,
        Cond::Sle => Cc::Le,
        Cond::Sgt => Cc::G,
        Cond::Sge => Cc::Ge,
    }
}
