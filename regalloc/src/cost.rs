//! What an allocation costs when the function runs.
//!
//! The weighted cost of the design: over all blocks, frequency times the saves
//! and restores of callee-saved registers and the loads and stores of spill
//! slots there. A tail call restores when it succeeds, which is every other
//! time.

use regalloc2::{Allocation, Edit, Inst, Operand, OperandKind, ProgPoint};
use tailor_lower::{Gpr, MInst, MachBlock, MachFunction, Role};

use crate::saves::Occupied;

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

/// The operands of instructions `start..end`.
fn block_operands(function: &MachFunction, start: u32, end: u32) -> std::ops::Range<usize> {
    let first = |inst: u32| {
        let info = function.info.get(inst as usize);
        info.map_or(function.operands.len(), |info| info.first as usize)
    };
    first(start)..first(end)
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
    pub fn new(
        function: &MachFunction,
        locations: &[Allocation],
        edits: &[(ProgPoint, Edit)],
        occupied: &Occupied,
    ) -> Uses {
        let callee_saved = Gpr::CALLEE_SAVED.iter().fold(0, |set, reg| set | 1 << reg.enc());
        let mut walk = Walk::default();
        let mut edits = edits.iter().rev().peekable();
        for (number, block) in function.blocks.iter().enumerate().rev() {
            walk.frequency = block.frequency;
            walk.live = occupied.at_end(number);
            for inst in (block.start as usize..block.end as usize).rev() {
                let mut moves_from = |point: ProgPoint, walk: &mut Walk| {
                    while let Some((_, Edit::Move { from, to })) = edits.next_if(|e| e.0 >= point) {
                        walk.write(to);
                        walk.read(from);
                    }
                };
                moves_from(ProgPoint::after(Inst::new(inst)), &mut walk);
                let info = &function.info[inst];
                let operands = function.inst_operands(inst).iter();
                let operands = operands.zip(&locations[info.first as usize..]);
                let of_kind = |kind| {
                    let of_kind = move |(operand, _): &(&Operand, _)| operand.kind() == kind;
                    operands.clone().filter(of_kind).map(|(_, location)| location)
                };
                of_kind(OperandKind::Def).for_each(|location| walk.write(location));
                if matches!(info.role, Role::CallC | Role::CallLocal) {
                    walk.load();
                    walk.across = walk.across.max((walk.live & callee_saved).count_ones());
                }
                of_kind(OperandKind::Use).for_each(|location| walk.read(location));
                moves_from(ProgPoint::before(Inst::new(inst)), &mut walk);
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
    fn read(&mut self, location: &Allocation) {
        if let Some(reg) = location.as_reg() {
            self.live |= 1 << reg.hw_enc();
            self.used |= 1 << reg.hw_enc();
        }
    }

    fn write(&mut self, location: &Allocation) {
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
