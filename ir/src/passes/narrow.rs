//! Operations on fewer bits where nobody asks for the others.
//!
//! Problem: a value of 64 bits of which only the low half is ever used costs
//! wider instructions, wider spill slots and truncations. The code that needs
//! only low bits is often far from where the value is computed, behind loops.
//!
//! Idea: `demand` says which bits of each value matter. Where these are in the
//! low half, the operation is done in 32 bits and widened with zeros; the users
//! that wanted 32 bits take the narrow value. Block parameters become 32 bits
//! wide in the same way. Masks and extensions that only touch bits that do not
//! matter go away.
//!
//! Invariants: a value is replaced by one that agrees in its demanded bits, and
//! the replacement demands no bit of an operand that was not demanded before.
//! Nothing that is known of bits may be used here, since bits that are not
//! demanded change (a known zero may become a one).

use super::Context;
use super::bits::demand::Demand;
use super::bits::low_ones;
use super::edges::{Edge, Edges};
use super::edit::{Editor, Rewrite, Rules, walk};
use crate::opcode::Effect;
use crate::{
    Block, Function, Inst, InstData, Opcode, Payload, Size, Type, Value, ValueData, ValueDef,
};
use Opcode::*;

/// Runs the pass.
pub(super) fn run(function: &mut Function, context: &mut Context) {
    let demand = Demand::new(function);
    narrow_params(function, context, &demand);
    walk(function, context, &mut Narrow { demand });
}

/// Makes parameters of 64 bits whose upper half does not matter 32 bits wide.
fn narrow_params(function: &mut Function, context: &mut Context, demand: &Demand) {
    let edges = Edges::new(function);
    for index in 0..function.layout.len() {
        let block = function.layout[index];
        if block == function.entry {
            continue;
        }
        let mut widened = Vec::new();
        for position in 0..function.blocks[block].params.len() {
            let param = function.blocks[block].params[position];
            let bits = demand.of(param);
            let narrow = function.ty(param) == Type::I64 && bits != 0 && fits_32(bits);
            if narrow && context.allow() {
                narrow_args(function, edges.to(block), position);
                widened.push(narrow_param(function, block, position));
            }
        }
        function.blocks[block].insts.splice(0..0, widened);
    }
}

/// Passes the low half of what was passed before.
fn narrow_args(function: &mut Function, edges: &[Edge], position: usize) {
    for edge in edges {
        let arg = edge.call(function).args[position];
        let low = function.make_inst(InstData::new(Trunc, Type::I64, &[arg], Payload::None));
        function.blocks[edge.from].insts.push(low);
        if let Some(low) = function.result(low) {
            let mut targets = function.blocks[edge.from].term.targets_mut();
            targets[usize::from(edge.which)].args[position] = low;
        }
    }
}

/// Replaces a parameter by a narrow one, and makes it the result of the
/// instruction that widens that one.
fn narrow_param(function: &mut Function, block: Block, position: usize) -> Inst {
    let param = function.blocks[block].params[position];
    let narrow = function
        .values
        .push(ValueData { ty: Type::I32, def: ValueDef::Param(block, position as u32) });
    function.blocks[block].params[position] = narrow;
    let data = InstData::new(Uext32, Type::I64, &[narrow], Payload::None);
    let inst = function.insts.push(data);
    function.results[inst] = param.into();
    function.values[param].def = ValueDef::Result(inst);
    inst
}

fn fits_32(bits: u64) -> bool {
    bits <= Type::I32.mask()
}

struct Narrow {
    demand: Demand,
}

impl Rules for Narrow {
    fn inst(&mut self, editor: &mut Editor, data: &InstData, result: Option<Value>) -> Rewrite {
        if data.op == Store {
            return store(editor, data);
        }
        let bits = result.map_or(0, |result| self.demand.of(result));
        if bits == 0 {
            return unasked(editor, data, result);
        }
        match data.args[..] {
            [x, y] => drop_binary(editor, data, bits, x, y).or(|| half(editor, data, bits)),
            [x] => drop_unary(editor, data, bits, x).or(|| half(editor, data, bits)),
            _ => Rewrite::Keep,
        }
    }
}

