//! Values that are computed again instead of being kept.
//!
//! Problem: a value that lives across a call takes a callee-saved register or a
//! slot, though often it follows by one instruction from others that live there
//! anyway: `p + 14`, a zero extension, a mask.
//! Idea: where a point is tight, a value that lives across it is computed again,
//! once for each stretch of a block without such points, before its first use
//! there, if its inputs live there anyway or can be computed again themselves.
//! This is done twice, since it can save two things. First, one register or slot
//! less for the whole function: tight are the points (calls, and places with
//! more values than caller-saved registers) where more live than would have to
//! if all that can be were computed again, and all of it is done if it costs
//! ([`crate::cost::RECOMPUTED`]) no more than the cheapest registers or slots there.
//! Then, loads and stores of single values: tight are the points where more live
//! than there are callee-saved registers worth saving.
//! Invariants: no input lives longer than before. What was used to compute a
//! value again is not computed again itself afterwards.
//! Source: Briggs, Cooper and Torczon, "Rematerialization", 1992, with the
//! inputs that live anyway added; constants are made near their uses by
//! selection already.

mod apply;
mod attempt;
mod candidates;

use regalloc2::{Block, VReg};
use tailor_lower::MachFunction;

use crate::Options;
use crate::liveness::{Live, Liveness};
use apply::{Plan, apply};
use attempt::Attempt;
use candidates::{Candidates, Tension, slot_cost};

/// How often the aim is changed to what was reached.
const ATTEMPTS: usize = 4;

/// The function with values computed again where that should be cheaper than
/// keeping them; none if it is so for no value.
pub fn remat(function: &MachFunction, options: &Options) -> Option<MachFunction> {
    let analysis = Analysis::new(function, options)?;
    let fewer = analysis.fewer().map(|plan| apply(function.clone(), &plan));
    let Some(function) = fewer else {
        return Some(apply(function.clone(), &analysis.cheaper()?));
    };
    let cheaper = Analysis::new(&function, options).and_then(|analysis| analysis.cheaper());
    Some(match cheaper {
        Some(plan) => apply(function, &plan),
        None => function,
    })
}

/// What is known of a function that has candidates.
struct Analysis<'a> {
    function: &'a MachFunction,
    candidates: Candidates,
    liveness: Liveness,
    tension: Tension,
}

impl<'a> Analysis<'a> {
    fn new(function: &'a MachFunction, options: &Options) -> Option<Analysis<'a>> {
        let candidates = Candidates::new(function)?;
        let liveness = Liveness::new(function)?;
        let tension = Tension::new(function, options, &liveness, &candidates);
        Some(Analysis { function, candidates, liveness, tension })
    }

    /// All that it takes to have fewer registers or slots in the function.
    fn fewer(&self) -> Option<Plan> {
        let most = self.tension.most();
        let mut aim = self.tension.without;
        for _ in 0..ATTEMPTS {
            if aim >= most {
                return None;
            }
            let mut attempt = Attempt::new(self, aim, false);
            attempt.run();
            let reached = attempt.need.iter().copied().max().unwrap_or(0).max(aim);
            if reached == aim {
                return (attempt.cost <= self.gain(aim)).then_some(attempt.plan);
            }
            aim = reached;
        }
        None
    }

    /// Each value on its own, where it would be in a slot.
    fn cheaper(&self) -> Option<Plan> {
        let mut attempt = Attempt::new(self, self.tension.worthy, true);
        if attempt.need.is_empty() {
            return None;
        }
        attempt.run();
        let plan = attempt.plan;
        (!plan.all.is_empty() || !plan.removed.is_empty()).then_some(plan)
    }

    /// What it saves if no more than `aim` registers or slots are needed: as
    /// much as the cheapest of them cost where most are needed.
    fn gain(&self, aim: u32) -> f64 {
        let Analysis { function, candidates, liveness, tension } = self;
        let most = tension.most();
        let tightest = tension.need.iter().position(|&need| need == most).unwrap_or(0);
        let block = function.blocks.partition_point(|block| block.end as usize <= tightest);
        let mut costs = Vec::new();
        let mut live = Live::new(function);
        liveness.for_each_point(function, Block::new(block), &mut live, |inst, live| {
            if inst == tightest {
                let slot =
                    |&vreg: &VReg| slot_cost(function, candidates, vreg).min(tension.save_cost);
                costs = live.members().iter().map(slot).collect();
            }
        });
        costs.sort_by(f64::total_cmp);
        costs.iter().take((most - aim) as usize).sum()
    }
}
