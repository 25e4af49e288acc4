//! Control flow: unreachable blocks, empty blocks, straight lines, layout.
//!
//! Afterwards the layout holds exactly the reachable blocks, each after all its
//! predecessors but those of back edges, and loops in one piece
//! (`Loops::order`). The other passes keep it so: one that removes an edge ends
//! with [`layout`].
//!
//! - A branch whose sides lead to the same block with the same arguments,
//!   directly or through empty blocks, becomes a jump.
//! - Edges skip empty blocks. One side of a branch does so only if that makes
//!   no critical edge out of one that is none: the empty block would come back
//!   at lowering, but without its frequency.
//! - A block with one predecessor that has one successor is appended to it.

use cranelift_entity::SecondaryMap;
use smallvec::SmallVec;

use super::Context;
use super::edges::Edges;
use super::edit::Renames;
use crate::cfg::Cfg;
use crate::dom::DomTree;
use crate::loops::Loops;
use crate::{Block, BlockCall, Function, Terminator, Value, ValueDef};

/// Runs the pass.
pub(super) fn run(function: &mut Function, context: &mut Context) {
    layout(function);
    skip_empty_blocks(function, context);
    layout(function);
    merge_lines(function, context);
}

/// Brings the layout in order; unreachable blocks are no longer in it.
pub(super) fn layout(function: &mut Function) {
    let cfg = Cfg::new(function);
    let dom = DomTree::new(function, &cfg);
    function.layout = Loops::new(&cfg, &dom).order(function, &cfg);
}

/// Blocks that pass control on at once.
struct Empty {
    /// The block does nothing but jump elsewhere, and its parameters are used
    /// nowhere but in the arguments of that jump.
    skippable: SecondaryMap<Block, bool>,
    /// Edges into the block.
    preds: SecondaryMap<Block, u32>,
}

impl Empty {
    fn new(function: &Function) -> Empty {
        let mut empty = Empty { skippable: SecondaryMap::new(), preds: SecondaryMap::new() };
        for &block in &function.layout {
            let data = &function.blocks[block];
            for target in data.term.targets() {
                empty.preds[target.block] += 1;
            }
            empty.skippable[block] = data.insts.is_empty()
                && block != function.entry
                && matches!(&data.term, Terminator::Jump(target) if target.block != block);
        }
        for &block in &function.layout {
            let data = &function.blocks[block];
            let mut used = |value: Value| {
                if let ValueDef::Param(owner, _) = function.values[value].def {
                    empty.skippable[owner] &= owner == block && data.insts.is_empty();
                }
            };
            for &inst in &data.insts {
                function.insts[inst].args.iter().copied().for_each(&mut used);
            }
            data.term.for_each_use(&mut used);
        }
        empty
    }

    /// Where an edge leads if empty blocks are skipped. Cycles of empty blocks
    /// end the search somewhere in the cycle.
    fn end(&self, function: &Function, call: &BlockCall) -> BlockCall {
        let mut end = call.clone();
        // Targets have been visited already, so that one step is the rule.
        for _ in 0..4 {
            let Some(next) = self.next(function, &end) else {
                break;
            };
            end = next;
        }
        end
    }

    fn next(&self, function: &Function, call: &BlockCall) -> Option<BlockCall> {
        let data = &function.blocks[call.block];
        let Terminator::Jump(next) = &data.term else {
            return None;
        };
        if !self.skippable[call.block] {
            return None;
        }
        let passed = |&value: &Value| match function.values[value].def {
            ValueDef::Param(block, position) if block == call.block => call.args[position as usize],
            _ => value,
        };
        Some(BlockCall { block: next.block, args: next.args.iter().map(passed).collect() })
    }
}

fn skip_empty_blocks(function: &mut Function, context: &mut Context) {
    let empty = Empty::new(function);
    for index in (0..function.layout.len()).rev() {
        let block = function.layout[index];
        let term = &function.blocks[block].term;
        let ends: SmallVec<[BlockCall; 2]> =
            term.targets().iter().map(|target| empty.end(function, target)).collect();
        if let [then, other] = &ends[..]
            && then == other
        {
            if context.allow() {
                function.blocks[block].term = Terminator::Jump(then.clone());
            }
            continue;
        }
        let only = ends.len() == 1;
        for (which, end) in ends.into_iter().enumerate() {
            let mut targets = function.blocks[block].term.targets_mut();
            let target = &mut *targets[which];
            let critical = only || empty.preds[target.block] > 1;
            if end.block != target.block && critical && context.allow() {
                *target = end;
            }
        }
    }
}

fn merge_lines(function: &mut Function, context: &mut Context) {
    let edges = Edges::new(function);
    let mut renames = Renames::default();
    let mut merged = SecondaryMap::<Block, bool>::new();
    for index in 0..function.layout.len() {
        let block = function.layout[index];
        if merged[block] {
            continue;
        }
        while let Terminator::Jump(target) = &function.blocks[block].term {
            let next = target.block;
            let alone = edges.to(next).len() == 1 && next != function.entry && next != block;
            if !alone || !context.allow() {
                break;
            }
            let args = target.args.clone();
            let params = std::mem::take(&mut function.blocks[next].params);
            for (param, arg) in params.into_iter().zip(args) {
                renames.add(param, arg);
            }
            let insts = std::mem::take(&mut function.blocks[next].insts);
            function.blocks[block].insts.extend(insts);
            function.blocks[block].term =
                std::mem::replace(&mut function.blocks[next].term, Terminator::None);
            merged[next] = true;
        }
    }
    function.layout.retain(|&block| !merged[block]);
    renames.apply(function);
}
