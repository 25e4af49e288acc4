//! Basic blocks of bytecode.
//!
//! Blocks are made of reachable slots only: a walk from slot 0 marks what it
//! reaches and where blocks begin, and one scan over the slots cuts them. Both
//! are linear, and nothing recurses, so that a program of a million
//! instructions is no special case. A tail call ends a block, because it may
//! leave the function.

use smallvec::SmallVec;

use crate::insn::{Callee, Op};

/// The control-flow graph of a function; unreachable slots are in no block.
/// Blocks are numbered in the order of their first slot, except that the block
/// of slot 0 (the entry) is block 0 anyway.
#[derive(Clone, Debug, Default)]
pub struct Cfg {
    /// The blocks.
    pub blocks: Vec<CfgBlock>,
}

/// A block: slots `start..end`. Ends at a branch, jump, exit, tail call, or
/// before a jump target.
#[derive(Clone, Debug, Default)]
pub struct CfgBlock {
    /// First slot.
    pub start: u32,
    /// One past the last slot.
    pub end: u32,
    /// Successors (indices of blocks): for a branch the fall-through first, then
    /// the target, equal ones kept; for a tail call the fall-through; for an
    /// indirect jump the targets in the order of their slots.
    pub succs: SmallVec<[u32; 2]>,
}

/// The predecessors of every block, one for each edge: a block whose two edges
/// lead to the same place is listed there twice.
#[derive(Clone, Debug)]
pub struct Predecessors {
    first: Vec<u32>,
    list: Vec<u32>,
}

/// The helper number of `bpf_tail_call`.
pub const TAIL_CALL: u32 = 12;

/// Whether the instruction is a tail call: an exit and a fall-through at once.
pub fn is_tail_call(op: &Op) -> bool {
    matches!(op, Op::Call(Callee::Helper(TAIL_CALL)))
}

/// The slots where execution may go on after the instruction at `pc`: the next
/// one first, then the jump target. What lies outside the code is left out.
fn next_slots(ops: &[Op], table: &[u32], pc: usize) -> SmallVec<[usize; 2]> {
    let op = &ops[pc];
    if matches!(op, Op::IndirectJump { .. }) {
        let inside = table.iter().map(|slot| *slot as usize).filter(|slot| *slot < ops.len());
        return inside.collect();
    }
    let next = (pc + op.slots()) as i64;
    let candidates: [Option<i64>; 2] = match op {
        Op::Exit => [None, None],
        Op::Jump { .. } => [None, op.jump_target(pc)],
        Op::Branch { .. } | Op::MayGoto { .. } => [Some(next), op.jump_target(pc)],
        _ => [Some(next), None],
    };
    let inside = |slot: &i64| (0..ops.len() as i64).contains(slot);
    candidates.into_iter().flatten().filter(inside).map(|slot| slot as usize).collect()
}

fn ends_block(op: &Op) -> bool {
    let jumps = matches!(
        op,
        Op::Exit
            | Op::Jump { .. }
            | Op::Branch { .. }
            | Op::MayGoto { .. }
            | Op::IndirectJump { .. }
    );
    jumps || is_tail_call(op)
}

/// For each slot whether it is reached and whether a block begins there.
struct Marks {
    reached: Vec<bool>,
    leader: Vec<bool>,
}

fn mark(ops: &[Op], table: &[u32]) -> Marks {
    let mut reached = vec![false; ops.len()];
    let mut leader = vec![false; ops.len()];
    let mut work = Vec::new();
    if !ops.is_empty() {
        leader[0] = true;
        work.push(0);
    }
    while let Some(start) = work.pop() {
        let mut pc = start;
        while !reached[pc] {
            reached[pc] = true;
            let next = next_slots(ops, table, pc);
            if ends_block(&ops[pc]) {
                for &slot in &next {
                    leader[slot] = true;
                    work.push(slot);
                }
                break;
            }
            match next.first() {
                Some(&slot) => pc = slot,
                None => break,
            }
        }
    }
    Marks { reached, leader }
}

impl Cfg {
    /// The graph of a function's code. Jumps out of the code, which validation
    /// refuses, have no successor; neither has code that falls off the end.
    pub fn build(ops: &[Op]) -> Cfg {
        Cfg::with_table(ops, &[])
    }

