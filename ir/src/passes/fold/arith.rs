//! Identities of arithmetic.

use super::super::edit::{Editor, Rewrite};
use crate::{InstData, Opcode, Payload, Type, Value};
use Opcode::*;

/// Simplifies a pure operation not all of whose operands are constants.
pub(super) fn simplify(editor: &mut Editor, data: &InstData) -> Rewrite {
    let (op, ty) = (data.op, data.ty);
    match data.args[..] {
        [x] => unary(editor, op, ty, x),
        [x, y] => match (editor.constant(x), editor.constant(y)) {
            (Some(_), None) if op.info().commutes => Rewrite::op(op, ty, &[y, x]),
            (Some(c), _) => left_constant(editor, op, ty, c, x, y),
            (_, Some(c)) => right_constant(editor, op, ty, x, c),
            (None, None) if x == y => same(op, ty, x),
            (None, None) => general(editor, op, ty, x, y),
        },
        _ => Rewrite::Keep,
    }
}

fn unary(editor: &Editor, op: Opcode, ty: Type, x: Value) -> Rewrite {
    match op {
        Neg => match (editor.unary(Neg, x), editor.binary(Isub, x)) {
            (Some(inner), _) => Rewrite::Value(inner),
            (_, Some((a, b))) => Rewrite::op(Isub, ty, &[b, a]),
            _ => Rewrite::Keep,
        },
        Bswap => match editor.unary(Bswap, x) {
            Some(inner) => Rewrite::Value(inner),
            None => Rewrite::Keep,
        },
        Sext8 | Sext16 => {
            let inner8 = editor.unary(Sext8, x);
            let inner16 = editor.unary(Sext16, x);
            match (op, inner8, inner16) {
                (_, Some(_), _) | (Sext16, _, Some(_)) => Rewrite::Value(x),
                (_, _, Some(inner)) => Rewrite::op(Sext8, ty, &[inner]),
                _ => Rewrite::Keep,
            }
        }
        _ => Rewrite::Keep,
    }
}

/// `op` with the constant `c` (the value `x`) on the left.
fn left_constant(editor: &mut Editor, op: Opcode, ty: Type, c: u64, x: Value, y: Value) -> Rewrite {
    let ones = ty.mask();
    match op {
        Isub if c == 0 => Rewrite::op(Neg, ty, &[y]),
        Isub => {
            if let Some((inner, c1)) = editor.binary_const(Iadd, y) {
                let c = editor.iconst(ty, c.wrapping_sub(c1));
                return Rewrite::op(Isub, ty, &[c, inner]);
            }
            match constant_minus(editor, y) {
                Some((c1, inner)) => with(editor, Iadd, ty, inner, c.wrapping_sub(c1)),
                None => Rewrite::Keep,
            }
        }
        Shl | Lshr | Ashr | Udiv | Urem | Sdiv | Srem if c == 0 => Rewrite::Value(x),
        Ashr if c == ones => Rewrite::Value(x),
        Shl | Lshr | Ashr => shift_count(editor, op, ty, x, y),
        _ => Rewrite::Keep,
    }
}

