//! Pairs of shifts, and shifts of extended values.

use super::super::bits::{Bits, low_ones};
use super::super::edit::{Editor, Rewrite};
use super::{Extensions, widened};
use crate::{InstData, Opcode, Type, Value};
use Opcode::*;

/// Simplifies a shift of `x` by the constant `y`.
pub(super) fn simplify(
    rules: &Extensions,
    editor: &mut Editor,
    data: &InstData,
    x: Value,
    y: Value,
) -> Rewrite {
    let width = data.ty.bits();
    let count = match editor.constant(y) {
        Some(count) if 0 < count && count < width.into() => count as u32,
        _ => return Rewrite::Keep,
    };
    let known = rules.known(editor, x);
    match data.op {
        Lshr => down(rules, editor, data, x, count).or(|| narrow(editor, data, x, known, count)),
        Ashr if known.is_zero(width - 1) => Rewrite::op(Lshr, data.ty, &[x, y]),
        Ashr => down(rules, editor, data, x, count).or(|| narrow_signed(editor, x, count)),
        Shl => down_and_up(editor, data.ty, x, count),
        _ => Rewrite::Keep,
    }
}

/// A constant below the width, on the right of an operation.
fn shifted(editor: &Editor, op: Opcode, ty: Type, x: Value) -> Option<(Value, u32)> {
    let (inner, count) = editor.binary_const(op, x)?;
    (count < ty.bits().into()).then_some((inner, count as u32))
}

/// `(inner << up) >> count`: an extension of some low bits.
fn down(rules: &Extensions, editor: &mut Editor, data: &InstData, x: Value, count: u32) -> Rewrite {
    let (op, ty) = (data.op, data.ty);
    let Some((inner, up)) = shifted(editor, Shl, ty, x) else {
        return Rewrite::Keep;
    };
    let known = rules.known(editor, inner);
    let lost = match op {
        Lshr => known.leading_zeros(ty) < up,
        _ => known.sign <= up,
    };
    if !lost {
        return one_shift(editor, op, ty, inner, up, count);
    }
    let kept = ty.bits() - up;
    if kept == 32 && ty == Type::I64 && count >= up {
        return extended_low_half(editor, op, inner, count - up);
    }
    if count != up {
        return Rewrite::Keep;
    }
    match (op, kept) {
        (Ashr, 8) => Rewrite::op(Sext8, ty, &[inner]),
        (Ashr, 16) => Rewrite::op(Sext16, ty, &[inner]),
        // Larger masks would be constants of 64 bits.
        (Lshr, 0..32) => {
            let mask = editor.iconst(ty, low_ones(kept));
            Rewrite::op(And, ty, &[inner, mask])
        }
        _ => Rewrite::Keep,
    }
}

/// A shift up that loses nothing, and one down.
fn one_shift(
    editor: &mut Editor,
    op: Opcode,
    ty: Type,
    inner: Value,
    up: u32,
    down: u32,
) -> Rewrite {
    if up == down {
        return Rewrite::Value(inner);
    }
    let by = editor.iconst(ty, up.abs_diff(down).into());
    Rewrite::op(if up > down { Shl } else { op }, ty, &[inner, by])
}

/// The low half of a value, shifted down and extended.
fn extended_low_half(editor: &mut Editor, op: Opcode, inner: Value, count: u32) -> Rewrite {
    let mut low = editor.low(inner);
    if count > 0 {
        let by = editor.iconst(Type::I32, count.into());
        low = editor.op(op, Type::I32, &[low, by]);
    }
    let extend = if op == Lshr { Uext32 } else { Sext32 };
    Rewrite::op(extend, Type::I64, &[low])
}

/// A shift of 64 bits of which the upper half is zero.
fn narrow(editor: &mut Editor, data: &InstData, x: Value, known: Bits, count: u32) -> Rewrite {
    if data.ty != Type::I64 || !known.fits_32() {
        return Rewrite::Keep;
    }
    if count >= 32 {
        return Rewrite::constant(Type::I64, 0);
    }
    let args = [editor.low(x), editor.iconst(Type::I32, count.into())];
    widened(editor, Lshr, &args)
}

/// `sext32(inner) >> count`.
fn narrow_signed(editor: &mut Editor, x: Value, count: u32) -> Rewrite {
    match editor.unary(Sext32, x) {
        Some(inner) => {
            let by = editor.iconst(Type::I32, count.min(31).into());
            let low = editor.op(Ashr, Type::I32, &[inner, by]);
            Rewrite::op(Sext32, Type::I64, &[low])
        }
        None => Rewrite::Keep,
    }
}

/// `(inner >> count) << count` clears low bits.
fn down_and_up(editor: &mut Editor, ty: Type, x: Value, count: u32) -> Rewrite {
    let inner = [Lshr, Ashr]
        .into_iter()
        .find_map(|op| shifted(editor, op, ty, x).filter(|&(_, down)| down == count));
    match inner {
        Some((inner, _)) if count < 32 => {
            let mask = editor.iconst(ty, !low_ones(count));
            Rewrite::op(And, ty, &[inner, mask])
        }
        _ => Rewrite::Keep,
    }
}
