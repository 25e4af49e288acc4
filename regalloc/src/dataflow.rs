//! Flow problems over blocks, solved.
//!
//! Problem: several analyses ask for the least facts such that each block passes
//! on what follows from what it gets, and paths meet in the union.
//! Idea: in turns through the blocks, against or along the layout, until nothing
//! changes for a block that was passed already. Blocks are laid out so that
//! only loops lead back, so one without is solved in a single turn.
//! Invariant: the transfer function is monotone. It is called last for each block
//! with what that block gets in the end, so it may take notes that only grow.
//! Source: Kildall, "A unified approach to global program optimization" (POPL 1973).

use std::ops::BitOr;

use regalloc2::Block;
use tailor_lower::MachBlock;

/// Which way facts go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From predecessors.
    Forward,
    /// From successors.
    Backward,
}

/// For each block what it gets: at its start if facts go forward, at its end
/// if they go backward. `transfer` says for a block what it passes on then.
pub fn solve<F>(
    direction: Direction,
    blocks: &[MachBlock],
    mut transfer: impl FnMut(usize, F) -> F,
) -> Vec<F>
where
    F: Copy + Default + PartialEq + BitOr<Output = F>,
{
    let mut got = vec![F::default(); blocks.len()];
    let mut passed = vec![F::default(); blocks.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for turn in 0..blocks.len() {
            let (at, sources, goals) = match direction {
                Direction::Forward => (turn, &blocks[turn].preds, &blocks[turn].succs),
                Direction::Backward => {
                    let at = blocks.len() - 1 - turn;
                    (at, &blocks[at].succs, &blocks[at].preds)
                }
            };
            let sources = sources.iter().map(|source| passed[source.index()]);
            got[at] = sources.fold(F::default(), |all, fact| all | fact);
            let passes = transfer(at, got[at]);
            let had_turn = |goal: &Block| match direction {
                Direction::Forward => goal.index() <= at,
                Direction::Backward => goal.index() >= at,
            };
            changed |= passes != passed[at] && goals.iter().any(had_turn);
            passed[at] = passes;
        }
    }
    got
}
