//! A walk over a function's bytes that proves what the processor needs: that
//! every path keeps the stack and the callee-saved registers as the C
//! convention has it.
//!
//! Problem: a wrong unwinding on one path of many is not seen by running code.
//! The frame decoder ([`crate::frame`]) reads figures off the bytes and refuses
//! some of this on the way; a second opinion must not share its code, its
//! figures, or what the compiler believes.
//!
//! Idea: abstract interpretation. A state says where rsp is, seen from the
//! entry, and which registers and stack slots hold which callee-saved
//! register's value of the entry; an instruction changes it, paths that meet
//! keep what both know. Where saves are, and how many, does not matter: a
//! register may be saved on some paths alone, anywhere, pushed or stored.
//!
//! Proved of every path from the entry:
//! - it stays in decoded instructions that do not overlap, and leaves by `ret`,
//!   by a relocated jump, at a recorded tail-call site, or not at all;
//! - rsp is always a known distance from the entry's, the same on paths that
//!   meet, and never above the return address, which is not written;
//! - it leaves with rsp at the return address and every callee-saved register
//!   as it was; at a tail call, with everything as it is where tail calls enter
//!   this function itself;
//! - a callee-saved register's value is never overwritten while no other place
//!   holds it;
//! - nothing is accessed further below rsp than the red zone goes, and nothing
//!   read that a callee may have written;
//! - helpers of C code are called with an aligned stack (if the function was
//!   entered with one).
//!
//! Not seen are stores through pointers that the walk cannot follow, and those
//! with an index: a verifier keeps them in the program's own objects.

mod error;
mod flow;
mod module;
mod state;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use error::{WalkError, Wrong};
pub use module::{WrongCall, check_module};

use crate::{CompiledFunction, FuncRef, RelocKind, Symbol};
use flow::{Code, Goes, Step};
use state::{State, Transfer};

/// What a sound function asks of the stack's alignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Calls of the module's functions: offset, callee, and whether rsp is a
    /// multiple of 16 there, given that the function was entered as C code is.
    pub calls: Vec<(u32, FuncRef, bool)>,
    /// It calls C code itself, or leaves for a program that may.
    pub wants_alignment: bool,
}

/// Proves a function's code, or says what is wrong with it.
pub fn check(function: &CompiledFunction) -> Result<Walked, WalkError> {
    let code = Code::explore(function)?;
    let mut walk = Walk {
        code: &code,
        function,
        transfer: Transfer::new(),
        before: HashMap::new(),
        pending: BTreeSet::new(),
        tail_calls: BTreeMap::new(),
        calls: BTreeMap::new(),
        wants_alignment: false,
    };
    walk.run()?;
    walk.tail_calls()?;
    let calls = walk.calls.into_iter().map(|(at, (callee, aligned))| (at, callee, aligned));
    Ok(Walked { calls: calls.collect(), wants_alignment: walk.wants_alignment })
}

struct Walk<'a> {
    code: &'a Code,
    function: &'a CompiledFunction,
    transfer: Transfer,
    /// What is known before the instructions where paths begin or meet.
    before: HashMap<u32, State>,
    /// Those whose knowledge has changed.
    pending: BTreeSet<u32>,
    /// The states in which tail calls leave.
    tail_calls: BTreeMap<u32, State>,
    calls: BTreeMap<u32, (FuncRef, bool)>,
    wants_alignment: bool,
}

impl Walk<'_> {
    /// Until nothing changes. States only lose knowledge, so every check that
    /// the last visit of an instruction passes holds on all paths.
    fn run(&mut self) -> Result<(), WalkError> {
        self.before.insert(0, State::at_entry());
        self.pending.insert(0);
        while let Some(start) = self.pending.pop_first() {
            let mut state = self.before[&start].clone();
            let mut at = start;
            loop {
                let step = self.code.step(at);
                self.leave(at, step, &state)?;
                self.call(at, step, &state)?;
                self.transfer.apply(&step.instruction, &mut state).map_err(|w| w.at(at))?;
                if let Some(target) = step.goes.target() {
                    self.flow(target, &state)?;
                }
                if !step.goes.falls() {
                    break;
                }
                at = step.end();
                if self.code.is_leader(at) {
                    self.flow(at, &state)?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes a state to where paths meet.
    fn flow(&mut self, to: u32, state: &State) -> Result<(), WalkError> {
        let changed = match self.before.get_mut(&to) {
            Some(known) => known.meet(state).map_err(|wrong| wrong.at(to))?,
            None => {
                self.before.insert(to, state.clone());
                true
            }
        };
        if changed {
            self.pending.insert(to);
        }
        Ok(())
    }

    /// What has to hold where a path may leave.
    fn leave(&mut self, at: u32, step: &Step, state: &State) -> Result<(), WalkError> {
        match step.goes {
            Goes::Out | Goes::OutOrOn => {
                state.expect(&State::at_entry()).map_err(|wrong| wrong.at(at))
            }
            Goes::TailCall => {
                self.wants_alignment = true;
                self.tail_calls.insert(at, state.clone());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Tail calls enter functions like this one: what their targets count on is
    /// what this one has there.
    fn tail_calls(&self) -> Result<(), WalkError> {
        if self.tail_calls.is_empty() {
            return Ok(());
        }
        let landing = self.function.landing;
        let wanted = self.before.get(&landing).ok_or(Wrong::NoLanding.at(landing))?;
        let mut sites = self.tail_calls.iter();
        sites.try_for_each(|(&at, state)| state.expect(wanted).map_err(|wrong| wrong.at(at)))
    }

    /// Alignment at calls. C code relies on it; a function of the module may.
    fn call(&mut self, at: u32, step: &Step, state: &State) -> Result<(), WalkError> {
        // A function is entered at 8 below a multiple of 16.
        let aligned = state.rsp().rem_euclid(16) == 8;
        match step.reloc.filter(|reloc| step.is_call() && reloc.kind == RelocKind::Rel32) {
            Some(reloc) => match reloc.target {
                Symbol::HelperCell(_) if !aligned => Err(Wrong::Misaligned.at(at)),
                Symbol::HelperCell(_) => {
                    self.wants_alignment = true;
                    Ok(())
                }
                Symbol::Function(callee) => {
                    self.calls.insert(at, (callee, aligned));
                    Ok(())
                }
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }
}
