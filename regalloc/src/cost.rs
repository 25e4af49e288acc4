//! What an allocation costs when the function runs.
//!
//! The weighted cost of the design: over all blocks, frequency times the saves
//! and restores of callee-saved registers and the loads and stores of spill
//! slots there. A tail call restores when it succeeds, which is every other
//! time.

use tailor_lower::{Gpr, MachBlock, MachFunction, Role};

use crate::steps::Located;

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
    /// Of a function. Tail calls are priced as exits, or else as nothing.
    pub fn new(function: &MachFunction, tail_calls: bool) -> Exits {
        let left = |block: &MachBlock| {
            let insts = block.start as usize..block.end as usize;
            let probability = insts.map(|inst| match function.info[inst].role {
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
pub fn spill_cost(located: &Located) -> f64 {
    let blocks = located.function.blocks.iter().enumerate();
    let cost = |(number, block): (usize, &MachBlock)| {
        let accesses = located.named_in(number).filter(|location| location.is_stack());
        block.frequency * accesses.count() as f64
    };
    blocks.map(cost).sum()
}

/// How many of these registers are accessed more often than saving them costs, as
/// given with each: an estimate, as values in slots need not be reloaded for each access.
pub fn worth_saving(located: &Located, saves: &[(Gpr, f64)]) -> usize {
    let mut accesses = [0.0; 16];
    for (number, block) in located.function.blocks.iter().enumerate() {
        for preg in located.named_in(number).filter_map(|location| location.as_reg()) {
            accesses[preg.hw_enc()] += block.frequency;
        }
    }
    saves.iter().filter(|(reg, cost)| accesses[reg.enc() as usize] > *cost).count()
}