    /// The same for code with indirect jumps: each may lead to all of these
    /// slots, which ascend ([`Object::jump_targets`](crate::Object::jump_targets)).
    pub fn with_table(ops: &[Op], table: &[u32]) -> Cfg {
        let marks = mark(ops, table);
        let mut blocks: Vec<CfgBlock> = Vec::new();
        let mut block_at = vec![u32::MAX; ops.len()];
        let mut open = false;
        for (pc, op) in ops.iter().enumerate() {
            if !marks.reached[pc] {
                // The second half of a 64-bit load does not end the block.
                open &= matches!(op, Op::LoadImmHi);
                continue;
            }
            if marks.leader[pc] || !open {
                block_at[pc] = blocks.len() as u32;
                blocks.push(CfgBlock { start: pc as u32, ..CfgBlock::default() });
            }
            if let Some(block) = blocks.last_mut() {
                block.end = (pc + op.slots()) as u32;
            }
            open = !ends_block(op);
        }
        for block in &mut blocks {
            let last = last_slot(ops, block);
            block.succs =
                next_slots(ops, table, last).into_iter().map(|slot| block_at[slot]).collect();
        }
        Cfg { blocks }
    }

    /// The block that a slot lies in; none for unreachable slots.
    pub fn block_at(&self, slot: u32) -> Option<u32> {
        let after = self.blocks.partition_point(|block| block.start <= slot);
        let index = after.checked_sub(1)?;
        (slot < self.blocks[index].end).then_some(index as u32)
    }

    /// The predecessors of every block.
    pub fn predecessors(&self) -> Predecessors {
        let mut first = vec![0u32; self.blocks.len() + 1];
        for &succ in self.blocks.iter().flat_map(|block| &block.succs) {
            first[succ as usize + 1] += 1;
        }
        for i in 1..first.len() {
            first[i] += first[i - 1];
        }
        let mut next = first.clone();
        let mut list = vec![0; first[self.blocks.len()] as usize];
        for (index, block) in self.blocks.iter().enumerate() {
            for &succ in &block.succs {
                let place = &mut next[succ as usize];
                list[*place as usize] = index as u32;
                *place += 1;
            }
        }
        Predecessors { first, list }
    }

    /// All blocks, each before its successors except along retreating edges;
    /// the entry comes first. Every block is reachable, so every one is there.
    pub fn reverse_post_order(&self) -> Vec<u32> {
        let mut order = self.depth_first().postorder;
        order.reverse();
        order
    }

    /// A depth-first walk from the entry. It takes the target of a branch first
    /// and the fall-through last, so that in reverse post-order the fall-through
    /// follows directly where there is a choice.
    pub(crate) fn depth_first(&self) -> DepthFirst {
        let count = self.blocks.len();
        let mut walk = DepthFirst {
            preorder: Vec::with_capacity(count),
            postorder: Vec::with_capacity(count),
            parent: vec![0; count],
        };
        let mut seen = vec![false; count];
        let mut stack: Vec<(u32, usize)> = Vec::new();
        if count > 0 {
            seen[0] = true;
            walk.preorder.push(0);
            stack.push((0, 0));
        }
        while let Some((block, edge)) = stack.last_mut() {
            let block = *block;
            let succs = &self.blocks[block as usize].succs;
            let Some(&succ) = succs.iter().rev().nth(*edge) else {
                walk.postorder.push(block);
                stack.pop();
                continue;
            };
            *edge += 1;
            if !std::mem::replace(&mut seen[succ as usize], true) {
                walk.preorder.push(succ);
                walk.parent[succ as usize] = block;
                stack.push((succ, 0));
            }
        }
        walk
    }
}

/// The orders of a depth-first walk.
pub(crate) struct DepthFirst {
    /// Blocks in the order in which they are first met.
    pub preorder: Vec<u32>,
    /// Blocks in the order in which they are left.
    pub postorder: Vec<u32>,
    /// By block, the block that it was met from (of the entry: itself).
    pub parent: Vec<u32>,
}

