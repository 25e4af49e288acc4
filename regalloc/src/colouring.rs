//! Very many spill slots made few.
//!
//! Problem: the linear-time allocator gives each value that lives across blocks a
//! slot of its own. In large functions these are hundreds of thousands: a frame of
//! megabytes, and more than sets of slots can tell apart.
//! Idea: linear scan. A slot is taken from the first place in layout where it holds
//! something to the last one, and gets the lowest number that is free by then. What
//! lives into a block is found for each slot on its own, from the blocks that read
//! it backwards to those that write it, which takes as many steps as the result
//! has members.
//! Invariants: a slot that lives into a block is taken from its start on, one that
//! lives out of it up to its end, so whatever goes round a loop is taken in all of
//! it. Two slots that one step accesses stay two.
//! Source: Poletto and Sarkar, "Linear scan register allocation" (TOPLAS 1999).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use regalloc2::{Allocation, Edit, Output, SpillSlot};
use tailor_lower::MachFunction;

use crate::steps::{Located, Step};

/// Gives slots that are not taken at the same time one number.
pub fn colour(function: &MachFunction, output: &mut Output) {
    let located = Located::new(function, &output.allocs, &output.edits, &[]);
    let (colours, count) = scan(&Taken::new(&located, output.num_spillslots).extents);
    let rename = |location: &mut Allocation| {
        if let Some(slot) = location.as_stack() {
            *location = Allocation::stack(SpillSlot::new(colours[slot.index()] as usize));
        }
    };
    output.allocs.iter_mut().for_each(rename);
    for (_, Edit::Move { from, to }) in &mut output.edits {
        rename(from);
        rename(to);
    }
    output.num_spillslots = count;
}

/// A stretch of steps, numbered in layout; both ends are part of it.
#[derive(Clone, Copy)]
struct Extent {
    first: u32,
    last: u32,
}

impl Extent {
    const EMPTY: Extent = Extent { first: u32::MAX, last: 0 };

    fn include(&mut self, step: u32) {
        self.first = self.first.min(step);
        self.last = self.last.max(step);
    }
}

/// Where slots are taken.
struct Taken<'a> {
    located: &'a Located<'a>,
    /// By slot.
    extents: Vec<Extent>,
    /// By block, its steps; a block without any has one of its own.
    blocks: Vec<Extent>,
    /// By slot, the blocks that write it, ascending.
    written_in: Vec<Vec<u32>>,
    /// By slot, the blocks that read what they did not write.
    exposed_in: Vec<Vec<u32>>,
}

impl<'a> Taken<'a> {
    fn new(located: &'a Located<'a>, slots: usize) -> Taken<'a> {
        let mut taken = Taken {
            located,
            extents: vec![Extent::EMPTY; slots],
            blocks: Vec::with_capacity(located.function.blocks.len()),
            written_in: vec![Vec::new(); slots],
            exposed_in: vec![Vec::new(); slots],
        };
        let mut next = 0;
        for block in 0..located.function.blocks.len() {
            let first = next;
            for step in located.steps(block) {
                taken.note(block as u32, step, next);
                next += 1;
            }
            next = next.max(first + 1);
            taken.blocks.push(Extent { first, last: next - 1 });
        }
        let mut reached = vec![u32::MAX; taken.blocks.len()];
        (0..slots).for_each(|slot| taken.follow(slot, &mut reached));
        taken
    }

    /// A step's own accesses.
    fn note(&mut self, block: u32, step: Step, at: u32) {
        let located = self.located;
        match step {
            Step::Move { from, to, .. } => {
                self.read(block, from, at);
                self.write(block, to, at);
            }
            Step::Inst(inst) => {
                located.uses(inst).for_each(|(_, location)| self.read(block, location, at));
                located.defs(inst).for_each(|(_, location)| self.write(block, location, at));
            }
        }
    }

    fn read(&mut self, block: u32, location: Allocation, at: u32) {
        let Some(slot) = location.as_stack().map(SpillSlot::index) else { return };
        self.extents[slot].include(at);
        let here = Some(&block);
        if self.written_in[slot].last() != here && self.exposed_in[slot].last() != here {
            self.exposed_in[slot].push(block);
        }
    }

    fn write(&mut self, block: u32, location: Allocation, at: u32) {
        let Some(slot) = location.as_stack().map(SpillSlot::index) else { return };
        self.extents[slot].include(at);
        if self.written_in[slot].last() != Some(&block) {
            self.written_in[slot].push(block);
        }
    }

    /// Finds the blocks that a slot lives into. `reached` has the last slot that was
    /// found to live into each block.
    fn follow(&mut self, slot: usize, reached: &mut [u32]) {
        let mut work = std::mem::take(&mut self.exposed_in[slot]);
        while let Some(block) = work.pop() {
            if std::mem::replace(&mut reached[block as usize], slot as u32) == slot as u32 {
                continue;
            }
            self.extents[slot].include(self.blocks[block as usize].first);
            for pred in &self.located.function.blocks[block as usize].preds {
                self.extents[slot].include(self.blocks[pred.index()].last);
                let pred = pred.index() as u32;
                if self.written_in[slot].binary_search(&pred).is_err() {
                    work.push(pred);
                }
            }
        }
    }
}

