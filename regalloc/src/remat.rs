//! Values that are computed again instead of being kept.
//!
//! Problem: a value that lives across a call takes a callee-saved register or a
//! slot, though often it follows by one instruction from others that live there
//! anyway: `p + 14`, a zero extension, a mask.
//! Idea: only where most values live at once does one less save anything. These
//! points are tight: calls, and places with more values than caller-saved
//! registers, where more live than would have to if all that can be were
//! computed again. A value that lives across a tight point is computed again,
//! once for each stretch of a block that has none, before its first use there,
//! if its inputs live there anyway or can be computed again themselves. The
//! cheapest values come first, until no tight point is above the aim; what is
//! spent ([`cost::RECOMPUTED`]) must not exceed what the registers or slots cost.
//! Invariants: no input lives longer than before. What was used to compute a
//! value again is not computed again itself afterwards.
//! Source: Briggs, Cooper and Torczon, "Rematerialization", 1992, with the
//! inputs that live anyway added; constants are made near their uses by
//! selection already.

use std::collections::{HashMap, HashSet};

use regalloc2::{Block, OperandKind, VReg};
use tailor_lower::edit::Place;
use tailor_lower::{Editor, Gpr, MInst, MachFunction, Role};

use crate::cost;
use crate::liveness::{Live, Liveness};

/// Instructions that one value may take.
const LONGEST_CHAIN: usize = 3;
/// What is this near its definition is not looked at.
const NEAR: u32 = 24;
/// How often the aim may be lowered to what can be reached.
const ATTEMPTS: usize = 4;

/// Computes values again where that is cheaper than keeping them.
pub fn remat(function: MachFunction) -> MachFunction {
    let Some(plan) = plan(&function) else {
        return function;
    };
    apply(function, &plan)
}

/// What is to be computed again, where, and for whom.
struct Again {
    value: VReg,
    block: Block,
    /// Before this instruction.
    at: u32,
    /// For the inputs that do not live there.
    inputs: Inputs,
    uses: Vec<Use>,
    /// With all others of this value, it is executed no more often than the
    /// definition was, which is gone.
    moved: bool,
}

/// The inputs that something else stands in for.
type Inputs = Vec<(VReg, Input)>;

/// Where an input comes from that does not live where it is needed.
#[derive(Clone, Debug)]
enum Input {
    /// By number: computed again before, for uses of its own.
    Earlier(usize),
    /// Computed again for this purpose, from inputs of its own.
    Anew(Inputs),
}

/// A use of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Use {
    block: u32,
    /// The instruction; of an argument, one past the block's last.
    at: u32,
    /// Which operand or argument it is.
    position: u32,
}

impl Use {
    fn is_argument(&self, function: &MachFunction) -> bool {
        self.at == function.blocks[self.block as usize].end
    }
}

/// The result: what is computed again, and the definitions that nobody needs then.
struct Plan {
    all: Vec<Again>,
    removed: HashSet<usize>,
}

fn plan(function: &MachFunction) -> Option<Plan> {
    let candidates = Candidates::new(function)?;
    let liveness = Liveness::new(function)?;
    let tension = Tension::new(function, &liveness, &candidates);
    let most = tension.most();
    let mut aim = tension.least();
    for _ in 0..ATTEMPTS {
        if aim >= most {
            return None;
        }
        let mut attempt = Attempt::new(function, &candidates, &liveness, &tension, aim);
        attempt.run();
        let reached = attempt.need.iter().copied().max().unwrap_or(0).max(aim);
        if reached == aim {
            let gain = tension.gain(function, &liveness, &candidates, aim);
            return (attempt.cost <= gain).then_some(attempt.plan);
        }
        aim = reached;
    }
    None
}

fn apply(function: MachFunction, plan: &Plan) -> MachFunction {
    let definitions = definitions(&function);
    let mut maker = Maker { editor: Editor::new(function), definitions, made: Vec::new() };
    for again in &plan.all {
        let place = Place::before(again.at as usize);
        let vreg = maker.compute(place, again.value, &again.inputs, !again.moved);
        maker.made.push(vreg);
    }
    // Not before, as uses of definitions are among these.
    let Maker { mut editor, made, .. } = maker;
    for (again, vreg) in plan.all.iter().zip(made) {
        for used in &again.uses {
            let &Use { block, at, position } = used;
            if used.is_argument(editor.function()) {
                editor.set_argument(Block::new(block as usize), position as usize, vreg);
            } else {
                editor.set_operand(at as usize, position as usize, vreg);
            }
        }
    }
    plan.removed.iter().for_each(|&inst| editor.remove(inst));
    editor.finish()
}

struct Maker {
    editor: Editor,
    definitions: Vec<u32>,
    /// The results so far.
    made: Vec<VReg>,
}

