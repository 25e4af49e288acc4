//! Where pointers go: a flow analysis on bytecode.
//!
//! Problem: bytecode has registers, one frame of 512 bytes and 64-bit numbers.
//! Which accesses read the context, which array and key a tail call takes, and
//! where one object of the frame ends, all has to be found out.
//!
//! Idea: an abstract interpretation ([`value`], [`state`], [`transfer`]) that
//! follows pointers to the frame and pointers that came in as parameters,
//! through moves, arithmetic and spills, with intervals for offsets and
//! numbers; everything else is a number. It runs to a fixpoint in one function
//! ([`flow`]), then reads off what the function does ([`record`]) and sums up
//! what it does with its parameters ([`summary`]), callees first, so that a
//! caller knows which bytes of its frame a call may touch. Which parameters are
//! contexts is then found from the programs down ([`context`]), with a second
//! look where contexts travel in memory ([`cells`]), and the frame is cut into
//! objects ([`frame`]).
//!
//! Invariants: the analysis is sound for what a verifier accepts, that is for
//! programs that never read what was not written and never leave an object of
//! another function's frame on purpose. Recursive calls and functions that were
//! refused count as doing anything. Every visit of a block makes some value
//! grow, each value can grow only so often, and so the time is near-linear.

mod calls;
mod cells;
mod context;
mod flow;
mod frame;
mod range;
mod record;
mod state;
mod summary;
mod transfer;
mod value;

use cranelift_entity::{EntitySet, PrimaryMap, SecondaryMap};

use crate::facts::Facts;
use crate::insn::Op;
use crate::{Error, FuncRef, Object};
use cells::Cells;
use record::Found;
use summary::Summary;

/// What the analysis of a function knows of the rest of the object.
struct Env<'a> {
    object: &'a Object,
    function: FuncRef,
    ops: &'a [Op],
    /// With the blocks and arities filled in.
    facts: &'a Facts,
    /// Of the functions that were looked at before.
    summaries: &'a SecondaryMap<FuncRef, Option<Summary>>,
    /// Places in memory that contexts travel in.
    cells: &'a Cells,
    /// Some program of the object has a context whose fields are declared.
    has_contexts: bool,
    /// Others may read and write the frame, so that nothing spilled is known.
    opaque: bool,
}

impl Env<'_> {
    fn summary(&self, function: FuncRef) -> Summary {
        let known = self.summaries[function].clone();
        known.unwrap_or_else(Summary::unknown)
    }

    /// How many of R1 to R5 a function reads.
    fn arity(&self, function: FuncRef) -> usize {
        let own = self.facts.functions.get(function);
        own.map_or(5, |own| usize::from(own.arity))
    }
}

/// Rounds in which cells are added, each a level of calls deeper. What is lost
/// then is an error.
const ROUNDS: u32 = 32;

/// Looks at all functions, callees first.
fn find(
    object: &Object,
    facts: &Facts,
    order: &[FuncRef],
    cells: &Cells,
) -> PrimaryMap<FuncRef, Option<Found>> {
    let none = object.functions.keys().map(|_| None);
    let mut all: PrimaryMap<FuncRef, Option<Found>> = none.collect();
    let mut summaries = SecondaryMap::new();
    let mut programs = object.programs.values();
    let has_contexts = programs.any(|program| program.kind.context().is_some());
    for &function in order {
        let mut env = Env {
            object,
            function,
            ops: &object.functions[function].ops,
            facts,
            summaries: &summaries,
            cells,
            has_contexts,
            opaque: false,
        };
        let cfg = &facts.functions[function].cfg;
        let mut found = record::record(&env, cfg, &flow::solve(&env, cfg));
        if found.escaped {
            env.opaque = true;
            found = record::record(&env, cfg, &flow::solve(&env, cfg));
        }
        summaries[function] = Some(found.summary.clone());
        all[function] = Some(found);
    }
    all
}

/// Fills in what is known of pointers. Blocks and arities are there already;
/// `order` has every function that is to be looked at, callees first. Those that
/// are `lost` never run, since something that they need was refused: of them only
/// errors are found that have nothing to do with it.
pub(crate) fn analyze(
    object: &Object,
    facts: &mut Facts,
    order: &[FuncRef],
    lost: &EntitySet<FuncRef>,
) -> Vec<(FuncRef, Error)> {
    let mut cells = Cells::new();
    let mut round = 0;
    let (mut all, mut contexts) = loop {
        let all = find(object, facts, order, &cells);
        let more = (round < ROUNDS).then_some(&mut cells);
        let (contexts, again) = context::resolve(object, &all, lost, more);
        if !again {
            break (all, contexts);
        }
        round += 1;
    };
    let mut errors = Vec::new();
    for function in object.functions.keys() {
        let Some(found) = all[function].take() else {
            continue;
        };
        let name = &object.functions[function].name;
        let error = |(slot, what): (u32, String)| Error::at(name, slot as usize, what);
        let (accesses, wrong) = std::mem::take(&mut contexts[function]);
        let wrong = found.errors.into_iter().map(error).chain(wrong);
        errors.extend(wrong.map(|error| (function, error)));
        let own = &mut facts.functions[function];
        own.ctx_accesses = accesses.into_iter().collect();
        own.tail_calls = found.tail_calls;
        own.frame_pointers = found.frame_pointers;
        own.frame_accesses = found.frame_accesses;
        (own.stack_depth, own.stack_objects) = found.frame.finish();
    }
    errors
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod soundness;
