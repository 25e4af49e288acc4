//! Splitting of live ranges before allocation.
//!
//! Problem: a value that is used everywhere, and lives across calls on cold paths
//! alone, takes a register that must be saved for all of its life, or a slot that
//! it is stored to where it is defined. regalloc2 neither knows how often blocks
//! are executed, nor can it tell the parts of a value.
//! Idea: the calls that the value crosses lie in some region that it is cheapest to
//! enter and leave (a minimum cut, [`crate::region`]). At its borders the value is
//! copied, so inside of it another register holds it: that one is saved, or
//! stored and loaded, around the region, and nothing is on the hot path. Copies
//! between registers cost nothing by the design's measure, and regalloc2 does
//! not undo them (it joins registers that parameters connect, but not copies).
//! Invariants: a value whose region would be entered as often as it is defined
//! is left alone. The result is taken only if its allocation is cheaper than that
//! of the function as it was, and its frame not much larger for that
//! (`BYTES_FOR_ACCESS`).
//! Source: Cooper and Simpson, "Live range splitting in a graph coloring register
//! allocator" (CC 1998), for splitting around regions by cost; the cut is this
//! compiler's.

mod locate;
mod ranges;
mod repair;
#[cfg(test)]
mod tests;

use regalloc2::{Block, RegAllocError, RegClass, VReg};
use smallvec::SmallVec;
use tailor_lower::edit::Editor;
use tailor_lower::{Gpr, MachFunction};

use crate::allocate::{self, Allocated, Candidate, Error, Options};
use crate::levers::Lever;
use crate::region::{self, Costs, Demand, Graph};
use locate::Locator;
use ranges::{Index, Places, Range, Walk};

/// Of what a value costs that is not split, the part that its region may cost.
const WORTH: f64 = 0.95;

/// Of the cost of an allocation, the part that splitting must promise to save,
/// as it takes a second allocation to see.
const LEAST: f64 = 0.05;

/// Functions with more instructions are left alone. In those of real programs there
/// is next to nothing to gain, and they would take most of the time.
const MOST_INSTS: usize = 1_500;

/// Bytes that a frame may grow by for each load or store less: a slot of four
/// bytes becomes a register of eight.
const BYTES_FOR_ACCESS: f64 = 8.0;

/// Allocates registers for the function, or for what splitting makes of it,
/// whichever is better; returns the latter if it is, and the allocation.
pub fn allocate(
    function: &MachFunction,
    options: &Options,
) -> Result<(Option<MachFunction>, Allocated), Error> {
    let plain = allocate::cheapest(function, options, Gpr::CALLEE_SAVED.len())?;
    let small = function.insts.len() <= MOST_INSTS.min(options.ion_limit);
    let tries = small && plain.cost > 0.0 && options.levers.has(Lever::Split);
    let split = tries.then(|| split(function, options, &plain)).flatten();
    let plain_registers = plain.placement.costs.len();
    let plain_cost = plain.cost;
    let Some(split) = split else {
        return Ok((None, allocate::finish(function, options, plain)));
    };
    let found = match allocate::cheapest(&split, options, plain_registers) {
        Err(Error::Refused(RegAllocError::TooManyLiveRegs)) => None,
        result => Some(result?).filter(|found| found.cost < plain_cost),
    };
    let plain = allocate::finish(function, options, plain);
    if let Some(found) = found {
        let allocated = allocate::finish(&split, options, found);
        let gain = plain.cost - allocated.cost;
        let more = f64::from(allocated.frame.frame_bytes()) - f64::from(plain.frame.frame_bytes());
        if more <= BYTES_FOR_ACCESS * gain {
            return Ok((Some(split), allocated));
        }
    }
    Ok((None, plain))
}

/// The function with those values split for which that should be cheaper than
/// this allocation; `None` if that is not worth a try.
fn split(
    function: &MachFunction,
    options: &Options,
    allocated: &Candidate,
) -> Option<MachFunction> {
    let places = Places::new(function)?;
    let plan = Finder::new(function, options, &places, allocated).plan();
    let worth = plan.gain > LEAST * allocated.cost;
    worth.then(|| apply(function, &places, &plan.splits))
}

fn apply(function: &MachFunction, places: &Places, splits: &[Split]) -> MachFunction {
    let mut editor = Editor::new(function.clone());
    let mut index = Index::new(function);
    for Split { vreg, range, inside, .. } in splits {
        index.turn_to(range);
        repair::split(&mut editor, *vreg, range, &index, places.uses(*vreg), inside);
    }
    editor.finish()
}

