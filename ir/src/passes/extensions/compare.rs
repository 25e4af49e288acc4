//! Comparisons whose outcome is known, or is the same in 32 bits.

use super::super::bits::Bits;
use super::super::edit::Editor;
use super::Extensions;
use crate::{Cond, Opcode, Terminator, Type, Value};
use Cond::*;

/// Simplifies a branch.
pub(super) fn simplify(
    rules: &Extensions,
    editor: &mut Editor,
    term: &Terminator,
) -> Option<Terminator> {
    let Terminator::Branch { cond, ty, lhs, rhs, then, other } = term else {
        return None;
    };
    let (left, right) = (rules.known(editor, *lhs), rules.known(editor, *rhs));
    if let Some(holds) = decide(*cond, *ty, left, right) {
        let target = if holds { then } else { other };
        return Some(Terminator::Jump(target.clone()));
    }
    let narrow = |cond, lhs, rhs| {
        Some(Terminator::Branch {
            cond,
            ty: Type::I32,
            lhs,
            rhs,
            then: then.clone(),
            other: other.clone(),
        })
    };
    if *ty != Type::I64 {
        return None;
    }
    if let Some(inner) = shifted_half(editor, *lhs)
        && let Some(constant) = editor.constant(*rhs)
        && constant.trailing_zeros() >= 32
        && !matches!(cond, Set | Clear)
    {
        let lhs = editor.low(inner);
        let rhs = editor.iconst(Type::I32, constant >> 32);
        return narrow(*cond, lhs, rhs);
    }
    let cond = narrower(*cond, left, right)?;
    let (lhs, rhs) = (editor.low(*lhs), editor.low(*rhs));
    narrow(cond, lhs, rhs)
}

/// The value of which this one is the low half, moved to the upper half.
fn shifted_half(editor: &Editor, value: Value) -> Option<Value> {
    let (inner, count) = editor.binary_const(Opcode::Shl, value)?;
    (count == 32).then_some(inner)
}

/// The condition of 32 bits that holds of the low halves where this one holds.
fn narrower(cond: Cond, left: Bits, right: Bits) -> Option<Cond> {
    // A bit in both is in the low half if it can be in no other.
    if matches!(cond, Set | Clear) && (left.max() & right.max()) >> 32 == 0 {
        return Some(cond);
    }
    if left.fits_32() && right.fits_32() {
        return Some(match cond {
            Slt => Ult,
            Sle => Ule,
            Sgt => Ugt,
            Sge => Uge,
            same => same,
        });
    }
    // Sign extension keeps both orders.
    (left.sign > 32 && right.sign > 32).then_some(cond)
}

/// Whether the condition always or never holds.
fn decide(cond: Cond, ty: Type, left: Bits, right: Bits) -> Option<bool> {
    let differ = left.zero & right.one | left.one & right.zero;
    let (low, high) = (extremes(ty, left), extremes(ty, right));
    match cond {
        Eq if differ & ty.mask() != 0 => Some(false),
        Ne if differ & ty.mask() != 0 => Some(true),
        Set if left.one & right.one != 0 => Some(true),
        Clear if left.one & right.one != 0 => Some(false),
        Set if left.max() & right.max() == 0 => Some(false),
        Clear if left.max() & right.max() == 0 => Some(true),
        Ult => below((left.min(), left.max()), (right.min(), right.max())),
        Uge => below((left.min(), left.max()), (right.min(), right.max())).map(|holds| !holds),
        Ugt => below((right.min(), right.max()), (left.min(), left.max())),
        Ule => below((right.min(), right.max()), (left.min(), left.max())).map(|holds| !holds),
        Slt => below(low, high),
        Sge => below(low, high).map(|holds| !holds),
        Sgt => below(high, low),
        Sle => below(high, low).map(|holds| !holds),
        Eq | Ne | Set | Clear => None,
    }
}

/// Whether every value in one range is below every value in the other, or none.
fn below<T: Ord>(left: (T, T), right: (T, T)) -> Option<bool> {
    if left.1 < right.0 {
        Some(true)
    } else if left.0 >= right.1 {
        Some(false)
    } else {
        None
    }
}

/// The least and the greatest value, signed.
fn extremes(ty: Type, bits: Bits) -> (i64, i64) {
    let sign = 1u64 << (ty.bits() - 1);
    let unused = 64 - ty.bits();
    let value = |bits: u64| (bits << unused) as i64 >> unused;
    let least = if bits.zero & sign == 0 { bits.one | sign } else { bits.one };
    let greatest = if bits.one & sign == 0 { bits.max() & !sign } else { bits.max() };
    (value(least), value(greatest))
}
