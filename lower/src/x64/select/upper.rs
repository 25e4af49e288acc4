//! Which registers have zero in bits 32 to 63.
//!
//! Problem: the upper half of a 32-bit value's register is unspecified in the
//! IR. Where it is known to be zero, widening costs nothing.
//!
//! Idea: selection defines most 32-bit values by instructions that write 32
//! bits, which clears the rest; [`rule`] is the contract that all rules for
//! 32-bit operations keep. A 64-bit value has zeros there if its operands say
//! so, and a parameter if all that is passed for it has. At first everything
//! that depends on others is taken to be zero; what turns out not to be is
//! propagated to what depends on it, so that loops keep what holds around them.
//!
//! Invariant: a low half (`trunc`) has the register of what it is the half of.

use cranelift_entity::EntityRef;
use smallvec::SmallVec;
use tailor_ir::{AtomicOp, Function, InstData, Opcode, Payload, Size, Type, Value, ValueDef};

use crate::order::{Order, Source};

/// On what the upper half of a value's register depends.
enum Rule {
    /// Zero, or not known to be.
    Fixed(bool),
    /// Zero if all of these are.
    All(SmallVec<[Value; 2]>),
    /// Zero if one of these is.
    Any(Value, Value),
}

/// For each value, whether the upper half of its register is zero.
pub(super) fn zero_uppers(function: &Function, order: &Order) -> Vec<bool> {
    let mut zero = vec![true; function.values.len()];
    let mut dependents = vec![SmallVec::<[Value; 2]>::new(); function.values.len()];
    let mut work = Vec::new();
    for (value, data) in &function.values {
        let rule = match data.def {
            ValueDef::Result(inst) => rule(&function.insts[inst]),
            ValueDef::Param(block, _) => Rule::Fixed(block != function.entry),
        };
        match rule {
            Rule::Fixed(true) => {}
            Rule::Fixed(false) => {
                zero[value.index()] = false;
                work.push(value);
            }
            Rule::All(on) => on.iter().for_each(|on| dependents[on.index()].push(value)),
            Rule::Any(a, b) => {
                dependents[a.index()].push(value);
                dependents[b.index()].push(value);
            }
        }
    }
    for_each_passed(function, order, |param, arg| dependents[arg.index()].push(param));
    while let Some(value) = work.pop() {
        for &dependent in &dependents[value.index()] {
            if zero[dependent.index()] && !still_zero(function, dependent, &zero) {
                zero[dependent.index()] = false;
                work.push(dependent);
            }
        }
    }
    zero
}

/// Whether a value stays zero when something that it depends on is not.
fn still_zero(function: &Function, value: Value, zero: &[bool]) -> bool {
    match function.def(value).map(rule) {
        Some(Rule::Any(a, b)) => zero[a.index()] || zero[b.index()],
        _ => false,
    }
}

/// The contract for 32-bit operations, and arithmetic for 64-bit ones.
fn rule(data: &InstData) -> Rule {
    use Opcode::*;
    let all = |count: usize| Rule::All(SmallVec::from_slice(&data.args[..count]));
    match (data.ty, data.op) {
        (_, Trunc) => all(1),
        (_, Uext32 | Bswap16) => Rule::Fixed(true),
        // A compare-and-exchange that succeeds does not write rax.
        (Type::I32, AtomicCas) => Rule::Fixed(false),
        (Type::I32, AtomicFetch) => Rule::Fixed(matches!(
            data.payload,
            Payload::Atomic { op: AtomicOp::Add | AtomicOp::Xchg, .. }
        )),
        (Type::I32, _) => Rule::Fixed(true),
        (Type::I64, Iconst) => {
            Rule::Fixed(matches!(data.payload, Payload::Imm(imm) if imm >> 32 == 0))
        }
        (Type::I64, And) => Rule::Any(data.args[0], data.args[1]),
        (Type::I64, Or | Xor) => all(2),
        (Type::I64, Udiv | Urem) => all(1),
        (Type::I64, Load) => {
            Rule::Fixed(matches!(data.payload, Payload::Mem { size, .. } if size != Size::D))
        }
        (Type::I64, _) => Rule::Fixed(false),
    }
}

/// Calls `f` with each parameter and what is passed for it.
fn for_each_passed(function: &Function, order: &Order, mut f: impl FnMut(Value, Value)) {
    for node in &order.nodes {
        if let Source::Block(block) = node.source {
            for target in function.blocks[block].term.targets() {
                let params = &function.blocks[target.block].params;
                for (&param, &arg) in params.iter().zip(&target.args) {
                    f(param, arg);
                }
            }
        }
    }
}
