//! Constant folding and algebra: rules that need no analysis.
//!
//! One walk applies them, each instruction after its operands, until none
//! fits. What an operation on constants gives is asked of [`eval`], the one
//! place that knows. Normal forms that other rules and passes rely on:
//! - a constant operand is on the right where operands may be swapped, in
//!   comparisons too;
//! - a constant is added, never subtracted; chains of additions of constants
//!   are one addition, and none where an access can carry it as its offset;
//! - comparisons are with zero where the choice is free, and tests of bits are
//!   `set` and `clear`.

mod address;
mod arith;
mod branch;

use super::Context;
use super::context::ReadConstant;
use super::edit::{Editor, Rewrite, Rules, walk};
use super::unreachable::layout;
use crate::eval::eval;
use crate::opcode::Effect;
use crate::{Function, InstData, Payload, Terminator, Value};

/// Runs the pass.
pub(super) fn run(function: &mut Function, context: &mut Context) {
    let mut rules = Fold { constants: context.constants };
    if walk(function, context, &mut rules) {
        layout(function);
    }
}

struct Fold<'a> {
    constants: Option<&'a ReadConstant<'a>>,
}

impl Rules for Fold<'_> {
    fn inst(&mut self, editor: &mut Editor, data: &InstData, _: Option<Value>) -> Rewrite {
        if data.op.info().effect != Effect::Pure {
            return address::simplify(editor, data, self.constants);
        }
        if data.payload != Payload::None {
            return Rewrite::Keep;
        }
        constant(editor, data).or(|| arith::simplify(editor, data))
    }

    fn terminator(&mut self, editor: &mut Editor, term: &Terminator) -> Option<Terminator> {
        branch::simplify(editor, term)
    }
}

/// An operation on constants.
fn constant(editor: &Editor, data: &InstData) -> Rewrite {
    let args = data.args.iter().map(|&arg| editor.constant(arg));
    let args: Option<smallvec::SmallVec<[u64; 3]>> = args.collect();
    let info = data.op.info();
    match (args.and_then(|args| eval(data.op, data.ty, &args)), info.result) {
        (Some(result), Some(ty)) => Rewrite::constant(data.resolve(ty), result),
        _ => Rewrite::Keep,
    }
}