/// A number for each, so that those with the same one are apart; and how many
/// numbers there are.
fn scan(extents: &[Extent]) -> (Vec<u32>, usize) {
    let is_taken = |slot: &usize| extents[*slot].first <= extents[*slot].last;
    let mut order: Vec<usize> = (0..extents.len()).filter(is_taken).collect();
    order.sort_by_key(|&slot| extents[slot].first);
    let mut colours = vec![0; extents.len()];
    let mut count = 0;
    let mut free: BinaryHeap<Reverse<u32>> = BinaryHeap::new();
    let mut taken: BinaryHeap<Reverse<(u32, u32)>> = BinaryHeap::new();
    for slot in order {
        let Extent { first, last } = extents[slot];
        while let Some(&Reverse((over, colour))) = taken.peek()
            && over < first
        {
            taken.pop();
            free.push(Reverse(colour));
        }
        let Reverse(colour) = free.pop().unwrap_or_else(|| {
            count += 1;
            Reverse(count - 1)
        });
        colours[slot] = colour;
        taken.push(Reverse((last, colour)));
    }
    (colours, count as usize)
}

#[cfg(test)]
mod tests {
    use regalloc2::checker::Checker;
    use regalloc2::{Algorithm, RegallocOptions};

    use super::*;
    use crate::allocate::machine_env;
    use crate::random::{self, Random};

    /// regalloc2's checker finds every value where it was, of either allocator; and
    /// slots of the linear-time one become fewer.
    #[test]
    fn every_read_finds_its_value() {
        let (mut before, mut after) = (0, 0);
        for seed in 1..3_000 {
            let function = random::function(&mut Random(seed));
            // No callee-saved register: what lives across calls is in slots.
            let env = machine_env(&[]);
            for algorithm in [Algorithm::Fastalloc, Algorithm::Ion] {
                let options = RegallocOptions { algorithm, ..RegallocOptions::default() };
                let mut output = regalloc2::run(&function, &env, &options).unwrap();
                before += output.num_spillslots;
                colour(&function, &mut output);
                after += output.num_spillslots;
                let mut checker = Checker::new(&function, &env);
                checker.prepare(&output);
                let checked = checker.run();
                assert!(checked.is_ok(), "seed {seed}, {algorithm:?}: {checked:?}\n{function}");
            }
        }
        assert!(after < before, "{before} slots became {after}");
    }

    #[test]
    fn extents_that_meet_are_apart() {
        let extent = |(first, last)| Extent { first, last };
        let of = |extents: &[(u32, u32)]| {
            let extents: Vec<Extent> = extents.iter().copied().map(extent).collect();
            scan(&extents)
        };
        assert_eq!(of(&[(0, 4), (4, 8), (5, 6), (9, 9)]), (vec![0, 1, 0, 0], 2));
        assert_eq!(of(&[(7, 8), (0, 9), (1, 2)]), (vec![1, 0, 1], 2));
    }
}