/// `op` with the constant `c` on the right.
fn right_constant(editor: &mut Editor, op: Opcode, ty: Type, x: Value, c: u64) -> Rewrite {
    let ones = ty.mask();
    match op {
        Iadd | Or | Xor if c == 0 => Rewrite::Value(x),
        Iadd => add_constant(editor, ty, x, c),
        Isub => with(editor, Iadd, ty, x, c.wrapping_neg()),
        Imul => multiply(editor, ty, x, c),
        Udiv | Sdiv | And if c == 0 => Rewrite::constant(ty, 0),
        Urem | Srem if c == 0 => Rewrite::Value(x),
        Udiv | Sdiv if c == 1 => Rewrite::Value(x),
        Urem | Srem if c == 1 => Rewrite::constant(ty, 0),
        Sdiv if c == ones => Rewrite::op(Neg, ty, &[x]),
        Srem if c == ones => Rewrite::constant(ty, 0),
        Udiv if c.is_power_of_two() => with(editor, Lshr, ty, x, c.trailing_zeros().into()),
        Urem if c.is_power_of_two() => with(editor, And, ty, x, c - 1),
        And if c == ones => Rewrite::Value(x),
        And => nested(editor, And, ty, x, |c1| c & c1).or(|| and_of_or(editor, ty, x, c)),
        Or if c == ones => Rewrite::constant(ty, ones),
        Or => nested(editor, Or, ty, x, |c1| c | c1),
        Xor => nested(editor, Xor, ty, x, |c1| c ^ c1),
        Shl | Lshr | Ashr => shift(editor, op, ty, x, c),
        _ => Rewrite::Keep,
    }
}

/// `x op x`.
fn same(op: Opcode, ty: Type, x: Value) -> Rewrite {
    match op {
        And | Or => Rewrite::Value(x),
        // 0 % 0 is the dividend, 0.
        Isub | Xor | Urem | Srem => Rewrite::constant(ty, 0),
        _ => Rewrite::Keep,
    }
}

/// Operations on two values that are neither constants nor the same.
fn general(editor: &mut Editor, op: Opcode, ty: Type, x: Value, y: Value) -> Rewrite {
    match op {
        Iadd => add(editor, ty, x, y).or(|| add(editor, ty, y, x)),
        Isub => subtract(editor, ty, x, y),
        Xor => xor(editor, x, y).or(|| xor(editor, y, x)),
        Shl | Lshr | Ashr => shift_count(editor, op, ty, x, y),
        _ => Rewrite::Keep,
    }
}

fn add(editor: &Editor, ty: Type, x: Value, y: Value) -> Rewrite {
    match (editor.unary(Neg, y), editor.binary(Isub, y)) {
        (Some(y), _) => Rewrite::op(Isub, ty, &[x, y]),
        (_, Some((a, b))) if b == x => Rewrite::Value(a),
        _ => Rewrite::Keep,
    }
}

fn subtract(editor: &Editor, ty: Type, x: Value, y: Value) -> Rewrite {
    if let Some(y) = editor.unary(Neg, y) {
        return Rewrite::op(Iadd, ty, &[x, y]);
    }
    match (editor.binary(Iadd, x), editor.binary(Isub, x)) {
        (Some((a, b)), _) if a == y => return Rewrite::Value(b),
        (Some((a, b)), _) if b == y => return Rewrite::Value(a),
        (_, Some((a, b))) if a == y => return Rewrite::op(Neg, ty, &[b]),
        _ => {}
    }
    match (editor.binary(Iadd, y), editor.binary(Isub, y)) {
        (Some((a, b)), _) if a == x => Rewrite::op(Neg, ty, &[b]),
        (Some((a, b)), _) if b == x => Rewrite::op(Neg, ty, &[a]),
        (_, Some((a, b))) if a == x => Rewrite::Value(b),
        _ => Rewrite::Keep,
    }
}

fn xor(editor: &Editor, x: Value, y: Value) -> Rewrite {
    match editor.binary(Xor, x) {
        Some((a, b)) if a == y => Rewrite::Value(b),
        Some((a, b)) if b == y => Rewrite::Value(a),
        _ => Rewrite::Keep,
    }
}

/// `x op c`, the constant made new.
fn with(editor: &mut Editor, op: Opcode, ty: Type, x: Value, c: u64) -> Rewrite {
    let c = editor.iconst(ty, c);
    Rewrite::op(op, ty, &[x, c])
}

/// `(inner op c1) op c`, with the constants combined.
fn nested(
    editor: &mut Editor,
    op: Opcode,
    ty: Type,
    x: Value,
    combine: impl Fn(u64) -> u64,
) -> Rewrite {
    match editor.binary_const(op, x) {
        Some((inner, c1)) => with(editor, op, ty, inner, combine(c1)),
        None => Rewrite::Keep,
    }
}

