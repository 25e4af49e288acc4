//! Where something that has to hold in some blocks is cheapest to hold.
//!
//! Problem: in some blocks something must be the case (a callee-saved register
//! is saved, a value has a copy that survives calls). It costs something on
//! each edge where it begins, something on each edge where it ends, and
//! something at exits of the function within. Which blocks beside those that
//! need it should have it?
//! Idea: a minimum cut. Blocks are nodes; those that need it are tied to the
//! source, the outside of the function and the blocks that must not have it to
//! the sink. An edge of the flow graph can be cut in either direction, for what
//! beginning or ending costs times its frequency. What is on the source's side
//! of the cheapest cut is the region. Dinic's algorithm finds it. Loops can be
//! contracted, so that each is wholly inside or wholly outside; that makes "never
//! in a loop that it could be outside of" a constraint and no matter of cost.
//! Invariants: of the regions with the least cost the one with the fewest edges
//! to act on is taken (each is code), and of these the smallest (what is kept
//! there is kept for a shorter time). There are no critical edges, so every edge
//! has the frequency of the one of its ends that has no other.
//! Source: Cai and Xue, "Optimal and efficient speculation-based partial
//! redundancy elimination" (CGO 2003), for cuts of flow graphs by frequency;
//! Dinic 1970 for the flow.

mod flow;
#[cfg(test)]
mod tests;

use flow::Network;
use tailor_lower::MachBlock;

/// Whether a block has to be in the region.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Demand {
    /// As is cheaper.
    #[default]
    Either,
    /// It must.
    Inside,
    /// It must not.
    Outside,
}

/// What a region costs per execution of the function.
#[derive(Clone, Debug)]
pub struct Costs {
    /// For each time that control enters it over an edge.
    pub enter: f64,
    /// For each time that control leaves it over an edge.
    pub leave: f64,
    /// For each block, once it is inside, whatever its frequency: what it costs at
    /// the function's entry, at its exits, at tail calls.
    pub inside: Vec<f64>,
}

/// The cheapest region.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// For each block, whether it is in it.
    pub inside: Vec<bool>,
    /// What it costs.
    pub cost: f64,
}

/// A function's flow graph, for any number of questions about it.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Of each block, the node that stands for it.
    nodes: Vec<u32>,
    count: usize,
    edges: Vec<Edge>,
}

/// An edge between blocks with different nodes.
#[derive(Clone, Copy, Debug)]
struct Edge {
    from: u32,
    to: u32,
    frequency: f64,
}

impl Graph {
    /// Each block may be inside on its own.
    pub fn of_blocks(blocks: &[MachBlock]) -> Graph {
        Graph::new(blocks, (0..blocks.len() as u32).collect())
    }

    /// The blocks of an outermost loop are inside or outside together.
    pub fn of_loops(blocks: &[MachBlock]) -> Graph {
        Graph::new(blocks, outermost_loops(blocks))
    }

    /// Of other nodes than a function's blocks: their number, and edges as from,
    /// to and frequency.
    pub fn of_edges(count: usize, edges: impl Iterator<Item = (usize, usize, f64)>) -> Graph {
        let edge = |(from, to, frequency)| Edge { from: from as u32, to: to as u32, frequency };
        Graph { nodes: (0..count as u32).collect(), count, edges: edges.map(edge).collect() }
    }

    fn new(blocks: &[MachBlock], nodes: Vec<u32>) -> Graph {
        let mut edges = Vec::with_capacity(blocks.len() + blocks.len() / 2);
        for (from, block) in blocks.iter().enumerate() {
            for to in block.succs.iter().map(|succ| succ.index()) {
                if nodes[from] != nodes[to] {
                    let frequency = edge_frequency(blocks, from, to);
                    edges.push(Edge { from: nodes[from], to: nodes[to], frequency });
                }
            }
        }
        let count = nodes.iter().max().map_or(0, |&last| last as usize + 1);
        Graph { nodes, count, edges }
    }

