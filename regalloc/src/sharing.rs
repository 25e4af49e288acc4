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
//! whose address is lost track of is live from then on. What a saved register held
//! at the entry is live until it is restored, also where the function is not left
//! any more: whoever unwinds reads it.

use std::cmp::Reverse;
use std::ops::Range;

use cranelift_entity::EntityRef;
use tailor_lower::objects::{Accesses, Effect, MOST, Set};
use tailor_lower::{MachBlock, MachFunction, StackSlot};

use crate::dataflow::{Direction, solve};
use crate::locations::{Access, Locations};
use crate::steps::{Located, Step};

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
    pub fn new(located: &Located, accesses: Option<Accesses>) -> Interference {
        let Some(accesses) = accesses else {
            return Interference::default();
        };
        let effects = Effects::with_slots(located, accesses);
        let mut with = vec![0; MOST];
        let mut last = 0;
        for live in effects.live(located.function) {
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
    LiveObjects { sizes, at: Effects::of_insts(function, accesses).live(function) }
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
/// another one often does not. Slots from number [`MOST`] on lie behind all that,
/// in their order, since they share nothing and there may be very many.
pub fn place(things: &[Thing], interference: &Interference) -> (Vec<u32>, u32) {
    let (things, rest) = things.split_at(things.len().min(MOST));
    let (mut offsets, mut end) = place_first(things, interference);
    for thing in rest {
        let start = end.next_multiple_of(8);
        offsets.push(start);
        end = match thing.is_half {
            true => words(&(start..start + thing.size)).end,
            false => start + thing.size,
        };
    }
    (offsets, end)
}

fn place_first(things: &[Thing], interference: &Interference) -> (Vec<u32>, u32) {
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

/// What happens to things, one step after the other.
struct Effects {
    by_step: Vec<Effect>,
    /// Of each block, its steps.
    blocks: Vec<Range<usize>>,
    /// Objects whose addresses are lost track of.
    lost: Set,
    /// Slots that registers are saved in.
    saves: Set,
    /// The steps that restore registers, ascending.
    restores: Vec<usize>,
}

impl Effects {
    /// Of instructions, on objects.
    fn of_insts(function: &MachFunction, accesses: &Accesses) -> Effects {
        let insts = |block: &MachBlock| block.start as usize..block.end as usize;
        Effects {
            by_step: accesses.effects.clone(),
            blocks: function.blocks.iter().map(insts).collect(),
            lost: accesses.lost,
            saves: 0,
            restores: Vec::new(),
        }
    }

    /// On spill slots too, with the moves that access any. Each move is a step of its
    /// own: one that takes a value out of a slot makes room for the next.
    fn with_slots(located: &Located, mut accesses: Accesses) -> Effects {
        // Slots are numbered behind the objects.
        let objects = located.function.stack_slots.len() as u32;
        let things = |set: Locations| set.slots.checked_shl(objects).unwrap_or(0);
        let mut saves = 0;
        for placed in located.placed {
            saves |= things(placed.slot.into());
            for &tail_call in &placed.tail_calls {
                accesses.effects[tail_call as usize].reads |= things(placed.slot.into());
            }
        }
        let mut by_step = Vec::with_capacity(accesses.effects.len() + located.edits.len());
        let mut blocks = Vec::with_capacity(located.function.blocks.len());
        let mut restores = Vec::new();
        for block in 0..located.function.blocks.len() {
            let start = by_step.len();
            for step in located.steps(block) {
                let Access { reads, writes } = Access::of(located, step);
                let (reads, writes) = (things(reads), things(writes));
                match step {
                    Step::Inst(inst) => {
                        let Effect { reads: others, writes: written, fills } =
                            accesses.effects[inst];
                        by_step.push(Effect {
                            reads: reads | others,
                            writes: writes | written,
                            fills: writes | fills,
                        });
                    }
                    Step::Move { .. } if reads | writes != 0 => {
                        if reads & saves != 0 {
                            restores.push(by_step.len());
                        }
                        by_step.push(Effect { reads, writes, fills: writes });
                    }
                    Step::Move { .. } => {}
                }
            }
            blocks.push(start..by_step.len());
        }
        Effects { by_step, blocks, lost: accesses.lost, saves, restores }
    }

    /// By step, the things that are live there (may have been written, and may still
    /// be read) or accessed by it.
    fn live(&self, function: &MachFunction) -> Vec<Set> {
        let Effects { by_step, blocks: steps, lost, .. } = self;
        let blocks = &function.blocks;
        let effects = |block: usize| by_step[steps[block].clone()].iter();
        let after = |written: Set, effect: &Effect| written | effect.writes;
        let before = |wanted: Set, effect: &Effect| wanted & !effect.fills | effect.reads | lost;
        let written =
            solve(Direction::Forward, blocks, |block, start| effects(block).fold(start, after));
        let wanted = solve(Direction::Backward, blocks, |block, end| {
            effects(block).rev().fold(end | lost, before)
        });
        let mut live = vec![0; by_step.len()];
        for block in 0..blocks.len() {
            let mut wanted = wanted[block] | lost;
            for step in steps[block].clone().rev() {
                // For now, what is wanted before or after it.
                live[step] = wanted;
                wanted = before(wanted, &by_step[step]);
                live[step] |= wanted;
            }
            let mut written = written[block];
            for step in steps[block].clone() {
                let effect = &by_step[step];
                written = after(written, effect);
                live[step] = live[step] & written | effect.reads | effect.writes;
            }
        }
        if self.saves != 0 {
            self.add_saved(blocks, &mut live);
        }
        live
    }

    /// Adds to what is live the slots of registers that are saved and not restored yet.
    fn add_saved(&self, blocks: &[MachBlock], live: &mut [Set]) {
        let after = |saved: Set, step: usize| {
            let Effect { reads, writes, .. } = self.by_step[step];
            let restored = if self.restores.binary_search(&step).is_ok() { reads } else { 0 };
            (saved | writes & self.saves) & !restored
        };
        let saved = solve(Direction::Forward, blocks, |block, start| {
            self.blocks[block].clone().fold(start, after)
        });
        for (steps, mut saved) in self.blocks.iter().zip(saved) {
            for step in steps.clone() {
                live[step] |= saved;
                saved = after(saved, step);
            }
        }
    }
}
