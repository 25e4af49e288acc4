//! What is where: the values that registers and spill slots hold, and what
//! happens to them there.
//!
//! Problem: to say what a register is saved for, and what a slot is for, it must
//! be known which virtual registers each holds at which point. An allocation
//! gives the places of operands; what lies in a place between them it does not.
//! Idea: a flow analysis forwards. For each place the set of virtual registers
//! whose value it holds on every path: a definition puts its own there, a move
//! copies the set of another place, calls empty what they destroy, and a jump
//! that passes arguments adds the parameters to where these are. Paths meet in
//! the intersection. What does not live any more is not held.
//! Invariants: what an instruction uses is in the place that it reads it from
//! (debug builds check that of every use). Loads and stores of a slot are the
//! events at it, all but [`Event::Crosses`].
//! Source: the symbolic checker of regalloc2 has the same shape.

use std::collections::BTreeMap;

use regalloc2::{Allocation, Block, OperandKind, PReg, VReg};
use smallvec::SmallVec;
use tailor_lower::{Gpr, MachFunction, Role};

use crate::Allocated;
use crate::liveness::Liveness;
use crate::steps::{Located, Step};

/// Where a value can be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// In a register.
    Register(Gpr),
    /// In the spill slot of this number.
    Slot(u32),
}

/// What happens to a value in a place at an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The instruction computes it there.
    Defined,
    /// It is copied there, for the instruction or after it.
    CopiedIn,
    /// The instruction reads it there.
    Used,
    /// It is copied from there.
    CopiedOut,
    /// The instruction is a call or a tail call that it outlives there.
    Crosses,
}

/// A value in a place.
#[derive(Clone, Debug)]
pub struct Holding {
    /// Where.
    pub place: Place,
    /// What.
    pub value: VReg,
    /// Instructions and what happens at them, in layout order.
    pub events: Vec<(usize, Event)>,
}

/// The values of each place that the frame pays for or could: registers and spill
/// slots, in this order; none for a function that is too large to tell.
pub fn holdings(function: &MachFunction, allocated: &Allocated) -> Option<Vec<Holding>> {
    let liveness = Liveness::new(function)?;
    let located = allocated.located(function);
    let mut walk = Walk { located: &located, allocated, liveness: &liveness, found: None };
    let starts = walk.solve();
    walk.found = Some(BTreeMap::new());
    for (block, start) in starts.into_iter().enumerate() {
        walk.block(block, start.unwrap_or_else(|| State::new(allocated)));
    }
    let found = walk.found.unwrap_or_default().into_iter();
    let holding =
        |((place, value), events)| Holding { place, value: VReg::new(value, CLASS), events };
    Some(found.map(holding).collect())
}

const CLASS: regalloc2::RegClass = regalloc2::RegClass::Int;
const REGISTERS: usize = 16;

type Values = SmallVec<[VReg; 2]>;

/// By place, the values that it holds.
#[derive(Clone, PartialEq)]
struct State(Vec<Values>);

impl State {
    fn new(allocated: &Allocated) -> State {
        State(vec![Values::new(); REGISTERS + allocated.frame.spills.len()])
    }

    /// Keeps what both hold; says whether that changed anything.
    fn meet(&mut self, other: &State) -> bool {
        let mut changed = false;
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            let before = mine.len();
            mine.retain(|value| theirs.contains(value));
            changed |= mine.len() != before;
        }
        changed
    }
}

fn number(location: Allocation) -> Option<usize> {
    match (location.as_reg(), location.as_stack()) {
        (Some(preg), _) => Some(preg.hw_enc()),
        (_, Some(slot)) => Some(REGISTERS + slot.index()),
        _ => None,
    }
}

fn place(number: usize) -> Place {
    match number.checked_sub(REGISTERS) {
        Some(slot) => Place::Slot(slot as u32),
        None => Place::Register(Gpr::from_preg(PReg::new(number, CLASS))),
    }
}

/// Events by place and number of the value.
type Found = BTreeMap<(Place, usize), Vec<(usize, Event)>>;

struct Walk<'a> {
    located: &'a Located<'a>,
    allocated: &'a Allocated,
    liveness: &'a Liveness,
    /// The events, once they are collected.
    found: Option<Found>,
}

