//! Intervals of 64-bit numbers, taken as signed.

use crate::Size;
use crate::insn::{AluOp, Width};
use crate::interp::arith;

/// All numbers from `lo` to `hi`; never empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub lo: i64,
    pub hi: i64,
}

impl Range {
    pub const ALL: Range = Range::new(i64::MIN, i64::MAX);
    pub const U32: Range = Range::new(0, u32::MAX as i64);

    pub const fn new(lo: i64, hi: i64) -> Range {
        Range { lo, hi }
    }

    pub const fn exactly(value: i64) -> Range {
        Range::new(value, value)
    }

    /// The one number in it, if it is one.
    pub fn exact(self) -> Option<i64> {
        (self.lo == self.hi).then_some(self.lo)
    }

    pub fn contains(self, other: Range) -> bool {
        self.lo <= other.lo && other.hi <= self.hi
    }

    /// Whether two ranges of bytes, their ends excluded, have one in common.
    pub fn overlaps(self, other: Range) -> bool {
        self.lo < other.hi && other.lo < self.hi
    }

    pub fn join(self, other: Range) -> Range {
        Range::new(self.lo.min(other.lo), self.hi.max(other.hi))
    }

    /// The numbers in both; `self` if there are none (code that never runs).
    pub fn meet(self, other: Range) -> Range {
        let both = Range::new(self.lo.max(other.lo), self.hi.min(other.hi));
        if both.lo <= both.hi { both } else { self }
    }

    /// Numbers that differ from `value`, as far as an interval can say it.
    pub fn without(self, value: i64) -> Range {
        match (self.lo == value, self.hi == value) {
            (true, false) => Range::new(self.lo + 1, self.hi),
            (false, true) => Range::new(self.lo, self.hi - 1),
            _ => self,
        }
    }

    /// The sums; everything if they may wrap.
    pub fn add(self, other: Range) -> Range {
        match (self.lo.checked_add(other.lo), self.hi.checked_add(other.hi)) {
            (Some(lo), Some(hi)) => Range::new(lo, hi),
            _ => Range::ALL,
        }
    }

    /// The differences; everything if they may wrap.
    pub fn sub(self, other: Range) -> Range {
        match (self.lo.checked_sub(other.hi), self.hi.checked_sub(other.lo)) {
            (Some(lo), Some(hi)) => Range::new(lo, hi),
            _ => Range::ALL,
        }
    }

    /// The sums, where an end that is unbounded stays so.
    pub fn shift(self, other: Range) -> Range {
        let end = |a: i64, b: i64, unbounded: i64| {
            if a == unbounded || b == unbounded { unbounded } else { a.saturating_add(b) }
        };
        Range::new(end(self.lo, other.lo, i64::MIN), end(self.hi, other.hi, i64::MAX))
    }

    /// What a zero- or sign-extending load of this size can give.
    pub fn loaded(size: Size, signed: bool) -> Range {
        match (size, signed) {
            (Size::D, _) => Range::ALL,
            (_, false) => Range::new(0, (1 << size.bits()) - 1),
            (_, true) => {
                let half = 1 << (size.bits() - 1);
                Range::new(-half, half - 1)
            }
        }
    }

    /// The low halves, zero-extended.
    pub fn low_half(self) -> Range {
        if Range::U32.contains(self) {
            self
        } else if let Some(value) = self.exact() {
            Range::exactly(i64::from(value as u32))
        } else {
            Range::U32
        }
    }

    /// What an operation makes of numbers in `self` and `other`. Immediates are
    /// sign-extended, also of 32-bit operations.
    pub fn apply(self, op: AluOp, w: Width, other: Range) -> Range {
        if let (Some(a), Some(b)) = (self.exact(), other.exact()) {
            return Range::exactly(arith::alu(op, w, a as u64, b as u64) as i64);
        }
        match w {
            Width::W64 => self.apply64(op, other),
            Width::W32 => {
                let signed = matches!(op, AluOp::Add | AluOp::Sub);
                let other = if signed { other } else { other.low_half() };
                let result = match op {
                    // A sign that is kept in bit 31 is nothing for intervals.
                    AluOp::Arsh | AluOp::Sdiv | AluOp::Smod => Range::ALL,
                    AluOp::Lsh | AluOp::Rsh => {
                        let count = other.exact().map_or(other, |n| Range::exactly(n & 31));
                        self.low_half().apply64(op, count)
                    }
                    _ => self.low_half().apply64(op, other),
                };
                result.low_half()
            }
        }
    }

