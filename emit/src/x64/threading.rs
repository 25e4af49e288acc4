//! Blocks that need no code of their own: those that only jump, and those that
//! do the same as another one.
//!
//! Problem: critical edges are split, so a value that differs by edge (`r0 = 0`
//! on the way out) is set in a block per edge, though many of these do the same.
//! Idea: once registers are known, blocks that end alike can be compared. Going
//! backwards through the layout, the first of its kind (the last in the code,
//! most likely to fall through) gets the code, and branches to the others go
//! there. Compared are short blocks only, each with a few others of the same
//! end, so the work stays linear.

use std::collections::HashMap;

use regalloc2::{Allocation, Block, Edit};
use tailor_lower::{Gpr, MInst, MachFunction};
use tailor_regalloc::Allocated;
use tailor_regalloc::steps::Located;

/// Longer blocks are not compared.
const MAX_INSTS: u32 = 6;
/// A block is compared with at most this many others.
const MAX_COMPARED: usize = 16;

/// For each block the one that a branch to it should go to: itself if it has
/// code. The entry always has, and so has every block of a loop that consists
/// of nothing but jumps.
pub(super) fn goals(function: &MachFunction, allocated: &Allocated) -> Vec<Block> {
    let count = function.blocks.len();
    let view = View::new(function, allocated);
    let mut goals: Vec<Block> = (0..count).map(Block::new).collect();
    for at in 1..count {
        let Some(next) = view.only_jumps(at) else {
            continue;
        };
        let end = find(&mut goals, next);
        if end.index() != at {
            goals[at] = end;
        }
    }
    share(&view, &mut goals);
    for at in 0..count {
        goals[at] = find(&mut goals, Block::new(at));
    }
    goals
}

/// How often the code of each block is executed: as often as the block and those
/// that share its code. (What only jumps is part of the flow to its goal already.)
pub(super) fn frequencies(
    function: &MachFunction,
    allocated: &Allocated,
    goals: &[Block],
) -> Vec<f64> {
    let view = View::new(function, allocated);
    let mut frequencies: Vec<f64> = function.blocks.iter().map(|block| block.frequency).collect();
    for (at, goal) in goals.iter().enumerate() {
        if goal.index() != at && view.only_jumps(at).is_none() {
            frequencies[goal.index()] += function.blocks[at].frequency;
        }
    }
    frequencies
}

/// The block whose return others can jump to, whether it is nothing else, and all
/// blocks that return; `None` if one does at most. A block that does nothing else is
/// entered by branches, so the code for it should not be another jump.
pub(super) fn shared_return(
    function: &MachFunction,
    allocated: &Allocated,
    layout: &[Block],
) -> Option<(Block, bool, Vec<Block>)> {
    let view = View::new(function, allocated);
    let returns = |block: &&Block| {
        let end = function.blocks[block.index()].end as usize;
        function.insts[end - 1] == MInst::Ret
    };
    let sharing: Vec<Block> = layout.iter().filter(returns).copied().collect();
    let first = *sharing.first().filter(|_| sharing.len() > 1)?;
    let only_returns = |block: &Block| {
        let data = &function.blocks[block.index()];
        data.end == data.start + 1 && view.located.moves(block.index()).is_empty()
    };
    let alone = sharing.iter().rfind(|block| only_returns(block)).copied();
    Some((alone.unwrap_or(first), alone.is_some(), sharing))
}

/// Sends short blocks to later ones that do the same.
fn share(view: &View<'_>, goals: &mut [Block]) {
    let mut by_end: HashMap<Option<Block>, Vec<usize>> = HashMap::new();
    for at in (1..goals.len()).rev() {
        if goals[at].index() != at {
            continue;
        }
        let Some(succ) = view.short(at) else { continue };
        let end = succ.map(|succ| find(goals, succ));
        let others = by_end.entry(end).or_default();
        match others.iter().find(|&&other| view.same(at, other)) {
            Some(&other) => goals[at] = Block::new(other),
            None if others.len() < MAX_COMPARED => others.push(at),
            None => {}
        }
    }
}

/// The end of the chain from `block`; paths are compressed as they are found.
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

struct View<'a> {
    function: &'a MachFunction,
    allocated: &'a Allocated,
    located: Located<'a>,
}

impl<'a> View<'a> {
    fn new(function: &'a MachFunction, allocated: &'a Allocated) -> View<'a> {
        View { function, allocated, located: allocated.located(function) }
    }

    /// Where a block goes that does nothing else.
    fn only_jumps(&self, at: usize) -> Option<Block> {
        let block = &self.function.blocks[at];
        let is_jump = block.end == block.start + 1
            && self.function.insts[block.start as usize] == MInst::Jmp
            && block.succs.len() == 1;
        (is_jump && self.located.moves(at).is_empty()).then(|| block.succs[0])
    }

    /// The successor, if there is one, of a block that is short enough to be
    /// compared and ends in a jump or return.
    fn short(&self, at: usize) -> Option<Option<Block>> {
        let block = &self.function.blocks[at];
        if block.end - block.start > MAX_INSTS {
            return None;
        }
        match self.function.insts[block.end as usize - 1] {
            MInst::Jmp => Some(block.succs.first().copied()),
            MInst::Ret => Some(None),
            _ => None,
        }
    }

    /// Whether two blocks have the same instructions, registers and moves.
    /// Widths count too: they choose between encodings. Those of moves follow from
    /// what is read behind them, which is the same then.
    fn same(&self, a: usize, b: usize) -> bool {
        let blocks = [a, b].map(|at| &self.function.blocks[at]);
        let len = blocks[0].end - blocks[0].start;
        if len != blocks[1].end - blocks[1].start {
            return false;
        }
        let [x, y] = blocks.map(|block| block.start as usize);
        let insts = &self.function.insts;
        (0..len as usize).all(|n| {
            insts[x + n] == insts[y + n]
                && self.registers(x + n).eq(self.registers(y + n))
                && self.restored(x + n).eq(self.restored(y + n))
        }) && self.moves(a).eq(self.moves(b))
    }

    /// The locations of an instruction's operands, with the bytes that matter.
    fn registers(&self, inst: usize) -> impl Iterator<Item = (Allocation, u8)> {
        let operands = self.located.operands(inst);
        operands
            .map(|(operand, location)| (location, self.function.vreg_bytes[operand.vreg().vreg()]))
    }

    /// What a tail call restores from slots.
    fn restored(&self, inst: usize) -> impl Iterator<Item = (Gpr, Allocation)> {
        self.allocated.restored_at(inst).map(|placed| (placed.reg, placed.slot))
    }

    /// The moves in a block, with their places relative to its start.
    fn moves(&self, at: usize) -> impl Iterator<Item = (usize, u8, Allocation, Allocation)> {
        let start = self.function.blocks[at].start as usize;
        let edits = &self.located.edits[self.located.moves(at)];
        edits.iter().map(move |(point, Edit::Move { from, to })| {
            (point.inst().index() - start, point.pos() as u8, *from, *to)
        })
    }
}
