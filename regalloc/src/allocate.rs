//! Running regalloc2.
//!
//! Problem: give each virtual register a register or a spill slot, at the least
//! weighted cost (see [`crate::cost`]).
//! Idea: regalloc2's backtracking allocator (Ion) with caller-saved registers
//! preferred. It knows no cost of the first use of a callee-saved register and
//! takes one before it would spill, although a value that is used on a cold
//! path alone is cheaper in a slot than in a register pushed at entry. So it
//! runs again with fewer callee-saved registers (`descent.rs`), and the
//! cheapest answer stands. What saves cost is what they cost where they are placed
//! best ([`crate::placement`]). Where Ion would take too long, as in functions above
//! [`Options::ion_limit`] instructions, the linear-time allocator runs once.
//! Invariants: the function is not changed; r11 is never allocated, so that
//! moves and emission sequences may use it; with [`Options::check`] regalloc2's
//! independent checker has proved the result.

use std::cell::RefCell;

use regalloc2::checker::Checker;
use regalloc2::{
    Algorithm, Allocation, Ctx, Edit, MachineEnv, Output, PReg, PRegSet, ProgPoint, RegAllocError,
    RegallocOptions,
};
use smallvec::SmallVec;
use tailor_lower::objects::{self, MOST};
use tailor_lower::{FuncRef, Gpr, MachFunction};
use thiserror::Error;

use crate::colouring;
use crate::cost::{self, Exits, Uses};
use crate::descent::{Outcome, Prospects};
use crate::frame::{self, FrameLayout};
use crate::levers::{Lever, Levers};
use crate::packing::Packing;
use crate::placement::{Placed, Placement, Placer};
use crate::saves::Occupied;
use crate::sharing::Interference;
use crate::sinking;
use crate::steps::Located;
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
    /// Callee-saved registers that are saved by some of these moves, if any.
    pub placed: Vec<Placed>,
    /// The frame.
    pub frame: FrameLayout,
    /// The callee-saved registers that are used, with the saves and restores of
    /// each per execution of the function.
    pub saves: SmallVec<[(Gpr, f64); 6]>,
    /// What all of it costs per execution of the function (see [`crate::cost`]).
    pub cost: f64,
    /// Whether the backtracking or the linear-time allocator made it.
    pub algorithm: Algorithm,
}

impl Allocated {
    /// This allocation of a function, to be followed step by step.
    pub fn located<'a>(&'a self, function: &'a MachFunction) -> Located<'a> {
        let Allocated { locations, edits, placed, .. } = self;
        Located::new(function, locations, edits, placed)
    }

    /// The registers that a tail call restores from slots if it succeeds, before
    /// it drops the frame.
    pub fn restored_at(&self, tail_call: usize) -> impl DoubleEndedIterator<Item = &Placed> {
        let inside =
            move |placed: &&Placed| placed.tail_calls.binary_search(&(tail_call as u32)).is_ok();
        self.placed.iter().filter(inside)
    }

    /// Bytes that an edit moves, by its number.
    pub fn move_bytes(&self, edit: usize) -> u32 {
        if self.narrow.get(edit).is_some_and(|&narrow| narrow) { 4 } else { 8 }
    }
}

/// For each parameter of a block Ion looks at what is passed to all that were
/// defined before it, and in programs of tens of thousands of loops does little else. Above
/// so many looks, which take a second or two, the linear-time allocator is used. (Real
/// programs need a hundredth of that at most.)
const MOST_LOOKS: usize = 1_000_000_000;

/// What the caller chooses.
pub struct Options<'a> {
    /// Prove each result with regalloc2's checker (about doubles the time).
    pub check: bool,
    /// Functions with more instructions than this get the linear-time allocator, and
    /// some of fewer that are all loops.
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

