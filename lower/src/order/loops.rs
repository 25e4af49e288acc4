//! The natural loops of a function and how they nest.
//!
//! Problem: which loops contain a block, in time near-linear in the graph.
//!
//! Idea: headers from the innermost out (backwards in reverse post-order); a
//! walk against the edges from the back edges collects the body, and steps over
//! a loop already found in one go, by continuing from its header (Havlak,
//! "Nesting of Reducible and Irreducible Loops", 1997, without its irreducible
//! part). The outermost loop found so far around a block comes from a forest
//! with compressed paths.
//!
//! Invariant: two loops with different headers are nested or disjoint.

use cranelift_entity::SecondaryMap;
use tailor_ir::Block;
use tailor_ir::cfg::Cfg;
use tailor_ir::dom::DomTree;

/// A function's loops by number; an inner loop has a lower number than those
/// around it.
pub(super) struct Loops {
    loops: Vec<Loop>,
    innermost: SecondaryMap<Block, Option<u32>>,
    dom: DomTree,
}

struct Loop {
    header: Block,
    parent: Option<u32>,
    depth: u32,
    /// A loop around this one, itself if none is known yet; for the search.
    up: u32,
}

impl Loops {
    pub fn new(cfg: &Cfg, dom: DomTree) -> Loops {
        let mut loops = Loops { loops: Vec::new(), innermost: SecondaryMap::new(), dom };
        for &header in cfg.rpo().iter().rev() {
            loops.collect(cfg, header);
        }
        for index in (0..loops.len()).rev() {
            let parent = loops.loops[index].parent;
            loops.loops[index].depth = loops.depth(parent) + 1;
        }
        loops
    }

    /// The number of loops.
    pub fn len(&self) -> usize {
        self.loops.len()
    }

    /// The innermost loop around a block.
    pub fn innermost(&self, block: Block) -> Option<u32> {
        self.innermost[block]
    }

    /// The loop directly around a loop.
    pub fn parent(&self, number: u32) -> Option<u32> {
        self.loops[number as usize].parent
    }

    /// How many loops there are around a place in this innermost one, itself included.
    pub fn depth(&self, innermost: Option<u32>) -> u32 {
        innermost.map_or(0, |number| self.loops[number as usize].depth)
    }

    /// The innermost loop around the edge from one block to another. Only a
    /// header is entered from outside, so it is the target's or the next one.
    pub fn of_edge(&self, from: Block, to: Block) -> Option<u32> {
        let number = self.innermost[to]?;
        let entered = self.loops[number as usize].header == to && !self.dom.dominates(to, from);
        if entered { self.parent(number) } else { Some(number) }
    }

    /// Finds the loop with this header, if there is one.
    fn collect(&mut self, cfg: &Cfg, header: Block) {
        let number = self.loops.len() as u32;
        let preds = cfg.preds(header).iter().copied();
        let mut work: Vec<Block> = preds.filter(|&p| self.dom.dominates(header, p)).collect();
        if work.is_empty() {
            return;
        }
        self.loops.push(Loop { header, parent: None, depth: 0, up: number });
        self.innermost[header] = Some(number);
        while let Some(block) = work.pop() {
            let entry = match self.outermost(block) {
                Some(top) if top == number => continue,
                Some(inner) => {
                    let inner = &mut self.loops[inner as usize];
                    inner.parent = Some(number);
                    inner.up = number;
                    inner.header
                }
                None => {
                    self.innermost[block] = Some(number);
                    block
                }
            };
            let preds = cfg.preds(entry).iter().copied();
            work.extend(preds.filter(|&p| cfg.is_reachable(p)));
        }
    }

    /// The outermost loop found so far around a block.
    fn outermost(&mut self, block: Block) -> Option<u32> {
        let mut top = self.innermost[block]?;
        while self.loops[top as usize].up != top {
            let up = self.loops[top as usize].up;
            self.loops[top as usize].up = self.loops[up as usize].up;
            top = up;
        }
        Some(top)
    }
}
