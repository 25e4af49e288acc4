//! The optimiser: passes over one function, and the order in which they run.
//!
//! [`PASSES`] is the whole of it: a row for each run of a pass, and one loop
//! that runs, times, dumps and checks. A row's requirements are passes that
//! must have run before; a test checks the order. Every pass leaves a function
//! that the verifier accepts, with the layout in the order that `unreachable`
//! describes, and computes the same results and the same observable memory.
//!
//! Passes are near-linear up to a million instructions, do not recurse, and
//! ask [`Context::allow`] before each change.

mod bits;
mod combine;
mod context;
mod copies;
mod cse;
mod dce;
mod edges;
mod edit;
mod extensions;
mod fold;
mod narrow;
mod promote;
mod slots;
mod unreachable;

pub use context::{Context, Dump, ReadConstant, Statistics};

use std::time::Instant;

use crate::Function;
use crate::verifier::{VerifierErrors, verify_function};

/// A run of a pass.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Its name in dumps, switches and tests.
    pub name: &'static str,
    /// Passes that must have run before, by name.
    pub requires: &'static [&'static str],
    run: fn(&mut Function, &mut Context),
}

const EXTENSIONS: Pass = pass("extensions", &["unreachable"], extensions::run);
const NARROW: Pass = pass("narrow", &["unreachable"], narrow::run);
const CSE: Pass = pass("cse", &["unreachable"], cse::run);
const COMBINE: Pass = pass("combine", &["unreachable", "fold"], combine::run);
const FOLD: Pass = pass("fold", &["unreachable"], fold::run);
const UNREACHABLE: Pass = pass("unreachable", &[], unreachable::run);
const COPIES: Pass = pass("copies", &["unreachable"], copies::run);
const DCE: Pass = pass("dce", &["unreachable"], dce::run);
const PROMOTE: Pass = pass("promote", &["unreachable"], promote::run);

const fn pass(
    name: &'static str,
    requires: &'static [&'static str],
    run: fn(&mut Function, &mut Context),
) -> Pass {
    Pass { name, requires, run }
}

/// The passes in the order in which they run; some run more than once.
pub const PASSES: &[Pass] = &[
    UNREACHABLE,
    COPIES,
    DCE,
    PROMOTE,
    COPIES,
    FOLD,
    EXTENSIONS,
    NARROW,
    FOLD,
    COMBINE,
    CSE,
    DCE,
    COPIES,
    UNREACHABLE,
];

/// A pass left a function that the verifier refuses: a bug of the pass.
#[derive(Debug, thiserror::Error)]
#[error("{function}: pass {pass}: {errors}")]
pub struct BrokenPass {
    /// Name of the function.
    pub function: String,
    /// Name of the pass.
    pub pass: &'static str,
    /// What is wrong.
    pub errors: VerifierErrors,
    /// The function as the pass left it.
    pub listing: String,
}

/// Runs all passes.
pub fn run(function: &mut Function, context: &mut Context) -> Result<(), BrokenPass> {
    context.statistics.resize(PASSES.len(), Statistics::default());
    for (row, pass) in PASSES.iter().enumerate() {
        if context.disabled.iter().any(|name| name == pass.name) {
            continue;
        }
        let rewrites = context.rewrites;
        let start = Instant::now();
        run_pass(pass, function, context)?;
        let statistics = &mut context.statistics[row];
        statistics.time += start.elapsed();
        statistics.rewrites += context.rewrites - rewrites;
    }
    Ok(())
}

/// Runs one pass after those that it requires have brought the layout in order.
/// `None` if there is no pass of that name.
pub fn run_named(
    name: &str,
    function: &mut Function,
    context: &mut Context,
) -> Option<Result<(), BrokenPass>> {
    let pass = PASSES.iter().find(|pass| pass.name == name)?;
    unreachable::layout(function);
    Some(run_pass(pass, function, context))
}

fn run_pass(pass: &Pass, function: &mut Function, context: &mut Context) -> Result<(), BrokenPass> {
    (pass.run)(function, context);
    if let Some(dump) = &mut context.dump {
        dump(pass.name, function);
    }
    if context.verify {
        verify_function(function).map_err(|errors| BrokenPass {
            function: function.name.clone(),
            pass: pass.name,
            errors,
            listing: function.to_string(),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::PASSES;

    #[test]
    fn every_pass_runs_after_those_that_it_requires() {
        for (row, pass) in PASSES.iter().enumerate() {
            for required in pass.requires {
                let before = PASSES[..row].iter().any(|pass| pass.name == *required);
                assert!(before, "{} needs {required} before it", pass.name);
            }
        }
    }
}