impl Walk<'_> {
    /// By block, what places hold at its start; `None` where nothing leads.
    fn solve(&mut self) -> Vec<Option<State>> {
        let blocks = &self.located.function.blocks;
        let mut starts: Vec<Option<State>> = vec![None; blocks.len()];
        if let Some(entry) = starts.first_mut() {
            *entry = Some(State::new(self.allocated));
        }
        let mut changed = true;
        while changed {
            changed = false;
            for block in 0..blocks.len() {
                let Some(start) = starts[block].clone() else {
                    continue;
                };
                let end = self.block(block, start);
                for &succ in &blocks[block].succs {
                    let passed = self.pass(&end, block, succ);
                    match &mut starts[succ.index()] {
                        Some(start) => changed |= start.meet(&passed),
                        start => {
                            *start = Some(passed);
                            changed = true;
                        }
                    }
                }
            }
        }
        starts
    }

    /// From the end of a block to the start of a successor.
    fn pass(&self, end: &State, from: usize, to: Block) -> State {
        let args = &self.located.function.blocks[from].args;
        let params = &self.located.function.blocks[to.index()].params;
        let mut state = end.clone();
        for values in &mut state.0 {
            let passed = args.iter().zip(params).filter(|(arg, _)| values.contains(arg));
            let passed: Values = passed.map(|(_, &param)| param).collect();
            values.retain(|value| self.liveness.is_live_at_start(to, *value));
            values.extend(passed);
        }
        state
    }

    /// From the start of a block to its end.
    fn block(&mut self, block: usize, mut state: State) -> State {
        let last = self.last_uses(block);
        for step in self.located.steps(block) {
            let next = self.located.next_inst(step);
            let lives = |value: VReg| last.get(&value) >= Some(&next);
            match step {
                Step::Move { from, to, .. } => {
                    self.copy(&mut state, self.located.inst(step), [from, to], &lives);
                }
                Step::Inst(inst) => self.inst(&mut state, inst, &lives),
            }
        }
        state
    }

    /// The last instruction of a block that uses each value; what lives at its
    /// end is used behind all of them.
    fn last_uses(&self, block: usize) -> BTreeMap<VReg, usize> {
        let mut last = BTreeMap::new();
        let range = &self.located.function.blocks[block];
        for inst in range.start as usize..range.end as usize {
            let operands = self.located.function.inst_operands(inst).iter();
            for operand in operands.filter(|operand| operand.kind() == OperandKind::Use) {
                last.insert(operand.vreg(), inst);
            }
        }
        last.extend(range.args.iter().map(|&arg| (arg, usize::MAX)));
        for &succ in &range.succs {
            last.extend(self.liveness.at_start(succ).map(|value| (value, usize::MAX)));
        }
        last
    }

    fn note(&mut self, number: usize, value: VReg, inst: usize, event: Event) {
        if let Some(found) = &mut self.found {
            found.entry((place(number), value.vreg())).or_default().push((inst, event));
        }
    }

    /// A move at an instruction, and what lives behind it.
    fn copy(
        &mut self,
        state: &mut State,
        inst: usize,
        [from, to]: [Allocation; 2],
        lives: &dyn Fn(VReg) -> bool,
    ) {
        let (Some(from), Some(to)) = (number(from), number(to)) else {
            return;
        };
        let values = state.0[from].clone();
        // Of several, any will do: the move is made once.
        if let Some(&value) = values.iter().find(|value| lives(**value)) {
            self.note(from, value, inst, Event::CopiedOut);
            self.note(to, value, inst, Event::CopiedIn);
        }
        state.0[to] = values;
    }

    /// An instruction, and what lives behind it.
    fn inst(&mut self, state: &mut State, inst: usize, lives: &dyn Fn(VReg) -> bool) {
        let located = self.located;
        let numbered = |(value, location)| Some((value, number(location)?));
        for (value, at) in located.uses(inst).filter_map(numbered) {
            if self.found.is_some() {
                self.check_use(state, inst, value, at);
            }
            self.note(at, value, inst, Event::Used);
        }
        let info = &located.function.info[inst];
        for preg in info.clobbers {
            state.0[preg.hw_enc()].clear();
        }
        let defs: SmallVec<[(VReg, usize); 2]> = located.defs(inst).filter_map(numbered).collect();
        for &(value, at) in &defs {
            state.0.iter_mut().for_each(|values| values.retain(|other| *other != value));
            state.0[at] = Values::from_slice(&[value]);
            self.note(at, value, inst, Event::Defined);
        }
        if info.role.is_call() || info.role == Role::TailCall {
            for (at, values) in state.0.iter().enumerate() {
                let crosses = |value: &&VReg| lives(**value) && !defs.contains(&(**value, at));
                if let Some(&value) = values.iter().find(crosses) {
                    self.note(at, value, inst, Event::Crosses);
                }
            }
        }
    }

    /// In debug builds, that a use finds its value.
    fn check_use(&self, state: &State, inst: usize, value: VReg, at: usize) {
        let function = self.located.function;
        debug_assert!(
            state.0[at].contains(&value),
            "{}: instruction {inst} uses {value} in {:?}, which holds {:?}\n{}",
            function.name,
            place(at),
            state.0[at],
            crate::text::listing(function, self.allocated),
        );
    }
}
