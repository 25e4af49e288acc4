//! The edges into each block, with what they pass.

use cranelift_entity::EntityRef;

use crate::{Block, BlockCall, Function, Terminator};

/// For each block, the terminators that lead to it.
pub(super) struct Edges {
    /// Those of block `b` are `edges[starts[b]..starts[b + 1]]`.
    edges: Vec<Edge>,
    starts: Vec<u32>,
}

/// An edge: a block, and which of its targets.
#[derive(Clone, Copy)]
pub(super) struct Edge {
    pub from: Block,
    pub which: u8,
}

impl Edges {
    /// The edges from blocks of the layout.
    pub fn new(function: &Function) -> Edges {
        let mut keyed = Vec::new();
        for &from in &function.layout {
            for (which, target) in function.blocks[from].term.targets().iter().enumerate() {
                let which = which as u8;
                keyed.push((target.block.index(), Edge { from, which }));
            }
        }
        let (starts, edges) = group(function.blocks.len(), &keyed);
        Edges { edges, starts }
    }

    /// The edges into a block.
    pub fn to(&self, block: Block) -> &[Edge] {
        let index = block.index();
        &self.edges[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    /// The values passed for a block's parameter, one for each edge.
    pub fn args<'a>(
        &'a self,
        function: &'a Function,
        block: Block,
        position: usize,
    ) -> impl Iterator<Item = crate::Value> + 'a {
        let edges = self.to(block).iter();
        edges.map(move |edge| edge.call(function).args[position])
    }
}

impl Edge {
    /// The target and its arguments.
    pub fn call(self, function: &Function) -> &BlockCall {
        match (&function.blocks[self.from].term, self.which) {
            (Terminator::Branch { other, .. }, 1) => other,
            (Terminator::Branch { then: target, .. }, _)
            | (Terminator::Jump(target) | Terminator::TailCall { fail: target, .. }, _) => target,
            (Terminator::None | Terminator::Return(_) | Terminator::Trap, _) => {
                unreachable!("an edge from a block without targets")
            }
        }
    }
}

/// Sorts items by key, stably: those of key `k` become `starts[k]..starts[k + 1]`.
pub(super) fn group<T: Copy>(keys: usize, items: &[(usize, T)]) -> (Vec<u32>, Vec<T>) {
    let mut starts = vec![0u32; keys + 1];
    for (key, _) in items {
        starts[key + 1] += 1;
    }
    for index in 0..keys {
        starts[index + 1] += starts[index];
    }
    let mut next = starts.clone();
    let mut sorted: Vec<T> = items.iter().map(|&(_, item)| item).collect();
    for &(key, item) in items {
        sorted[next[key] as usize] = item;
        next[key] += 1;
    }
    (starts, sorted)
}