impl Maker {
    fn compute(&mut self, place: Place, value: VReg, inputs: &Inputs, recomputed: bool) -> VReg {
        let mut instead = Vec::with_capacity(inputs.len());
        for (input, by) in inputs {
            let vreg = match by {
                Input::Earlier(number) => self.made[*number],
                Input::Anew(inputs) => self.compute(place, *input, inputs, true),
            };
            instead.push((*input, vreg));
        }
        let definition = self.definitions[value.vreg()] as usize;
        self.editor.compute_again(place, definition, recomputed, |input| {
            instead.iter().find(|(of, _)| *of == input).map_or(input, |&(_, vreg)| vreg)
        })
    }
}

const NONE: u32 = u32::MAX;

/// By virtual register, the instruction that could be executed again for it.
fn definitions(function: &MachFunction) -> Vec<u32> {
    let mut definitions = vec![NONE; function.vreg_bytes.len()];
    for (inst, code) in function.insts.iter().enumerate() {
        // A count in rcx asks for that register at every place.
        let cheap = code.is_pure() && !matches!(code, MInst::ShiftCl(..));
        if cheap && function.info[inst].role == Role::Plain {
            let operands = function.inst_operands(inst);
            let mut defs = operands.iter().filter(|operand| operand.kind() == OperandKind::Def);
            if let (Some(def), None) = (defs.next(), defs.next()) {
                definitions[def.vreg().vreg()] = inst as u32;
            }
        }
    }
    definitions
}

/// What an instruction uses.
fn inputs(function: &MachFunction, inst: usize) -> impl Iterator<Item = VReg> {
    let operands = function.inst_operands(inst).iter();
    operands.filter(|operand| operand.kind() == OperandKind::Use).map(|operand| operand.vreg())
}

/// Values that could be computed again, and what is known of all values.
struct Candidates {
    definitions: Vec<u32>,
    is_one: Vec<bool>,
    /// By virtual register, the block that defines it.
    home: Vec<u32>,
    /// Uses, by virtual register from `first` on, in the order of the code.
    uses: Vec<Use>,
    first: Vec<u32>,
}

impl Candidates {
    /// `None` if there are none: most functions, so this must be quick.
    fn new(function: &MachFunction) -> Option<Candidates> {
        let definitions = definitions(function);
        let far = far(function);
        let is_one: Vec<bool> = (0..definitions.len())
            .map(|vreg| {
                definitions[vreg] != NONE
                    && far[vreg]
                    && inputs(function, definitions[vreg] as usize)
                        .all(|input| far[input.vreg()] || definitions[input.vreg()] != NONE)
            })
            .collect();
        if !is_one.contains(&true) {
            return None;
        }
        let mut home = vec![0; definitions.len()];
        let mut found = Vec::new();
        for (index, block) in function.blocks.iter().enumerate() {
            let block_number = index as u32;
            block.params.iter().for_each(|param| home[param.vreg()] = block_number);
            for at in block.start..block.end {
                for (position, operand) in function.inst_operands(at as usize).iter().enumerate() {
                    let position = position as u32;
                    match operand.kind() {
                        OperandKind::Def => home[operand.vreg().vreg()] = block_number,
                        OperandKind::Use => {
                            found.push((operand.vreg(), Use { block: block_number, at, position }))
                        }
                    }
                }
            }
            for (position, &arg) in block.args.iter().enumerate() {
                let position = position as u32;
                found.push((arg, Use { block: block_number, at: block.end, position }));
            }
        }
        let mut first = vec![0; definitions.len() + 1];
        found.iter().for_each(|(vreg, _)| first[vreg.vreg() + 1] += 1);
        (1..first.len()).for_each(|vreg| first[vreg] += first[vreg - 1]);
        found.sort_by_key(|(vreg, _)| vreg.vreg());
        let uses = found.into_iter().map(|(_, used)| used).collect();
        Some(Candidates { definitions, is_one, home, uses, first })
    }

    fn uses(&self, vreg: VReg) -> &[Use] {
        &self.uses[self.first[vreg.vreg()] as usize..self.first[vreg.vreg() + 1] as usize]
    }
}

/// By virtual register, whether it is used in another block than its own, behind
/// a call, or far behind its definition.
fn far(function: &MachFunction) -> Vec<bool> {
    // Where it was defined, and how many calls came before.
    let mut defined = vec![(0, 0); function.vreg_bytes.len()];
    let mut far = vec![false; function.vreg_bytes.len()];
    let mut calls = 0;
    for block in &function.blocks {
        // As if each block began with one.
        calls += 1;
        block.params.iter().for_each(|param| defined[param.vreg()] = (block.start, calls));
        for at in block.start..block.end {
            let operands = function.inst_operands(at as usize);
            for operand in operands.iter().filter(|operand| operand.kind() == OperandKind::Use) {
                let (from, before) = defined[operand.vreg().vreg()];
                far[operand.vreg().vreg()] |= before != calls || at - from > NEAR;
            }
            calls += u32::from(is_call(function, at as usize));
            for operand in operands.iter().filter(|operand| operand.kind() == OperandKind::Def) {
                defined[operand.vreg().vreg()] = (at, calls);
            }
        }
        for arg in &block.args {
            let (from, before) = defined[arg.vreg()];
            far[arg.vreg()] |= before != calls || block.end - from > NEAR;
        }
    }
    far
}

