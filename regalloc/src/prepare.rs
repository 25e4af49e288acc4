//! Rewriting a function before its registers are allocated.
//!
//! Allocation itself changes nothing, so what makes it cheaper by changing
//! instructions comes first: the levers here, each if it is in use. Frames are
//! compared with the bounds of the function as it was before.

use tailor_lower::MachFunction;

use crate::arguments::arguments;
use crate::exits::exits;
use crate::remat::remat;
use crate::{Lever, Options};

/// The function that registers are to be allocated for.
pub fn prepare(mut function: MachFunction, options: &Options) -> MachFunction {
    // What takes the linear-time allocator does not take more than linear time before.
    if function.insts.len() > options.ion_limit {
        return function;
    }
    if options.levers.has(Lever::Exits) {
        function = exits(function);
    }
    if options.levers.has(Lever::Remat) {
        function = remat(function, options);
    }
    if options.levers.has(Lever::Arguments) {
        function = arguments(function);
    }
    function
}
