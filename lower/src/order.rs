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
use tailor_ir::{Block, Function};

use self::loops::Loops;

mod loops;

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
    /// The innermost of them.
    in_loop: Option<u32>,
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
        let loops = Loops::new(&cfg, DomTree::new(function, &cfg));
        let mut edges_in = SecondaryMap::<Block, u32>::new();
        edges_in[function.entry] = 1;
        for &block in cfg.rpo() {
            for target in function.blocks[block].term.targets() {
                edges_in[target.block] += 1;
            }
        }
        let nodes = make_nodes(function, &cfg, &loops, &edges_in);
        let order = contiguous(&nodes, &loops, reverse_post_order(&nodes));
        let mut depth = SecondaryMap::new();
        for &block in cfg.rpo() {
            depth[block] = loops.depth(loops.innermost(block));
        }
        Order { nodes: renumber(nodes, &order), edges_in, cfg, depth }
    }

    /// Loops around a block.
    pub fn depth(&self, block: Block) -> u32 {
        self.depth[block]
    }
}

fn make_nodes(
    function: &Function,
    cfg: &Cfg,
    loops: &Loops,
    edges_in: &SecondaryMap<Block, u32>,
) -> Vec<Node> {
    // Blocks keep their place in the CFG's order.
    let number = |block| cfg.rpo_index(block).expect("reachable") as u32;
    let mut nodes = Vec::with_capacity(cfg.rpo().len() + 1);
    let make = |source, frequency, in_loop| Node {
        source,
        succs: SmallVec::new(),
        frequency,
        depth: loops.depth(in_loop),
        in_loop,
    };
    for &block in cfg.rpo() {
        let frequency = function.blocks[block].frequency;
        nodes.push(make(Source::Block(block), frequency, loops.innermost(block)));
    }
    for &block in cfg.rpo() {
        let targets = function.blocks[block].term.targets();
        for (index, target) in targets.iter().enumerate() {
            let mut succ = number(target.block);
            if targets.len() > 1 && edges_in[target.block] > 1 {
                let frequency = edge_frequency(function, edges_in, block, index);
                let mut edge = make(
                    Source::Edge(block, index as u32),
                    frequency,
                    loops.of_edge(block, target.block),
                );
                edge.succs.push(succ);
                succ = nodes.len() as u32;
                nodes.push(edge);
            }
            nodes[number(block) as usize].succs.push(succ);
        }
    }
    nodes
}

/// How often a two-way branch goes to its target `index`: what the other one
/// leaves if that can be told, else one half.
fn edge_frequency(
    function: &Function,
    edges_in: &SecondaryMap<Block, u32>,
    block: Block,
    index: usize,
) -> f64 {
    let data = &function.blocks[block];
    let targets = data.term.targets();
    let other = targets[1 - index].block;
    let share = if edges_in[other] == 1 {
        data.frequency - function.blocks[other].frequency
    } else {
        data.frequency / 2.0
    };
    share.clamp(0.0, function.blocks[targets[index].block].frequency.max(0.0))
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

/// Moves the nodes of each loop up behind its first one.
fn contiguous(nodes: &[Node], loops: &Loops, order: Vec<u32>) -> Vec<u32> {
    #[derive(Clone, Copy)]
    enum Item {
        Node(u32),
        Loop(u32),
    }
    let outside = loops.len();
    let mut items = vec![Vec::new(); outside + 1];
    let mut open = vec![false; outside];
    for node in order {
        let mut inner = nodes[node as usize].in_loop;
        let list = inner.map_or(outside, |l| l as usize);
        while let Some(l) = inner
            && !std::mem::replace(&mut open[l as usize], true)
        {
            inner = loops.parent(l);
            items[inner.map_or(outside, |l| l as usize)].push(Item::Loop(l));
        }
        items[list].push(Item::Node(node));
    }
    let mut order = Vec::with_capacity(nodes.len());
    let mut path = vec![(outside, 0)];
    while let Some((list, next)) = path.last_mut() {
        let item = items[*list].get(*next).copied();
        *next += 1;
        match item {
            Some(Item::Node(node)) => order.push(node),
            Some(Item::Loop(l)) => path.push((l as usize, 0)),
            None => {
                path.pop();
            }
        }
    }
    order
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
