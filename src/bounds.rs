//! Lower bounds of frames: of the IR as it was optimised, and of the IR as it
//! was lifted, so that a worse IR cannot make a frame look better.

use tailor_bpf::FuncRef;
use tailor_bpf::lift::lift;
use tailor_regalloc::bound::lower_bound;

use crate::compile::{Unit, keeps_addresses};
use crate::trace::Trace;

/// The least bytes that a function's frame can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// With the optimised IR.
    pub optimised: Option<u32>,
    /// With the IR as it was lifted.
    pub lifted: Option<u32>,
}

/// Computes both; `None` where a function is refused or too large to tell.
pub fn bounds(unit: &Unit, func: FuncRef, trace: &mut Trace) -> Bounds {
    let Unit { object, facts, .. } = unit;
    let Ok(mut ir) = lift(object, facts, func) else {
        return Bounds::default();
    };
    let bound = |ir: &tailor_ir::Function, trace: &Trace| {
        let options = tailor_lower::Options {
            features: trace.features,
            wants_record: &|callee| facts.functions[callee].reaches_tail_call,
            ctx_field: &crate::engine::ctx_field,
        };
        let mach = tailor_lower::lower(ir, &options).ok()?;
        lower_bound(&mach, &keeps_addresses)
    };
    let lifted = bound(&ir, trace);
    let optimised = trace.optimise(&mut ir).ok().and_then(|()| bound(&ir, trace));
    Bounds { optimised, lifted }
}
