//! What an allocation costs when the function runs.
//!
//! The weighted cost of the design: over all blocks, frequency times the saves
//! and restores of callee-saved registers and the loads and stores of spill
//! slots there. A tail call restores when it succeeds, and what is behind it in its
//! block is executed when it does not.

use std::ops::Range;

use regalloc2::Allocation;
use tailor_lower::{Gpr, MachBlock, MachFunction, Role};

use crate::levers::{Lever, Levers};
use crate::saves::Occupied;
use crate::steps::{Located, Step};

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
                Role::Return => 1.0,
                Role::TailCall if tail_calls => block.leaves,
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
    weigh(located.function, |block, insts| {
        let named = located.named_in(block, insts);
        named.filter(|location| location.is_stack()).count()
    })
}

/// What instructions that compute values again count per execution of the function.
pub fn of_recomputed(function: &MachFunction) -> f64 {
    let recomputed = weigh(function, |_, insts| {
        let insts = &function.info[insts];
        insts.iter().filter(|info| info.recomputed).count()
    });
    RECOMPUTED * recomputed
}

/// Sums counts of runs of instructions, each of some block, by how often they are
/// executed.
fn weigh(function: &MachFunction, count: impl Fn(usize, Range<usize>) -> usize) -> f64 {
    let mut sum = 0.0;
    for (number, block) in function.blocks.iter().enumerate() {
        for (insts, frequency) in function.weighed(block) {
            if !insts.is_empty() {
                sum += frequency * count(number, insts) as f64;
            }
        }
    }
    sum
}

/// What callee-saved registers are used for.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    /// For each register by number, the loads and stores per execution of the function
    /// if what it holds were in slots instead: a store for each time that it is set,
    /// and in each block a load before the first use, and before the first behind a
    /// call.
    pub accesses: [f64; 16],
    /// How many of them hold something at once while a call is executed.
    pub across: usize,
}

impl Uses {
    /// Of an allocation.
    pub fn new(located: &Located, occupied: &Occupied) -> Uses {
        let function = located.function;
        let callee_saved = Gpr::CALLEE_SAVED.iter().fold(0, |set, reg| set | 1 << reg.enc());
        let mut walk = Walk::default();
        for (number, block) in function.blocks.iter().enumerate().rev() {
            walk.frequency = block.goes_on();
            walk.live = occupied.live_registers(number);
            for step in located.steps(number).rev() {
                match step {
                    Step::Move { from, to, .. } => {
                        walk.write(to);
                        walk.read(from);
                    }
                    Step::Inst(inst) => {
                        if function.info[inst].role == Role::TailCall {
                            walk.frequency = block.frequency;
                        }
                        located.defs(inst).for_each(|(_, location)| walk.write(location));
                        if function.info[inst].role.is_call() {
                            walk.load();
                            let across = (walk.live & callee_saved).count_ones();
                            walk.across = walk.across.max(across);
                        }
                        located.uses(inst).for_each(|(_, location)| walk.read(location));
                    }
                }
            }
            walk.load();
        }
        Uses { accesses: walk.accesses, across: walk.across as usize }
    }
}

/// What was found from the end to some point.
#[derive(Default)]
struct Walk {
    accesses: [f64; 16],
    across: u32,
    /// How often it is reached.
    frequency: f64,
    /// Registers whose values are read behind it.
    live: u16,
    /// Those that are before the next call or the end of the block.
    used: u16,
}

impl Walk {
    fn read(&mut self, location: Allocation) {
        if let Some(reg) = location.as_reg() {
            self.live |= 1 << reg.hw_enc();
            self.used |= 1 << reg.hw_enc();
        }
    }

    fn write(&mut self, location: Allocation) {
        if let Some(reg) = location.as_reg() {
            self.live &= !(1 << reg.hw_enc());
            self.used &= !(1 << reg.hw_enc());
            self.accesses[reg.hw_enc()] += self.frequency;
        }
    }

    /// What is used must be loaded here.
    fn load(&mut self) {
        while self.used != 0 {
            self.accesses[self.used.trailing_zeros() as usize] += self.frequency;
            self.used &= self.used - 1;
        }
    }
}
