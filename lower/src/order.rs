//! Block order.
//!
//! Problem: the allocator takes no critical edges and guesses loop depth from
//! the order; the emitter wants the likely successor to come next.
//!
//! Idea: the graph to be laid out has a node for each reachable block and one for
//! each critical edge (nothing jumps to the entry, says the verifier).
//! Reverse post-order of a search that takes the less frequent successor first
//! puts the more frequent one right behind its predecessor. Loops are then made
//! contiguous by moving their nodes up behind the header, the order within a
//! loop staying as it is.
//!
//! Invariants: every edge that is not a back edge goes forward, also after
//! grouping (a natural loop is entered by its header only, so that what moves
//! up overtakes nothing that it depends on); hence a block comes after all that
//! dominate it. Irreducible cycles are left in reverse post-order.

use cranelift_entity::SecondaryMap;
use smallvec::SmallVec;
use tailor_ir::cfg::Cfg;
use tailor_ir::dom::DomTree;
use tailor_ir::loops::Loops;
use tailor_ir::{Block, Function};

/// The chance that a branch takes its back edge, as the front end estimates blocks.
const BACK: f64 = 7.0 / 8.0;

/// What a machine block is made from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A block of the function.
    Block(Block),
    /// The edge to a block's target, by position in its terminator.
    Edge(Block, u32),
}

/// A machine block to be.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is made from.
    pub source: Source,
    /// Nodes to which control goes, in the terminator's order.
    pub succs: SmallVec<[u32; 2]>,
    /// Executions per execution of the entry.
    pub frequency: f64,
    /// Loops around it.
    pub depth: u32,
    /// The block, if it is a loop's header.
    header: Option<Block>,
    /// The header of the innermost loop that it belongs to; of a header, of the
    /// next loop out.
    parent: Option<Block>,
}

/// The nodes in layout order, numbered by their place in it.
pub struct Order {
    /// The first one is the entry.
    pub nodes: Vec<Node>,
    /// The number of edges into each block from reachable blocks, the
    /// function's entry counted as one.
    pub edges_in: SecondaryMap<Block, u32>,
    /// Predecessors in the function.
    pub cfg: Cfg,
    depth: SecondaryMap<Block, u32>,
}

impl Order {
    /// Lays out a function.
    pub fn new(function: &Function) -> Order {
        let cfg = Cfg::new(function);
        let mut edges_in = SecondaryMap::<Block, u32>::new();
        edges_in[function.entry] = 1;
        for &block in cfg.rpo() {
            for target in function.blocks[block].term.targets() {
                edges_in[target.block] += 1;
            }
        }
        let nest = Nest::new(function, &cfg);
        let nodes = make_nodes(function, &cfg, &nest, &edges_in);
        let order = contiguous(&nodes, &reverse_post_order(&nodes));
        Order { nodes: renumber(nodes, &order), edges_in, cfg, depth: nest.depth }
    }

    /// Loops around a block.
    pub fn depth(&self, block: Block) -> u32 {
        self.depth[block]
    }
}

/// The loops with what is asked of them here.
struct Nest {
    loops: Loops,
    dom: DomTree,
    depth: SecondaryMap<Block, u32>,
}

impl Nest {
    fn new(function: &Function, cfg: &Cfg) -> Nest {
        let dom = DomTree::new(function, cfg);
        let loops = Loops::new(cfg, &dom);
        let mut depth = SecondaryMap::<Block, u32>::new();
        for &block in cfg.rpo() {
            let outside = loops.parent(block).map_or(0, |header| depth[header]);
            depth[block] = outside + u32::from(loops.is_header(block));
        }
        Nest { loops, dom, depth }
    }

    fn is_back_edge(&self, from: Block, to: Block) -> bool {
        self.loops.is_header(to) && self.dom.dominates(to, from)
    }

    /// The header of the innermost loop around an edge. Only a header is
    /// entered from outside, so it is the target's loop or the next one out.
    fn around_edge(&self, from: Block, to: Block) -> Option<Block> {
        if self.is_back_edge(from, to) { Some(to) } else { self.loops.parent(to) }
    }
}

