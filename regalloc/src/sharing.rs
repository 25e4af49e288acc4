//! What of a frame can share memory.
//!
//! Problem: stack objects and spill slots that never hold data at the same time
//! can lie in the same place, and more than half of what real frames need is
//! objects.
//! Idea: a thing is live where something may have been written to it and may
//! still be read, by flow analysis over all accesses, those of the allocator's
//! moves included. Things that are live together interfere; each is placed where
//! nothing is that it interferes with, in a few orders, of which the best stands.
//! Invariants: a write that nobody reads is a write all the same, so whatever
//! an instruction accesses interferes with what is live around it. An object
//! whose address is lost track of is live from then on.

use std::cmp::Reverse;
use std::ops::Range;

use cranelift_entity::EntityRef;
use regalloc2::{Allocation, Block, Edit, OperandKind, ProgPoint};
use tailor_lower::objects::{Accesses, Effect, MOST, Set, add};
use tailor_lower::{MachBlock, MachFunction, StackSlot};

use crate::placement::Placed;

/// For each thing in a frame, those that are live together with it. Objects
/// come first, then spill slots.
#[derive(Clone, Debug, Default)]
pub struct Interference {
    /// Of those with a number below [`MOST`]; others interfere with everything.
    with: Vec<Set>,
}

impl Interference {
    /// Of objects that were analysed, or else without any sharing, and of what an
    /// allocation and the saves of registers put in slots.
    pub fn new(
        function: &MachFunction,
        accesses: Option<Accesses>,
        locations: &[Allocation],
        edits: &[(ProgPoint, Edit)],
        placed: &[Placed],
    ) -> Interference {
        let Some(mut accesses) = accesses else {
            return Interference::default();
        };
        for placed in placed {
            for &tail_call in &placed.tail_calls {
                let effect = &mut accesses.effects[tail_call as usize];
                read(effect, slot_member(function, placed.slot));
            }
        }
        let steps = Steps::with_slots(function, accesses, locations, edits);
        let mut with = vec![0; MOST];
        let mut last = 0;
        for live in Flow::new(function, &steps).live() {
            if live != last {
                things(live).for_each(|thing| with[thing] |= live);
                last = live;
            }
        }
        Interference { with }
    }

    /// Whether two things must not share memory.
    pub fn between(&self, a: usize, b: usize) -> bool {
        match self.with.get(a) {
            Some(with) if b < MOST => a == b || with >> b & 1 == 1,
            _ => true,
        }
    }
}

/// By instruction, the objects that are live there.
pub struct LiveObjects {
    sizes: Vec<u32>,
    at: Vec<Set>,
}

/// Finds them.
pub fn live_objects(function: &MachFunction, accesses: &Accesses) -> LiveObjects {
    let sizes = function.stack_slots.values().map(|slot| slot.size).collect();
    let steps = Steps::of_insts(function, accesses.clone());
    LiveObjects { sizes, at: Flow::new(function, &steps).live() }
}

impl LiveObjects {
    /// Their bytes in all.
    pub fn bytes(&self, inst: usize) -> u32 {
        things(self.at[inst]).map(|object| self.sizes[object]).sum()
    }

    /// All of them.
    pub fn at(&self, inst: usize) -> Vec<StackSlot> {
        things(self.at[inst]).map(StackSlot::new).collect()
    }
}

/// Something to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Thing {
    /// Bytes.
    pub size: u32,
    /// A power of two, at most 8: rsp is a multiple of that, so more cannot be had.
    pub align: u32,
    /// A slot of four bytes. Values take whole words of eight: two of these may
    /// share one, but no object lies beside one.
    pub is_half: bool,
}

/// The whole words that a range lies in.
fn words(range: &Range<u32>) -> Range<u32> {
    range.start & !7..range.end.next_multiple_of(8)
}