impl Options<'_> {
    /// The allocator for a function of this size.
    fn algorithm(&self, function: &MachFunction) -> Algorithm {
        let params = function.blocks.iter().map(|block| block.params.len());
        let passed = function.blocks.iter().map(|block| block.params.len() * block.preds.len());
        let looks = params.sum::<usize>().saturating_mul(passed.sum());
        match function.insts.len() <= self.ion_limit && looks <= MOST_LOOKS {
            true => Algorithm::Ion,
            false => Algorithm::Fastalloc,
        }
    }

    /// How often a function is left, as far as that is priced.
    pub(crate) fn exits(&self, function: &MachFunction) -> Exits {
        Exits::new(function, &self.levers)
    }
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
pub(crate) struct Candidate {
    pub output: Output,
    occupied: Occupied,
    pub placement: Placement,
    pub uses: Uses,
    pub cost: f64,
}

thread_local! {
    /// regalloc2's working memory. To get and to free it takes a tenth of the time
    /// of a run.
    static MEMORY: RefCell<Ctx> = RefCell::default();
}

/// What working memory is kept for, in instructions; a larger function's is freed.
const KEPT: usize = 10_000;

/// What stays the same from run to run.
struct Runner<'a> {
    function: &'a MachFunction,
    options: &'a Options<'a>,
    algorithm: Algorithm,
    placer: Placer<'a>,
    memory: Ctx,
}

impl Drop for Runner<'_> {
    fn drop(&mut self) {
        if self.function.insts.len() <= KEPT {
            MEMORY.replace(std::mem::take(&mut self.memory));
        }
    }
}

/// Allocates registers, places their saves, and lays out the frame.
pub fn allocate(function: &MachFunction, options: &Options) -> Result<Allocated, Error> {
    let found = cheapest(function, options, Gpr::CALLEE_SAVED.len())?;
    Ok(finish(function, options, found))
}

/// Places the saves and lays out the frame.
pub(crate) fn finish(function: &MachFunction, options: &Options, chosen: Candidate) -> Allocated {
    let Candidate { output, occupied, placement, cost, .. } = chosen;
    let Output { allocs: mut locations, mut edits, num_spillslots: mut slots, .. } = output;
    let shares = options.levers.has(Lever::Sharing);
    if shares {
        slots = webs::separate(function, &mut locations, &mut edits, &occupied, slots);
    }
    let (edits, placed) = placement.apply(function, edits, slots);
    slots += placed.len();
    let accesses = shares.then(|| objects::accesses(function, options.keeps_addresses)).flatten();
    let located = Located::new(function, &locations, &edits, &placed);
    let interference = Interference::new(&located, accesses);
    let Packing { slot_bytes, narrow } = match options.levers.has(Lever::Packing) {
        true => Packing::new(&located, slots),
        false => Packing::wide(slots),
    };
    let saves = placement.costs.clone();
    let frame = frame::layout(function, placement.pushed, slot_bytes, &interference, options);
    let algorithm = options.algorithm(function);
    Allocated { locations, edits, narrow, placed, frame, saves, cost, algorithm }
}

/// The cheapest that is found with at most so many callee-saved registers.
pub(crate) fn cheapest(
    function: &MachFunction,
    options: &Options,
    most: usize,
) -> Result<Candidate, Error> {
    let exits = options.exits(function);
    let mut runner = Runner::new(function, options, &exits);
    let callee_saved = options.levers.callee_saved(function.convention);
    let mut most = most.min(callee_saved.len());
    let mut best = runner.run(&callee_saved[..most])?;
    if matches!(runner.algorithm, Algorithm::Fastalloc) || !options.levers.has(Lever::Descent) {
        return Ok(best);
    }
    let mut prospects = Prospects::new();
    prospects.learn(most, Some(best.outcome()), f64::INFINITY);
    while let Some(next) = prospects.next(function.insts.len(), best.cost) {
        most = next;
        let found = match runner.run(&callee_saved[..most]) {
            // Fewer registers than some instruction needs at once.
            Err(Error::Refused(RegAllocError::TooManyLiveRegs)) => None,
            result => Some(result?),
        };
        prospects.learn(most, found.as_ref().map(Candidate::outcome), best.cost);
        best = match found {
            Some(found) if found.is_better_than(&best) => found,
            _ => best,
        };
    }
    Ok(best)
}

