//! A machine function through regalloc2 and its checker.

use regalloc2::checker::Checker;
use regalloc2::{
    Block, Function, Inst, InstRange, MachineEnv, Operand, PRegSet, RegAllocError, RegClass,
    RegallocOptions, VReg, run,
};
use tailor_lower::{Gpr, MachFunction, Role};

struct Input<'a>(&'a MachFunction);

impl Function for Input<'_> {
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
        matches!(self.0.info[inst.index()].role, Role::Return | Role::Trap)
    }

    fn is_branch(&self, inst: Inst) -> bool {
        self.0.info[inst.index()].role == Role::Branch
    }

    fn branch_blockparams(&self, block: Block, _inst: Inst, _succ: usize) -> &[VReg] {
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

    fn spillslot_size(&self, _class: RegClass) -> usize {
        1
    }
}

/// Allocates registers and checks the result.
pub fn allocate(f: &MachFunction) -> Result<(), String> {
    let pregs = |regs: &[Gpr]| {
        let mut set = PRegSet::empty();
        regs.iter().for_each(|reg| set.add(reg.preg()));
        set
    };
    let none = PRegSet::empty();
    let env = MachineEnv {
        preferred_regs_by_class: [pregs(&Gpr::CALLER_SAVED), none, none],
        non_preferred_regs_by_class: [pregs(&Gpr::CALLEE_SAVED), none, none],
        scratch_by_class: [Some(Gpr::SCRATCH.preg()), None, None],
        fixed_stack_slots: vec![],
    };
    let options = RegallocOptions { validate_ssa: true, ..Default::default() };
    let input = Input(f);
    let output = run(&input, &env, &options).map_err(|error: RegAllocError| error.to_string())?;
    let mut checker = Checker::new(&input, &env);
    checker.prepare(&output);
    checker.run().map_err(|errors| format!("{errors:?}"))
}