/// Places things from 0 upwards, in the order of several that needs least.
/// Returns their offsets and where they end.
///
/// First fit is at most as good as its order, and the best order is hard to
/// find (it is the colouring of weighted intervals); what one order wastes
/// another one often does not.
pub fn place(things: &[Thing], interference: &Interference) -> (Vec<u32>, u32) {
    let mut best = (Vec::new(), u32::MAX);
    // Bytes of what each interferes with, itself included.
    let crowd = |thing: usize| {
        let others = 0..things.len();
        let others = others.filter(|&other| interference.between(thing, other));
        others.map(|other| things[other].size).sum::<u32>()
    };
    let crowds: Vec<u32> = (0..things.len()).map(crowd).collect();
    // A half is among the whole words, so that others are beside it.
    let align = |thing: usize| if things[thing].is_half { 8 } else { things[thing].align };
    let size = |thing: usize| if things[thing].is_half { 8 } else { things[thing].size };
    let keys: [&dyn Fn(usize) -> (u32, u32); 4] = [
        &|thing| (align(thing), size(thing)),
        &|thing| (size(thing), 0),
        &|thing| (crowds[thing], size(thing)),
        &|thing| (u32::MAX - size(thing), 0),
    ];
    for key in keys {
        let mut order: Vec<usize> = (0..things.len()).collect();
        order.sort_by_key(|&thing| Reverse(key(thing)));
        let placed = place_in(&order, things, interference);
        if placed.1 < best.1 {
            best = placed;
        }
    }
    best
}

/// Each of the order, as low as can be.
fn place_in(order: &[usize], things: &[Thing], interference: &Interference) -> (Vec<u32>, u32) {
    let mut offsets = vec![0; things.len()];
    let mut placed: Vec<(usize, Range<u32>)> = Vec::with_capacity(things.len());
    for &thing in order {
        let Thing { size, align, is_half } = things[thing];
        let others = placed.iter().filter(|(other, _)| interference.between(thing, *other));
        let taken = others.map(|(other, at)| match is_half == things[*other].is_half {
            true => at.clone(),
            false => words(at),
        });
        let mut taken: Vec<Range<u32>> = taken.collect();
        taken.sort_by_key(|at| at.start);
        let mut start = 0u32;
        for at in taken {
            if at.start >= start + size {
                break;
            }
            start = start.max(at.end.next_multiple_of(align));
        }
        offsets[thing] = start;
        placed.push((thing, start..start + size));
    }
    let end = |(thing, at): &(usize, Range<u32>)| match things[*thing].is_half {
        true => words(at).end,
        false => at.end,
    };
    (offsets, placed.iter().map(end).max().unwrap_or(0))
}

/// The members of a set.
fn things(mut set: Set) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let thing = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (thing < MOST).then_some(thing)
    })
}

/// What happens one after the other.
struct Steps {
    accesses: Accesses,
    /// Of each block, its steps.
    blocks: Vec<Range<usize>>,
}

impl Steps {
    /// Instructions.
    fn of_insts(function: &MachFunction, accesses: Accesses) -> Steps {
        let range = |block: &MachBlock| block.start as usize..block.end as usize;
        Steps { accesses, blocks: function.blocks.iter().map(range).collect() }
    }

    /// Instructions and what they do to spill slots, with the moves between them,
    /// each on its own: one that takes a value out of a slot makes room for the
    /// next.
    fn with_slots(
        function: &MachFunction,
        accesses: Accesses,
        locations: &[Allocation],
        edits: &[(ProgPoint, Edit)],
    ) -> Steps {
        let member = |location: Allocation| slot_member(function, location);
        let mut edits = edits.iter().peekable();
        let mut effects = Vec::with_capacity(accesses.effects.len() + edits.len());
        let mut blocks = Vec::with_capacity(function.blocks.len());
        for block in &function.blocks {
            let start = effects.len();
            for inst in block.start as usize..block.end as usize {
                let at = regalloc2::Inst::new(inst);
                let mut moves_until = |point: ProgPoint, effects: &mut Vec<Effect>| {
                    while let Some((_, Edit::Move { from, to })) =
                        edits.next_if(|edit| edit.0 <= point)
                    {
                        let mut effect = Effect::default();
                        read(&mut effect, member(*from));
                        write(&mut effect, member(*to));
                        if from.is_stack() || to.is_stack() {
                            effects.push(effect);
                        }
                    }
                };
                moves_until(ProgPoint::before(at), &mut effects);
                let mut effect = accesses.effects[inst];
                let operands = function.inst_operands(inst);
                let locations = &locations[function.info[inst].first as usize..];
                for kind in [OperandKind::Use, OperandKind::Def] {
                    for (operand, location) in operands.iter().zip(locations) {
                        match kind {
                            _ if operand.kind() != kind => {}
                            OperandKind::Use => read(&mut effect, member(*location)),
                            OperandKind::Def => write(&mut effect, member(*location)),
                        }
                    }
                }
                effects.push(effect);
                moves_until(ProgPoint::after(at), &mut effects);
            }
            blocks.push(start..effects.len());
        }
        Steps { accesses: Accesses { effects, ..accesses }, blocks }
    }
}

