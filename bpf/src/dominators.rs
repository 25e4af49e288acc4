//! Dominators of a control-flow graph.
//!
//! Problem: for each block the nearest other block that every path from the
//! entry to it goes through, on graphs of hundreds of thousands of blocks and
//! of any shape.
//!
//! Idea: Lengauer and Tarjan (1979), the version with path compression only,
//! O(m log n). Blocks are numbered as a depth-first walk meets them. A block's
//! semidominator is the lowest number from which it can be reached through
//! higher numbers only; blocks are taken from the highest number down, so that
//! the higher ones already stand in a forest whose compressed paths hold the
//! minimum. The nearest dominator is either that or the one of a block on the
//! path. The iterative method in common use is simpler, and quadratic.

use crate::cfg::{Cfg, Predecessors};

const NONE: u32 = u32::MAX;

/// The dominator tree.
#[derive(Clone, Debug)]
pub struct Dominators {
    /// By block; of the entry: itself.
    idom: Vec<u32>,
    /// Blocks, each after the one that dominates it.
    preorder: Vec<u32>,
    /// By block, its place in a walk of the tree and the last place below it.
    places: Vec<(u32, u32)>,
}

/// The forest of blocks handled so far; everything is a number of the walk.
struct Forest {
    semi: Vec<u32>,
    label: Vec<u32>,
    ancestor: Vec<u32>,
    path: Vec<u32>,
}

impl Forest {
    fn new(count: usize) -> Forest {
        let numbers: Vec<u32> = (0..count as u32).collect();
        Forest {
            semi: numbers.clone(),
            label: numbers,
            ancestor: vec![NONE; count],
            path: Vec::new(),
        }
    }

    fn semi_of(&self, v: u32) -> u32 {
        self.semi[self.label[v as usize] as usize]
    }

    /// The number with the lowest semidominator on the path from `v` up to its
    /// root, which does not count.
    fn eval(&mut self, v: u32) -> u32 {
        let mut x = v;
        while self.ancestor[x as usize] != NONE {
            self.path.push(x);
            x = self.ancestor[x as usize];
        }
        // The topmost one hangs from the root already.
        self.path.pop();
        while let Some(x) = self.path.pop() {
            let above = self.ancestor[x as usize];
            if self.semi_of(above) < self.semi_of(x) {
                self.label[x as usize] = self.label[above as usize];
            }
            self.ancestor[x as usize] = self.ancestor[above as usize];
        }
        self.label[v as usize]
    }
}

impl Dominators {
    /// The dominator tree of a graph with these predecessors.
    pub fn new(cfg: &Cfg, predecessors: &Predecessors) -> Dominators {
        let walk = cfg.depth_first();
        let count = walk.preorder.len();
        let mut number = vec![0u32; count];
        for (index, &block) in walk.preorder.iter().enumerate() {
            number[block as usize] = index as u32;
        }
        let mut forest = Forest::new(count);
        let mut idom = vec![0u32; count];
        // Lists of numbers by semidominator.
        let mut first = vec![NONE; count];
        let mut next = vec![NONE; count];
        for w in (1..count).rev() {
            let block = walk.preorder[w];
            for &pred in predecessors.of(block) {
                let u = forest.eval(number[pred as usize]);
                forest.semi[w] = forest.semi[w].min(forest.semi[u as usize]);
            }
            let semi = forest.semi[w] as usize;
            next[w] = first[semi];
            first[semi] = w as u32;
            let parent = number[walk.parent[block as usize] as usize];
            forest.ancestor[w] = parent;
            let mut v = std::mem::replace(&mut first[parent as usize], NONE);
            while v != NONE {
                let u = forest.eval(v);
                let lower = forest.semi[u as usize] < forest.semi[v as usize];
                idom[v as usize] = if lower { u } else { parent };
                v = next[v as usize];
            }
        }
        for w in 1..count {
            if idom[w] != forest.semi[w] {
                idom[w] = idom[idom[w] as usize];
            }
        }
        let mut by_block = vec![0u32; count];
        for (w, &block) in walk.preorder.iter().enumerate() {
            by_block[block as usize] = walk.preorder[idom[w] as usize];
        }
        Dominators::from_idom(by_block, walk.preorder)
    }

