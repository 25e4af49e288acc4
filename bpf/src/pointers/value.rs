//! What the analysis knows of a value.
//!
//! A pointer is followed from the frame (R10), from a parameter (R1 to R5 at
//! entry, whatever the callers pass) or from a cell. Everything else is a number, pointers
//! into packets and maps included. Arithmetic that could be undone keeps the
//! base of a pointer and forgets the offset; what fits in 32 bits is no pointer
//! any more.
//!
//! The order: `Undefined` (what nothing wrote, so that no valid run reads it)
//! is below everything; a pointer that meets something else is no longer
//! `sure`; pointers of different bases become `Mixed`, which names the bases.

use super::cells::MAX_CELLS;
use super::range::Range;
use crate::insn::{AluOp, Width};
use crate::{FuncRef, MapRef};

/// What a followed pointer starts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Base {
    /// R10.
    Frame,
    /// The parameter of this index, 0 to 4.
    Param(u8),
    /// What the cell of this index holds.
    Cell(u8),
}

/// A set of bases.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Bases(u16);

/// A followed pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pointer {
    pub base: Base,
    /// Distance from the base.
    pub at: Range,
    /// It is this pointer in every case; else it may be a number too.
    pub sure: bool,
}

/// An abstract value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Val {
    /// Not written by anything in a valid run.
    Undefined,
    /// A number, or a pointer that is not followed.
    Number(Range),
    /// The low half of the parameter of this index, zero-extended: a number that
    /// callers may know more of.
    LowHalf(u8),
    /// The address of a map.
    Map(MapRef),
    /// The address of a function.
    Function(FuncRef),
    /// A followed pointer.
    Pointer(Pointer),
    /// A pointer that starts from any of these, or a number.
    Mixed(Bases),
}

impl Bases {
    pub const NONE: Bases = Bases(0);
    pub const PARAMS: Bases = Bases(0b11_1110);

    pub fn of(base: Base) -> Bases {
        match base {
            Base::Frame => Bases(1),
            Base::Param(index) => Bases(2 << index),
            Base::Cell(index) => Bases(0x40 << index),
        }
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn union(self, other: Bases) -> Bases {
        Bases(self.0 | other.0)
    }

    pub fn has_frame(self) -> bool {
        self.0 & 1 != 0
    }

    /// The indices of the parameters in it.
    pub fn params(self) -> impl Iterator<Item = usize> {
        (0..5).filter(move |index| self.0 & (2 << index) != 0)
    }

    /// The indices of the cells in it.
    pub fn cells(self) -> impl Iterator<Item = usize> {
        (0..MAX_CELLS).filter(move |index| self.0 & (0x40 << index) != 0)
    }

    /// Those in it that are parameters or cells, and may be contexts.
    pub fn outside_frame(self) -> Bases {
        Bases(self.0 & !1)
    }

    /// The only one in it, if there is just one.
    fn single(self) -> Option<Base> {
        let index = self.0.is_power_of_two().then(|| self.0.trailing_zeros() as u8)?;
        Some(match index {
            0 => Base::Frame,
            1..=5 => Base::Param(index - 1),
            _ => Base::Cell(index - 6),
        })
    }
}

impl Pointer {
    /// The pointer moved by any of these distances.
    pub fn shift(self, by: Range) -> Pointer {
        let at = self.at.shift(by);
        Pointer { at, ..self }
    }
}

impl Val {
    pub const ANY: Val = Val::Number(Range::ALL);

    pub fn constant(value: i64) -> Val {
        Val::Number(Range::exactly(value))
    }

    /// The start of what a base points to.
    pub fn base(base: Base) -> Val {
        let (at, sure) = (Range::exactly(0), true);
        Val::Pointer(Pointer { base, at, sure })
    }

    /// Any pointer that starts from one of these, or a number.
    pub fn tainted(bases: Bases) -> Val {
        match bases.single() {
            Some(base) => Val::Pointer(Pointer { base, at: Range::ALL, sure: false }),
            None if bases.is_empty() => Val::ANY,
            None => Val::Mixed(bases),
        }
    }

    /// The bases that it may be a pointer from.
    pub fn bases(self) -> Bases {
        match self {
            Val::Pointer(pointer) => Bases::of(pointer.base),
            Val::Mixed(bases) => bases,
            _ => Bases::NONE,
        }
    }

