//! A [`MachFunction`] as regalloc2 wants to see it.

use regalloc2::{Block, Function, Inst, InstRange, Operand, PRegSet, RegClass, VReg};
use tailor_lower::{MachFunction, Role};

/// Bytes of a spill slot; regalloc2 counts in these.
pub const SPILL_SLOT_BYTES: u32 = 8;

/// Newtype for the foreign trait.
pub struct Adapter<'a>(pub &'a MachFunction);

impl Adapter<'_> {
    fn role(&self, inst: Inst) -> Role {
        self.0.info[inst.index()].role
    }
}

impl Function for Adapter<'_> {
    fn num_insts(&self) -> usize {
        self.0.insts.len()
    }

    fn num_blocks(&self) -> usize {
        self.0.blocks.len()
    }

    fn entry_block(&self) -> Block {
        Block::new(0)
    }

    fn block_insns(&self, block: Block) -> InstRange {
        let block = &self.0.blocks[block.index()];
        InstRange::new(Inst::new(block.start as usize), Inst::new(block.end as usize))
    }

    fn block_succs(&self, block: Block) -> &[Block] {
        &self.0.blocks[block.index()].succs
    }

    fn block_preds(&self, block: Block) -> &[Block] {
        &self.0.blocks[block.index()].preds
    }

    fn block_params(&self, block: Block) -> &[VReg] {
        &self.0.blocks[block.index()].params
    }

    fn is_ret(&self, inst: Inst) -> bool {
        matches!(self.role(inst), Role::Return | Role::Trap)
    }

    fn is_branch(&self, inst: Inst) -> bool {
        self.role(inst) == Role::Branch
    }

    fn branch_blockparams(&self, block: Block, _: Inst, _: usize) -> &[VReg] {
        &self.0.blocks[block.index()].args
    }

    fn inst_operands(&self, inst: Inst) -> &[Operand] {
        self.0.inst_operands(inst.index())
    }

    fn inst_clobbers(&self, inst: Inst) -> PRegSet {
        self.0.info[inst.index()].clobbers
    }

    fn num_vregs(&self) -> usize {
        self.0.vreg_bytes.len()
    }

    fn spillslot_size(&self, _: RegClass) -> usize {
        1
    }
}
