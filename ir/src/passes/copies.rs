//! Block parameters that are copies.
//!
//! Problem: a parameter that is passed the same value on all edges, or itself,
//! is that value. Parameters of nested loops may pass each other around, so
//! that no single one of them looks like a copy.
//!
//! Idea: assume that every parameter is a copy until an edge shows the
//! contrary. A parameter is first unknown, then a copy of what its arguments
//! are copies of, and itself as soon as two arguments differ. Where arguments
//! are equal constants or addresses, defined anywhere, the parameter becomes
//! an instruction of its own at the start of its block.
//!
//! Invariant: a copy's source is never itself found to be a copy; when it is,
//! those that copy it are visited again. A parameter that changes more than
//! [`CHANGES`] times is left alone, which bounds the work.

use std::collections::VecDeque;
use std::mem;

use cranelift_entity::{EntityRef, SecondaryMap};

use super::Context;
use super::edges::{Edges, group};
use super::edit::Renames;
use crate::{Block, Function, Inst, InstData, Value, ValueDef};

/// Changes of one parameter, after which it counts as itself.
const CHANGES: u8 = 4;

/// What a value is a copy of.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    /// Nothing is known yet.
    Unknown,
    /// That value, itself included.
    Value(Value),
    /// The result of any instruction without operands like this one.
    Leaf(Inst),
}

/// Runs the pass.
pub(super) fn run(function: &mut Function, context: &mut Context) {
    let sources = Sources::find(function);
    let mut renames = Renames::default();
    let mut changed = false;
    for index in 0..function.layout.len() {
        let block = function.layout[index];
        if block == function.entry {
            continue;
        }
        let mut leaves = Vec::new();
        for position in 0..function.blocks[block].params.len() {
            let param = function.blocks[block].params[position];
            let to = match sources.of[param] {
                Source::Value(value) if value != param && context.allow() => value,
                Source::Leaf(inst) if context.allow() => leaf_copy(function, inst, &mut leaves),
                _ => continue,
            };
            renames.add(param, to);
            changed = true;
        }
        function.blocks[block].insts.splice(0..0, leaves);
    }
    if changed {
        remove_params(function, |param| renames.is_renamed(param));
        renames.apply(function);
    }
}

/// The same instruction again.
fn leaf_copy(function: &mut Function, inst: Inst, leaves: &mut Vec<Inst>) -> Value {
    let data = function.insts[inst].clone();
    let copy = function.make_inst(data);
    leaves.push(copy);
    function.result(copy).expect("a leaf has a result")
}

/// Removes parameters, and what is passed for them.
pub(super) fn remove_params(function: &mut Function, mut remove: impl FnMut(Value) -> bool) {
    let mut masks = SecondaryMap::<Block, Vec<bool>>::new();
    for index in 0..function.layout.len() {
        let block = function.layout[index];
        let params = &function.blocks[block].params;
        let mask: Vec<bool> = params.iter().map(|&param| !remove(param)).collect();
        if mask.iter().all(|&keep| keep) {
            continue;
        }
        let mut keep = mask.iter();
        let data = &mut function.blocks[block];
        data.params.retain(|_| *keep.next().unwrap_or(&true));
        for (position, &param) in data.params.iter().enumerate() {
            function.values[param].def = ValueDef::Param(block, position as u32);
        }
        masks[block] = mask;
    }
    for &block in &function.layout {
        for target in function.blocks[block].term.targets_mut() {
            let mut keep = masks[target.block].iter();
            target.args.retain(|_| *keep.next().unwrap_or(&true));
        }
    }
}

struct Sources {
    of: SecondaryMap<Value, Source>,
}

impl Sources {
    fn find(function: &Function) -> Sources {
        let mut sources = Sources { of: SecondaryMap::with_default(Source::Unknown) };
        let mut todo = VecDeque::new();
        // Arguments that are parameters, with the parameters they are passed for.
        let mut passed = Vec::new();
        for &block in &function.layout {
            for target in function.blocks[block].term.targets() {
                let params = &function.blocks[target.block].params;
                for (&arg, &param) in target.args.iter().zip(params) {
                    if let ValueDef::Param(..) = function.values[arg].def {
                        passed.push((arg.index(), param));
                    } else {
                        sources.of[arg] = source_of_result(function, arg);
                    }
                }
            }
            let params = &function.blocks[block].params;
            if block == function.entry {
                params.iter().for_each(|&p| sources.of[p] = Source::Value(p));
            } else {
                todo.extend(params);
            }
        }
        let (starts, passed) = group(function.values.len(), &passed);
        let edges = Edges::new(function);
        let mut changes = SecondaryMap::<Value, u8>::new();
        // A block may have an edge from each other: what is in the queue already waits
        // there until more of its arguments have changed.
        let mut waits = SecondaryMap::<Value, bool>::new();
        todo.iter().for_each(|&param| waits[param] = true);
        while let Some(param) = todo.pop_front() {
            waits[param] = false;
            let new = sources.meet(function, &edges, param, changes[param] >= CHANGES);
            if new != sources.of[param] {
                sources.of[param] = new;
                changes[param] += 1;
                let index = param.index();
                let again = &passed[starts[index] as usize..starts[index + 1] as usize];
                todo.extend(again.iter().filter(|&&other| !mem::replace(&mut waits[other], true)));
            }
        }
        sources
    }

    fn meet(&self, function: &Function, edges: &Edges, param: Value, give_up: bool) -> Source {
        let itself = Source::Value(param);
        let ValueDef::Param(block, position) = function.values[param].def else {
            return itself;
        };
        if give_up || self.of[param] == itself {
            return itself;
        }
        let mut met = Source::Unknown;
        // What it passes to itself says nothing, and is what it was before.
        let args = edges.args(function, block, position as usize);
        for arg in args.filter(|&arg| arg != param) {
            met = match (met, self.of[arg]) {
                (known, Source::Unknown) => known,
                (Source::Unknown, known) => known,
                (a, b) if same(function, a, b) => a,
                _ => return itself,
            };
        }
        met
    }
}

fn source_of_result(function: &Function, value: Value) -> Source {
    match function.values[value].def {
        ValueDef::Result(inst) if is_leaf(&function.insts[inst]) => Source::Leaf(inst),
        _ => Source::Value(value),
    }
}

/// A pure instruction without operands: a constant or an address.
fn is_leaf(data: &InstData) -> bool {
    data.args.is_empty() && data.op.info().effect == crate::opcode::Effect::Pure
}

fn same(function: &Function, a: Source, b: Source) -> bool {
    match (a, b) {
        (Source::Leaf(a), Source::Leaf(b)) => {
            let (a, b) = (&function.insts[a], &function.insts[b]);
            (a.op, a.ty, a.payload) == (b.op, b.ty, b.payload)
        }
        (a, b) => a == b,
    }
}
