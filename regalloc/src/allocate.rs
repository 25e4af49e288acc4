//! Running regalloc2.
//!
//! Problem: give each virtual register a register or a spill slot.
//! Idea: regalloc2's backtracking allocator (Ion) with caller-saved registers
//! preferred, so that a callee-saved one is taken only when those are in use;
//! above [`Options::ion_limit`] instructions the linear-time one.
//! Invariants: the function is not changed; r11 is never allocated, so that
//! moves and emission sequences may use it; with [`Options::check`] regalloc2's
//! independent checker has proved the result.

use regalloc2::checker::Checker;
use regalloc2::{
    Algorithm, Allocation, Ctx, Edit, MachineEnv, PRegSet, ProgPoint, RegAllocError,
    RegallocOptions,
};
use tailor_lower::{FuncRef, Gpr, MachFunction};
use thiserror::Error;

use crate::adapter::Adapter;
use crate::frame::{self, FrameLayout};
use crate::saves;

/// Locations for a function's operands, and moves to insert.
#[derive(Clone, Debug)]
pub struct Allocated {
    /// One for each element of `MachFunction::operands`.
    pub locations: Vec<Allocation>,
    /// Moves, ascending by the point at which they happen.
    pub edits: Vec<(ProgPoint, Edit)>,
    /// The frame.
    pub frame: FrameLayout,
}

/// What the caller chooses.
pub struct Options<'a> {
    /// Prove each result with regalloc2's checker (about doubles the time).
    pub check: bool,
    /// Functions with more instructions than this get the linear-time allocator.
    pub ion_limit: usize,
    /// Whether a function of the module relies on the alignment of the stack
    /// at its entry: it, or something it calls, calls C code or can tail-call.
    pub relies_on_alignment: &'a dyn Fn(FuncRef) -> bool,
}

/// Why a function got no registers. All of these are faults of this compiler.
#[derive(Debug, Error)]
pub enum Error {
    /// regalloc2 refused the function.
    #[error("register allocation: {0:?}")]
    Refused(RegAllocError),
    /// The checker refused regalloc2's answer.
    #[error("register allocation is wrong: {0}")]
    Wrong(String),
}

/// The registers that may be allocated.
fn machine_env() -> MachineEnv {
    let set = |regs: &[Gpr]| {
        let mut set = PRegSet::empty();
        regs.iter().for_each(|reg| set.add(reg.preg()));
        [set, PRegSet::empty(), PRegSet::empty()]
    };
    MachineEnv {
        preferred_regs_by_class: set(&Gpr::CALLER_SAVED),
        non_preferred_regs_by_class: set(&Gpr::CALLEE_SAVED),
        scratch_by_class: [Some(Gpr::SCRATCH.preg()), None, None],
        fixed_stack_slots: Vec::new(),
    }
}

/// Allocates registers and lays out the frame.
pub fn allocate(function: &MachFunction, options: &Options) -> Result<Allocated, Error> {
    let adapter = Adapter(function);
    let env = machine_env();
    let ion = function.insts.len() <= options.ion_limit;
    let settings = RegallocOptions {
        algorithm: if ion { Algorithm::Ion } else { Algorithm::Fastalloc },
        validate_ssa: options.check,
        ..RegallocOptions::default()
    };
    let mut ctx = Ctx::default();
    let output =
        regalloc2::run_with_ctx(&adapter, &env, &settings, &mut ctx).map_err(Error::Refused)?;
    if options.check {
        let mut checker = Checker::new(&adapter, &env);
        checker.prepare(output);
        checker.run().map_err(|errors| Error::Wrong(format!("{errors:?}")))?;
    }
    let saved = saves::callee_saved(&output.allocs, &output.edits);
    let frame =
        frame::layout(function, saved, output.num_spillslots as u32, options.relies_on_alignment);
    Ok(Allocated { locations: output.allocs.clone(), edits: output.edits.clone(), frame })
}