impl CfgBlock {
    /// The slots, the second halves of 64-bit loads included.
    pub fn slots(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The slot of a block's last instruction.
pub fn last_slot(ops: &[Op], block: &CfgBlock) -> usize {
    let last = block.end as usize - 1;
    if last > block.start as usize && matches!(ops.get(last), Some(Op::LoadImmHi)) {
        last - 1
    } else {
        last.min(ops.len().saturating_sub(1))
    }
}

impl Predecessors {
    /// The predecessors of a block.
    pub fn of(&self, block: u32) -> &[u32] {
        let block = block as usize;
        &self.list[self.first[block] as usize..self.first[block + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse_ops;

    fn ops(text: &str) -> Vec<Op> {
        parse_ops(text).expect("the test's code parses")
    }

    fn shape(text: &str) -> Vec<(u32, u32, Vec<u32>)> {
        let cfg = Cfg::build(&ops(text));
        cfg.blocks.iter().map(|b| (b.start, b.end, b.succs.to_vec())).collect()
    }

    #[test]
    fn straight_code_is_one_block() {
        assert_eq!(
            shape(
                "r0 = 1
 exit"
            ),
            [(0, 2, vec![])]
        );
        assert_eq!(shape(""), []);
    }

    #[test]
    fn a_branch_lists_the_fall_through_first() {
        assert_eq!(
            shape(
                "if r1 == 0 goto +1
 r0 = 1
 exit"
            ),
            [(0, 1, vec![1, 2]), (1, 2, vec![2]), (2, 3, vec![])]
        );
    }

    #[test]
    fn a_jump_to_slot_0_makes_the_entry_a_loop() {
        assert_eq!(
            shape(
                "r1 += -1
 if r1 == 0 goto +1
 goto -3
 exit"
            ),
            [(0, 2, vec![1, 2]), (2, 3, vec![0]), (3, 4, vec![])]
        );
    }

    #[test]
    fn a_jump_to_itself_and_both_edges_to_one_block() {
        assert_eq!(shape("goto -1"), [(0, 1, vec![0])]);
        let text = "if r1 == 0 goto +0
 exit";
        assert_eq!(shape(text), [(0, 1, vec![1, 1]), (1, 2, vec![])]);
        assert_eq!(Cfg::build(&ops(text)).predecessors().of(1), [0, 0]);
    }

    #[test]
    fn unreachable_slots_are_in_no_block() {
        let text = "goto +2
 r0 = 1
 exit
 exit
 r0 = 2";
        assert_eq!(shape(text), [(0, 1, vec![1]), (3, 4, vec![])]);
        let cfg = Cfg::build(&ops(text));
        let at: Vec<_> = (0..6).map(|slot| cfg.block_at(slot)).collect();
        assert_eq!(at, [Some(0), None, None, Some(1), None, None]);
    }

    #[test]
    fn a_tail_call_ends_a_block_and_falls_through() {
        assert_eq!(
            shape(
                "call 12
 r0 = 1
 exit"
            ),
            [(0, 1, vec![1]), (1, 3, vec![])]
        );
        assert_eq!(
            shape(
                "r0 = 0
 call 12"
            ),
            [(0, 2, vec![])]
        );
    }

    #[test]
    fn a_wide_load_keeps_its_second_slot() {
        let text = "r1 = 5 ll
 if r1 == 0 goto -3
 r1 = 5 ll";
        assert_eq!(shape(text), [(0, 3, vec![1, 0]), (3, 5, vec![])]);
        let cfg = Cfg::build(&ops(text));
        assert_eq!(last_slot(&ops(text), &cfg.blocks[1]), 3);
    }

    #[test]
    fn jumps_out_of_the_code_are_dropped() {
        assert_eq!(
            shape(
                "if r1 == 0 goto +7
 goto -9"
            ),
            [(0, 1, vec![1]), (1, 2, vec![])]
        );
    }

    #[test]
    fn reverse_post_order_puts_joins_last() {
        let text = "if r1 == 0 goto a
 r0 = 1
 goto b
 a: r0 = 2
 b: exit";
        assert_eq!(Cfg::build(&ops(text)).reverse_post_order(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_million_instructions() {
        let pair = ops("r1 += 1
 if r1 == 0 goto +0");
        let mut code = pair.repeat(500_000);
        code.push(Op::Exit);
        let cfg = Cfg::build(&code);
        assert_eq!(cfg.blocks.len(), 500_001);
        assert_eq!(cfg.reverse_post_order().len(), 500_001);
    }
}