    /// `order` has every block after its dominators.
    fn from_idom(idom: Vec<u32>, order: Vec<u32>) -> Dominators {
        let mut size = vec![1u32; idom.len()];
        for &block in order.iter().skip(1).rev() {
            size[idom[block as usize] as usize] += size[block as usize];
        }
        // Each block takes the first free place below its dominator.
        let mut places = vec![(0, 0); idom.len()];
        let mut free = vec![1u32; idom.len()];
        for &block in &order {
            let (block, above) = (block as usize, idom[block as usize] as usize);
            let place = if block == above { 0 } else { free[above] };
            if block != above {
                free[above] += size[block];
            }
            free[block] = place + 1;
            places[block] = (place, place + size[block] - 1);
        }
        Dominators { idom, preorder: order, places }
    }

    /// The nearest block that dominates this one; none for the entry.
    pub fn idom(&self, block: u32) -> Option<u32> {
        (block != 0).then(|| self.idom[block as usize])
    }

    /// Whether every path from the entry to `b` goes through `a`; a block
    /// dominates itself.
    pub fn dominates(&self, a: u32, b: u32) -> bool {
        let (first, last) = self.places[a as usize];
        (first..=last).contains(&self.places[b as usize].0)
    }

    /// The blocks, each after the one that dominates it.
    pub fn top_down(&self) -> &[u32] {
        &self.preorder
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cfg::CfgBlock;
    use crate::insn::Op;
    use crate::text::parse_ops;

    fn graph(edges: &[&[u32]]) -> Cfg {
        let block = |(index, succs): (usize, &&[u32])| CfgBlock {
            start: index as u32,
            end: index as u32 + 1,
            succs: succs.iter().copied().collect(),
        };
        let blocks = edges.iter().enumerate().map(block).collect();
        Cfg { blocks }
    }

    pub(crate) fn dominators(cfg: &Cfg) -> Dominators {
        Dominators::new(cfg, &cfg.predecessors())
    }

    /// Whether `b` cannot be reached once `a` is taken away.
    fn dominates_by_definition(cfg: &Cfg, a: u32, b: u32) -> bool {
        let mut seen = vec![false; cfg.blocks.len()];
        let mut work = vec![0];
        while let Some(block) = work.pop() {
            if block != a && !std::mem::replace(&mut seen[block as usize], true) {
                work.extend(&cfg.blocks[block as usize].succs);
            }
        }
        !seen[b as usize]
    }

    /// A small pseudo-random graph in which every block is reachable, of one
    /// slot a block.
    pub(crate) fn random_graph(seed: u64) -> Cfg {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005);
            state = state.wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let count = 2 + random(11) as usize;
        let mut edges = vec![vec![]; count];
        for block in 1..count {
            // From an earlier block that still has room.
            let free: Vec<usize> = (0..block).filter(|&b| edges[b].len() < 2).collect();
            let from = free[random(free.len() as u64) as usize];
            edges[from].push(block as u32);
        }
        for list in &mut edges {
            while list.len() < 2 && random(4) > 0 {
                list.push(random(count as u64) as u32);
            }
        }
        graph(&edges.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    #[test]
    fn random_graphs_agree_with_the_definition() {
        for seed in 0..2000 {
            let cfg = random_graph(seed);
            let tree = dominators(&cfg);
            let count = cfg.blocks.len() as u32;
            for (a, b) in (0..count).flat_map(|a| (0..count).map(move |b| (a, b))) {
                let expected = dominates_by_definition(&cfg, a, b);
                assert_eq!(tree.dominates(a, b), expected, "{a} {b} of {cfg:?}");
                if expected && a != b {
                    let idom = tree.idom(b).expect("not the entry");
                    assert!(tree.dominates(a, idom), "{a} {b} of {cfg:?}");
                }
            }
        }
    }

    #[test]
    fn ladders_take_near_linear_time() {
        // Each block also jumps far back or forth, which makes the iterative
        // method quadratic.
        let count = 200_000u32;
        let succs = |block: u32| [(block + 1).min(count - 1), count - 1 - block];
        let edges: Vec<[u32; 2]> = (0..count).map(succs).collect();
        let cfg = graph(&edges.iter().map(<[u32; 2]>::as_slice).collect::<Vec<_>>());
        assert_eq!(dominators(&cfg).top_down().len(), count as usize);
    }

    #[test]
    fn one_block_and_none() {
        let cfg = Cfg::build(&parse_ops("exit").expect("parses"));
        let tree = dominators(&cfg);
        assert_eq!((tree.idom(0), tree.dominates(0, 0)), (None, true));
        let none: [Op; 0] = [];
        assert_eq!(dominators(&Cfg::build(&none)).top_down(), []);
    }
}
