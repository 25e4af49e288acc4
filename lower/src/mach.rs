//! A function as machine instructions over virtual registers.

use std::ops::Range;

use cranelift_entity::PrimaryMap;
use regalloc2::{Operand, PRegSet, VReg};
use smallvec::SmallVec;
use tailor_ir::function::StackSlotData;
use tailor_ir::{FuncRef, StackSlot};

use crate::x64::inst::Flags;
use crate::{Convention, MInst};

/// A function between selection and emission. Instructions, operands and
/// blocks are in flat lists; the allocator leaves all of them alone.
#[derive(Clone, Debug)]
pub struct MachFunction {
    /// Number in the module.
    pub id: FuncRef,
    /// Name for listings and errors.
    pub name: String,
    /// Instructions in layout order.
    pub insts: Vec<MInst>,
    /// What the allocator sees of each instruction; same length as `insts`.
    pub info: Vec<InstInfo>,
    /// Operands of all instructions, in the order that `MInst` documents.
    pub operands: Vec<Operand>,
    /// Blocks in layout order; block 0 is the entry, has no parameters and no predecessor.
    pub blocks: Vec<MachBlock>,
    /// Width in bytes (4 or 8) that is meaningful in each virtual register, by number.
    pub vreg_bytes: Vec<u8>,
    /// Frame objects that are still in memory.
    pub stack_slots: PrimaryMap<StackSlot, StackSlotData>,
    /// Takes the invocation record in `Gpr::RECORD` (or as a kernel's convention
    /// says, the counter in its frame) and may leave by a tail call.
    pub reaches_tail_call: bool,
    /// How it is entered.
    pub convention: Convention,
}

/// What the allocator sees of an instruction.
#[derive(Clone, Debug)]
pub struct InstInfo {
    /// First operand in `MachFunction::operands`.
    pub first: u32,
    /// Number of operands.
    pub count: u16,
    /// How control leaves it.
    pub role: Role,
    /// Registers that it destroys beside its definitions.
    pub clobbers: PRegSet,
    /// The bytecode instruction that it comes from.
    pub origin: u32,
    /// Computes again what another instruction has computed, to save registers.
    pub recomputed: bool,
}

/// What an instruction is to the allocator and to the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Anything else.
    Plain,
    /// Calls code that obeys the C convention and may need an aligned stack.
    CallC,
    /// Calls this function of the module.
    CallLocal(FuncRef),
    /// May leave the function for another program; falls through otherwise.
    TailCall,
    /// Ends a block by going to its successors.
    Branch,
    /// Ends a block by leaving the function.
    Return,
    /// Ends a block by stopping the program: registers are not restored.
    Trap,
}

impl Role {
    /// Whether it comes back from code that may change caller-saved registers.
    pub fn is_call(self) -> bool {
        matches!(self, Role::CallC | Role::CallLocal(_))
    }

    /// Whether the function may be left there.
    pub fn leaves(self) -> bool {
        matches!(self, Role::TailCall | Role::Return | Role::Trap)
    }
}

/// A basic block.
#[derive(Clone, Debug, Default)]
pub struct MachBlock {
    /// Instructions `start..end` of the function.
    pub start: u32,
    /// One past the last instruction.
    pub end: u32,
    /// Successors; for a conditional jump the taken one first.
    pub succs: SmallVec<[regalloc2::Block; 2]>,
    /// Predecessors.
    pub preds: SmallVec<[regalloc2::Block; 2]>,
    /// Parameters.
    pub params: Vec<VReg>,
    /// Arguments for the parameters of the successor; only a block with one
    /// successor has any (critical edges are split).
    pub args: Vec<VReg>,
    /// Executions per execution of the entry.
    pub frequency: f64,
    /// The chance that a tail call in it leaves the function; 0 without one.
    pub leaves: f64,
}

impl MachBlock {
    /// Executions, per execution of the entry, of what is behind its tail call: all
    /// if it has none.
    pub fn goes_on(&self) -> f64 {
        self.frequency * (1.0 - self.leaves)
    }
}

impl MachFunction {
    /// The operands of instruction `inst`.
    pub fn inst_operands(&self, inst: usize) -> &[Operand] {
        let info = &self.info[inst];
        &self.operands[info.first as usize..info.first as usize + info.count as usize]
    }

    /// The instructions of a block up to its tail call and those behind it, each with
    /// how often they are executed per execution of the entry.
    pub fn weighed(&self, block: &MachBlock) -> [(Range<usize>, f64); 2] {
        let insts = block.start as usize..block.end as usize;
        let is_tail_call = |inst: &usize| self.info[*inst].role == Role::TailCall;
        let tail_call = insts.clone().rev().filter(|_| block.leaves > 0.0).find(is_tail_call);
        let behind = tail_call.map_or(insts.end, |inst| inst + 1);
        [(insts.start..behind, block.frequency), (behind..insts.end, block.goes_on())]
    }

    /// The bytes that an instruction reads of an operand that is in a spill slot.
    pub fn slot_bytes(&self, inst: usize) -> u32 {
        let code = &self.insts[inst];
        let narrow = |operand: &&Operand| self.vreg_bytes[operand.vreg().vreg()] <= 4;
        match code {
            // As much as counts of the result.
            MInst::Mov(_) if self.inst_operands(inst).first().is_some_and(|op| narrow(&op)) => 4,
            _ => code.slot_bytes(),
        }
    }

    /// The comparison that the conditional jump at the end of a block waits for;
    /// the block's first instruction if there is none to be found.
    pub fn comparison(&self, block: regalloc2::Block) -> Option<usize> {
        let block = &self.blocks[block.index()];
        let range = block.start as usize..block.end as usize;
        let Some((MInst::Jcc(_), body)) = self.insts[range].split_last() else {
            return None;
        };
        let at = body.iter().rposition(|inst| inst.flags() == Flags::Compares);
        Some(block.start as usize + at.unwrap_or(0))
    }

    /// Whether a conditional jump waits for the flags as they are just before
    /// this instruction.
    pub fn flags_awaited(&self, inst: usize) -> bool {
        let block = self.blocks.partition_point(|block| block.end as usize <= inst);
        let comparison = self.comparison(regalloc2::Block::new(block));
        comparison.is_some_and(|comparison| comparison < inst)
    }
}
