//! A return for each way out.
//!
//! Problem: LLVM merges returns, so that values to be returned meet in one block
//! (4,202 of 4,231 real functions have a single exit). What a path returns must
//! then be where the others have theirs: an early exit's constant goes to the
//! register that another path's result needs to survive a call.
//! Idea: a block that does nothing but return is put in the place of the jumps to
//! it. Each path sets rax itself, and saves that one of them needs end there.
//! This has to come before allocation, which decides where values meet; that it
//! is no more code is seen to at the end: emission lets blocks that do the same
//! share their code, and makes what drops the frame once, unless a jump there is
//! no shorter.
//! Source: the design; Chow (PLDI 1988) has shrink-wrapping see single exits the
//! same way.

use regalloc2::{Block, Operand, VReg};
use tailor_lower::{InstInfo, MInst, MachBlock, MachFunction, Role};

/// The function with jumps to returns replaced.
pub fn exits(function: MachFunction) -> MachFunction {
    let blocks = &function.blocks;
    let merged: Vec<bool> = (0..blocks.len()).map(|at| only_returns(&function, at)).collect();
    if !merged.contains(&true) {
        return function;
    }
    let mut numbers = Vec::with_capacity(blocks.len());
    let mut next = 0;
    for &merged in &merged {
        numbers.push(Block::new(next));
        next += usize::from(!merged);
    }
    let mut lists = Lists::default();
    for (at, block) in blocks.iter().enumerate().filter(|(at, _)| !merged[*at]) {
        let start = lists.insts.len() as u32;
        let exit = match block.succs[..] {
            [succ] if merged[succ.index()] => Some(succ.index()),
            _ => None,
        };
        let own_end = block.end as usize - usize::from(exit.is_some());
        for inst in block.start as usize..own_end {
            put(&mut lists, &function, inst, None);
        }
        let mut block = block.clone();
        if let Some(exit) = exit {
            let exit = &blocks[exit];
            put(&mut lists, &function, exit.start as usize, Some((&exit.params, &block.args)));
            // To a reader it stands where the jump did, not where another path ends.
            let own = lists.info.last_mut().expect("it was just put");
            own.origin = function.info[own_end].origin;
            block.succs.clear();
            block.args.clear();
        }
        let renumber = |other: &Block| numbers[other.index()];
        let succs = block.succs.iter().map(renumber).collect();
        let preds = block.preds.iter().map(renumber).collect();
        let end = lists.insts.len() as u32;
        lists.blocks.push(MachBlock { start, end, succs, preds, ..block });
        debug_assert_eq!(numbers[at].index() + 1, lists.blocks.len());
    }
    let Lists { insts, info, operands, blocks } = lists;
    MachFunction { insts, info, operands, blocks, ..function }
}

/// The new function's lists.
#[derive(Default)]
struct Lists {
    insts: Vec<MInst>,
    info: Vec<InstInfo>,
    operands: Vec<Operand>,
    blocks: Vec<MachBlock>,
}

/// Whether a block is nothing but a return, to which jumps lead.
fn only_returns(function: &MachFunction, at: usize) -> bool {
    let block = &function.blocks[at];
    let jumps = |pred: &Block| {
        let pred = &function.blocks[pred.index()];
        pred.succs.len() == 1 && function.info[pred.end as usize - 1].role == Role::Branch
    };
    block.end == block.start + 1
        && function.info[block.start as usize].role == Role::Return
        && block.preds.len() > 1
        && block.preds.iter().all(jumps)
}

/// Copies an instruction, with arguments in the place of parameters.
fn put(
    lists: &mut Lists,
    function: &MachFunction,
    inst: usize,
    values: Option<(&[VReg], &[VReg])>,
) {
    let first = lists.operands.len() as u32;
    let argument = |vreg: VReg| {
        let (params, args) = values?;
        Some(args[params.iter().position(|&param| param == vreg)?])
    };
    for operand in function.inst_operands(inst) {
        let vreg = argument(operand.vreg()).unwrap_or(operand.vreg());
        let operand = Operand::new(vreg, operand.constraint(), operand.kind(), operand.pos());
        lists.operands.push(operand);
    }
    lists.info.push(InstInfo { first, ..function.info[inst].clone() });
    lists.insts.push(function.insts[inst]);
}
