//! Lower bounds of frames: of the IR as it was optimised, and of the IR as it
//! was lifted, so that a worse IR cannot make a frame look better.

use tailor_bpf::FuncRef;
use tailor_bpf::lift::lift;
use tailor_lower::Convention;
use tailor_regalloc::bound::lower_bound;

use crate::compile::{Unit, lower};
use crate::engine::Engine;
use crate::trace::Trace;

/// The least bytes that a function's frame can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// With the optimised IR.
    pub optimised: Option<u32>,
    /// With the IR as it was lifted.
    pub lifted: Option<u32>,
}

/// What a kernel's tail-call counter takes of the frame: itself, and since 6.12
/// its address.
fn counter_bytes(engine: Engine) -> u32 {
    match engine {
        Engine::NaiveFixed | Engine::Naive510 => 8,
        _ => 16,
    }
}

/// Computes both; `None` where a function is refused or too large to tell.
///
/// They are of the optimizing pipeline's IR, whatever the engine makes of the
/// bytecode. A kernel's convention adds its frame pointer, and its counter where
/// a tail call is in reach.
pub fn bounds(unit: &Unit, engine: Engine, func: FuncRef, trace: &mut Trace) -> Bounds {
    let Unit { object, facts, .. } = unit;
    let Ok(mut ir) = lift(object, facts, func) else {
        return Bounds::default();
    };
    let fixed = match engine.convention() {
        Convention::Kernel { .. } if facts.functions[func].reaches_tail_call => {
            8 + counter_bytes(engine)
        }
        Convention::Kernel { .. } => 8,
        Convention::Saving => 0,
    };
    let bound = |ir: &tailor_ir::Function, trace: &Trace| {
        let mach = lower(unit, engine, ir, trace).ok()?;
        Some(fixed + lower_bound(&mach, &|helper| object.helper(helper).keeps_addresses())?)
    };
    let lifted = bound(&ir, trace);
    let optimised = trace.optimise(&mut ir).ok().and_then(|()| bound(&ir, trace));
    Bounds { optimised, lifted }
}
