//! Conditions of branches.

use super::super::edit::Editor;
use crate::eval::{eval, eval_cond};
use crate::{Cond, Opcode, Terminator, Type, Value};
use Cond::*;

/// A comparison of two values.
#[derive(Clone, Copy)]
struct Test {
    cond: Cond,
    ty: Type,
    lhs: Value,
    rhs: Value,
}

/// What is known of a comparison.
enum Found {
    /// It always or never holds.
    Constant(bool),
    /// This one holds exactly where it does.
    Test(Test),
}

/// Simplifies a branch.
pub(super) fn simplify(editor: &mut Editor, term: &Terminator) -> Option<Terminator> {
    let Terminator::Branch { cond, ty, lhs, rhs, then, other } = term else {
        return None;
    };
    if then == other {
        return Some(Terminator::Jump(then.clone()));
    }
    let test = Test { cond: *cond, ty: *ty, lhs: *lhs, rhs: *rhs };
    match find(editor, test)? {
        Found::Constant(holds) => {
            let target = if holds { then } else { other };
            Some(Terminator::Jump(target.clone()))
        }
        Found::Test(new) => Some(Terminator::Branch {
            cond: new.cond,
            ty: new.ty,
            lhs: new.lhs,
            rhs: new.rhs,
            then: then.clone(),
            other: other.clone(),
        }),
    }
}

fn find(editor: &mut Editor, test: Test) -> Option<Found> {
    match (editor.constant(test.lhs), editor.constant(test.rhs)) {
        (Some(a), Some(b)) => Some(Found::Constant(eval_cond(test.cond, test.ty, a, b))),
        (Some(_), None) => {
            Some(Found::Test(Test { cond: test.cond.swap(), lhs: test.rhs, rhs: test.lhs, ..test }))
        }
        (None, Some(c)) => extreme(editor, test, c)
            .or_else(|| nearer_zero(editor, test, c))
            .or_else(|| invert(editor, test, c))
            .or_else(|| bits(editor, test, c)),
        (None, None) if test.lhs == test.rhs => Some(same(editor, test)),
        (None, None) => None,
    }
}

/// `x cond x`.
fn same(editor: &mut Editor, test: Test) -> Found {
    match test.cond {
        Eq | Ule | Uge | Sle | Sge => Found::Constant(true),
        Ne | Ult | Ugt | Slt | Sgt => Found::Constant(false),
        Set => with(editor, test, Ne, test.lhs, 0),
        Clear => with(editor, test, Eq, test.lhs, 0),
    }
}

/// `lhs cond c`, the constant made new.
fn with(editor: &mut Editor, test: Test, cond: Cond, lhs: Value, c: u64) -> Found {
    let rhs = editor.iconst(test.ty, c);
    Found::Test(Test { cond, lhs, rhs, ..test })
}

/// Comparisons with the least and the greatest value.
fn extreme(editor: &mut Editor, test: Test, c: u64) -> Option<Found> {
    let ones = test.ty.mask();
    let (min, max) = (ones / 2 + 1, ones / 2);
    let cond = match test.cond {
        Ult if c == 0 => return Some(Found::Constant(false)),
        Uge if c == 0 => return Some(Found::Constant(true)),
        Ugt if c == ones => return Some(Found::Constant(false)),
        Ule if c == ones => return Some(Found::Constant(true)),
        Slt if c == min => return Some(Found::Constant(false)),
        Sge if c == min => return Some(Found::Constant(true)),
        Sgt if c == max => return Some(Found::Constant(false)),
        Sle if c == max => return Some(Found::Constant(true)),
        Set if c == 0 => return Some(Found::Constant(false)),
        Clear if c == 0 => return Some(Found::Constant(true)),
        Ugt if c == 0 => Ne,
        Ule if c == 0 => Eq,
        Ult if c == ones => Ne,
        Uge if c == ones => Eq,
        Sgt if c == min => Ne,
        Sle if c == min => Eq,
        Slt if c == max => Ne,
        Sge if c == max => Eq,
        Set if c == ones => return Some(with(editor, test, Ne, test.lhs, 0)),
        Clear if c == ones => return Some(with(editor, test, Eq, test.lhs, 0)),
        _ => return None,
    };
    Some(Found::Test(Test { cond, ..test }))
}

/// The same comparison with zero.
fn nearer_zero(editor: &mut Editor, test: Test, c: u64) -> Option<Found> {
    let ones = test.ty.mask();
    let cond = match test.cond {
        Ult if c == 1 => Eq,
        Uge if c == 1 => Ne,
        Slt if c == 1 => Sle,
        Sge if c == 1 => Sgt,
        Sgt if c == ones => Sge,
        Sle if c == ones => Slt,
        _ => return None,
    };
    Some(with(editor, test, cond, test.lhs, 0))
}

/// Equality of the result of an operation that can be undone, unless that is
/// needed anyway (as a loop's counter is).
fn invert(editor: &mut Editor, test: Test, c: u64) -> Option<Found> {
    if !matches!(test.cond, Eq | Ne) || !editor.is_used_once(test.lhs) {
        return None;
    }
    let data = editor.def(test.lhs)?;
    let (op, args) = (data.op, data.args.clone());
    let constant = args.get(1).and_then(|&y| editor.constant(y));
    let (x, c) = match (op, constant) {
        (Opcode::Iadd, Some(c1)) => (args[0], c.wrapping_sub(c1)),
        (Opcode::Xor, Some(c1)) => (args[0], c ^ c1),
        (Opcode::Neg, _) => (args[0], c.wrapping_neg()),
        (Opcode::Bswap, _) => (args[0], eval(op, test.ty, &[c])?),
        (Opcode::Isub, None) if editor.constant(args[0]).is_some() => {
            (args[1], editor.constant(args[0])?.wrapping_sub(c))
        }
        (Opcode::Isub | Opcode::Xor, None) if c == 0 => {
            let (lhs, rhs) = (args[0], args[1]);
            return Some(Found::Test(Test { lhs, rhs, ..test }));
        }
        _ => return None,
    };
    Some(with(editor, test, test.cond, x, c))
}

/// Tests of some bits of a value.
fn bits(editor: &mut Editor, test: Test, c: u64) -> Option<Found> {
    let data = editor.def(test.lhs)?;
    let (op, args) = (data.op, data.args.clone());
    let constant = args.get(1).and_then(|&y| editor.constant(y));
    let cond = match test.cond {
        Eq if c == 0 => Clear,
        Ne if c == 0 => Set,
        // A single bit.
        Eq if c.is_power_of_two() && constant == Some(c) => Set,
        Ne if c.is_power_of_two() && constant == Some(c) => Clear,
        Set | Clear => {
            let count = constant?;
            let mask = match op {
                Opcode::And => count & c,
                Opcode::Shl if count < test.ty.bits().into() => c >> count,
                Opcode::Lshr if count < test.ty.bits().into() => c << count,
                _ => return None,
            };
            return Some(with(editor, test, test.cond, args[0], mask));
        }
        _ => return None,
    };
    let (lhs, rhs) = match op {
        Opcode::And => (args[0], args[1]),
        _ => return None,
    };
    Some(Found::Test(Test { cond, lhs, rhs, ..test }))
}
