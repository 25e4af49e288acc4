//! What an allocation costs when the function runs.
//!
//! The weighted cost of the design: over all blocks, frequency times the saves
//! and restores of callee-saved registers and the loads and stores of spill
//! slots there. A tail call restores when it succeeds, which is every other
//! time.

use regalloc2::{Allocation, Edit, Inst, ProgPoint};
use tailor_lower::{Gpr, MInst, MachBlock, MachFunction, Role};

use crate::levers::{Lever, Levers};

/// Probability that a tail call leaves the function.
pub const TAIL_CALL_SUCCEEDS: f64 = 0.5;

/// What an instruction that computes a value again counts, beside memory
/// operations, which count 1.
pub const RECOMPUTED: f64 = 0.25;

/// How often a function is left.
#[derive(Clone, Debug)]
pub struct Exits {
    /// For each block, how often in an execution of the function it is left there
    /// with the registers restored.
    pub by_block: Vec<f64>,
}

impl Exits {
    /// Of a function. Tail calls are priced as exits, or as nothing without that
    /// lever.
    pub fn new(function: &MachFunction, levers: &Levers) -> Exits {
        let tail_calls = levers.has(Lever::TailPricing);
        let left = |block: &MachBlock| {
            let insts = block.start as usize..block.end as usize;
            let probability = insts.map(|inst| match function.info[inst].role {
                // It traps, and nobody sees the registers.
                Role::Return if function.insts[inst] == MInst::Trap => 0.0,
                Role::Return => 1.0,
                Role::TailCall if tail_calls => TAIL_CALL_SUCCEEDS,
                _ => 0.0,
            });
            block.frequency * probability.sum::<f64>()
        };
        Exits { by_block: function.blocks.iter().map(left).collect() }
    }

    /// Memory operations per execution of the function, for one callee-saved
    /// register that is saved at entry and restored at every exit.
    pub fn save_cost(&self) -> f64 {
        1.0 + self.by_block.iter().sum::<f64>()
    }
}

/// Loads and stores of spill slots per execution of the function.
pub fn spill_cost(
    function: &MachFunction,
    locations: &[Allocation],
    edits: &[(ProgPoint, Edit)],
) -> f64 {
    let mut edits = edits.iter().peekable();
    let mut cost = 0.0;
    for block in &function.blocks {
        let operands = block_operands(function, block.start, block.end);
        let in_slots = locations[operands].iter().filter(|location| location.is_stack()).count();
        let end = ProgPoint::before(Inst::new(block.end as usize));
        let mut moves = 0;
        while let Some((_, Edit::Move { from, to })) = edits.next_if(|(point, _)| *point < end) {
            moves += usize::from(from.is_stack()) + usize::from(to.is_stack());
        }
        cost += block.frequency * (in_slots + moves) as f64;
    }
    cost
}

/// What instructions that compute values again count per execution of the function.
pub fn of_recomputed(function: &MachFunction) -> f64 {
    let count = |block: &MachBlock| {
        let insts = &function.info[block.start as usize..block.end as usize];
        insts.iter().filter(|info| info.recomputed).count()
    };
    let blocks = function.blocks.iter();
    blocks.map(|block| RECOMPUTED * block.frequency * count(block) as f64).sum()
}

/// The operands of instructions `start..end`.
fn block_operands(function: &MachFunction, start: u32, end: u32) -> std::ops::Range<usize> {
    let first = |inst: u32| {
        let info = function.info.get(inst as usize);
        info.map_or(function.operands.len(), |info| info.first as usize)
    };
    first(start)..first(end)
}

/// How many of these registers are accessed more often than saving them costs, as
/// given with each: an estimate, as values in slots need not be reloaded for each access.
pub fn worth_saving(
    function: &MachFunction,
    locations: &[Allocation],
    edits: &[(ProgPoint, Edit)],
    saves: &[(Gpr, f64)],
) -> usize {
    let mut accesses = [0.0; 16];
    let mut edits = edits.iter().peekable();
    for block in &function.blocks {
        let mut note = |location: &Allocation| {
            if let Some(preg) = location.as_reg() {
                accesses[Gpr::from_preg(preg).enc() as usize] += block.frequency;
            }
        };
        locations[block_operands(function, block.start, block.end)].iter().for_each(&mut note);
        let end = ProgPoint::before(Inst::new(block.end as usize));
        while let Some((_, Edit::Move { from, to })) = edits.next_if(|(point, _)| *point < end) {
            note(from);
            note(to);
        }
    }
    saves.iter().filter(|(reg, cost)| accesses[reg.enc() as usize] > *cost).count()
}