/// What to split.
struct Plan {
    splits: Vec<Split>,
    /// What that should save per execution of the function.
    gain: f64,
}

/// A value that could be split.
struct Split {
    vreg: VReg,
    range: Range,
    /// For each block of its range, whether it is in the region.
    inside: Vec<bool>,
    /// What that costs per execution of the function.
    cost: f64,
    /// The callee-saved register that holds it now.
    held: Option<Gpr>,
    /// What is gained if it is in a slot now: it is stored where the region is
    /// entered and not where it is defined.
    saved_store: f64,
}

/// How a value lives across calls.
enum Across {
    No,
    /// Splitting it would not pay, as for this block.
    Hot(usize),
    Cold(Split),
}

/// What a callee-saved register holds across calls.
#[derive(Clone, Copy, Default)]
struct Held {
    /// Something that cannot be split.
    other: bool,
    /// What splitting all else costs.
    cost: f64,
}

/// Looks for values that are worth splitting.
struct Finder<'a> {
    function: &'a MachFunction,
    places: &'a Places,
    locator: Locator<'a>,
    walk: Walk,
    index: Index,
    /// By block, its outermost loop.
    loops: Vec<u32>,
    /// By outermost loop, how often it is entered.
    entered: Vec<f64>,
    /// What it costs to save a register in all of the function.
    save_cost: f64,
}

