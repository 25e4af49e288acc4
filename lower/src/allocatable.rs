//! A [`MachFunction`] as regalloc2 wants to see it.

use regalloc2::{Block, Function, Inst, InstRange, Operand, PRegSet, RegClass, VReg};

use crate::{MachFunction, Role};

impl Function for MachFunction {
    fn num_insts(&self) -> usize {
        self.insts.len()
    }

    fn num_blocks(&self) -> usize {
        self.blocks.len()
    }

    fn entry_block(&self) -> Block {
        Block::new(0)
    }

    fn block_insns(&self, block: Block) -> InstRange {
        let block = &self.blocks[block.index()];
        InstRange::new(Inst::new(block.start as usize), Inst::new(block.end as usize))
    }

    fn block_succs(&self, block: Block) -> &[Block] {
        &self.blocks[block.index()].succs
    }

    fn block_preds(&self, block: Block) -> &[Block] {
        &self.blocks[block.index()].preds
    }

    fn block_params(&self, block: Block) -> &[VReg] {
        &self.blocks[block.index()].params
    }

    fn is_ret(&self, inst: Inst) -> bool {
        matches!(self.info[inst.index()].role, Role::Return | Role::Trap)
    }

    fn is_branch(&self, inst: Inst) -> bool {
        self.info[inst.index()].role == Role::Branch
    }

    fn branch_blockparams(&self, block: Block, _: Inst, _: usize) -> &[VReg] {
        &self.blocks[block.index()].args
    }

    fn inst_operands(&self, inst: Inst) -> &[Operand] {
        MachFunction::inst_operands(self, inst.index())
    }

    fn inst_clobbers(&self, inst: Inst) -> PRegSet {
        self.info[inst.index()].clobbers
    }

    fn num_vregs(&self) -> usize {
        self.vreg_bytes.len()
    }

    fn spillslot_size(&self, _: RegClass) -> usize {
        1
    }
}
