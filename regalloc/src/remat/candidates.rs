//! Which values could be computed again, where all values are used, and how
//! many live at once.

use regalloc2::{Block, OperandKind, RegClass, VReg};
use smallvec::SmallVec;
use tailor_lower::{Gpr, MInst, MachFunction, Role};

use crate::Options;
use crate::liveness::{Live, Liveness};

/// What is this near its definition is not looked at.
const NEAR: u32 = 24;

/// A use of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Use {
    pub(super) block: u32,
    /// The instruction; of an argument, one past the block's last.
    pub(super) at: u32,
    /// Which operand or argument it is.
    pub(super) position: u32,
}

impl Use {
    pub(super) fn is_argument(&self, function: &MachFunction) -> bool {
        self.at == function.blocks[self.block as usize].end
    }
}

pub(super) const NONE: u32 = u32::MAX;

/// By virtual register, the instruction that could be executed again for it.
pub(super) fn definitions(function: &MachFunction) -> Vec<u32> {
    let mut definitions = vec![NONE; function.vreg_bytes.len()];
    for (inst, code) in function.insts.iter().enumerate() {
        // A count in rcx asks for that register at every place.
        let cheap = code.is_pure() && !matches!(code, MInst::ShiftCl(..));
        if cheap && function.info[inst].role == Role::Plain {
            let operands = function.inst_operands(inst);
            let mut defs = operands.iter().filter(|operand| operand.kind() == OperandKind::Def);
            if let (Some(def), None) = (defs.next(), defs.next()) {
                definitions[def.vreg().vreg()] = inst as u32;
            }
        }
    }
    definitions
}

/// What an instruction uses.
pub(super) fn inputs(function: &MachFunction, inst: usize) -> impl Iterator<Item = VReg> {
    let operands = function.inst_operands(inst).iter();
    operands.filter(|operand| operand.kind() == OperandKind::Use).map(|operand| operand.vreg())
}

/// Values that could be computed again, and what is known of all values.
pub(super) struct Candidates {
    pub(super) definitions: Vec<u32>,
    pub(super) is_one: Vec<bool>,
    /// By virtual register, the block that defines it.
    pub(super) home: Vec<u32>,
    /// By instruction, the calls before it.
    calls: Vec<u32>,
    /// By virtual register, the calls before it is there.
    born: Vec<u32>,
    /// Uses, by virtual register from `first` on, in the order of the code.
    pub(super) uses: Vec<Use>,
    pub(super) first: Vec<u32>,
}

impl Candidates {
    /// `None` if there are none: most functions, so this must be quick.
    pub(super) fn new(function: &MachFunction) -> Option<Candidates> {
        let definitions = definitions(function);
        let far = far(function);
        let is_one: Vec<bool> = (0..definitions.len())
            .map(|vreg| {
                definitions[vreg] != NONE
                    && far[vreg]
                    && inputs(function, definitions[vreg] as usize)
                        .all(|input| far[input.vreg()] || definitions[input.vreg()] != NONE)
            })
            .collect();
        if !is_one.contains(&true) {
            return None;
        }
        let mut calls = Vec::with_capacity(function.insts.len() + 1);
        calls.push(0);
        for inst in 0..function.insts.len() {
            calls.push(calls[inst] + u32::from(is_call(function, inst)));
        }
        let (mut home, mut born) = (vec![0; definitions.len()], vec![0; definitions.len()]);
        let mut found = Vec::new();
        for (index, block) in function.blocks.iter().enumerate() {
            let block_number = index as u32;
            for param in &block.params {
                home[param.vreg()] = block_number;
                born[param.vreg()] = calls[block.start as usize];
            }
            for at in block.start..block.end {
                for (position, operand) in function.inst_operands(at as usize).iter().enumerate() {
                    let position = position as u32;
                    match operand.kind() {
                        OperandKind::Def => {
                            home[operand.vreg().vreg()] = block_number;
                            born[operand.vreg().vreg()] = calls[at as usize + 1];
                        }
                        OperandKind::Use => {
                            found.push((operand.vreg(), Use { block: block_number, at, position }))
                        }
                    }
                }
            }
            for (position, &arg) in block.args.iter().enumerate() {
                let position = position as u32;
                found.push((arg, Use { block: block_number, at: block.end, position }));
            }
        }
        let mut first = vec![0u32; definitions.len() + 1];
        found.iter().for_each(|(vreg, _)| first[vreg.vreg() + 1] += 1);
        (1..first.len()).for_each(|vreg| first[vreg] += first[vreg - 1]);
        let mut next = first.clone();
        let mut uses = vec![Use { block: 0, at: 0, position: 0 }; found.len()];
        for (vreg, used) in found {
            uses[next[vreg.vreg()] as usize] = used;
            next[vreg.vreg()] += 1;
        }
        Some(Candidates { definitions, is_one, home, calls, born, uses, first })
    }

    pub(super) fn uses(&self, vreg: VReg) -> &[Use] {
        &self.uses[self.first[vreg.vreg()] as usize..self.first[vreg.vreg() + 1] as usize]
    }
}

