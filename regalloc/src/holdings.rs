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

use regalloc2::{Allocation, Block, Edit, Inst, OperandKind, PReg, ProgPoint, VReg};
use smallvec::SmallVec;
use tailor_lower::{Gpr, MachFunction, Role};

use crate::Allocated;
use crate::liveness::Liveness;

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
    let mut walk = Walk { function, allocated, liveness: &liveness, found: None };
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
    function: &'a MachFunction,
    allocated: &'a Allocated,
    liveness: &'a Liveness,
    /// The events, once they are collected.
    found: Option<Found>,
}

impl Walk<'_> {
    /// By block, what places hold at its start; `None` where nothing leads.
    fn solve(&mut self) -> Vec<Option<State>> {
        let blocks = &self.function.blocks;
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
        let args = &self.function.blocks[from].args;
        let params = &self.function.blocks[to.index()].params;
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
        let function = self.function;
        let range = &function.blocks[block];
        let last = self.last_uses(block);
        let edits = &self.allocated.edits;
        let first = edits.partition_point(|(at, _)| *at < before(range.start as usize));
        let mut edits = edits[first..].iter().peekable();
        for inst in range.start as usize..range.end as usize {
            while let Some((_, edit)) = edits.next_if(|(at, _)| *at <= before(inst)) {
                self.copy(&mut state, edit, inst, &|value| last.get(&value) >= Some(&inst));
            }
            self.step(&mut state, inst, &|value| last.get(&value) > Some(&inst));
            while let Some((_, edit)) = edits.next_if(|(at, _)| at.inst() == Inst::new(inst)) {
                self.copy(&mut state, edit, inst, &|value| last.get(&value) > Some(&inst));
            }
        }
        state
    }

    /// The last instruction of a block that uses each value; what lives at its
    /// end is used behind all of them.
    fn last_uses(&self, block: usize) -> BTreeMap<VReg, usize> {
        let mut last = BTreeMap::new();
        let range = &self.function.blocks[block];
        for inst in range.start as usize..range.end as usize {
            let operands = self.function.inst_operands(inst).iter();
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

    fn copy(&mut self, state: &mut State, edit: &Edit, inst: usize, lives: &dyn Fn(VReg) -> bool) {
        let Edit::Move { from, to } = edit;
        let (Some(from), Some(to)) = (number(*from), number(*to)) else {
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

    fn step(&mut self, state: &mut State, inst: usize, lives: &dyn Fn(VReg) -> bool) {
        let function = self.function;
        let info = &function.info[inst];
        let operands = function.inst_operands(inst);
        let locations = &self.allocated.locations[info.first as usize..][..operands.len()];
        let of = |kind: OperandKind| {
            let both = operands.iter().zip(locations);
            both.filter_map(move |(operand, location)| {
                (operand.kind() == kind).then_some((operand.vreg(), number(*location)?))
            })
        };
        for (value, at) in of(OperandKind::Use) {
            if self.found.is_some() {
                debug_assert!(
                    state.0[at].contains(&value),
                    "{}: instruction {inst} uses {value} in {:?}, which holds {:?}\n{}",
                    function.name,
                    place(at),
                    state.0[at],
                    crate::text::listing(function, self.allocated),
                );
            }
            self.note(at, value, inst, Event::Used);
        }
        for preg in info.clobbers {
            state.0[preg.hw_enc()].clear();
        }
        for (value, at) in of(OperandKind::Def) {
            state.0.iter_mut().for_each(|values| values.retain(|other| *other != value));
            state.0[at] = Values::from_slice(&[value]);
            self.note(at, value, inst, Event::Defined);
        }
        if matches!(info.role, Role::CallC | Role::CallLocal | Role::TailCall) {
            for at in 0..state.0.len() {
                let defined = |value: VReg| of(OperandKind::Def).any(|def| def == (value, at));
                let crossing = |value: &&VReg| lives(**value) && !defined(**value);
                if let Some(&value) = state.0[at].iter().find(crossing) {
                    self.note(at, value, inst, Event::Crosses);
                }
            }
        }
    }
}

fn before(inst: usize) -> ProgPoint {
    ProgPoint::before(Inst::new(inst))
}
