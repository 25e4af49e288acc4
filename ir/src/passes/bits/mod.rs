//! What is known of the bits of values, and what is asked of them.

pub(super) mod demand;
pub(super) mod known;
#[cfg(test)]
mod random;
mod solve;
mod transfer;

use crate::Type;

/// What is known of a value: bits that are zero, bits that are one, and how
/// many of the highest bits are equal to the sign.
///
/// Of a value of 32 bits, bits 32 and up count as zeros here, so that widening
/// with zeros leaves the masks alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bits {
    pub zero: u64,
    pub one: u64,
    /// From 1 to the type's width.
    pub sign: u32,
}

impl Bits {
    /// No value at all: what is met with it stays as it is.
    pub const NONE: Bits = Bits { zero: u64::MAX, one: u64::MAX, sign: 64 };

    /// Any value of that type.
    pub fn any(ty: Type) -> Bits {
        Bits { zero: !ty.mask(), one: 0, sign: 1 }
    }

    /// That value alone.
    pub fn constant(ty: Type, value: u64) -> Bits {
        Bits::new(ty, !value, value, 1)
    }

    /// These bits, with what they say of the sign and of what is above the type.
    pub fn new(ty: Type, zero: u64, one: u64, sign: u32) -> Bits {
        let (zero, one) = (zero | !ty.mask(), one & ty.mask());
        let unused = 64 - ty.bits();
        let equal = (zero << unused).leading_ones().max((one << unused).leading_ones());
        Bits { zero, one, sign: sign.max(equal).clamp(1, ty.bits()) }
    }

    /// A value that is one or the other.
    pub fn meet(self, other: Bits) -> Bits {
        Bits {
            zero: self.zero & other.zero,
            one: self.one & other.one,
            sign: self.sign.min(other.sign),
        }
    }

    /// A value of which both are known.
    pub fn both(self, other: Bits) -> Bits {
        Bits {
            zero: self.zero | other.zero,
            one: self.one | other.one,
            sign: self.sign.max(other.sign),
        }
    }

    /// The value, if it is only one.
    pub fn value(self) -> Option<u64> {
        (self.zero == !self.one).then_some(self.one)
    }

    /// The least value, unsigned.
    pub fn min(self) -> u64 {
        self.one
    }

    /// The greatest value, unsigned.
    pub fn max(self) -> u64 {
        !self.zero
    }

    /// Whether bits 32 and up are zero.
    pub fn fits_32(self) -> bool {
        self.max() <= Type::I32.mask()
    }

    /// Whether that bit is zero.
    pub fn is_zero(self, bit: u32) -> bool {
        self.zero >> bit & 1 != 0
    }

    /// High bits that are zero, of the type's.
    pub fn leading_zeros(self, ty: Type) -> u32 {
        (self.zero << (64 - ty.bits())).leading_ones().min(ty.bits())
    }

    /// Low bits that are zero.
    pub fn trailing_zeros(self) -> u32 {
        self.zero.trailing_ones()
    }
}

/// Ones in the low bits, `count` of them (at most 64).
pub(super) fn low_ones(count: u32) -> u64 {
    1u64.checked_shl(count).map_or(u64::MAX, |bit| bit - 1)
}
