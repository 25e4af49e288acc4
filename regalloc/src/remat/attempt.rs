//! The choice of values and places for one set of tight points.

use std::collections::{HashMap, HashSet};

use regalloc2::{Block, RegClass, VReg};
use tailor_lower::MachFunction;

use super::Analysis;
use super::apply::{Again, Input, Inputs, Plan, chain};
use super::candidates::{Candidates, NONE, Use, inputs, slot_cost};
use crate::cost;
use crate::liveness::Liveness;

/// Instructions that one value may take.
const LONGEST_CHAIN: usize = 3;
/// What each place must gain on average: code is not for nothing.
const LEAST_GAIN: f64 = 1.0 / 64.0;

/// Where a value lives: the uses that are left, and the blocks at whose end it does.
#[derive(Default)]
pub(super) struct Range {
    pub(super) uses: Vec<Use>,
    pub(super) at_end: HashSet<u32>,
}

/// A try at having no more than `aim` values live at any tight point.
pub(super) struct Attempt<'a> {
    pub(super) function: &'a MachFunction,
    pub(super) candidates: &'a Candidates,
    pub(super) liveness: &'a Liveness,
    pub(super) aim: u32,
    /// Each value must be worth it on its own.
    pub(super) alone: bool,
    /// By instruction, how many tight points come before it in the function.
    pub(super) before: Vec<u32>,
    /// What lives at each tight point.
    pub(super) need: Vec<u32>,
    /// Of values that are computed again.
    pub(super) ranges: HashMap<VReg, Range>,
    /// By value, where it is computed again.
    pub(super) places: HashMap<VReg, Vec<usize>>,
    /// Inputs of what is computed again.
    pub(super) pinned: HashSet<VReg>,
    pub(super) cost: f64,
    pub(super) plan: Plan,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(analysis: &'a Analysis<'a>, aim: u32, alone: bool) -> Attempt<'a> {
        let Analysis { function, candidates, liveness, tension } = analysis;
        let mut before = Vec::with_capacity(tension.need.len() + 1);
        let mut need = Vec::new();
        for &here in &tension.need {
            before.push(need.len() as u32);
            if here > aim {
                need.push(here);
            }
        }
        before.push(need.len() as u32);
        Attempt {
            function,
            candidates,
            liveness,
            aim,
            alone,
            before,
            need,
            ranges: HashMap::new(),
            places: HashMap::new(),
            pinned: HashSet::new(),
            cost: 0.0,
            plan: Plan { all: Vec::new(), removed: HashSet::new() },
        }
    }

    pub(super) fn run(&mut self) {
        let is_one = |&vreg: &usize| self.candidates.is_one[vreg];
        let vregs = (0..self.candidates.is_one.len()).filter(is_one);
        let mut order: Vec<(f64, VReg)> = vregs
            .map(|vreg| {
                let vreg = VReg::new(vreg, RegClass::Int);
                (slot_cost(self.function, self.candidates, vreg), vreg)
            })
            .collect();
        // Stable: in the order of definitions where costs are the same.
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, vreg) in order {
            if !self.pinned.contains(&vreg) {
                self.value(vreg);
            }
        }
    }

    fn frequency(&self, block: u32) -> f64 {
        self.function.blocks[block as usize].frequency
    }

    fn definition(&self, vreg: VReg) -> u32 {
        self.candidates.definitions[vreg.vreg()]
    }

    /// Computes a value again wherever it comes from beyond a tight point, if
    /// that leaves fewer alive at one that is above the aim.
    fn value(&mut self, vreg: VReg) {
        let left = |used: &&Use| {
            used.is_argument(self.function) || !self.plan.removed.contains(&(used.at as usize))
        };
        let uses: Vec<Use> = self.candidates.uses(vreg).iter().filter(left).copied().collect();
        if uses.is_empty() {
            self.plan.removed.insert(self.definition(vreg) as usize);
            return;
        }
        let old = self.range(vreg, uses);
        if !self.stretches(vreg, &old).any(|(from, to)| self.above(from, to)) {
            return;
        }
        let (kept, again) = self.split(vreg, &old);
        let new = self.range(vreg, kept);
        let mut change: HashMap<u32, i32> = HashMap::new();
        for (range, by) in [(&old, -1), (&new, 1)] {
            for (from, to) in self.stretches(vreg, range) {
                (from..to).for_each(|point| *change.entry(point).or_default() += by);
            }
        }
        let gains = |(&point, &by): (&u32, &i32)| by < 0 && self.need[point as usize] > self.aim;
        if !change.iter().any(gains) || self.alone && !self.is_worth(vreg, &new, &again) {
            return;
        }
        for (point, by) in change {
            let need = &mut self.need[point as usize];
            *need = need.saturating_add_signed(by);
        }
        self.commit(vreg, new, again);
    }

    /// Whether it costs less than a slot that is stored to once and loaded from
    /// in each of these places, if inputs that are not used there too must be
    /// loaded first.
    fn is_worth(&self, vreg: VReg, new: &Range, again: &[Again]) -> bool {
        let home = self.candidates.home[vreg.vreg()];
        let mut gain = if new.at_end.is_empty() { self.frequency(home) } else { 0.0 };
        for again in again {
            let length = 1 + chain(&again.inputs);
            let loads = f64::from(u8::from(self.far_inputs(again)));
            let frequency = self.frequency(again.block.index() as u32);
            gain += frequency * (1.0 - loads - cost::RECOMPUTED * length as f64);
        }
        gain > LEAST_GAIN * again.len() as f64
    }

    /// Whether an input is not used anywhere near.
    fn far_inputs(&self, again: &Again) -> bool {
        let block = again.block.index() as u32;
        let near = |vreg: VReg| {
            let uses = self.candidates.uses(vreg);
            let here = uses.partition_point(|used| used.block < block);
            let mut here = uses[here..].iter().take_while(|used| used.block == block);
            here.any(|used| self.no_point(used.at.min(again.at), used.at.max(again.at)))
        };
        inputs(self.function, self.definition(again.value) as usize)
            .any(|input| !again.inputs.iter().any(|(of, _)| *of == input) && !near(input))
    }

    fn commit(&mut self, vreg: VReg, new: Range, again: Vec<Again>) {
        let home = self.candidates.home[vreg.vreg()];
        let often: f64 = again.iter().map(|new| self.frequency(new.block.index() as u32)).sum();
        let removed = new.uses.is_empty();
        let moved = removed && often <= self.frequency(home);
        if removed {
            self.plan.removed.insert(self.definition(vreg) as usize);
        }
        for mut again in again {
            again.moved = moved;
            let length = chain(&again.inputs) + usize::from(!moved);
            let frequency = self.frequency(again.block.index() as u32);
            self.cost += frequency * cost::RECOMPUTED * length as f64;
            self.pin(vreg, &again.inputs);
            self.places.entry(vreg).or_default().push(self.plan.all.len());
            self.plan.all.push(again);
        }
        self.ranges.insert(vreg, new);
    }

    /// The inputs of a value, but for those that come from elsewhere, are needed.
    fn pin(&mut self, vreg: VReg, instead: &[(VReg, Input)]) {
        for input in inputs(self.function, self.definition(vreg) as usize) {
            match instead.iter().find(|(of, _)| *of == input) {
                None => drop(self.pinned.insert(input)),
                Some((_, Input::Earlier(_))) => {}
                Some((_, Input::Anew(inputs))) => self.pin(input, inputs),
            }
        }
    }

    /// Whether one of these tight points is above the aim.
    fn above(&self, from: u32, to: u32) -> bool {
        self.need[from as usize..to as usize].iter().any(|&need| need > self.aim)
    }

    /// Where a value lives that has these uses.
    fn range(&self, vreg: VReg, uses: Vec<Use>) -> Range {
        let home = self.candidates.home[vreg.vreg()];
        let mut at_end = HashSet::new();
        let mut work: Vec<u32> =
            uses.iter().map(|used| used.block).filter(|&block| block != home).collect();
        work.dedup();
        while let Some(block) = work.pop() {
            for pred in &self.function.blocks[block as usize].preds {
                let pred = pred.index() as u32;
                if at_end.insert(pred) && pred != home {
                    work.push(pred);
                }
            }
        }
        Range { uses, at_end }
    }

    /// The tight points that a value lives across, as ranges by number.
    fn stretches(&self, vreg: VReg, range: &Range) -> impl Iterator<Item = (u32, u32)> {
        let home = self.candidates.home[vreg.vreg()];
        let start = move |block: u32| match block == home {
            true => self.definition(vreg) + 1,
            false => self.function.blocks[block as usize].start,
        };
        let whole = range
            .at_end
            .iter()
            .map(move |&block| (start(block), self.function.blocks[block as usize].end));
        let last = range.uses.chunk_by(|a, b| a.block == b.block).filter_map(|uses| uses.last());
        let ending = last.filter(|used| !range.at_end.contains(&used.block));
        let ending = ending.map(move |used| (start(used.block), used.at));
        let number = |at: u32| self.before[at as usize];
        whole.chain(ending).map(move |(from, to)| (number(from), number(to)))
    }

    /// The blocks that a value is entered with from beyond a tight point.
    fn crossed(&self, vreg: VReg, range: &Range) -> HashSet<u32> {
        let home = self.candidates.home[vreg.vreg()];
        let mut crossed = HashSet::new();
        let mut work = Vec::new();
        for &block in &range.at_end {
            let data = &self.function.blocks[block as usize];
            let start = if block == home { self.definition(vreg) + 1 } else { data.start };
            if self.before[start as usize] != self.before[data.end as usize] {
                work.push(block);
            }
        }
        while let Some(block) = work.pop() {
            for succ in &self.function.blocks[block as usize].succs {
                let next = succ.index() as u32;
                if next != home
                    && self.liveness.is_live_at_start(*succ, vreg)
                    && crossed.insert(next)
                    && range.at_end.contains(&next)
                {
                    work.push(next);
                }
            }
        }
        crossed
    }

    /// The uses that stay, and where the value is computed again for the others.
    fn split(&self, vreg: VReg, old: &Range) -> (Vec<Use>, Vec<Again>) {
        let home = self.candidates.home[vreg.vreg()];
        let crossed = self.crossed(vreg, old);
        let (mut kept, mut again) = (Vec::new(), Vec::<Again>::new());
        for uses in old.uses.chunk_by(|a, b| a.block == b.block) {
            let block = uses[0].block;
            let data = &self.function.blocks[block as usize];
            // Since when it is there, if it does not come from beyond a tight
            // point, and whether that is the value as it was computed first.
            let mut since = match block == home {
                true => Some((self.definition(vreg) + 1, true)),
                false if crossed.contains(&block) => None,
                false => Some((data.start, true)),
            };
            for &used in uses {
                let here = since.filter(|(since, _)| self.no_point(*since, used.at));
                match here {
                    Some((_, true)) => kept.push(used),
                    Some((_, false)) => {
                        again.last_mut().expect("it was computed again").uses.push(used);
                    }
                    None => match self.computed(vreg, used) {
                        Some(new) => {
                            since = Some((new.at, false));
                            again.push(new);
                        }
                        None => {
                            since = Some((used.at, true));
                            kept.push(used);
                        }
                    },
                }
            }
        }
        (kept, again)
    }

    fn no_point(&self, from: u32, to: u32) -> bool {
        self.before[from as usize] == self.before[to as usize]
    }

    /// A value computed again for a use, if that can be done.
    fn computed(&self, vreg: VReg, used: Use) -> Option<Again> {
        let block = Block::new(used.block as usize);
        let end = self.function.blocks[block.index()].end;
        // Before an argument is passed there may be a branch, with a comparison.
        let at = if used.at == end { end - 1 } else { used.at };
        let at = match self.function.comparison(block) {
            Some(comparison) => at.min(comparison as u32),
            None => at,
        };
        let mut length = 1;
        let inputs = self.inputs(vreg, block, at, &mut length)?;
        Some(Again { value: vreg, block, at, inputs, uses: vec![used], moved: false })
    }

    /// What stands in for the inputs that do not live just before an instruction.
    fn inputs(&self, vreg: VReg, block: Block, at: u32, length: &mut usize) -> Option<Inputs> {
        let mut instead = Inputs::new();
        for input in inputs(self.function, self.definition(vreg) as usize) {
            if self.lives(input, block, at) || instead.iter().any(|(of, _)| *of == input) {
                continue;
            }
            if let Some(number) = self.earlier(input, block, at) {
                instead.push((input, Input::Earlier(number)));
                continue;
            }
            *length += 1;
            if self.definition(input) == NONE || *length > LONGEST_CHAIN {
                return None;
            }
            instead.push((input, Input::Anew(self.inputs(input, block, at, length)?)));
        }
        Some(instead)
    }

    /// Whether a value lives just before an instruction and still does there.
    fn lives(&self, vreg: VReg, block: Block, at: u32) -> bool {
        let block_number = block.index() as u32;
        let here = |uses: &[Use]| {
            let later = uses.partition_point(|used| (used.block, used.at) < (block_number, at));
            uses.get(later).is_some_and(|used| used.block == block_number)
        };
        match self.ranges.get(&vreg) {
            Some(range) => here(&range.uses) || range.at_end.contains(&block_number),
            None => {
                here(self.candidates.uses(vreg))
                    || self.liveness.is_live_at_end(self.function, block, vreg)
            }
        }
    }

    /// Where an input was computed again already, with no tight point in between.
    fn earlier(&self, vreg: VReg, block: Block, at: u32) -> Option<usize> {
        let places = self.places.get(&vreg)?.iter();
        let near =
            |again: &Again| again.block == block && again.at <= at && self.no_point(again.at, at);
        places.copied().find(|&number| near(&self.plan.all[number]))
    }
}
