//! Where callee-saved registers are saved and restored.
//!
//! Problem: a register that a function changes must be as it was when it is
//! left. Pushed at the entry and popped at each exit, it costs that on every
//! path, also on those that do without it.
//! Idea (shrink-wrapping, for each register on its own): the register needs to be
//! saved where it has a value of the function's own ([`Occupied`]). From the
//! cheapest region around these blocks ([`crate::region`]) follows where: it is
//! stored into a slot of the frame on the edges into the region, and loaded on
//! the edges out of it, before returns inside of it, and at tail calls inside of
//! it when they succeed. Stores and loads are moves like the allocator's, so
//! everything that reads moves sees them. A register that is needed at the
//! entry, or gains nothing, is pushed and popped.
//! Invariants: nothing outside of the region names the register, so at its edges
//! only the allocator's moves in the inner block count: a save comes before all
//! of them, a restore after all. No save is in a loop that it could be outside
//! of: a loop is inside as a whole.
//! Source: Chow, "Minimizing register usage penalty at procedure calls" (PLDI
//! 1988), for the idea; Lupo and Wilken, "Post register allocation spill code
//! optimization" (CGO 2006), for costs by frequency.

use regalloc2::{Allocation, Block, Edit, Inst, ProgPoint, SpillSlot};
use smallvec::SmallVec;
use tailor_lower::{Gpr, MachFunction, Role};

use crate::cost::Exits;
use crate::region::{Costs, Demand, Graph, Region};
use crate::saves::Occupied;

/// In functions with more blocks every register is pushed: cuts take a little
/// more than linear time.
const MOST_BLOCKS: usize = 5_000;

/// What becomes of the callee-saved registers of an allocation.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// Those that are pushed at the entry, in order of preference.
    pub pushed: SmallVec<[Gpr; 6]>,
    /// Those that are saved elsewhere, with the blocks inside.
    regions: Vec<(Gpr, Vec<bool>)>,
    /// All of them, in order of preference, with the saves and restores of each per
    /// execution of the function.
    pub costs: SmallVec<[(Gpr, f64); 6]>,
}

/// A register that is saved where that is needed, by moves.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Which one.
    pub reg: Gpr,
    /// Where its value of the entry is while it is saved.
    pub slot: Allocation,
    /// Tail calls that restore it when they succeed. Ascending.
    pub tail_calls: Vec<u32>,
}

/// Finds placements for allocations of one function.
pub struct Placer<'a> {
    function: &'a MachFunction,
    exits: &'a Exits,
    enabled: bool,
    /// Made when it is needed first.
    graph: Option<Graph>,
}

impl<'a> Placer<'a> {
    /// Unless it is `enabled`, all registers are pushed.
    pub fn new(function: &'a MachFunction, exits: &'a Exits, enabled: bool) -> Placer<'a> {
        let enabled = enabled && function.blocks.len() <= MOST_BLOCKS;
        Placer { function, exits, enabled, graph: None }
    }

    /// The cheapest placement.
    pub fn place(&mut self, used: &[Gpr], occupied: &Occupied) -> Placement {
        let mut placement = Placement::default();
        let pushing = self.exits.save_cost();
        for &reg in used {
            let region = match self.enabled && !occupied.has(0, reg) {
                true => self.region(reg, occupied).filter(|region| region.cost < pushing),
                false => None,
            };
            placement.costs.push((reg, region.as_ref().map_or(pushing, |region| region.cost)));
            match region {
                Some(region) => placement.regions.push((reg, region.inside)),
                None => placement.pushed.push(reg),
            }
        }
        placement
    }

    /// The cheapest region around what needs the register.
    fn region(&mut self, reg: Gpr, occupied: &Occupied) -> Option<Region> {
        let blocks = &self.function.blocks;
        let graph = self.graph.get_or_insert_with(|| Graph::of_loops(blocks));
        let demand = |block| match occupied.has(block, reg) {
            true => Demand::Inside,
            false => Demand::Either,
        };
        let demands: Vec<Demand> = (0..blocks.len()).map(demand).collect();
        let mut inside = self.exits.by_block.clone();
        inside[0] += 1.0;
        let region = graph.cheapest(&demands, &Costs { enter: 1.0, leave: 1.0, inside })?;
        // Whoever is saved at the entry is pushed.
        Some(region).filter(|region| !region.inside[0])
    }
}

impl Placement {
    /// Saves and restores per execution of the function.
    pub fn cost(&self) -> f64 {
        self.costs.iter().map(|(_, cost)| cost).sum()
    }

    /// Adds the saves and restores of those that are not pushed to the moves
    /// of the allocator. Their slots are numbered from `next_slot`.
    pub fn apply(
        &self,
        function: &MachFunction,
        edits: Vec<(ProgPoint, Edit)>,
        next_slot: usize,
    ) -> (Vec<(ProgPoint, Edit)>, Vec<Placed>) {
        let mut placed = Vec::new();
        if self.regions.is_empty() {
            return (edits, placed);
        }
        let of_allocator = |(point, edit)| (point, Order::Allocator, edit);
        let mut moves: Vec<_> = edits.into_iter().map(of_allocator).collect();
        for (at, (reg, inside)) in self.regions.iter().enumerate() {
            let slot = Allocation::stack(SpillSlot::new(next_slot + at));
            let own = Allocation::reg(reg.preg());
            moves.extend(borders(function, inside).into_iter().map(|(point, order)| {
                let (from, to) = if order == Order::First { (own, slot) } else { (slot, own) };
                (point, order, Edit::Move { from, to })
            }));
            let tail_calls = insts(function, inside, Role::TailCall).map(|inst| inst as u32);
            placed.push(Placed { reg: *reg, slot, tail_calls: tail_calls.collect() });
        }
        moves.sort_by_key(|&(point, order, _)| (point, order));
        (moves.into_iter().map(|(point, _, edit)| (point, edit)).collect(), placed)
    }
}

/// Which of the moves at one point come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    First,
    Allocator,
    Last,
}

/// Where a region is entered, for the first of the moves there, and where it is left,
/// by edges and returns, for the last.
fn borders(function: &MachFunction, inside: &[bool]) -> Vec<(ProgPoint, Order)> {
    let returns = insts(function, inside, Role::Return);
    let returned = |inst| (ProgPoint::before(Inst::new(inst)), Order::Last);
    let mut borders: Vec<(ProgPoint, Order)> = returns.map(returned).collect();
    for (from, block) in function.blocks.iter().enumerate() {
        for &to in block.succs.iter().filter(|to| inside[from] != inside[to.index()]) {
            let order = if inside[from] { Order::Last } else { Order::First };
            borders.push((on_edge(function, from, to), order));
        }
    }
    borders
}

/// The instructions of a role in a region.
fn insts(function: &MachFunction, inside: &[bool], role: Role) -> impl Iterator<Item = usize> {
    let blocks = function.blocks.iter().zip(inside).filter(|(_, inside)| **inside);
    let all = blocks.flat_map(|(block, _)| block.start as usize..block.end as usize);
    all.filter(move |&inst| function.info[inst].role == role)
}

/// The point that is on an edge: at the end of a block that goes nowhere else,
/// or else at the start of one that is entered from nowhere else.
fn on_edge(function: &MachFunction, from: usize, to: Block) -> ProgPoint {
    let block = &function.blocks[from];
    let inst = match block.succs.len() {
        1 => block.end - 1,
        _ => function.blocks[to.index()].start,
    };
    ProgPoint::before(Inst::new(inst as usize))
}