/// A spill slot as a set, if the location is one that is told apart.
fn slot_member(function: &MachFunction, location: Allocation) -> Option<Set> {
    let thing = function.stack_slots.len() + location.as_stack()?.index();
    (thing < MOST).then(|| 1 << thing)
}

/// What was written just before need not be there before.
fn read(effect: &mut Effect, slot: Option<Set>) {
    effect.reads |= slot.unwrap_or(0) & !effect.fills;
}

fn write(effect: &mut Effect, slot: Option<Set>) {
    effect.writes |= slot.unwrap_or(0);
    effect.fills |= slot.unwrap_or(0);
}

/// The solved flow problem.
struct Flow<'a> {
    function: &'a MachFunction,
    steps: &'a Steps,
    /// By block, at its start: may have been written.
    written: Vec<Set>,
    /// By block, at its end: may still be read.
    wanted: Vec<Set>,
}

impl<'a> Flow<'a> {
    fn new(function: &'a MachFunction, steps: &'a Steps) -> Flow<'a> {
        let written = vec![0; function.blocks.len()];
        let wanted = vec![steps.accesses.lost; function.blocks.len()];
        let mut flow = Flow { function, steps, written, wanted };
        flow.solve();
        flow
    }

    fn solve(&mut self) {
        let blocks = &self.function.blocks;
        let mut changed = true;
        while changed {
            changed = false;
            for (at, block) in blocks.iter().enumerate() {
                let effects = self.effects(at);
                let end = effects.iter().fold(self.written[at], |set, effect| set | effect.writes);
                for succ in &block.succs {
                    changed |= add(&mut self.written[succ.index()], end);
                }
            }
            for (at, block) in blocks.iter().enumerate().rev() {
                let wanted = |succ: &Block| self.at_start(succ.index());
                let end = block.succs.iter().map(wanted).fold(0, |a, b| a | b);
                changed |= add(&mut self.wanted[at], end);
            }
        }
    }

    /// What may still be read at the start of a block.
    fn at_start(&self, block: usize) -> Set {
        self.effects(block)
            .iter()
            .rev()
            .fold(self.wanted[block], |set, effect| self.before(set, effect))
    }

    fn before(&self, wanted: Set, effect: &Effect) -> Set {
        wanted & !effect.fills | effect.reads | self.steps.accesses.lost
    }

    /// What a block does.
    fn effects(&self, block: usize) -> &[Effect] {
        &self.steps.accesses.effects[self.steps.blocks[block].clone()]
    }

    /// By step, the objects that are live there or accessed by it.
    fn live(&self) -> Vec<Set> {
        let effects = &self.steps.accesses.effects;
        let mut live = vec![0; effects.len()];
        for (at, range) in self.steps.blocks.iter().enumerate() {
            let mut wanted = self.wanted[at];
            for step in range.clone().rev() {
                // For now, what is wanted before or after it.
                live[step] = wanted;
                wanted = self.before(wanted, &effects[step]);
                live[step] |= wanted;
            }
            let mut written = self.written[at];
            for step in range.clone() {
                let effect = &effects[step];
                written |= effect.writes;
                live[step] = live[step] & written | effect.reads | effect.writes;
            }
        }
        live
    }
}
