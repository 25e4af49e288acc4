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
use tailor_lower::Gpr;

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

/// What a run made.
pub(crate) struct Outcome<'a> {
    pub cost: f64,
    /// The callee-saved registers that it uses, with the saves and restores of each.
    pub saves: &'a [(Gpr, f64)],
    /// What it uses them for.
    pub uses: &'a Uses,
}

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
    pub fn learn(&mut self, most: usize, found: Option<Outcome>, lowest: f64) {
        let Some(Outcome { cost, saves, uses }) = found else {
            return self.tried[most] = true;
        };
        self.tried[saves.len()..=most].fill(true);
        let Uses { accesses, across } = uses;
        let gain =
            |&(reg, save): &(Gpr, f64)| (save - ACCESSES * accesses[usize::from(reg.enc())], save);
        let mut gains: SmallVec<[(f64, f64); NUMBERS]> = saves.iter().map(gain).collect();
        gains.sort_by(|a, b| b.0.total_cmp(&a.0));
        let tied = cost == lowest;
        let (mut expected, mut without_slots) = (cost, cost);
        for (number, (gain, save)) in (0..saves.len()).rev().zip(gains) {
            expected -= gain;
            without_slots -= save;
            // As many as live across calls at once may do, without anything in slots.
            // And where slots were as cheap as saves, more of them may be.
            let hopeful = number >= *across || tied && number + 1 == saves.len();
            self.costs[number] = if hopeful { without_slots } else { expected };
        }
    }

    /// The number to try next for a function of so many instructions, if the lowest
    /// cost so far is this.
    pub fn next(&self, insts: usize, lowest: f64) -> Option<usize> {
        let left = (0..NUMBERS).filter(|&number| !self.tried[number]);
        let next = left.min_by(|&a, &b| self.costs[a].total_cmp(&self.costs[b]))?;
        let least = PER_INST * insts as f64;
        (self.costs[next] < lowest - least).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two registers whose saves cost 2 each, in an allocation that costs 10. One is
    /// accessed once: without it 2 - 0.75 are gained. The other is accessed four times:
    /// without it 3 - 2 are lost.
    fn prospects(across: usize, lowest: f64) -> Prospects {
        let mut uses = Uses { across, ..Uses::default() };
        uses.accesses[usize::from(Gpr::RBX.enc())] = 4.0;
        uses.accesses[usize::from(Gpr::RBP.enc())] = 1.0;
        let saves = [(Gpr::RBX, 2.0), (Gpr::RBP, 2.0)];
        let mut prospects = Prospects::new();
        let outcome = Outcome { cost: 10.0, saves: &saves, uses: &uses };
        prospects.learn(Gpr::CALLEE_SAVED.len(), Some(outcome), lowest);
        prospects
    }

    #[test]
    fn what_costs_most_beside_its_slot_goes_first() {
        let prospects = prospects(2, f64::INFINITY);
        assert_eq!(prospects.costs[..2], [9.75, 8.75]);
    }

    /// One register is enough for what lives across calls at once, so nothing may have
    /// to be in a slot.
    #[test]
    fn as_many_as_live_across_calls_may_do() {
        assert_eq!(prospects(1, f64::INFINITY).costs[..2], [9.75, 8.0]);
        assert_eq!(prospects(0, f64::INFINITY).costs[..2], [6.0, 8.0]);
    }

    /// A run that cost as much as the best one gives hope for one register less.
    #[test]
    fn a_tie_gives_hope() {
        assert_eq!(prospects(2, 10.0).costs[..2], [9.75, 8.0]);
    }

    #[test]
    fn each_number_runs_once_while_it_is_worth_that() {
        let mut prospects = prospects(2, f64::INFINITY);
        // What used two registers of six is the same with five, four, three or two.
        assert_eq!(prospects.next(1, 10.0), Some(1));
        assert_eq!(prospects.next(1, 8.75), None);
        prospects.learn(1, None, 10.0);
        assert_eq!(prospects.next(1, 10.0), Some(0));
        // A quarter of an access is nothing for 1,000 instructions.
        assert_eq!(prospects.next(1_000, 10.0), None);
        prospects.learn(0, None, 10.0);
        assert_eq!(prospects.next(1, 10.0), None);
    }
}