fn is_call(function: &MachFunction, inst: usize) -> bool {
    matches!(function.info[inst].role, Role::CallC | Role::CallLocal)
}

/// How many values live at each instruction beyond the registers that cost
/// nothing there, and how many would without candidates.
struct Tension {
    need: Vec<u32>,
    without: u32,
}

impl Tension {
    fn new(function: &MachFunction, liveness: &Liveness, candidates: &Candidates) -> Tension {
        let mut tension = Tension { need: vec![0; function.insts.len()], without: 0 };
        let mut live = Live::new(function);
        for block in 0..function.blocks.len() {
            liveness.for_each_point(function, Block::new(block), &mut live, |inst, live| {
                let free = if is_call(function, inst) { 0 } else { Gpr::CALLER_SAVED.len() };
                let all = live.members().len();
                if all > free {
                    let is_other = |vreg: &&VReg| !candidates.is_one[vreg.vreg()];
                    let others = live.members().iter().filter(is_other).count();
                    tension.need[inst] = tension.need[inst].max((all - free) as u32);
                    tension.without = tension.without.max(others.saturating_sub(free) as u32);
                }
            });
        }
        tension
    }

    fn most(&self) -> u32 {
        self.need.iter().copied().max().unwrap_or(0)
    }

    fn least(&self) -> u32 {
        self.without
    }

    /// What it saves if no more than `aim` registers or slots are needed: as
    /// much as the cheapest of them cost where most are needed.
    fn gain(
        &self,
        function: &MachFunction,
        liveness: &Liveness,
        candidates: &Candidates,
        aim: u32,
    ) -> f64 {
        let save = cost::Exits::new(function, true).save_cost();
        let most = self.most();
        let tightest = self.need.iter().position(|&need| need == most).unwrap_or(0);
        let block = function.blocks.partition_point(|block| block.end as usize <= tightest);
        let mut costs = Vec::new();
        let mut live = Live::new(function);
        liveness.for_each_point(function, Block::new(block), &mut live, |inst, live| {
            if inst == tightest {
                let slot = |&vreg: &VReg| slot_cost(function, candidates, vreg).min(save);
                costs = live.members().iter().map(slot).collect();
            }
        });
        costs.sort_by(f64::total_cmp);
        costs.iter().take((most - aim) as usize).sum()
    }
}

/// Loads and stores of a value that is kept in a slot: one for each block.
fn slot_cost(function: &MachFunction, candidates: &Candidates, vreg: VReg) -> f64 {
    let frequency = |block: u32| function.blocks[block as usize].frequency;
    let home = candidates.home[vreg.vreg()];
    let mut last = home;
    let mut cost = frequency(home);
    for used in candidates.uses(vreg) {
        if used.block != last {
            last = used.block;
            cost += frequency(last);
        }
    }
    cost.max(2.0 * frequency(home).min(frequency(last)))
}

/// Where a value lives: the uses that are left, and the blocks at whose end it does.
#[derive(Default)]
struct Range {
    uses: Vec<Use>,
    at_end: HashSet<u32>,
}

/// A try at having no more than `aim` values live at any tight point.
struct Attempt<'a> {
    function: &'a MachFunction,
    candidates: &'a Candidates,
    liveness: &'a Liveness,
    aim: u32,
    /// By instruction, how many tight points come before it in the function.
    before: Vec<u32>,
    /// What lives at each tight point.
    need: Vec<u32>,
    /// Of values that are computed again.
    ranges: HashMap<VReg, Range>,
    /// By value, where it is computed again.
    places: HashMap<VReg, Vec<usize>>,
    /// Inputs of what is computed again.
    pinned: HashSet<VReg>,
    cost: f64,
    plan: Plan,
}

impl<'a> Attempt<'a> {
    fn new(
        function: &'a MachFunction,
        candidates: &'a Candidates,
        liveness: &'a Liveness,
        tension: &Tension,
        aim: u32,
    ) -> Attempt<'a> {
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
            before,
            need,
            ranges: HashMap::new(),
            places: HashMap::new(),
            pinned: HashSet::new(),
            cost: 0.0,
            plan: Plan { all: Vec::new(), removed: HashSet::new() },
        }
    }

    fn run(&mut self) {
        let is_one = |&vreg: &usize| self.candidates.is_one[vreg];
        let vregs = (0..self.candidates.is_one.len()).filter(is_one);
        let mut order: Vec<(f64, VReg)> = vregs
            .map(|vreg| {
                let vreg = VReg::new(vreg, regalloc2::RegClass::Int);
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
        if !change.iter().any(gains) {
            return;
        }
        for (point, by) in change {
            let need = &mut self.need[point as usize];
            *need = need.saturating_add_signed(by);
        }
        self.commit(vreg, new, again);
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

/// The instructions that inputs take.
fn chain(inputs: &[(VReg, Input)]) -> usize {
    let length = |input: &Input| match input {
        Input::Earlier(_) => 0,
        Input::Anew(inputs) => 1 + chain(inputs),
    };
    inputs.iter().map(|(_, input)| length(input)).sum()
}