/// Nobody asks for what is loaded, so nobody has asked for its address either,
/// which need not lie in any memory from here on: the load has to go.
fn unasked(editor: &Editor, data: &InstData, result: Option<Value>) -> Rewrite {
    match result.filter(|_| data.op.info().effect == Effect::Load) {
        Some(result) => Rewrite::constant(editor.ty(result), 0),
        None => Rewrite::Keep,
    }
}

/// A store of at most 32 bits takes a value of 32 bits.
fn store(editor: &mut Editor, data: &InstData) -> Rewrite {
    match data.payload {
        Payload::Mem { size, .. } if data.ty == Type::I64 && size < Size::D => {
            let low = editor.low(data.args[1]);
            let mut new = data.clone();
            (new.ty, new.args[1]) = (Type::I32, low);
            Rewrite::Inst(new)
        }
        _ => Rewrite::Keep,
    }
}

/// Operations on one value that change no demanded bit.
fn drop_unary(editor: &Editor, data: &InstData, bits: u64, x: Value) -> Rewrite {
    match data.op {
        Trunc => match editor.def(x) {
            Some(inner) if inner.op.widens() => Rewrite::Value(inner.args[0]),
            _ => Rewrite::Keep,
        },
        Sext8 if bits <= low_ones(8) => Rewrite::Value(x),
        Sext16 if bits <= low_ones(16) => Rewrite::Value(x),
        Sext32 if fits_32(bits) => Rewrite::op(Uext32, Type::I64, &[x]),
        _ => Rewrite::Keep,
    }
}

/// Operations with a constant that change no demanded bit.
fn drop_binary(editor: &mut Editor, data: &InstData, bits: u64, x: Value, y: Value) -> Rewrite {
    let Some(constant) = editor.constant(y) else {
        return Rewrite::Keep;
    };
    let count = (constant % u64::from(data.ty.bits())) as u32;
    match data.op {
        And if bits & !constant == 0 => Rewrite::Value(x),
        Or | Xor if bits & constant == 0 => Rewrite::Value(x),
        Shl if bits & !low_ones(count) == 0 => Rewrite::constant(data.ty, 0),
        Lshr | Ashr if bits & !(data.ty.mask() >> count) == 0 => {
            match editor.binary_const(Shl, x) {
                Some((inner, up)) if up == u64::from(count) => Rewrite::Value(inner),
                _ if data.op == Ashr => Rewrite::op(Lshr, data.ty, &[x, y]),
                _ => Rewrite::Keep,
            }
        }
        _ => Rewrite::Keep,
    }
}

/// An operation on 64 bits of which the low half is demanded.
fn half(editor: &mut Editor, data: &InstData, bits: u64) -> Rewrite {
    if data.ty != Type::I64 || !fits_32(bits) {
        return Rewrite::Keep;
    }
    let op = match (data.op, data.payload) {
        (Iadd | Isub | Imul | And | Or | Xor | Neg | Bswap16 | Sext8 | Sext16, _) => data.op,
        (Shl | Lshr, _) => {
            let count = editor.constant(data.args[1]).unwrap_or(u64::MAX);
            // What comes down must come from the low half.
            if count > 31 || data.op == Lshr && !fits_32(bits << count) {
                return Rewrite::Keep;
            }
            data.op
        }
        (Load | Sload, Payload::Mem { size, .. }) if size < Size::D => {
            let mut low = InstData { ty: Type::I32, ..data.clone() };
            if size == Size::W {
                low.op = Load;
            }
            let low = editor.insert(low);
            return Rewrite::op(Uext32, Type::I64, &[low]);
        }
        _ => return Rewrite::Keep,
    };
    let mut low = data.clone();
    (low.op, low.ty) = (op, Type::I32);
    for arg in &mut low.args {
        *arg = editor.low(*arg);
    }
    let low = editor.insert(low);
    Rewrite::op(Uext32, Type::I64, &[low])
}