impl Candidate {
    /// What other runs are judged by.
    fn outcome(&self) -> Outcome<'_> {
        Outcome { cost: self.cost, saves: &self.placement.costs, uses: &self.uses }
    }

    /// It is cheaper, or as cheap with fewer registers saved.
    fn is_better_than(&self, other: &Candidate) -> bool {
        let saves = |candidate: &Candidate| candidate.placement.costs.len();
        self.cost < other.cost || self.cost == other.cost && saves(self) < saves(other)
    }
}

/// Gives the callee-saved registers in use the names that come first among these. As no
/// instruction asks for one of them by name, that is as good an allocation.
fn prefer_first(output: &mut Output, callee_saved: &[Gpr]) {
    let Output { allocs, edits, .. } = output;
    let moved = edits.iter().flat_map(|(_, Edit::Move { from, to })| [from, to]);
    let registers = allocs.iter().chain(moved).filter_map(|location| location.as_reg());
    let used = registers.fold(0u64, |used, preg| used | 1 << preg.index());
    let used = callee_saved.iter().filter(|reg| used >> reg.preg().index() & 1 == 1);
    let mut names: [Allocation; 64] =
        std::array::from_fn(|index| Allocation::reg(PReg::from_index(index)));
    let mut changes = false;
    for (old, new) in used.zip(callee_saved) {
        names[old.preg().index()] = Allocation::reg(new.preg());
        changes |= old != new;
    }
    if !changes {
        return;
    }
    let moved = edits.iter_mut().flat_map(|(_, Edit::Move { from, to })| [from, to]);
    for location in allocs.iter_mut().chain(moved) {
        if let Some(preg) = location.as_reg() {
            *location = names[preg.index()];
        }
    }
}

impl<'a> Runner<'a> {
    fn new(function: &'a MachFunction, options: &'a Options, exits: &'a Exits) -> Runner<'a> {
        let placer = Placer::new(function, exits, options.levers.has(Lever::Placement));
        let algorithm = options.algorithm(function);
        Runner { function, options, algorithm, placer, memory: MEMORY.take() }
    }

    /// One run with these callee-saved registers.
    fn run(&mut self, callee_saved: &[Gpr]) -> Result<Candidate, Error> {
        let function = self.function;
        let env = machine_env(callee_saved);
        let settings = RegallocOptions {
            algorithm: self.algorithm,
            validate_ssa: self.options.check,
            ..RegallocOptions::default()
        };
        regalloc2::run_with_ctx(function, &env, &settings, &mut self.memory)
            .map_err(Error::Refused)?;
        let mut output = std::mem::take(&mut self.memory.output);
        prefer_first(&mut output, callee_saved);
        let told_apart = MOST.saturating_sub(function.stack_slots.len());
        if output.num_spillslots > told_apart && self.options.levers.has(Lever::Sharing) {
            colouring::colour(function, &mut output);
        }
        if self.options.levers.has(Lever::Sinking) {
            sinking::sink(function, &mut output);
        }
        if self.options.check {
            let mut checker = Checker::new(function, &env);
            checker.prepare(&output);
            checker.run().map_err(|errors| Error::Wrong(format!("{errors:?}")))?;
        }
        let located = Located::new(function, &output.allocs, &output.edits, &[]);
        let occupied = Occupied::new(&located);
        let used = occupied.callee_saved(function.convention.callee_saved());
        let placement = self.placer.place(&used, &occupied);
        let uses = match used.is_empty() {
            true => Uses::default(),
            false => Uses::new(&located, &occupied),
        };
        let cost = placement.cost() + cost::spill_cost(&located);
        Ok(Candidate { output, occupied, placement, uses, cost })
    }
}