    /// The cheapest region that is as demanded of each block; `None` if blocks
    /// that belong together are demanded inside and outside.
    pub fn cheapest(&self, demands: &[Demand], costs: &Costs) -> Option<Region> {
        let sink = self.count;
        let mut network = Network::new(self.count + 1, self.edges.len() + self.count);
        let mut demanded = vec![Demand::Either; self.count];
        let mut within = vec![0; self.count];
        for (block, &node) in self.nodes.iter().enumerate() {
            let node = node as usize;
            within[node] += match capacity(costs.inside[block]) {
                0 => 0,
                cost => cost + 1,
            };
            match (demanded[node], demands[block]) {
                (_, Demand::Either) => {}
                (Demand::Either, demand) => demanded[node] = demand,
                (known, demand) if known != demand => return None,
                _ => {}
            }
        }
        let sources: Vec<usize> = of_kind(&demanded, Demand::Inside).collect();
        for node in of_kind(&demanded, Demand::Outside) {
            within[node] = flow::UNLIMITED;
        }
        for edge in &self.edges {
            let leave = capacity(edge.frequency * costs.leave) + 1;
            let enter = capacity(edge.frequency * costs.enter) + 1;
            network.add(edge.from as usize, edge.to as usize, leave, enter);
        }
        for (node, &cost) in within.iter().enumerate().filter(|(_, cost)| **cost > 0) {
            network.add(node, sink, cost, 0);
        }
        let side = network.minimum_cut(&sources, sink);
        let inside: Vec<bool> = self.nodes.iter().map(|&node| side[node as usize]).collect();
        let cost = self.cost(&inside, costs);
        Some(Region { inside, cost })
    }

    /// What a region costs that has no block of a loop without the others.
    pub fn cost(&self, inside: &[bool], costs: &Costs) -> f64 {
        let mut nodes = vec![false; self.count];
        let mut cost = 0.0;
        for (block, _) in inside.iter().enumerate().filter(|(_, inside)| **inside) {
            nodes[self.nodes[block] as usize] = true;
            cost += costs.inside[block];
        }
        for edge in &self.edges {
            cost += match (nodes[edge.from as usize], nodes[edge.to as usize]) {
                (false, true) => edge.frequency * costs.enter,
                (true, false) => edge.frequency * costs.leave,
                _ => 0.0,
            };
        }
        cost
    }
}

fn of_kind(demanded: &[Demand], kind: Demand) -> impl Iterator<Item = usize> {
    let of_kind = move |(_, demand): &(usize, &Demand)| **demand == kind;
    demanded.iter().enumerate().filter(of_kind).map(|(node, _)| node)
}

/// A cost as an integer: flows are compared exactly. Frequencies are at most
/// some thousands; what is rarer than once in 16 million times counts as never.
fn capacity(cost: f64) -> u64 {
    const ONE: f64 = (1u64 << 24) as f64;
    const MOST: f64 = (1u64 << 48) as f64;
    (cost * ONE).round().min(MOST) as u64
}

/// How often an edge is taken per execution of the function.
pub fn edge_frequency(blocks: &[MachBlock], from: usize, to: usize) -> f64 {
    match blocks[from].succs.len() {
        1 => blocks[from].goes_on(),
        _ => blocks[to].frequency,
    }
}

/// A number for each block, the same for blocks of the same outermost loop and
/// ascending. A back edge goes to an earlier block or to its own, and loops are
/// contiguous, so a loop is what lies between the two ends of its back edges.
/// Every cycle, also one with several entries, is within one group, as back
/// edges must cover all of it.
pub fn outermost_loops(blocks: &[MachBlock]) -> Vec<u32> {
    let count = blocks.len();
    // For each block, the last one from which something comes back to it.
    let mut ends: Vec<usize> = (0..count).collect();
    for (from, block) in blocks.iter().enumerate() {
        for to in block.succs.iter().map(|succ| succ.index()).filter(|&to| to <= from) {
            ends[to] = ends[to].max(from);
        }
    }
    let mut groups = Vec::with_capacity(count);
    let (mut group, mut end) = (0, 0);
    for (block, &last) in ends.iter().enumerate() {
        if block > end {
            group += 1;
        }
        end = end.max(last);
        groups.push(group);
    }
    groups
}
