//! Adjacent stores of parts of one value.
//!
//! Idea: a run is a sequence of stores relative to one address, in one block,
//! without anything between them that reads or writes memory. If no two of them
//! overlap, their order does not matter. They are sorted by address; where
//! neighbours store bits of one value that continue each other, the last of
//! them in the block stores all, and the others go.
//!
//! Invariant: a group stores as many bytes as an access can have. The value
//! of its lowest store, whose upper bits are the other stores' parts, is
//! defined before the last one.

use cranelift_entity::SecondaryMap;

use super::super::Context;
use crate::opcode::Effect;
use crate::{Block, Function, Inst, Opcode, Payload, Region, Size, Value};

/// Replaces such stores by one.
pub(super) fn run(function: &mut Function, context: &mut Context) {
    let mut removed = SecondaryMap::new();
    for index in 0..function.layout.len() {
        combine_block(function, context, function.layout[index], &mut removed);
    }
    for &block in &function.layout {
        function.blocks[block].insts.retain(|&inst| !removed[inst]);
    }
}

/// A store of bits of a value.
#[derive(Clone, Copy)]
struct Part {
    inst: Inst,
    /// Place in the block.
    place: usize,
    offset: i64,
    size: Size,
    /// What is stored: bits of `root` from `bit` on, `count` of them.
    value: Value,
    root: Value,
    bit: u32,
    count: u32,
}

fn combine_block(
    function: &mut Function,
    context: &mut Context,
    block: Block,
    removed: &mut SecondaryMap<Inst, bool>,
) {
    let mut run = Vec::new();
    let mut target = None;
    for place in 0..function.blocks[block].insts.len() {
        let inst = function.blocks[block].insts[place];
        if function.insts[inst].op.info().effect == Effect::Pure {
            continue;
        }
        let part = part(function, inst, place);
        let new_target = part.map(|(_, target)| target);
        if new_target != target {
            combine_run(function, context, &mut run, removed);
            target = new_target;
        }
        run.extend(part.map(|(part, _)| part));
    }
    combine_run(function, context, &mut run, removed);
}

/// A store as a part, and the address and region that it is relative to.
fn part(function: &Function, inst: Inst, place: usize) -> Option<(Part, (Value, Region))> {
    let data = &function.insts[inst];
    let (Opcode::Store, Payload::Mem { offset, size, region }) = (data.op, data.payload) else {
        return None;
    };
    if region == Region::Ctx {
        return None;
    }
    let part =
        Part { inst, place, offset: offset.into(), size, ..bits_of(function, inst, data.args[1]) };
    Some((part, (data.args[0], region)))
}

/// What is stored, as bits of another value.
fn bits_of(function: &Function, inst: Inst, value: Value) -> Part {
    let truncated = |value: Value| match function.def(value) {
        Some(data) if data.op == Opcode::Trunc => data.args[0],
        _ => value,
    };
    let wide = truncated(value);
    let count = function.ty(value).bits();
    let whole = Part { inst, place: 0, offset: 0, size: Size::B, value, root: wide, bit: 0, count };
    let Some(data) = function.def(wide).filter(|data| data.op == Opcode::Lshr) else {
        return whole;
    };
    match function.constant(data.args[1]) {
        Some(bit) if bit < data.ty.bits().into() => {
            let (root, bit) = (truncated(data.args[0]), bit as u32);
            Part { root, bit, count: count.min(data.ty.bits() - bit), ..whole }
        }
        _ => whole,
    }
}

impl Part {
    /// Whether another part stores what comes next, at the address that comes next.
    fn continues_with(&self, next: &Part) -> bool {
        next.offset == self.offset + i64::from(self.size.bytes())
            && next.root == self.root
            && next.bit == self.bit + self.size.bits()
    }
}

/// Combines what can be in a run, and empties it.
fn combine_run(
    function: &mut Function,
    context: &mut Context,
    run: &mut Vec<Part>,
    removed: &mut SecondaryMap<Inst, bool>,
) {
    run.sort_unstable_by_key(|part| part.offset);
    let disjoint =
        |pair: &[Part]| pair[0].offset + i64::from(pair[0].size.bytes()) <= pair[1].offset;
    let mut parts = &run[..];
    if !parts.windows(2).all(disjoint) {
        parts = &[];
    }
    while !parts.is_empty() {
        let joined = parts.windows(2).take_while(|pair| pair[0].continues_with(&pair[1])).count();
        let group = (2..=joined + 1).rev().find_map(|count| {
            let (value, size) = whole(function, &parts[..count])?;
            Some((count, value, size))
        });
        match group {
            Some((count, value, size)) if context.allow() => {
                store_whole(function, &parts[..count], value, size, removed);
                parts = &parts[count..];
            }
            _ => parts = &parts[1..],
        }
    }
    run.clear();
}

/// The value and size of one store in place of several.
fn whole(function: &Function, parts: &[Part]) -> Option<(Value, Size)> {
    let bits: u32 = parts.iter().map(|part| part.size.bits()).sum();
    let size = Size::ALL.into_iter().find(|size| size.bits() == bits)?;
    // Behind the bits that it has, a part stores zeros.
    if parts.iter().any(|part| part.size.bits() > part.count) {
        return None;
    }
    let first = parts.first()?;
    if bits <= first.count {
        return Some((first.value, size));
    }
    let root = first.bit == 0 && bits <= function.ty(first.root).bits();
    root.then_some((first.root, size))
}

fn store_whole(
    function: &mut Function,
    parts: &[Part],
    value: Value,
    size: Size,
    removed: &mut SecondaryMap<Inst, bool>,
) {
    let Some(last) = parts.iter().max_by_key(|part| part.place) else {
        return;
    };
    for part in parts {
        removed[part.inst] = part.inst != last.inst;
    }
    let ty = function.ty(value);
    let data = &mut function.insts[last.inst];
    (data.ty, data.args[1]) = (ty, value);
    if let Payload::Mem { offset, size: old, .. } = &mut data.payload {
        *offset = parts[0].offset as i32;
        *old = size;
    }
}