    /// The numbers that it may be.
    pub fn range(self) -> Range {
        match self {
            Val::Number(range) => range,
            Val::LowHalf(_) => Range::U32,
            _ => Range::ALL,
        }
    }

    /// The parameter whose value it is, as far as a number of 32 bits goes.
    pub fn as_param(self) -> Option<usize> {
        match self {
            Val::LowHalf(index) => Some(index.into()),
            Val::Pointer(Pointer { base: Base::Param(index), at, sure: true }) => {
                (at.exact() == Some(0)).then_some(index.into())
            }
            _ => None,
        }
    }

    /// Its low half, zero-extended.
    pub fn low_half(self) -> Val {
        match self {
            Val::Undefined | Val::LowHalf(_) => self,
            _ => match self.as_param() {
                Some(index) => Val::LowHalf(index as u8),
                None => Val::Number(self.range().low_half()),
            },
        }
    }

    /// Its offset from R10, if it is R10 plus a constant.
    pub fn frame_offset(self) -> Option<i32> {
        match self {
            Val::Pointer(Pointer { base: Base::Frame, at, sure: true }) => {
                i32::try_from(at.exact()?).ok()
            }
            _ => None,
        }
    }

    /// What is one or the other.
    pub fn join(self, other: Val) -> Val {
        use Val::*;
        match (self, other) {
            (a, b) if a == b => a,
            (Undefined, x) | (x, Undefined) => x,
            (LowHalf(_), x) | (x, LowHalf(_)) => x.join(Number(Range::U32)),
            (Number(a), Number(b)) => Number(a.join(b)),
            (Pointer(a), Pointer(b)) if a.base == b.base => {
                Pointer(super::value::Pointer { at: a.at.join(b.at), sure: a.sure && b.sure, ..a })
            }
            (a, b) => {
                let bases = a.bases().union(b.bases());
                match (a, b) {
                    (Pointer(p), other) | (other, Pointer(p)) if other.bases().is_empty() => {
                        Pointer(super::value::Pointer { sure: false, ..p })
                    }
                    _ => Val::tainted(bases),
                }
            }
        }
    }

    /// A value above `self.join(other)` that is reached after few steps: ends of
    /// intervals that grow go to the next threshold, or to the end of all.
    pub fn widen(self, other: Val, thresholds: &[i64]) -> Val {
        let joined = self.join(other);
        match (self, joined) {
            (Val::Number(old), Val::Number(new)) => Val::Number(grow(old, new, thresholds)),
            (Val::Pointer(old), Val::Pointer(new)) if old.base == new.base => {
                let ends: &[i64] = match new.base {
                    Base::Frame if !thresholds.is_empty() => &[-512, 0],
                    _ => &[],
                };
                let at = grow(old.at, new.at, ends);
                Val::Pointer(Pointer { at, ..new })
            }
            _ => joined,
        }
    }

    /// What an arithmetic operation makes of two values.
    pub fn apply(op: AluOp, w: Width, a: Val, b: Val) -> Val {
        let bases = a.bases().union(b.bases());
        let undefined = a == Val::Undefined || b == Val::Undefined;
        if undefined && bases.is_empty() {
            return Val::Undefined;
        }
        if w == Width::W64 && !bases.is_empty() {
            match (op, a, b) {
                (AluOp::Add, Val::Pointer(p), by) | (AluOp::Add, by, Val::Pointer(p))
                    if by.bases().is_empty() =>
                {
                    return Val::Pointer(p.shift(by.range()));
                }
                (AluOp::Sub, Val::Pointer(p), by) if by.bases().is_empty() => {
                    return Val::Pointer(p.shift(Range::exactly(0).sub(by.range())));
                }
                (AluOp::Sub, Val::Pointer(p), Val::Pointer(q))
                    if p.base == q.base && p.sure && q.sure =>
                {
                    return Val::Number(p.at.sub(q.at));
                }
                _ => {}
            }
        }
        let range = a.range().apply(op, w, b.range());
        if bases.is_empty() { Val::Number(range) } else { Val::narrowed(bases, range) }
    }