impl<'a> Finder<'a> {
    fn new(
        function: &'a MachFunction,
        options: &Options,
        places: &'a Places,
        allocated: &'a Candidate,
    ) -> Finder<'a> {
        let save_cost = options.exits(function).save_cost();
        let blocks = &function.blocks;
        let loops = region::outermost_loops(blocks);
        let mut entered = vec![0.0; blocks.len()];
        for (from, block) in blocks.iter().enumerate() {
            for to in block.succs.iter().map(|succ| succ.index()) {
                if loops[from] != loops[to] {
                    entered[loops[to] as usize] += region::edge_frequency(blocks, from, to);
                }
            }
        }
        Finder {
            function,
            places,
            locator: Locator { function, places, allocated },
            walk: Walk::new(function),
            index: Index::new(function),
            loops,
            entered,
            save_cost,
        }
    }

    /// The values to split. Of those in a register either all are or none, as only
    /// then it need not be saved any more.
    fn plan(mut self) -> Plan {
        let mut held = [Held::default(); 16];
        let mut splits = Vec::new();
        for number in 0..self.function.vreg_bytes.len() {
            let vreg = VReg::new(number, RegClass::Int);
            match self.across(vreg) {
                Across::No => {}
                Across::Hot(block) => {
                    if let Some(reg) = self.held_in(vreg, block) {
                        held[usize::from(reg.enc())].other = true;
                    }
                }
                Across::Cold(split) => {
                    if let Some(reg) = split.held {
                        held[usize::from(reg.enc())].cost += split.cost;
                    }
                    splits.push(split);
                }
            }
        }
        // What splitting all that a register holds gains.
        let freed = |reg: Gpr, saves: f64| {
            let held = held[usize::from(reg.enc())];
            let pays = held.cost > 0.0 && !held.other && held.cost < WORTH * saves;
            pays.then_some(saves - held.cost)
        };
        let saves = &self.locator.allocated.placement.costs;
        let freed = saves.iter().filter_map(|&(reg, saves)| Some((reg, freed(reg, saves)?)));
        let freed: SmallVec<[(Gpr, f64); 6]> = freed.collect();
        let is_freed = |reg: Gpr| freed.iter().any(|(freed, _)| *freed == reg);
        splits.retain(|split| split.held.is_none_or(is_freed));
        let in_registers: f64 = freed.iter().map(|(_, gain)| gain).sum();
        let in_slots = splits.iter().filter(|split| split.held.is_none());
        let in_slots: f64 = in_slots.map(|split| split.saved_store).sum();
        Plan { splits, gain: in_registers + in_slots }
    }

    /// The callee-saved register that holds a value across the last call of a block.
    fn held_in(&self, vreg: VReg, block: usize) -> Option<Gpr> {
        let location = self.locator.at_call(vreg, block, Some(&self.walk))?;
        location.as_reg().map(Gpr::from_preg).filter(|reg| reg.is_callee_saved())
    }

    /// Whether a value lives across calls, and what can be done about it.
    fn across(&mut self, vreg: VReg) -> Across {
        let Finder { function, places, .. } = *self;
        let blocks = &function.blocks;
        let (defined_in, position) = places.definition(vreg);
        let home = &blocks[defined_in as usize];
        let Some(last) = places.uses(vreg).last() else { return Across::No };
        if last.block == defined_in {
            self.walk.forget();
            return match places.last_call(position, last.position) {
                Some(_) => Across::Hot(defined_in as usize),
                None => Across::No,
            };
        }
        if places.last_call(position, 2 * home.end).is_some() {
            self.walk.start(function, places, vreg, |block| block == defined_in as usize);
            return Across::Hot(defined_in as usize);
        }
        let most = WORTH * home.frequency.min(self.save_cost);
        let stop = |block: usize| {
            let data = &blocks[block];
            let rarest = match self.loops[block] == self.loops[defined_in as usize] {
                true => data.frequency,
                false => data.frequency.min(self.entered[self.loops[block] as usize]),
            };
            rarest >= most
                && block != defined_in as usize
                && places.last_call(2 * data.start, 2 * data.end).is_some()
        };
        if let Some(hot) = self.walk.start(function, places, vreg, stop) {
            return Across::Hot(hot);
        }
        let range = self.walk.range(defined_in);
        self.index.turn_to(&range);
        let (demands, inside, crossed) = self.demands(vreg, &range);
        let Some(crossed) = crossed else { return Across::No };
        let graph = Graph::of_edges(range.blocks.len(), self.edges(&range));
        let costs = Costs { enter: 1.0, leave: 1.0, inside };
        let Some(region) = graph.cheapest(&demands, &costs) else { return Across::Hot(crossed) };
        let entered = graph.cost(&region.inside, &Costs { leave: 0.0, ..costs });
        if entered >= most || region.cost >= WORTH * self.save_cost {
            return Across::Hot(crossed);
        }
        let held = self.held_in(vreg, crossed);
        let (inside, cost) = (region.inside, region.cost);
        let saved_store = home.frequency - entered;
        Across::Cold(Split { vreg, range, inside, cost, held, saved_store })
    }

    /// The edges over which control carries a value, by places in its range.
    fn edges(&self, range: &Range) -> impl Iterator<Item = (usize, usize, f64)> {
        let blocks = &self.function.blocks;
        range.blocks.iter().enumerate().flat_map(move |(place, &from)| {
            blocks[from as usize].succs.iter().filter_map(move |&succ| {
                let frequency = region::edge_frequency(blocks, from as usize, succ.index());
                Some((place, self.index.place_from_start(succ)?, frequency))
            })
        })
    }

    /// For each block of a range, whether it must be in the region or must not, and
    /// what its being there costs: loads for uses, and where the value is passed to
    /// parameters outside. And the most frequent block with a call that the value
    /// lives across.
    fn demands(&self, vreg: VReg, range: &Range) -> (Vec<Demand>, Vec<f64>, Option<usize>) {
        let blocks = &self.function.blocks;
        let mut demands = vec![Demand::Either; range.blocks.len()];
        let mut inside = vec![0.0; range.blocks.len()];
        let mut crossed: Option<usize> = None;
        demands[0] = Demand::Outside;
        for (place, &block) in range.blocks.iter().enumerate().skip(1) {
            let data = &blocks[block as usize];
            let end = 2 * data.end + 1;
            let last = self.places.last_use(vreg, end).filter(|at| at.block == block);
            let live_out = data.succs.iter().any(|&succ| self.lives_at_start(succ));
            let lives_until = if live_out { Some(end) } else { last.map(|at| at.position) };
            let across = lives_until.and_then(|end| self.places.last_call(2 * data.start, end));
            if across.is_some() {
                demands[place] = Demand::Inside;
                let hotter = |than: usize| data.frequency > blocks[than].frequency;
                if crossed.is_none_or(hotter) {
                    crossed = Some(block as usize);
                }
            } else if last.is_some() {
                inside[place] = data.frequency;
            }
        }
        (demands, inside, crossed)
    }

    fn lives_at_start(&self, block: Block) -> bool {
        self.index.place_from_start(block).is_some()
    }
}
