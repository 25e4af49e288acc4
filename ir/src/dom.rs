//! The dominator tree.
//!
//! Problem: block `a` dominates `b` if every path from the entry to `b` goes
//! through `a`. The usual iteration (Cooper, Harvey and Kennedy) walks up the
//! tree once per edge, which is quadratic for a common shape of eBPF programs:
//! a long chain of checks that all leave to one exit block.
//!
//! Idea: the semi-NCA algorithm (Georgiadis, "Linear-Time Algorithms for
//! Dominators and Related Problems", 2005). A depth-first search numbers the
//! blocks. The semidominator of `w` is the lowest-numbered block from which
//! numbers above `w`'s lead to `w`; a forest with path compression finds it.
//! The immediate dominator is then the deepest ancestor of `w`'s parent in the
//! dominator tree whose number is not above the semidominator's. That ancestor
//! is found through skip links (Myers, "An applicative random-access stack",
//! 1983), so that no shape costs more than O(edges x log blocks).
//!
//! Invariants: an immediate dominator has a lower number than its block.
//! `Node::start` numbers the tree in preorder, and a subtree is the interval
//! `start..start + size`, which answers `dominates` in constant time.

use cranelift_entity::SecondaryMap;
use cranelift_entity::packed_option::PackedOption;

use crate::cfg::Cfg;
use crate::{Block, Function};

/// The dominator tree of a function's reachable blocks.
pub struct DomTree {
    nodes: SecondaryMap<Block, Node>,
    preorder: Vec<Block>,
}

/// A block's place in the tree; `size` is 0 for unreachable blocks.
#[derive(Clone, Default)]
struct Node {
    idom: PackedOption<Block>,
    start: u32,
    size: u32,
}

impl DomTree {
    /// The dominators of a function whose graph is `cfg`.
    pub fn new(function: &Function, cfg: &Cfg) -> DomTree {
        let search = Search::new(function);
        let semi = search.semidominators(cfg);
        let idom = search.immediate(&semi);
        search.tree(&idom)
    }

    /// The closest block other than `block` itself that dominates it. The entry
    /// and unreachable blocks have none.
    pub fn idom(&self, block: Block) -> Option<Block> {
        self.nodes[block].idom.expand()
    }

    /// Whether every path from the entry to `b` goes through `a`. A reachable
    /// block dominates itself; an unreachable one dominates nothing and is
    /// dominated by nothing.
    pub fn dominates(&self, a: Block, b: Block) -> bool {
        let (a, b) = (&self.nodes[a], &self.nodes[b]);
        b.size != 0 && b.start.wrapping_sub(a.start) < a.size
    }

    /// The reachable blocks, each after its immediate dominator and with its
    /// subtree in one piece behind it.
    pub fn preorder(&self) -> &[Block] {
        &self.preorder
    }

    /// The blocks whose immediate dominator is this one.
    pub fn children(&self, block: Block) -> impl Iterator<Item = Block> + '_ {
        let node = &self.nodes[block];
        let end = node.start + node.size;
        let mut next = node.start + 1;
        std::iter::from_fn(move || {
            let child = (next < end).then(|| self.preorder[next as usize])?;
            next += self.nodes[child].size;
            Some(child)
        })
    }
}

/// A depth-first search; below, blocks are meant by their numbers in it.
struct Search {
    blocks: Vec<Block>,
    /// The block from which the search came.
    parent: Vec<u32>,
    number: SecondaryMap<Block, Option<u32>>,
}

impl Search {
    fn new(function: &Function) -> Search {
        let mut search = Search {
            blocks: Vec::new(),
            parent: Vec::new(),
            number: SecondaryMap::with_capacity(function.blocks.len()),
        };
        let mut stack = vec![(function.entry, 0)];
        while let Some((block, parent)) = stack.pop() {
            if search.number[block].is_some() {
                continue;
            }
            let number = search.blocks.len() as u32;
            search.number[block] = Some(number);
            search.blocks.push(block);
            search.parent.push(parent);
            let targets = function.blocks[block].term.targets();
            stack.extend(targets.iter().map(|target| (target.block, number)));
        }
        search
    }

    fn len(&self) -> u32 {
        self.blocks.len() as u32
    }

    fn semidominators(&self, cfg: &Cfg) -> Vec<u32> {
        let mut semi: Vec<u32> = (0..self.len()).collect();
        let mut forest = Forest { up: self.parent.clone(), least: semi.clone(), path: Vec::new() };
        for w in (1..self.len()).rev() {
            let mut best = self.parent[w as usize];
            for &pred in cfg.preds(self.blocks[w as usize]) {
                if let Some(v) = self.number[pred] {
                    best = best.min(forest.least_above(v, w));
                }
            }
            semi[w as usize] = best;
            forest.least[w as usize] = best;
        }
        semi
    }

    /// Immediate dominators; 0 is its own.
    fn immediate(&self, semi: &[u32]) -> Vec<u32> {
        let n = self.blocks.len();
        let (mut idom, mut skip, mut depth) = (vec![0; n], vec![0; n], vec![0u32; n]);
        for w in 1..n {
            let mut v = self.parent[w] as usize;
            while v > semi[w] as usize {
                let far: usize = skip[v];
                v = if far > semi[w] as usize { far } else { idom[v] };
            }
            idom[w] = v;
            depth[w] = depth[v] + 1;
            // Skip over two links of equal length with one that spans both.
            let (one, two) = (skip[v], skip[skip[v]]);
            skip[w] = if depth[v] - depth[one] == depth[one] - depth[two] { two } else { v };
        }
        idom.into_iter().map(|v| v as u32).collect()
    }

    fn tree(&self, idom: &[u32]) -> DomTree {
        let n = self.blocks.len();
        let mut size = vec![1u32; n];
        for w in (1..n).rev() {
            size[idom[w] as usize] += size[w];
        }
        // Where the next child of each block starts.
        let mut next = vec![1u32; n];
        let mut nodes = SecondaryMap::<Block, Node>::new();
        let mut preorder = self.blocks.clone();
        nodes[self.blocks[0]].size = size[0];
        for w in 1..n {
            let above = idom[w] as usize;
            let start = next[above];
            next[above] += size[w];
            next[w] = start + 1;
            preorder[start as usize] = self.blocks[w];
            nodes[self.blocks[w]] = Node { idom: self.blocks[above].into(), start, size: size[w] };
        }
        DomTree { nodes, preorder }
    }
}

/// The part of the search tree that has been visited from its highest number
/// down, as a forest with compressed paths.
struct Forest {
    /// An ancestor in the search tree, at first the parent.
    up: Vec<u32>,
    /// The least semidominator from the block itself up to `up`, exclusive; of
    /// blocks not yet in the forest, their own number.
    least: Vec<u32>,
    path: Vec<u32>,
}

impl Forest {
    /// The least semidominator from `v` up to the root of its tree in the
    /// forest of all numbers above `w`.
    fn least_above(&mut self, v: u32, w: u32) -> u32 {
        let mut root = v;
        while self.up[root as usize] > w {
            self.path.push(root);
            root = self.up[root as usize];
        }
        let mut least = self.least[root as usize];
        let up = self.up[root as usize];
        while let Some(x) = self.path.pop() {
            least = least.min(self.least[x as usize]);
            self.least[x as usize] = least;
            self.up[x as usize] = up;
        }
        least
    }
}
