//! Frequencies measured by running programs, in place of estimated ones.
//!
//! Each program runs once in the interpreter, on the same data and with maps
//! as the object defines them. A function's blocks count as often as they were
//! executed for each time that the function was entered, by whichever program.
//! What was never reached in a function that was entered counts 0, and tail calls
//! succeed as often as they did, with what the object puts into their arrays.
//!
//! Estimates stay where nothing was measured: in functions that were not
//! entered, and in programs whose context is no packet or whose run failed.

use std::sync::Arc;

use tailor_bpf::interp::Profile;
use tailor_bpf::{Error, Program, ProgramKind};
use tailor_runtime::helpers::Table;

use crate::compile::Unit;
use crate::engine::Engine;
use crate::instance::Instance;
use crate::trace::Trace;

/// Instructions after which a run is given up: more than any kernel allows.
const STEPS: u64 = 1 << 26;

/// Runs the programs of a unit on a packet (or memory) and takes what is
/// measured for the frequencies of its facts. Returns why programs could not be
/// run, each error with the program's name.
pub fn measure(unit: &mut Unit, data: &[u8]) -> Vec<Error> {
    measure_with(unit, data, &Table::default())
}

/// The same with these helpers.
pub fn measure_with(unit: &mut Unit, data: &[u8], helpers: &Table) -> Vec<Error> {
    let mut profile = Profile::default();
    let mut errors = Vec::new();
    // What is wrong with a program that cannot be compiled is told elsewhere.
    let programs = unit.object.programs.iter().filter(|(id, _)| unit.reachable(*id).is_ok());
    for (_, program) in programs {
        match run(unit, program, data, helpers) {
            Ok(counted) => profile.add(&counted),
            Err(error) => errors.push(error.in_program(&program.name)),
        }
    }
    Arc::make_mut(&mut unit.facts).measure(&profile);
    errors
}

fn run(unit: &Unit, program: &Program, data: &[u8], helpers: &Table) -> Result<Profile, Error> {
    if program.kind.context().is_none() && program.kind != ProgramKind::Raw {
        return Err(Error::new("its context is no packet"));
    }
    let (mut trace, helpers) = (Trace::default(), helpers.clone());
    let mut instance = Instance::with_helpers(unit, Engine::Interp, &mut trace, helpers)?;
    instance.limit_steps(STEPS);
    let mut data = data.to_vec();
    let mut context = tailor_runtime::ctx::for_program(program.kind, &mut data);
    let mut profile = Profile::default();
    instance.run_profiled(&program.name, &mut *context, &mut profile)?;
    Ok(profile)
}
