//! Adjacent accesses become one.
//!
//! Compilers for eBPF access what may be unaligned in pieces. Our target does
//! not mind, and does it at once: `loads` finds values that are put together
//! from adjacent loads, `stores` adjacent stores of parts of one value.

mod loads;
mod stores;

use super::Context;
use crate::Function;

/// Runs the pass.
pub(super) fn run(function: &mut Function, context: &mut Context) {
    loads::run(function, context);
    stores::run(function, context);
}