/// Constant and subtrahend of a value that subtracts from a constant.
fn constant_minus(editor: &Editor, value: Value) -> Option<(u64, Value)> {
    let (a, b) = editor.binary(Isub, value)?;
    Some((editor.constant(a)?, b))
}

fn add_constant(editor: &mut Editor, ty: Type, x: Value, c: u64) -> Rewrite {
    if let Some((c1, inner)) = constant_minus(editor, x) {
        let c = editor.iconst(ty, c1.wrapping_add(c));
        return Rewrite::op(Isub, ty, &[c, inner]);
    }
    if ty == Type::I64
        && let Some(data) = editor.def(x)
        && let Some(payload) = moved_address(data.payload, c as i64)
    {
        return Rewrite::Inst(InstData::new(data.op, data.ty, &[], payload));
    }
    nested(editor, Iadd, ty, x, |c1| c1.wrapping_add(c))
}

/// The payload of an address instruction so many bytes further on.
fn moved_address(payload: Payload, bytes: i64) -> Option<Payload> {
    match payload {
        Payload::Slot { slot, offset } => {
            let offset = i64::from(offset).checked_add(bytes)?.try_into().ok()?;
            Some(Payload::Slot { slot, offset })
        }
        Payload::MapValue { map, offset } => {
            let offset = i64::from(offset).checked_add(bytes)?.try_into().ok()?;
            Some(Payload::MapValue { map, offset })
        }
        _ => None,
    }
}

fn multiply(editor: &mut Editor, ty: Type, x: Value, c: u64) -> Rewrite {
    if c == 0 {
        return Rewrite::constant(ty, 0);
    }
    if c == ty.mask() {
        return Rewrite::op(Neg, ty, &[x]);
    }
    if c == 1 {
        return Rewrite::Value(x);
    }
    if c.is_power_of_two() {
        return with(editor, Shl, ty, x, c.trailing_zeros().into());
    }
    if let Some((inner, count)) = editor.binary_const(Shl, x)
        && count < ty.bits().into()
    {
        return with(editor, Imul, ty, inner, c << count);
    }
    nested(editor, Imul, ty, x, |c1| c1.wrapping_mul(c))
}

/// `(inner | c1) & c`.
fn and_of_or(editor: &mut Editor, ty: Type, x: Value, c: u64) -> Rewrite {
    match editor.binary_const(Or, x) {
        Some((inner, c1)) if c1 & c == 0 => with(editor, And, ty, inner, c),
        Some((_, c1)) if c1 & c == c => Rewrite::constant(ty, c),
        _ => Rewrite::Keep,
    }
}

/// A shift by a constant.
fn shift(editor: &mut Editor, op: Opcode, ty: Type, x: Value, c: u64) -> Rewrite {
    let bits = u64::from(ty.bits());
    if c >= bits {
        return with(editor, op, ty, x, c % bits);
    }
    if c == 0 {
        return Rewrite::Value(x);
    }
    match editor.binary_const(op, x).filter(|&(_, c1)| c1 < bits) {
        Some((inner, c1)) if c1 + c < bits => with(editor, op, ty, inner, c1 + c),
        Some((inner, _)) if op == Ashr => with(editor, op, ty, inner, bits - 1),
        Some(_) => Rewrite::constant(ty, 0),
        None => Rewrite::Keep,
    }
}

/// A shift by a count of which more bits are masked than count.
fn shift_count(editor: &Editor, op: Opcode, ty: Type, x: Value, y: Value) -> Rewrite {
    let counting = u64::from(ty.bits() - 1);
    match editor.binary_const(And, y) {
        Some((count, mask)) if mask & counting == counting => Rewrite::op(op, ty, &[x, count]),
        _ => Rewrite::Keep,
    }
}
