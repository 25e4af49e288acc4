//! Stores of spilled values, later.
//!
//! Problem: the allocator stores a value that must survive some call where it is
//! defined, however cold the path to the call is, and though a register may hold
//! the value up to there. So hot paths store for cold ones, and the slot is in use
//! from the definition on, when another value may still be in its place.
//! Idea: partial dead store elimination, as a minimum cut ([`crate::region`]). At
//! some points memory must hold the value: where it is read, and where no
//! register holds it any more. Wherever it need not, it is free to; what costs is
//! each edge, and each block, on which it begins to be in memory: there it is
//! stored. The definition is where it is not yet. Of the cheapest cuts the one with
//! the fewest stores is taken, and of these the latest; within a block a store
//! comes as late as it can. What is read while a register holds it is read there,
//! and needs no memory; a slot that nobody reads any more vanishes.
//! Invariants: every read finds what it found before. A store is put where some
//! register holds the value on every path, and in no loop that it could be outside
//! of at less cost. Instructions that write into a slot themselves do so still.
//! Source: Knoop, Rüthing and Steffen, "Partial dead code elimination" (PLDI
//! 1994); cuts by frequency as in Cai and Xue (see [`crate::region`]).

mod held;
mod segments;
#[cfg(test)]
mod tests;

use regalloc2::{Allocation, Edit, Inst, Output, ProgPoint, SpillSlot};
use tailor_lower::{Gpr, MachFunction};

use crate::region::{Costs, Demand, Graph, edge_frequency};
use crate::steps::Located;
use segments::{Found, Origin, Segment, Store};

/// In functions with more blocks stores stay: cuts take a little more than linear
/// time.
const MOST_BLOCKS: usize = 5_000;

/// Moves the stores of an allocation, and takes reads of slots away for which a
/// register will do.
pub fn sink(function: &MachFunction, output: &mut Output) {
    if output.num_spillslots == 0 || function.blocks.len() > MOST_BLOCKS {
        return;
    }
    let located = Located::new(function, &output.allocs, &output.edits, &[]);
    let found = segments::find(&located, output.num_spillslots);
    let stores = Planner::new(&located, &found).plan();
    let Found { moves, operands, .. } = found;
    let edits = merge(&output.edits, moves, stores);
    output.edits = edits;
    operands.into_iter().for_each(|(place, location)| output.allocs[place] = location);
    renumber(output);
}

/// The node for where memory must hold what the slot stands for.
const INSIDE: u32 = 0;
/// The node for where it cannot yet: at definitions.
const OUTSIDE: u32 = 1;

/// Decides for one slot after the other.
struct Planner<'a> {
    located: &'a Located<'a>,
    found: &'a Found,
    /// By block, the nodes for its start and its end.
    starts: Vec<u32>,
    ends: Vec<u32>,
    /// By node, the last store before the end of the block if it stands for one.
    last: Vec<Option<Store>>,
    /// Where memory may begin to hold the value.
    edges: Vec<Edge>,
    stores: Vec<(usize, Store)>,
}

/// A way from one node to another.
struct Edge {
    from: u32,
    to: u32,
    frequency: f64,
    /// The store if only the latter is inside.
    store: Store,
}

impl<'a> Planner<'a> {
    fn new(located: &'a Located<'a>, found: &'a Found) -> Planner<'a> {
        let blocks = located.function.blocks.len();
        Planner {
            located,
            found,
            starts: vec![INSIDE; blocks],
            ends: vec![INSIDE; blocks],
            last: Vec::new(),
            edges: Vec::new(),
            stores: found.stores.clone(),
        }
    }

    /// All stores, with their slots.
    fn plan(mut self) -> Vec<(usize, Store)> {
        let mut by_slot: Vec<Vec<&Segment>> = Vec::new();
        for segment in &self.found.segments {
            if by_slot.len() <= segment.slot {
                by_slot.resize_with(segment.slot + 1, Vec::new);
            }
            by_slot[segment.slot].push(segment);
        }
        for (slot, segments) in by_slot.iter().enumerate() {
            self.slot(slot, segments);
        }
        self.stores
    }

    fn slot(&mut self, slot: usize, segments: &[&Segment]) {
        self.last.clear();
        self.last.resize(2, None);
        self.edges.clear();
        segments.iter().for_each(|segment| self.segment(segment));
        self.between(slot, segments);
        self.cut(slot);
        for segment in segments {
            self.starts[segment.block] = INSIDE;
            self.ends[segment.block] = INSIDE;
        }
    }

    fn is_live_at_start(&self, block: usize, slot: usize) -> bool {
        self.found.live[block] >> slot & 1 == 1
    }

    fn node(&mut self, last: Option<Store>) -> u32 {
        self.last.push(last);
        self.last.len() as u32 - 1
    }

    /// Nodes for where a segment touches the ends of its block, and the edge within.
    fn segment(&mut self, segment: &Segment) {
        let Segment { slot, block, origin, store, needed, open, at_end } = *segment;
        let data = &self.located.function.blocks[block];
        let live_at_end =
            at_end && data.succs.iter().any(|succ| self.is_live_at_start(succ.index(), slot));
        let Some(store) = store.filter(|_| needed || live_at_end) else { return };
        let from = match origin {
            Origin::Start if self.is_live_at_start(block, slot) => {
                self.starts[block] = self.node(None);
                self.starts[block]
            }
            Origin::Move => OUTSIDE,
            _ => return,
        };
        let to = match open && at_end {
            true => {
                self.ends[block] = self.node(Some(store));
                self.ends[block]
            }
            false => INSIDE,
        };
        match (from, to) {
            (OUTSIDE, INSIDE) => self.stores.push((slot, store)),
            _ => self.edges.push(Edge { from, to, frequency: data.frequency, store }),
        }
    }

    /// Edges between blocks. What is inside for certain may be left for nothing.
    fn between(&mut self, slot: usize, segments: &[&Segment]) {
        let blocks = &self.located.function.blocks;
        for block in segments.iter().map(|segment| segment.block) {
            let end = self.ends[block];
            let Some(last) = self.last[end as usize].filter(|_| end != INSIDE) else { continue };
            for succ in blocks[block].succs.iter().map(|succ| succ.index()) {
                if !self.is_live_at_start(succ, slot) {
                    continue;
                }
                let store = self.on_edge(block, succ, last);
                let frequency = edge_frequency(blocks, block, succ);
                self.edges.push(Edge { from: end, to: self.starts[succ], frequency, store });
            }
        }
    }

    /// The store on an edge: at the end of a block that goes nowhere else, or else
    /// at the start of one that is entered from nowhere else.
    fn on_edge(&self, from: usize, to: usize, last: Store) -> Store {
        let blocks = &self.located.function.blocks;
        if blocks[from].succs.len() == 1 {
            return last;
        }
        let start = blocks[to].start;
        let point = ProgPoint::before(Inst::new(start as usize));
        Store { before: self.located.moves(to).start, point, ..last }
    }

    /// Takes out edges that no definition leads to: memory holds the value there.
    fn drop_certain(&mut self) {
        let mut reached = vec![false; self.last.len()];
        reached[OUTSIDE as usize] = true;
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for edge in self.edges.iter().filter(|edge| edge.to != INSIDE) {
                let from = reached[edge.from as usize];
                changed |= from && !std::mem::replace(&mut reached[edge.to as usize], from);
            }
        }
        self.edges.retain(|edge| reached[edge.from as usize]);
    }

