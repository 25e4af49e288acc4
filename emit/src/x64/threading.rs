//! Blocks that only jump.

use regalloc2::{Block, Inst, ProgPoint};
use tailor_lower::{MInst, MachFunction};
use tailor_regalloc::Allocated;

/// For each block the one that a branch to it should go to: itself if it has
/// code. The entry always has, and so has every block of a loop that consists
/// of nothing but jumps. Near-linear: paths are compressed as they are found.
pub(super) fn goals(function: &MachFunction, allocated: &Allocated) -> Vec<Block> {
    let count = function.blocks.len();
    let mut goals: Vec<Block> = (0..count).map(Block::new).collect();
    for at in 1..count {
        let Some(next) = only_jumps(function, allocated, at) else {
            continue;
        };
        let end = find(&mut goals, next);
        if end.index() != at {
            goals[at] = end;
        }
    }
    for at in 0..count {
        goals[at] = find(&mut goals, Block::new(at));
    }
    goals
}

/// The end of the chain from `block`.
fn find(goals: &mut [Block], block: Block) -> Block {
    let mut end = block;
    while goals[end.index()] != end {
        end = goals[end.index()];
    }
    let mut at = block;
    while at != end {
        at = std::mem::replace(&mut goals[at.index()], end);
    }
    end
}

/// Where a block goes that does nothing else.
fn only_jumps(function: &MachFunction, allocated: &Allocated, at: usize) -> Option<Block> {
    let block = &function.blocks[at];
    let is_jump = block.end == block.start + 1
        && function.insts[block.start as usize] == MInst::Jmp
        && block.succs.len() == 1;
    if !is_jump {
        return None;
    }
    let first = ProgPoint::before(Inst::new(block.start as usize));
    let last = ProgPoint::after(Inst::new(block.start as usize));
    let edits = &allocated.edits;
    let from = edits.partition_point(|(point, _)| *point < first);
    let moves = edits.get(from).is_some_and(|(point, _)| *point <= last);
    (!moves).then_some(block.succs[0])
}