/// By virtual register, whether it is used in another block than its own, behind
/// a call, or far behind its definition.
pub(super) fn far(function: &MachFunction) -> Vec<bool> {
    // Where it was defined, and how many calls came before.
    let mut defined = vec![(0, 0); function.vreg_bytes.len()];
    let mut far = vec![false; function.vreg_bytes.len()];
    let mut calls = 0;
    for block in &function.blocks {
        // As if each block began with one.
        calls += 1;
        block.params.iter().for_each(|param| defined[param.vreg()] = (block.start, calls));
        for at in block.start..block.end {
            let operands = function.inst_operands(at as usize);
            for operand in operands.iter().filter(|operand| operand.kind() == OperandKind::Use) {
                let (from, before) = defined[operand.vreg().vreg()];
                far[operand.vreg().vreg()] |= before != calls || at - from > NEAR;
            }
            calls += u32::from(is_call(function, at as usize));
            for operand in operands.iter().filter(|operand| operand.kind() == OperandKind::Def) {
                defined[operand.vreg().vreg()] = (at, calls);
            }
        }
        for arg in &block.args {
            let (from, before) = defined[arg.vreg()];
            far[arg.vreg()] |= before != calls || block.end - from > NEAR;
        }
    }
    far
}

pub(super) fn is_call(function: &MachFunction, inst: usize) -> bool {
    function.info[inst].role.is_call()
}

/// How many values live at each instruction beyond the registers that cost
/// nothing there, and how many would without candidates.
pub(super) struct Tension {
    pub(super) need: Vec<u32>,
    pub(super) without: u32,
    /// How many callee-saved registers are worth saving, nearly.
    pub(super) worthy: u32,
    /// What saving one of them costs.
    pub(super) save_cost: f64,
}

impl Tension {
    pub(super) fn new(
        function: &MachFunction,
        options: &Options,
        liveness: &Liveness,
        candidates: &Candidates,
    ) -> Tension {
        let save_cost = options.exits(function).save_cost();
        let need = vec![0; function.insts.len()];
        let mut tension = Tension { need, without: 0, worthy: 0, save_cost };
        let mut ranks = Ranks::new(function, candidates);
        let mut live = Live::new(function);
        for block in 0..function.blocks.len() {
            liveness.for_each_point(function, Block::new(block), &mut live, |inst, live| {
                let is_call = is_call(function, inst);
                let free = if is_call { 0 } else { Gpr::CALLER_SAVED.len() };
                let all = live.members();
                if all.len() <= free {
                    return;
                }
                let need = (all.len() - free) as u32;
                tension.need[inst] = tension.need[inst].max(need);
                // Of a part of them there are no more.
                if need > tension.without {
                    let others = all.iter().filter(|vreg| !candidates.is_one[vreg.vreg()]);
                    let others = others.count().saturating_sub(free);
                    tension.without = tension.without.max(others as u32);
                }
                if is_call {
                    ranks.note(all);
                }
            });
        }
        tension.worthy = ranks.worthy(tension.save_cost);
        tension
    }

    pub(super) fn most(&self) -> u32 {
        self.need.iter().copied().max().unwrap_or(0)
    }
}

/// Which value would have which callee-saved register, if at each call those
/// whose slots cost most had the first ones.
struct Ranks {
    /// By virtual register, what its slot costs.
    costs: Vec<f64>,
    /// By virtual register, its last place at any call, from 1 on; 0 at none.
    ranks: Vec<u32>,
}

impl Ranks {
    fn new(function: &MachFunction, candidates: &Candidates) -> Ranks {
        let vregs = (0..function.vreg_bytes.len()).map(|vreg| VReg::new(vreg, RegClass::Int));
        let costs: Vec<f64> = vregs.map(|vreg| slot_cost(function, candidates, vreg)).collect();
        Ranks { ranks: vec![0; costs.len()], costs }
    }

    /// These live across a call.
    fn note(&mut self, live: &[VReg]) {
        const MOST: usize = Gpr::CALLEE_SAVED.len();
        let mut first: SmallVec<[VReg; MOST + 1]> = SmallVec::new();
        for &vreg in live {
            let cost = self.costs[vreg.vreg()];
            let place = first.partition_point(|other| self.costs[other.vreg()] >= cost);
            if place < MOST {
                first.insert(place, vreg);
                first.truncate(MOST);
            }
        }
        for (rank, vreg) in first.iter().enumerate() {
            let old = &mut self.ranks[vreg.vreg()];
            *old = (*old).max(rank as u32 + 1);
        }
    }

    /// Registers that save more than saving them costs.
    fn worthy(&self, save: f64) -> u32 {
        let mut gains = [0.0; Gpr::CALLEE_SAVED.len() + 1];
        for (&rank, cost) in self.ranks.iter().zip(&self.costs) {
            gains[rank as usize] += cost;
        }
        gains[1..].iter().take_while(|&&gain| gain > save).count() as u32
    }
}

/// Loads and stores of a value that is kept in a slot: one where it is defined,
/// and one for each stretch between calls that uses it.
pub(super) fn slot_cost(function: &MachFunction, candidates: &Candidates, vreg: VReg) -> f64 {
    let frequency = |block: u32| function.blocks[block as usize].frequency;
    let home = candidates.home[vreg.vreg()];
    let mut last = (home, candidates.born[vreg.vreg()]);
    let mut cost = frequency(home);
    for used in candidates.uses(vreg) {
        let stretch = (used.block, candidates.calls[used.at as usize]);
        if stretch != last {
            last = stretch;
            cost += frequency(used.block);
        }
    }
    cost
}
