//! The yardstick of the allocator's time: one plain run of regalloc2's Ion with
//! all registers, and nothing else.

use regalloc2::{Algorithm, Output, RegAllocError, RegallocOptions};
use tailor_lower::MachFunction;

use crate::allocate::machine_env;

/// Runs it.
pub fn plain(function: &MachFunction) -> Result<Output, RegAllocError> {
    let env = machine_env(function.convention.callee_saved());
    let settings = RegallocOptions { algorithm: Algorithm::Ion, ..RegallocOptions::default() };
    regalloc2::run(function, &env, &settings)
}
