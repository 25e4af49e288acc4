//! How many callee-saved registers regalloc2 is given.
//!
//! Problem: with few of them values are loaded and stored, with many registers
//! are saved, and only a run tells what a number costs.
//! Idea: each run tells what to expect of lower numbers: its registers are given up
//! one by one, those first whose saves cost most beside what their values would
//! cost in slots. The number of which most is expected runs next, until nothing
//! is expected to be worth a run.
//! Invariant: each number runs at most once.

use smallvec::SmallVec;
use tailor_lower::{Gpr, MachFunction};

use crate::allocate::Candidate;
use crate::cost::Uses;

/// Numbers of callee-saved registers, with 0.
const NUMBERS: usize = Gpr::CALLEE_SAVED.len() + 1;

/// Of what the accesses to a register would cost if each were a load or a store,
/// the part that slots cost on real programs: an instruction can read from a slot,
/// and what is in a slot already need not be stored there.
const ACCESSES: f64 = 0.75;

/// What a run must promise to save, for each instruction of the function, to be worth
/// its time: on real programs this finds nearly all that runs with each number find.
const PER_INST: f64 = 0.0007;

/// What is expected of runs with so many callee-saved registers.
pub(crate) struct Prospects {
    /// By number; infinite if nothing is known.
    costs: [f64; NUMBERS],
    /// By number, whether that was tried, or gave the same.
    tried: [bool; NUMBERS],
}

impl Prospects {
    /// Nothing is known.
    pub fn new() -> Prospects {
        Prospects { costs: [f64::INFINITY; NUMBERS], tried: [false; NUMBERS] }
    }

    /// A run with at most so many registers gave this, or was not possible. Before it,
    /// the lowest cost was `lowest`.
    pub fn learn(&mut self, most: usize, found: Option<&Candidate>, lowest: f64) {
        let Some(found) = found else { return self.tried[most] = true };
        let saves = &found.placement.costs;
        self.tried[saves.len()..=most].fill(true);
        let Uses { accesses, across } = &found.uses;
        let gain =
            |&(reg, save): &(Gpr, f64)| (save - ACCESSES * accesses[usize::from(reg.enc())], save);
        let mut gains: SmallVec<[(f64, f64); NUMBERS]> = saves.iter().map(gain).collect();
        gains.sort_by(|a, b| b.0.total_cmp(&a.0));
        let tied = found.cost == lowest;
        let (mut expected, mut without_slots) = (found.cost, found.cost);
        for (number, (gain, save)) in (0..saves.len()).rev().zip(gains) {
            expected -= gain;
            without_slots -= save;
            // As many as live across calls at once may do, without anything in slots.
            // And where slots were as cheap as saves, more of them may be.
            let hopeful = number >= *across || tied && number + 1 == saves.len();
            self.costs[number] = if hopeful { without_slots } else { expected };
        }
    }

    /// The number to try next, if the lowest cost so far is this.
    pub fn next(&self, function: &MachFunction, lowest: f64) -> Option<usize> {
        let left = (0..NUMBERS).filter(|&number| !self.tried[number]);
        let next = left.min_by(|&a, &b| self.costs[a].total_cmp(&self.costs[b]))?;
        let least = PER_INST * function.insts.len() as f64;
        (self.costs[next] < lowest - least).then_some(next)
    }
}
