//! Predecessors and reverse post-order.
//!
//! Everything is computed once from the terminators, without recursion and in
//! time proportional to blocks and edges; a change of the control flow asks for
//! a new [`Cfg`]. Block numbers must be valid.

use cranelift_entity::SecondaryMap;

use crate::{Block, Function};

/// The control-flow graph of a function, seen from its blocks' entries.
pub struct Cfg {
    /// The predecessors of block `b` are `preds[starts[b]..starts[b + 1]]`.
    preds: Vec<Block>,
    starts: Vec<u32>,
    rpo: Vec<Block>,
    /// Place in `rpo`; `UNREACHABLE` where there is none.
    position: SecondaryMap<Block, u32>,
}

const UNREACHABLE: u32 = u32::MAX;

impl Cfg {
    /// The graph of a function.
    pub fn new(function: &Function) -> Cfg {
        let rpo = reverse_post_order(function);
        let mut position = SecondaryMap::with_default(UNREACHABLE);
        for (index, &block) in rpo.iter().enumerate() {
            position[block] = index as u32;
        }
        let (starts, preds) = predecessors(function);
        Cfg { preds, starts, rpo, position }
    }

    /// The blocks of the layout with an edge to this one, reachable or not,
    /// once for each edge: a branch with both sides here counts twice.
    pub fn preds(&self, block: Block) -> &[Block] {
        let index = block.as_u32() as usize;
        &self.preds[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    /// The reachable blocks, entry first, each after all its predecessors
    /// except those of back edges.
    pub fn rpo(&self) -> &[Block] {
        &self.rpo
    }

    /// The place of a block in [`rpo`](Cfg::rpo), if it is reachable.
    pub fn rpo_index(&self, block: Block) -> Option<usize> {
        let position = self.position[block];
        (position != UNREACHABLE).then_some(position as usize)
    }

    /// Whether control can reach the block from the entry.
    pub fn is_reachable(&self, block: Block) -> bool {
        self.position[block] != UNREACHABLE
    }
}

fn reverse_post_order(function: &Function) -> Vec<Block> {
    let mut order = Vec::with_capacity(function.layout.len());
    let mut seen = SecondaryMap::with_capacity(function.blocks.len());
    seen[function.entry] = true;
    // Each entry: a block on the current path, and the next of its edges.
    let mut path = vec![(function.entry, 0)];
    while let Some((block, edge)) = path.last_mut() {
        match function.blocks[*block].term.targets().get(*edge) {
            Some(target) => {
                *edge += 1;
                if !std::mem::replace(&mut seen[target.block], true) {
                    path.push((target.block, 0));
                }
            }
            None => {
                order.push(*block);
                path.pop();
            }
        }
    }
    order.reverse();
    order
}

/// Counts, then places: a counting sort of the edges by target.
fn predecessors(function: &Function) -> (Vec<u32>, Vec<Block>) {
    let mut starts = vec![0u32; function.blocks.len() + 1];
    let each_edge = |f: &mut dyn FnMut(Block, usize)| {
        for &block in &function.layout {
            for target in function.blocks[block].term.targets() {
                f(block, target.block.as_u32() as usize);
            }
        }
    };
    each_edge(&mut |_, target| starts[target + 1] += 1);
    for index in 1..starts.len() {
        starts[index] += starts[index - 1];
    }
    let total = starts.last().copied().unwrap_or(0);
    let mut preds = vec![function.entry; total as usize];
    let mut next = starts.clone();
    each_edge(&mut |source, target| {
        preds[next[target] as usize] = source;
        next[target] += 1;
    });
    (starts, preds)
}