    /// What is computed from pointers in a way that is not followed: a number
    /// if it fits in 32 bits.
    pub fn narrowed(bases: Bases, range: Range) -> Val {
        if Range::U32.contains(range) { Val::Number(range) } else { Val::tainted(bases) }
    }
}

fn grow(old: Range, new: Range, thresholds: &[i64]) -> Range {
    let below = || thresholds.iter().rev().find(|&&t| t <= new.lo);
    let above = || thresholds.iter().find(|&&t| t >= new.hi);
    Range::new(
        if new.lo < old.lo { below().copied().unwrap_or(i64::MIN) } else { new.lo },
        if new.hi > old.hi { above().copied().unwrap_or(i64::MAX) } else { new.hi },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(lo: i64, hi: i64, sure: bool) -> Val {
        let (base, at) = (Base::Frame, Range::new(lo, hi));
        Val::Pointer(Pointer { base, at, sure })
    }

    fn number(lo: i64, hi: i64) -> Val {
        Val::Number(Range::new(lo, hi))
    }

    #[test]
    fn joins() {
        let param = Val::base(Base::Param(2));
        let map = Val::Map(MapRef::from_u32(1));
        let both = Bases::of(Base::Frame).union(Bases::of(Base::Param(2)));
        let cases = [
            (number(0, 1), number(5, 6), number(0, 6)),
            (Val::Undefined, param, param),
            (map, map, map),
            (map, Val::Map(MapRef::from_u32(2)), Val::ANY),
            (map, number(0, 0), Val::ANY),
            (Val::LowHalf(1), number(1, 1), Val::Number(Range::U32)),
            (Val::LowHalf(1), Val::LowHalf(2), Val::Number(Range::U32)),
            (frame(-8, -8, true), frame(-16, -16, true), frame(-16, -8, true)),
            (frame(-8, -8, true), number(0, 0), frame(-8, -8, false)),
            (frame(-8, -8, true), map, frame(-8, -8, false)),
            (frame(-8, -8, true), param, Val::Mixed(both)),
            (Val::Mixed(both), number(1, 1), Val::Mixed(both)),
            (Val::Mixed(both), param, Val::Mixed(both)),
        ];
        for (a, b, expected) in cases {
            assert_eq!(a.join(b), expected, "{a:?} {b:?}");
            assert_eq!(b.join(a), expected, "{b:?} {a:?}");
            // Joining is going up.
            assert_eq!(expected.join(a), expected);
        }
    }

    #[test]
    fn arithmetic_on_pointers() {
        let (w64, w32) = (Width::W64, Width::W32);
        let fp = Val::base(Base::Frame);
        let lost = frame(i64::MIN, i64::MAX, false);
        let mixed = Val::Mixed(Bases::of(Base::Frame).union(Bases::of(Base::Param(0))));
        let cases = [
            (AluOp::Add, w64, fp, number(-16, -16), frame(-16, -16, true)),
            (AluOp::Add, w64, number(0, 7), fp, frame(0, 7, true)),
            (AluOp::Sub, w64, fp, number(0, 7), frame(-7, 0, true)),
            (AluOp::Sub, w64, fp, frame(-8, -8, true), number(8, 8)),
            (AluOp::Sub, w64, number(0, 0), fp, lost),
            (AluOp::And, w64, fp, number(-8, -8), lost),
            (AluOp::And, w64, fp, number(7, 7), number(0, 7)),
            (AluOp::Rsh, w64, fp, number(32, 32), Val::Number(Range::U32)),
            (AluOp::Add, w32, fp, number(0, 0), Val::Number(Range::U32)),
            (AluOp::Sub, w64, fp, Val::base(Base::Param(0)), mixed),
            (AluOp::Add, w64, fp, Val::Undefined, frame(i64::MIN, i64::MAX, true)),
            (AluOp::Add, w64, number(1, 1), Val::Undefined, Val::Undefined),
        ];
        for (op, w, a, b, expected) in cases {
            assert_eq!(Val::apply(op, w, a, b), expected, "{a:?} {op:?} {b:?}");
        }
    }

    #[test]
    fn widening_stops_at_thresholds() {
        let thresholds = [0, 9, 10];
        let grown = number(0, 1).widen(number(1, 2), &thresholds);
        assert_eq!(grown, number(0, 9));
        assert_eq!(grown.widen(number(0, 9), &thresholds), grown);
        assert_eq!(grown.widen(number(0, 11), &thresholds), number(0, i64::MAX));
        let up = frame(-32, -32, true).widen(frame(-24, -24, true), &thresholds);
        assert_eq!(up, frame(-32, 0, true));
        assert_eq!(up.widen(frame(0, 8, true), &[]), frame(-32, i64::MAX, true));
    }
}