    fn cut(&mut self, slot: usize) {
        self.drop_certain();
        if self.edges.is_empty() {
            return;
        }
        let nodes = self.last.len();
        let edges = self.edges.iter();
        let graph = Graph::of_edges(
            nodes,
            edges.map(|edge| (edge.from as usize, edge.to as usize, edge.frequency)),
        );
        let mut demands = vec![Demand::Either; nodes];
        demands[INSIDE as usize] = Demand::Inside;
        demands[OUTSIDE as usize] = Demand::Outside;
        let costs = Costs { enter: 1.0, leave: 0.0, inside: vec![0.0; nodes] };
        let region = graph.cheapest(&demands, &costs);
        let inside = |node: u32| region.as_ref().is_none_or(|region| region.inside[node as usize]);
        for edge in &self.edges {
            if !inside(edge.from) && inside(edge.to) {
                self.stores.push((slot, edge.store));
            }
        }
    }
}

/// The moves with what became of each, and the stores.
fn merge(
    old: &[(ProgPoint, Edit)],
    moves: Vec<Option<Edit>>,
    mut stores: Vec<(usize, Store)>,
) -> Vec<(ProgPoint, Edit)> {
    stores.sort_by_key(|(_, store)| (store.before, store.point));
    let mut stores = stores.into_iter().peekable();
    let mut edits = Vec::with_capacity(old.len());
    let moves = old.iter().zip(moves).map(|((point, _), edit)| Some((*point, edit?)));
    for (number, kept) in moves.chain([None]).enumerate() {
        while let Some((slot, store)) = stores.next_if(|(_, store)| store.before == number) {
            let from = Allocation::reg(store.from.preg());
            let to = Allocation::stack(SpillSlot::new(slot));
            edits.push((store.point, Edit::Move { from, to }));
        }
        edits.extend(kept);
    }
    drop_unread_scratch(&mut edits);
    edits
}

/// Takes out what moves to the scratch register and nothing moves on before the
/// next instruction.
fn drop_unread_scratch(edits: &mut Vec<(ProgPoint, Edit)>) {
    let scratch = Allocation::reg(Gpr::SCRATCH.preg());
    let mut wanted_at = None;
    let mut keep = vec![true; edits.len()];
    for ((point, Edit::Move { from, to }), keep) in edits.iter().zip(&mut keep).rev() {
        // After an instruction and before the next is one place.
        let gap = point.to_index().div_ceil(2);
        if *to == scratch {
            *keep = wanted_at.take() == Some(gap);
        }
        if *keep && *from == scratch {
            wanted_at = Some(gap);
        }
    }
    let mut keep = keep.into_iter();
    edits.retain(|_| keep.next().unwrap_or(true));
}

/// Slots that nothing accesses any more vanish.
fn renumber(output: &mut Output) {
    let mut numbers: Vec<Option<usize>> = vec![None; output.num_spillslots];
    let mut count = 0;
    let mut visit = |location: &mut Allocation| {
        if let Some(slot) = location.as_stack() {
            let number = numbers[slot.index()].get_or_insert_with(|| {
                count += 1;
                count - 1
            });
            *location = Allocation::stack(SpillSlot::new(*number));
        }
    };
    output.allocs.iter_mut().for_each(&mut visit);
    for (_, Edit::Move { from, to }) in &mut output.edits {
        visit(from);
        visit(to);
    }
    output.num_spillslots = count;
}
