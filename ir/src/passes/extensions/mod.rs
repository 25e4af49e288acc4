//! Redundant extensions, masks and comparisons of 64 bits.
//!
//! Problem: code for the 64-bit machine extends all the time: after every
//! operation on 32 bits, and, before there were such, by shifting up and down.
//!
//! Idea: `known` says which bits of each value are known; a second walk drops
//! what does not change a value, turns shift pairs into extensions, and does in
//! 32 bits what gives the same there, so that widenings move outwards, meet
//! truncations, and vanish.
//!
//! Invariant: every replacement equals the original in all bits, so that what
//! is known stays true during the walk. What changes bits that nobody asks for
//! is in `narrow`.

mod compare;
mod shifts;

use super::Context;
use super::bits::known::Known;
use super::bits::{Bits, low_ones};
use super::edit::{Editor, Rewrite, Rules, walk};
use super::unreachable::layout;
use crate::opcode::Effect;
use crate::{Function, InstData, Opcode, Terminator, Type, Value};
use Opcode::*;

/// Runs the pass.
pub(super) fn run(function: &mut Function, context: &mut Context) {
    let known = Known::new(function);
    if walk(function, context, &mut Extensions { known }) {
        layout(function);
    }
}

struct Extensions {
    known: Known,
}

impl Rules for Extensions {
    fn inst(&mut self, editor: &mut Editor, data: &InstData, result: Option<Value>) -> Rewrite {
        if data.op == Iconst || data.op.info().effect != Effect::Pure {
            return Rewrite::Keep;
        }
        let Some(result) = result else {
            return Rewrite::Keep;
        };
        let known = self.known(editor, result);
        if let Some(value) = known.value() {
            return Rewrite::constant(editor.ty(result), value);
        }
        match data.args[..] {
            [x] => self.unary(editor, data.op, data.ty, x),
            [x, y] => self
                .bitwise(editor, data, x, y)
                .or(|| shifts::simplify(self, editor, data, x, y))
                .or(|| self.narrow(editor, data, known, x, y)),
            _ => Rewrite::Keep,
        }
    }

    fn terminator(&mut self, editor: &mut Editor, term: &Terminator) -> Option<Terminator> {
        compare::simplify(self, editor, term)
    }

    fn made(&mut self, function: &Function, value: Value) {
        self.known.update(function, value);
    }
}

impl Extensions {
    fn known(&self, editor: &Editor, value: Value) -> Bits {
        self.known.of(editor.function, value)
    }

    fn unary(&self, editor: &mut Editor, op: Opcode, ty: Type, x: Value) -> Rewrite {
        let known = self.known(editor, x);
        match op {
            Trunc => match editor.def(x) {
                Some(data) if data.op.widens() => Rewrite::Value(data.args[0]),
                _ => Rewrite::Keep,
            },
            Uext32 => match editor.unary(Trunc, x) {
                Some(wide) if self.known(editor, wide).fits_32() => Rewrite::Value(wide),
                _ => Rewrite::Keep,
            },
            Sext32 => match editor.unary(Trunc, x) {
                Some(wide) if self.known(editor, wide).sign > 32 => Rewrite::Value(wide),
                _ if known.is_zero(31) => Rewrite::op(Uext32, Type::I64, &[x]),
                _ => Rewrite::Keep,
            },
            Sext8 => extend(editor, ty, x, known, 8),
            Sext16 => extend(editor, ty, x, known, 16),
            _ => Rewrite::Keep,
        }
    }

    /// `and` and `or` that change nothing.
    fn bitwise(&self, editor: &Editor, data: &InstData, x: Value, y: Value) -> Rewrite {
        let (left, right) = (self.known(editor, x), self.known(editor, y));
        let every = u64::MAX;
        match data.op {
            And if left.zero | right.one | !data.ty.mask() == every => Rewrite::Value(x),
            And if right.zero | left.one | !data.ty.mask() == every => Rewrite::Value(y),
            Or if left.one | right.zero == every => Rewrite::Value(x),
            Or if right.one | left.zero == every => Rewrite::Value(y),
            _ => Rewrite::Keep,
        }
    }

    /// An operation on 64 bits whose upper halves are zero. Additions stay, for
    /// the sake of addresses.
    fn narrow(
        &self,
        editor: &mut Editor,
        data: &InstData,
        result: Bits,
        x: Value,
        y: Value,
    ) -> Rewrite {
        let (left, right) = (self.known(editor, x), self.known(editor, y));
        let unsigned = left.is_zero(data.ty.bits() - 1) && right.is_zero(data.ty.bits() - 1);
        match data.op {
            Sdiv if unsigned => return Rewrite::op(Udiv, data.ty, &[x, y]),
            Srem if unsigned => return Rewrite::op(Urem, data.ty, &[x, y]),
            _ => {}
        }
        let fit = left.fits_32() && right.fits_32();
        let narrow = data.ty == Type::I64
            && match data.op {
                And => result.fits_32(),
                Or | Xor | Udiv | Urem => fit,
                Imul => fit && result.fits_32(),
                _ => false,
            };
        if !narrow {
            return Rewrite::Keep;
        }
        if data.op == And && editor.constant(y) == Some(Type::I32.mask()) {
            let low = editor.low(x);
            return Rewrite::op(Uext32, Type::I64, &[low]);
        }
        let args = [editor.low(x), editor.low(y)];
        widened(editor, data.op, &args)
    }
}

/// An operation on 32 bits, widened with zeros.
fn widened(editor: &mut Editor, op: Opcode, args: &[Value]) -> Rewrite {
    let low = editor.op(op, Type::I32, args);
    Rewrite::op(Uext32, Type::I64, &[low])
}

/// A sign extension of the low `width` bits.
fn extend(editor: &mut Editor, ty: Type, x: Value, known: Bits, width: u32) -> Rewrite {
    if known.sign > ty.bits() - width {
        return Rewrite::Value(x);
    }
    if known.is_zero(width - 1) {
        let mask = editor.iconst(ty, low_ones(width));
        return Rewrite::op(And, ty, &[x, mask]);
    }
    Rewrite::Keep
}