    fn apply64(self, op: AluOp, other: Range) -> Range {
        let positive = self.lo >= 0;
        match op {
            AluOp::Add => self.add(other),
            AluOp::Sub => self.sub(other),
            AluOp::Mul => self.product(other),
            AluOp::And if other.lo >= 0 => Range::new(0, other.hi),
            AluOp::And if positive => Range::new(0, self.hi),
            AluOp::Or | AluOp::Xor if positive && other.lo >= 0 => {
                Range::new(0, below_power_of_two(self.hi | other.hi))
            }
            AluOp::Div if positive && other.lo > 0 => {
                Range::new(self.lo / other.hi, self.hi / other.lo)
            }
            AluOp::Div if positive => Range::new(0, self.hi),
            AluOp::Mod if other.lo > 0 => Range::new(0, other.hi - 1),
            AluOp::Mod if positive => Range::new(0, self.hi),
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => match other.exact() {
                Some(count) => self.shifted(op, count as u32 & 63),
                None => Range::ALL,
            },
            _ => Range::ALL,
        }
    }

    fn product(self, other: Range) -> Range {
        let ends = [
            self.lo.checked_mul(other.lo),
            self.lo.checked_mul(other.hi),
            self.hi.checked_mul(other.lo),
            self.hi.checked_mul(other.hi),
        ];
        let [Some(a), Some(b), Some(c), Some(d)] = ends else {
            return Range::ALL;
        };
        Range::new(a.min(b).min(c).min(d), a.max(b).max(c).max(d))
    }

    fn shifted(self, op: AluOp, count: u32) -> Range {
        match op {
            AluOp::Lsh if count < 63 => self.product(Range::exactly(1 << count)),
            AluOp::Arsh => Range::new(self.lo >> count, self.hi >> count),
            AluOp::Rsh if self.lo >= 0 => Range::new(self.lo >> count, self.hi >> count),
            AluOp::Rsh if count > 0 => Range::new(0, (u64::MAX >> count) as i64),
            AluOp::Rsh => self,
            _ => Range::ALL,
        }
    }
}

/// The lowest `2^n - 1` that is not below a positive number.
fn below_power_of_two(value: i64) -> i64 {
    ((1u64 << (64 - value.leading_zeros())) - 1) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation on small ranges covers what it makes of their members.
    #[test]
    fn operations_cover_their_results() {
        use AluOp::*;
        let ops = [Add, Sub, Mul, Div, Sdiv, Mod, Smod, Or, And, Xor, Lsh, Rsh, Arsh];
        let ends = [
            i64::MIN,
            -(1 << 32),
            -0x8000_0001,
            -3,
            -1,
            0,
            1,
            2,
            5,
            31,
            63,
            0x7fff_ffff,
            0xffff_ffff,
            1 << 32,
            i64::MAX - 1,
            i64::MAX,
        ];
        let mut ranges = Vec::new();
        for (i, &lo) in ends.iter().enumerate() {
            for &hi in &ends[i..] {
                ranges.push(Range::new(lo, hi));
            }
        }
        let members = |r: Range| {
            let near = [r.lo, r.lo.saturating_add(1), r.hi.saturating_sub(1), r.hi, 0, -1, 7];
            near.into_iter().filter(move |&x| r.contains(Range::exactly(x)))
        };
        for (&a, &b) in ranges.iter().flat_map(|a| ranges.iter().map(move |b| (a, b))) {
            for (op, w) in ops.iter().flat_map(|&op| [(op, Width::W32), (op, Width::W64)]) {
                let result = a.apply(op, w, b);
                for (x, y) in members(a).flat_map(|x| members(b).map(move |y| (x, y))) {
                    let value = arith::alu(op, w, x as u64, y as u64) as i64;
                    let covered = result.contains(Range::exactly(value));
                    assert!(covered, "{x:#x} {op:?} {y:#x} ({w:?}): {value:#x} not in {result:?}");
                }
            }
        }
    }

    #[test]
    fn typical_indices_stay_bounded() {
        let w = Width::W64;
        let byte = Range::loaded(Size::B, false);
        assert_eq!(byte.apply(AluOp::And, w, Range::exactly(15)), Range::new(0, 15));
        assert_eq!(byte.apply(AluOp::Lsh, w, Range::exactly(3)), Range::new(0, 2040));
        assert_eq!(Range::ALL.apply(AluOp::Rsh, w, Range::exactly(32)), Range::U32);
        assert_eq!(Range::ALL.apply(AluOp::Mod, w, Range::exactly(10)), Range::new(0, 9));
        let counter = Range::new(1, 10).apply(AluOp::Add, Width::W32, Range::exactly(-1));
        assert_eq!(counter, Range::new(0, 9));
        assert_eq!(Range::new(0, 10).without(10), Range::new(0, 9));
        assert_eq!(Range::loaded(Size::H, true), Range::new(-0x8000, 0x7fff));
    }
}
