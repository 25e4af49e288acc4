//! Running regalloc2.
//!
//! Problem: give each virtual register a register or a spill slot, at the least
//! weighted cost (see [`crate::cost`]).
//! Idea: regalloc2's backtracking allocator (Ion) with caller-saved registers
//! preferred. It knows no cost of the first use of a callee-saved register and
//! takes one before it would spill, although a value that is used on a cold
//! path alone is cheaper in a slot than in a register pushed at entry. So it
//! runs again with fewer callee-saved registers, first with as many as have
//! more accesses than saving one costs, then with one less or more as long as
//! that is cheaper; of equal ones, that with fewer saves stands. Above
//! [`Options::ion_limit`] instructions the linear-time allocator runs once.
//! Invariants: the function is not changed; r11 is never allocated, so that
//! moves and emission sequences may use it; with [`Options::check`] regalloc2's
//! independent checker has proved the result.

use regalloc2::checker::Checker;
use regalloc2::{
    Algorithm, Allocation, Ctx, Edit, MachineEnv, Output, PRegSet, ProgPoint, RegAllocError,
    RegallocOptions,
};
use smallvec::SmallVec;
use tailor_lower::objects;
use tailor_lower::{FuncRef, Gpr, MachFunction};
use thiserror::Error;

use crate::adapter::Adapter;
use crate::cost;
use crate::frame::{self, FrameLayout};
use crate::levers::{Lever, Levers};
use crate::packing::Packing;
use crate::saves;
use crate::sharing::Interference;
use crate::webs;

/// Locations for a function's operands, and moves to insert.
#[derive(Clone, Debug)]
pub struct Allocated {
    /// One for each element of `MachFunction::operands`.
    pub locations: Vec<Allocation>,
    /// Moves, ascending by the point at which they happen.
    pub edits: Vec<(ProgPoint, Edit)>,
    /// By edit, whether it moves the low four bytes alone; all eight if it is
    /// not among these.
    pub narrow: Vec<bool>,
    /// The frame.
    pub frame: FrameLayout,
}

impl Allocated {
    /// Bytes that an edit moves, by its number.
    pub fn move_bytes(&self, edit: usize) -> u32 {
        if self.narrow.get(edit).is_some_and(|&narrow| narrow) { 4 } else { 8 }
    }
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
    /// Whether a helper may keep an address that it is given, or hand it to
    /// other code of the program.
    pub keeps_addresses: &'a dyn Fn(u32) -> bool,
    /// What may be done.
    pub levers: Levers,
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

/// The registers that may be allocated: all caller-saved, and these of the others.
pub(crate) fn machine_env(callee_saved: &[Gpr]) -> MachineEnv {
    let set = |regs: &[Gpr]| {
        let mut set = PRegSet::empty();
        regs.iter().for_each(|reg| set.add(reg.preg()));
        [set, PRegSet::empty(), PRegSet::empty()]
    };
    MachineEnv {
        preferred_regs_by_class: set(&Gpr::CALLER_SAVED),
        non_preferred_regs_by_class: set(callee_saved),
        scratch_by_class: [Some(Gpr::SCRATCH.preg()), None, None],
        fixed_stack_slots: Vec::new(),
    }
}

/// One run's answer and what it costs.
struct Candidate {
    output: Output,
    saved: SmallVec<[Gpr; 6]>,
    cost: f64,
}

/// Allocates registers and lays out the frame.
pub fn allocate(function: &MachFunction, options: &Options) -> Result<Allocated, Error> {
    let mut chosen = cheapest(function, options)?;
    let shares = options.levers.has(Lever::Sharing);
    if shares {
        let Output { allocs, edits, num_spillslots, .. } = &mut chosen.output;
        *num_spillslots = webs::separate(function, allocs, edits, *num_spillslots);
    }
    let slots = chosen.output.num_spillslots;
    let accesses = shares.then(|| objects::accesses(function, options.keeps_addresses)).flatten();
    let Output { allocs, edits, .. } = &chosen.output;
    let interference = Interference::new(function, accesses, allocs, edits);
    let Packing { slot_bytes, narrow } = match options.levers.has(Lever::Packing) {
        true => Packing::new(function, allocs, edits, slots, &[]),
        false => Packing::wide(slots),
    };
    let relies = options.relies_on_alignment;
    let frame = frame::layout(function, chosen.saved, slot_bytes, &interference, relies);
    Ok(Allocated { locations: chosen.output.allocs, edits: chosen.output.edits, narrow, frame })
}

/// Starts with all callee-saved registers, guesses how many of those that were
/// taken are worth saving, and looks further on while that is cheaper.
fn cheapest(function: &MachFunction, options: &Options) -> Result<Candidate, Error> {
    let mut ctx = Ctx::default();
    let ion = function.insts.len() <= options.ion_limit;
    let callee_saved = options.levers.callee_saved(function.convention);
    let mut best = run(function, options, &callee_saved, ion, &mut ctx)?;
    if !ion || !options.levers.has(Lever::Descent) {
        return Ok(best);
    }
    let used = best.saved.len();
    let Output { allocs, edits, .. } = &best.output;
    let worth = cost::worth_saving(function, allocs, edits, &best.saved);
    if worth == used && callee_saved.starts_with(&best.saved) {
        return Ok(best);
    }
    let mut cheaper_with = |limit: usize| {
        let candidate = match run(function, options, &callee_saved[..limit], ion, &mut ctx) {
            // Fewer registers than some instruction needs at once.
            Err(Error::Refused(RegAllocError::TooManyLiveRegs)) => return Ok(false),
            result => result?,
        };
        let cheaper = candidate.cost <= best.cost;
        if cheaper {
            best = candidate;
        }
        Ok::<_, Error>(cheaper)
    };
    if cheaper_with(worth)? {
        for limit in (0..worth).rev() {
            if !cheaper_with(limit)? {
                break;
            }
        }
    } else {
        for limit in worth + 1..used {
            if !cheaper_with(limit)? {
                break;
            }
        }
    }
    Ok(best)
}

fn run(
    function: &MachFunction,
    options: &Options,
    callee_saved: &[Gpr],
    ion: bool,
    ctx: &mut Ctx,
) -> Result<Candidate, Error> {
    let adapter = Adapter(function);
    let env = machine_env(callee_saved);
    let settings = RegallocOptions {
        algorithm: if ion { Algorithm::Ion } else { Algorithm::Fastalloc },
        validate_ssa: options.check,
        ..RegallocOptions::default()
    };
    regalloc2::run_with_ctx(&adapter, &env, &settings, ctx).map_err(Error::Refused)?;
    let output = std::mem::take(&mut ctx.output);
    if options.check {
        let mut checker = Checker::new(&adapter, &env);
        checker.prepare(&output);
        checker.run().map_err(|errors| Error::Wrong(format!("{errors:?}")))?;
    }
    let order = function.convention.callee_saved();
    let saved = saves::callee_saved(order, &output.allocs, &output.edits);
    let cost = saved.len() as f64 * cost::save_cost(function)
        + cost::spill_cost(function, &output.allocs, &output.edits);
    Ok(Candidate { output, saved, cost })
}
