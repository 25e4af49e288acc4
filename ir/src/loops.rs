//! The loop nest.
//!
//! Problem: which natural loops does each block belong to? A natural loop is a
//! header together with all blocks that reach one of its back edges (edges to
//! the header from blocks that it dominates) without going through it.
//!
//! Idea: headers are taken from the last to the first in reverse post-order,
//! so that inner loops come first. A walk against the edges from a header's
//! back edges finds its loop; every loop found on the way counts as one node,
//! the header it is merged into (a union-find over blocks), so that each edge
//! is walked about once (Tarjan, "Testing flow graph reducibility", 1974).
//!
//! Invariants: `parent` of a header is the header of the loop around it, and
//! of any other block its innermost loop's header. Irreducible cycles have no
//! header that dominates them and are not loops here.

use cranelift_entity::SecondaryMap;
use cranelift_entity::packed_option::PackedOption;

use crate::cfg::Cfg;
use crate::dom::DomTree;
use crate::{Block, Function};

/// The natural loops of a function's reachable blocks.
pub struct Loops {
    parent: SecondaryMap<Block, PackedOption<Block>>,
    is_header: SecondaryMap<Block, bool>,
}

impl Loops {
    /// The loops of a function with that graph and those dominators.
    pub fn new(cfg: &Cfg, dom: &DomTree) -> Loops {
        let mut loops = Loops { parent: SecondaryMap::new(), is_header: SecondaryMap::new() };
        let mut merged = Merged::default();
        let mut todo = Vec::new();
        for &header in cfg.rpo().iter().rev() {
            let latches = cfg.preds(header).iter().copied();
            todo.extend(latches.filter(|&pred| dom.dominates(header, pred)));
            if todo.is_empty() {
                continue;
            }
            loops.is_header[header] = true;
            while let Some(block) = todo.pop() {
                let block = merged.find(block);
                if block != header {
                    loops.parent[block] = header.into();
                    merged.into[block] = header.into();
                    let preds = cfg.preds(block).iter().copied();
                    todo.extend(preds.filter(|&pred| cfg.is_reachable(pred)));
                }
            }
        }
        loops
    }

    /// Whether the block is a loop's header.
    pub fn is_header(&self, block: Block) -> bool {
        self.is_header[block]
    }

    /// The header of the innermost loop around the block; around a header, of
    /// the next loop out.
    pub fn parent(&self, block: Block) -> Option<Block> {
        self.parent[block].expand()
    }

    /// The header of the innermost loop that the block belongs to, which may
    /// be the block itself.
    pub fn header(&self, block: Block) -> Option<Block> {
        if self.is_header[block] { Some(block) } else { self.parent(block) }
    }

    /// The reachable blocks in an order in which each comes after all its
    /// predecessors but those of back edges, and each loop is in one piece.
    pub fn order(&self, function: &Function, cfg: &Cfg) -> Vec<Block> {
        // A preorder walk of the tree of parents, children in reverse post-order.
        let mut last_child = SecondaryMap::<Block, PackedOption<Block>>::new();
        let mut previous = SecondaryMap::<Block, PackedOption<Block>>::new();
        let mut last_root = PackedOption::default();
        for &block in cfg.rpo() {
            let last = match self.parent(block) {
                Some(header) => &mut last_child[header],
                None => &mut last_root,
            };
            previous[block] = *last;
            *last = block.into();
        }
        let mut order = Vec::with_capacity(function.layout.len());
        let mut todo = Vec::new();
        push_chain(&mut todo, last_root, &previous);
        while let Some(block) = todo.pop() {
            order.push(block);
            push_chain(&mut todo, last_child[block], &previous);
        }
        order
    }
}

/// Pushes `last` and everything linked before it: the first comes off first.
fn push_chain(
    todo: &mut Vec<Block>,
    last: PackedOption<Block>,
    previous: &SecondaryMap<Block, PackedOption<Block>>,
) {
    let mut next = last.expand();
    while let Some(block) = next {
        todo.push(block);
        next = previous[block].expand();
    }
}

/// Union-find: the header that a block's loop has been merged into.
#[derive(Default)]
struct Merged {
    into: SecondaryMap<Block, PackedOption<Block>>,
}

impl Merged {
    /// The outermost header so far, or the block itself; halves the path.
    fn find(&mut self, mut block: Block) -> Block {
        while let Some(up) = self.into[block].expand() {
            let Some(far) = self.into[up].expand() else {
                return up;
            };
            self.into[block] = far.into();
            block = far;
        }
        block
    }
}
