//! Where cells need block parameters: pruned SSA form.
//!
//! A cell needs a parameter in a block where different stores may have been
//! the last one, and where the cell is live, that is, may still be loaded.
//! Liveness is the usual backward iteration over bit sets, one bit a cell.
//! The blocks of the first kind are the iterated dominance frontier of the
//! blocks that store. It is found without dominance frontiers, which can be
//! quadratic, by walking the dominator tree below the stores, deepest first,
//! and taking each edge that leads to a block no deeper than where the walk
//! started (Sreedhar and Gao, "A linear time algorithm for placing phi-nodes",
//! 1995).
//!
//! The work is proportional to the size of the function times the number of
//! cells, of which a frame of 512 bytes has at most as many.

use std::collections::BinaryHeap;

use cranelift_entity::SecondaryMap;

use super::cells::Cells;
use crate::cfg::Cfg;
use crate::dom::DomTree;
use crate::{Block, Function, Opcode, Value};

/// For each block, the parameters added: number of the cell and the parameter,
/// ascending by cell.
pub(super) type Placed = SecondaryMap<Block, Vec<(usize, Value)>>;

/// Adds parameters to the blocks that need them.
pub(super) fn place(function: &mut Function, cfg: &Cfg, dom: &DomTree, cells: &Cells) -> Placed {
    let liveness = Liveness::new(function, cfg, cells);
    let mut frontier = Frontier::new(dom);
    let mut placed = Placed::new();
    for (index, stores) in liveness.stores.iter().enumerate() {
        for block in frontier.of(function, dom, stores) {
            if liveness.live_in[block].contains(index) {
                let param = function.add_param(block, cells.cell(index).ty);
                placed[block].push((index, param));
            }
        }
    }
    placed
}

/// A set of cells.
#[derive(Clone, Default)]
struct Set {
    words: Vec<u64>,
}

impl Set {
    fn contains(&self, index: usize) -> bool {
        let word = self.words.get(index / 64);
        word.is_some_and(|word| word >> (index % 64) & 1 != 0)
    }

    fn insert(&mut self, index: usize) {
        if self.words.len() <= index / 64 {
            self.words.resize(index / 64 + 1, 0);
        }
        self.words[index / 64] |= 1 << (index % 64);
    }

    /// Adds what is in `other` and not in `without`. Tells whether it grew.
    fn add(&mut self, other: &Set, without: &Set) -> bool {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        let mut grew = false;
        for (index, &word) in other.words.iter().enumerate() {
            let new = word & !without.words.get(index).copied().unwrap_or(0);
            grew |= new & !self.words[index] != 0;
            self.words[index] |= new;
        }
        grew
    }
}

struct Liveness {
    live_in: SecondaryMap<Block, Set>,
    /// The blocks that store to each cell.
    stores: Vec<Vec<Block>>,
}

impl Liveness {
    fn new(function: &Function, cfg: &Cfg, cells: &Cells) -> Liveness {
        let mut live_in = SecondaryMap::<Block, Set>::new();
        let mut killed = SecondaryMap::<Block, Set>::new();
        let mut stores = vec![Vec::new(); cells.len()];
        for &block in &function.layout {
            for &inst in &function.blocks[block].insts {
                let Some(access) = cells.access(function, inst) else {
                    continue;
                };
                let store = function.insts[inst].op == Opcode::Store;
                for touched in cells.touched(access) {
                    let index = touched.index;
                    let whole = store && touched.covered_by(access);
                    if !whole && !killed[block].contains(index) {
                        live_in[block].insert(index);
                    }
                    // Nothing from above is live behind a store, whole or not.
                    if store && !killed[block].contains(index) {
                        killed[block].insert(index);
                        stores[index].push(block);
                    }
                }
            }
        }
        let mut todo = function.layout.clone();
        while let Some(block) = todo.pop() {
            let live = std::mem::take(&mut live_in[block]);
            for &pred in cfg.preds(block) {
                // A block without killed cells has an empty set by default.
                if pred == block {
                    continue;
                }
                if live_in[pred].add(&live, &killed[pred]) {
                    todo.push(pred);
                }
            }
            live_in[block] = live;
        }
        Liveness { live_in, stores }
    }
}

/// Finds iterated dominance frontiers, of one set of blocks after the other.
struct Frontier {
    depth: SecondaryMap<Block, u32>,
    /// The number of the last set whose walk has been here, and whose frontier
    /// the block is in.
    walked: SecondaryMap<Block, u32>,
    found: SecondaryMap<Block, u32>,
    number: u32,
}

impl Frontier {
    fn new(dom: &DomTree) -> Frontier {
        let mut depth = SecondaryMap::new();
        for &block in dom.preorder() {
            depth[block] = dom.idom(block).map_or(0, |idom| depth[idom] + 1);
        }
        Frontier { depth, walked: SecondaryMap::new(), found: SecondaryMap::new(), number: 0 }
    }

    fn of(&mut self, function: &Function, dom: &DomTree, blocks: &[Block]) -> Vec<Block> {
        self.number += 1;
        let entry = |&block: &Block| (self.depth[block], block);
        let mut heap: BinaryHeap<(u32, Block)> = blocks.iter().map(entry).collect();
        let mut found = Vec::new();
        let mut todo = Vec::new();
        while let Some((depth, root)) = heap.pop() {
            todo.push(root);
            while let Some(block) = todo.pop() {
                if std::mem::replace(&mut self.walked[block], self.number) == self.number {
                    continue;
                }
                for target in function.blocks[block].term.targets() {
                    let join = target.block;
                    if self.depth[join] <= depth && self.found[join] != self.number {
                        self.found[join] = self.number;
                        found.push(join);
                        heap.push((self.depth[join], join));
                    }
                }
                todo.extend(dom.children(block));
            }
        }
        found
    }
}
