//! What passes are given beside the function, and what they leave behind.

use std::time::Duration;

use crate::{Function, MapRef, Size};

/// Facts from outside, switches, and figures about what was done.
///
/// One context serves any number of functions, one after the other: the count
/// of rewrites and the statistics go on.
#[derive(Default)]
pub struct Context<'a> {
    /// Contents of maps that never change, by map, byte offset and size.
    pub constants: Option<&'a ReadConstant<'a>>,
    /// Rewrites that are still allowed; `None` for all.
    pub bisect: Option<u64>,
    /// Called with the name of each pass and the function after it.
    pub dump: Option<&'a mut Dump<'a>>,
    /// Names of passes that are left out.
    pub disabled: Vec<String>,
    /// Verifies the function after each pass.
    pub verify: bool,
    /// One for each row of the table of passes.
    pub statistics: Vec<Statistics>,
    /// Rewrites made so far.
    pub rewrites: u64,
}

/// Reads bytes of a map that never changes, zero-extended.
pub type ReadConstant<'a> = dyn Fn(MapRef, u32, Size) -> Option<u64> + 'a;

/// Takes the name of a pass and the function after it.
pub type Dump<'a> = dyn FnMut(&str, &Function) + 'a;

/// What one pass did, all functions together.
#[derive(Clone, Copy, Default, Debug)]
pub struct Statistics {
    /// Changes made.
    pub rewrites: u64,
    /// Time taken, checks and dumps included.
    pub time: Duration,
}

impl Context<'_> {
    /// Asks for permission for one more rewrite. A pass that is refused leaves
    /// the function as it is; it is refused from then on. This is how a wrong
    /// rewrite is found by bisection.
    pub fn allow(&mut self) -> bool {
        self.allow_all(1)
    }

    /// Asks for permission for rewrites that must all be made or none.
    pub(super) fn allow_all(&mut self, count: u64) -> bool {
        if let Some(left) = &mut self.bisect {
            let Some(less) = left.checked_sub(count) else {
                *left = 0;
                return false;
            };
            *left = less;
        }
        self.rewrites += count;
        true
    }
}