fn make_nodes(
    function: &Function,
    cfg: &Cfg,
    nest: &Nest,
    edges_in: &SecondaryMap<Block, u32>,
) -> Vec<Node> {
    // Blocks keep their place in the CFG's order.
    let number = |block| cfg.rpo_index(block).expect("reachable") as u32;
    let mut nodes = Vec::with_capacity(cfg.rpo().len());
    for &block in cfg.rpo() {
        nodes.push(Node {
            source: Source::Block(block),
            succs: SmallVec::new(),
            frequency: function.blocks[block].frequency,
            depth: nest.depth[block],
            header: nest.loops.is_header(block).then_some(block),
            parent: nest.loops.parent(block),
        });
    }
    for &block in cfg.rpo() {
        let targets = function.blocks[block].term.targets();
        for (index, target) in targets.iter().enumerate() {
            let mut succ = number(target.block);
            if targets.len() > 1 && edges_in[target.block] > 1 {
                let parent = nest.around_edge(block, target.block);
                nodes.push(Node {
                    source: Source::Edge(block, index as u32),
                    succs: SmallVec::from_slice(&[succ]),
                    frequency: edge_frequency(function, nest, edges_in, block, index),
                    depth: parent.map_or(0, |header| nest.depth[header]),
                    header: None,
                    parent,
                });
                succ = nodes.len() as u32 - 1;
            }
            nodes[number(block) as usize].succs.push(succ);
        }
    }
    nodes
}

/// How often a two-way branch goes to its target `index`: what the other one
/// leaves if that can be told, else 7/8 to the one that is a loop's back edge and
/// one half where there is no such choice, as blocks are estimated; within what
/// both blocks allow.
fn edge_frequency(
    function: &Function,
    nest: &Nest,
    edges_in: &SecondaryMap<Block, u32>,
    block: Block,
    index: usize,
) -> f64 {
    let targets = function.blocks[block].term.targets();
    let frequency = |block: Block| function.blocks[block].frequency;
    let (target, other) = (targets[index].block, targets[1 - index].block);
    let rest = (frequency(block) - frequency(other)).max(0.0);
    let part = match (nest.is_back_edge(block, target), nest.is_back_edge(block, other)) {
        (true, false) => BACK,
        (false, true) => 1.0 - BACK,
        _ => 0.5,
    };
    let share = if edges_in[other] == 1 { rest } else { rest.max(frequency(block) * part) };
    share.min(frequency(target))
}

fn reverse_post_order(nodes: &[Node]) -> Vec<u32> {
    // Less frequent successors first; of equals, the one not taken comes last.
    let visit_order = |node: u32| {
        let mut succs = nodes[node as usize].succs.clone();
        succs.sort_by(|&a, &b| {
            let frequency = |node: u32| nodes[node as usize].frequency;
            frequency(a).total_cmp(&frequency(b))
        });
        succs
    };
    let mut seen = vec![false; nodes.len()];
    let mut order = Vec::with_capacity(nodes.len());
    let mut path = vec![(0, visit_order(0), 0)];
    seen[0] = true;
    while let Some((node, succs, next)) = path.last_mut() {
        match succs.get(*next) {
            Some(&succ) => {
                *next += 1;
                if !std::mem::replace(&mut seen[succ as usize], true) {
                    path.push((succ, visit_order(succ), 0));
                }
            }
            None => {
                order.push(*node);
                path.pop();
            }
        }
    }
    order.reverse();
    order
}

/// Moves the nodes of each loop up behind its header.
fn contiguous(nodes: &[Node], order: &[u32]) -> Vec<u32> {
    // A preorder walk of the loop nest; children are pushed last to first.
    let mut children = SecondaryMap::<Block, Vec<u32>>::new();
    let mut work = Vec::new();
    for &node in order.iter().rev() {
        match nodes[node as usize].parent {
            Some(header) => children[header].push(node),
            None => work.push(node),
        }
    }
    let mut out = Vec::with_capacity(order.len());
    while let Some(node) = work.pop() {
        out.push(node);
        if let Some(header) = nodes[node as usize].header {
            work.append(&mut children[header]);
        }
    }
    out
}

fn renumber(nodes: Vec<Node>, order: &[u32]) -> Vec<Node> {
    let mut place = vec![0; nodes.len()];
    for (index, &node) in order.iter().enumerate() {
        place[node as usize] = index as u32;
    }
    let mut slots: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    let mut out = Vec::with_capacity(order.len());
    for &node in order {
        let mut node = slots[node as usize].take().expect("each node once");
        for succ in &mut node.succs {
            *succ = place[*succ as usize];
        }
        out.push(node);
    }
    out
}
