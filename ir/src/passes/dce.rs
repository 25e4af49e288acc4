//! Dead code.
//!
//! Problem: remove instructions, block parameters and stores that nothing
//! observes, cycles of them included.
//!
//! Idea: assume that everything is dead but what has effects, and mark what
//! these need. A store to a slot that does not escape has an effect only once
//! some live load reads a byte of it; a block parameter makes what is passed
//! for it live only once it is live itself.
//!
//! At the end, slots that nothing mentions are removed and the others numbered
//! anew. A tail call observes memory like a call does: only slots that do not
//! escape are exempt.

use std::collections::HashSet;
use std::mem;

use cranelift_entity::{EntityRef, PrimaryMap, SecondaryMap};

use super::Context;
use super::copies::remove_params;
use super::edges::{Edges, group};
use super::slots::{Access, SlotUses};
use crate::opcode::Effect;
use crate::{
    Function, Inst, Opcode, Payload, Region, Size, StackSlot, Terminator, Value, ValueDef,
};

/// Runs the pass.
pub(super) fn run(function: &mut Function, context: &mut Context) {
    let live = Live::find(function);
    let entry = function.entry;
    // What is dead uses what is dead: it all goes, or nothing.
    let mut dead = 0;
    for &block in &function.layout {
        let data = &function.blocks[block];
        dead += data.insts.iter().filter(|&&inst| !live.insts[inst]).count();
        if block != entry {
            dead += data.params.iter().filter(|&&param| !live.values[param]).count();
        }
    }
    if !context.allow_all(dead as u64) {
        return;
    }
    for &block in &function.layout {
        let insts = &mut function.blocks[block].insts;
        insts.retain(|&inst| live.insts[inst]);
    }
    let kept: Vec<Value> = function.blocks[entry].params.to_vec();
    remove_params(function, |param| !live.values[param] && !kept.contains(&param));
    remove_slots(function);
}

struct Live {
    insts: SecondaryMap<Inst, bool>,
    values: SecondaryMap<Value, bool>,
}

impl Live {
    fn find(function: &Function) -> Live {
        let mut marker = Marker::new(function);
        for &block in &function.layout {
            for &inst in &function.blocks[block].insts {
                if marker.has_effect(inst) {
                    marker.mark_inst(inst);
                }
            }
            marker.mark_terminator(&function.blocks[block].term);
        }
        marker.run();
        marker.live
    }
}

struct Marker<'f> {
    function: &'f Function,
    edges: Edges,
    uses: SlotUses,
    /// Stores to each slot that does not escape, and those not yet live.
    stores: Vec<(Inst, Access)>,
    starts: Vec<u32>,
    live: Live,
    todo: Vec<Value>,
    loads: Vec<Access>,
    /// The slots, first bytes and sizes of the live loads so far.
    read: HashSet<(StackSlot, u32, Size)>,
}

impl<'f> Marker<'f> {
    fn new(function: &'f Function) -> Marker<'f> {
        let uses = SlotUses::new(function);
        let mut stores = Vec::new();
        for &block in &function.layout {
            for &inst in &function.blocks[block].insts {
                if function.insts[inst].op == Opcode::Store
                    && let Some(access) = uses.access(function, inst)
                {
                    stores.push((access.slot.index(), (inst, access)));
                }
            }
        }
        let (starts, stores) = group(function.stack_slots.len(), &stores);
        Marker {
            function,
            edges: Edges::new(function),
            uses,
            stores,
            starts,
            live: Live { insts: SecondaryMap::new(), values: SecondaryMap::new() },
            todo: Vec::new(),
            loads: Vec::new(),
            read: HashSet::new(),
        }
    }

    /// Whether the instruction must stay whatever is done with its result.
    fn has_effect(&self, inst: Inst) -> bool {
        match self.function.insts[inst].op.info().effect {
            Effect::Pure | Effect::Load => false,
            Effect::Store => self.uses.access(self.function, inst).is_none(),
            Effect::Call => true,
        }
    }

    fn mark_terminator(&mut self, term: &Terminator) {
        // Arguments of targets are live where the parameters are.
        term.operands().into_iter().for_each(|value| self.mark(value));
    }

    fn mark(&mut self, value: Value) {
        if !mem::replace(&mut self.live.values[value], true) {
            self.todo.push(value);
        }
    }

    fn mark_inst(&mut self, inst: Inst) {
        if mem::replace(&mut self.live.insts[inst], true) {
            return;
        }
        let data = &self.function.insts[inst];
        data.args.iter().for_each(|&arg| self.mark(arg));
        if data.op.info().effect == Effect::Load
            && let Some(access) = self.uses.access(self.function, inst)
        {
            self.loads.push(access);
        }
    }

    fn run(&mut self) {
        loop {
            if let Some(value) = self.todo.pop() {
                match self.function.values[value].def {
                    ValueDef::Result(inst) => self.mark_inst(inst),
                    ValueDef::Param(block, position) => {
                        for index in 0..self.edges.to(block).len() {
                            let call = self.edges.to(block)[index].call(self.function);
                            self.mark(call.args[position as usize]);
                        }
                    }
                }
            } else if let Some(load) = self.loads.pop() {
                self.mark_stores(load);
            } else {
                return;
            }
        }
    }

    /// Marks the stores to what a load reads. A frame of 512 bytes has few
    /// places to load from, so that each slot's stores are seen few times.
    fn mark_stores(&mut self, load: Access) {
        if !self.read.insert((load.slot, load.lo, load.size)) {
            return;
        }
        let slot = load.slot.index();
        for index in self.starts[slot] as usize..self.starts[slot + 1] as usize {
            let (inst, store) = self.stores[index];
            if store.lo < load.hi() && load.lo < store.hi() {
                self.mark_inst(inst);
            }
        }
    }
}

/// Removes the slots that no instruction mentions.
fn remove_slots(function: &mut Function) {
    let mut used = SecondaryMap::<StackSlot, bool>::new();
    for_each_slot(function, |slot| used[*slot] = true);
    if function.stack_slots.keys().all(|slot| used[slot]) {
        return;
    }
    let mut slots = PrimaryMap::new();
    let mut renamed = SecondaryMap::with_default(StackSlot::from_u32(0));
    for (slot, data) in function.stack_slots.iter() {
        if used[slot] {
            renamed[slot] = slots.push(data.clone());
        }
    }
    function.stack_slots = slots;
    for_each_slot(function, |slot| *slot = renamed[*slot]);
}

fn for_each_slot(function: &mut Function, mut f: impl FnMut(&mut StackSlot)) {
    for &block in &function.layout {
        for &inst in &function.blocks[block].insts {
            match &mut function.insts[inst].payload {
                Payload::Slot { slot, .. }
                | Payload::Mem { region: Region::Stack(slot), .. }
                | Payload::Atomic { region: Region::Stack(slot), .. } => f(slot),
                _ => {}
            }
        }
    }
}
