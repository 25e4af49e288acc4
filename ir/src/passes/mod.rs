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
    /// Passes without which it finds little or nothing: they must have run
    /// before. No pass is wrong without another.
    pub requires: &'static [&'static str],
    run: fn(&mut Function, &mut Context),
}

const UNREACHABLE: Pass = pass("unreachable", &[], unreachable::run);
const COPIES: Pass = pass("copies", &["unreachable"], copies::run);
const DCE: Pass = pass("dce", &[], dce::run);
// Addresses that are passed around, or used by dead code, escape.
const PROMOTE: Pass = pass("promote", &["copies", "dce"], promote::run);
const FOLD: Pass = pass("fold", &["promote"], fold::run);
// These look for constants on the right.
const EXTENSIONS: Pass = pass("extensions", &["fold"], extensions::run);
const NARROW: Pass = pass("narrow", &["fold", "extensions"], narrow::run);
// Wide values that are dead after narrowing would be second uses of parts.
const COMBINE: Pass = pass("combine", &["narrow", "dce"], combine::run);
const CSE: Pass = pass("cse", &["fold"], cse::run);

const fn pass(
    name: &'static str,
    requires: &'static [&'static str],
    run: fn(&mut Function, &mut Context),
) -> Pass {
    Pass { name, requires, run }
}

/// The passes in the order in which they run; some run more than once.
///
/// On real programs nothing is left to gain after this order: a second round
/// removes fewer than one instruction in a thousand.
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
    DCE,
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

/// Runs all passes, whatever order the layout has.
pub fn run(function: &mut Function, context: &mut Context) -> Result<(), BrokenPass> {
    context.statistics.resize(PASSES.len(), Statistics::default());
    unreachable::layout(function);
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

/// Runs one pass, whatever order the layout has, requirements or not.
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
    use super::{Context, PASSES, run};
    use crate::text::parse_function;
    use crate::{Function, MapRef, Size};

    #[test]
    fn every_pass_runs_after_those_that_it_requires() {
        for (row, pass) in PASSES.iter().enumerate() {
            for required in pass.requires {
                let before = PASSES[..row].iter().any(|pass| pass.name == *required);
                assert!(before, "{} needs {required} before it", pass.name);
            }
        }
    }

    fn lookup() -> Function {
        let text = "function f0 \"lookup\" { block0(v0: i64):
            v1 = map_value map2+4
            v2 = sload.i64 u16 v1+2 any
            v3 = load.i64 u32 v1+4 map2
            v4 = iadd.i64 v2, v3
            return v4 }";
        parse_function(text).unwrap()
    }

    fn last_line(function: &Function) -> String {
        let text = function.to_string();
        text.lines().rev().nth(2).unwrap_or_default().trim().to_string()
    }

    #[test]
    fn maps_that_never_change_are_read() {
        let read = |map: MapRef, offset: u32, size: Size| match (map.as_u32(), offset, size) {
            (2, 6, Size::H) => Some(0xfffe),
            (2, 8, Size::W) => Some(44),
            _ => None,
        };
        let mut context = Context { constants: Some(&read), verify: true, ..Context::default() };
        let mut function = lookup();
        run(&mut function, &mut context).unwrap();
        assert_eq!(last_line(&function), "v4 = iconst.i64 42");
        function = lookup();
        run(&mut function, &mut Context::default()).unwrap();
        assert_eq!(last_line(&function), "v4 = iadd.i64 v2, v3");
    }

    #[test]
    fn passes_are_dumped_counted_and_left_out() {
        let mut names = Vec::new();
        let mut dump = |name: &str, _: &Function| names.push(name.to_string());
        let mut context =
            Context { dump: Some(&mut dump), disabled: vec!["fold".into()], ..Context::default() };
        let mut function = lookup();
        run(&mut function, &mut context).unwrap();
        let sum: u64 = context.statistics.iter().map(|row| row.rewrites).sum();
        assert_eq!((context.rewrites, sum), (0, 0));
        let expected = PASSES.iter().map(|pass| pass.name).filter(|name| *name != "fold");
        assert!(names.iter().map(String::as_str).eq(expected));
    }
}
