//! Rewriting a function before its registers are allocated.
//!
//! Allocation itself changes nothing, so what makes it cheaper by changing
//! instructions comes first: the levers here, each if it is in use. Frames are
//! compared with the bounds of the function as it was before.
//!
//! Most of it costs nothing, but computing values again is a wager: that what
//! lives across a call can be chosen well is no reason that regalloc2 does, which
//! gives up on values that it has torn apart twice. Few functions have such
//! values, so these are allocated both ways.

use tailor_lower::MachFunction;

use crate::arguments::arguments;
use crate::exits::exits;
use crate::remat::remat;
use crate::{Allocated, Error, Lever, Options, cost, split};

/// Functions with more instructions are not allocated both ways: it would take
/// much of the time, and nothing was gained in any of those of real programs.
const MOST_INSTS: usize = 300;

/// A function that registers are to be allocated for.
pub struct Prepared {
    /// The function as the levers rewrote it.
    pub function: MachFunction,
    /// The same with no value computed again, where some are and that is to be
    /// compared.
    pub kept: Option<MachFunction>,
}

/// Rewrites a function.
pub fn prepare(mut function: MachFunction, options: &Options) -> Prepared {
    // What takes the linear-time allocator does not take more than linear time before.
    if function.insts.len() > options.ion_limit {
        return Prepared { function, kept: None };
    }
    if options.levers.has(Lever::Exits) {
        function = exits(function);
    }
    let mut kept = None;
    if options.levers.has(Lever::Remat)
        && let Some(again) = remat(&function, options)
    {
        kept = Some(function).filter(|function| function.insts.len() <= MOST_INSTS);
        function = again;
    }
    if options.levers.has(Lever::Arguments) {
        function = arguments(function);
        kept = kept.map(arguments);
    }
    Prepared { function, kept }
}

impl Prepared {
    /// Allocates registers for [`Prepared::function`], or for what else turns out
    /// to be cheaper; returns the latter if it is, and the allocation.
    pub fn allocate(&self, options: &Options) -> Result<(Option<MachFunction>, Allocated), Error> {
        let best = split::allocate(&self.function, options)?;
        let Some(kept) = &self.kept else {
            return Ok(best);
        };
        let other = split::allocate(kept, options)?;
        let cost = |function: &MachFunction, (split, allocated): &(Option<_>, Allocated)| {
            allocated.cost + cost::of_recomputed(split.as_ref().unwrap_or(function))
        };
        if cost(kept, &other) >= cost(&self.function, &best) {
            return Ok(best);
        }
        let (split, allocated) = other;
        Ok((split.or_else(|| Some(kept.clone())), allocated))
    }
}
