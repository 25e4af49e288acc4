//! What registers hold of what is in spill slots.
//!
//! A flow analysis forwards over moves, calls and definitions, without a notion
//! of values: two places are alike while one is a copy of the other on every
//! path. Registers that are alike hold the same slots, so both together are an
//! equivalence relation, and so is the intersection of two.

use regalloc2::{Allocation, Edit, Inst, OperandKind, Output, PReg, ProgPoint, RegClass};
use tailor_lower::objects::{MOST, Set};
use tailor_lower::{Gpr, MachFunction};

const REGISTERS: usize = 16;

/// By register, what is like it.
#[derive(Clone, PartialEq)]
pub(super) struct Held {
    /// Registers, itself included.
    alike: [u16; REGISTERS],
    slots: [Set; REGISTERS],
}

/// Something that happens, in the order in which it does.
#[derive(Clone, Copy)]
pub(super) enum Event {
    /// The move of this number.
    Move(usize),
    /// The instruction of this number.
    Inst(usize),
}

/// A slot that is told apart from others, by number.
pub(super) fn slot(location: Allocation) -> Option<usize> {
    location.as_stack().map(|slot| slot.index()).filter(|slot| *slot < MOST)
}

fn register(location: Allocation) -> Option<usize> {
    location.as_reg().map(|preg| preg.hw_enc())
}

/// Its members.
pub(super) fn members(mut set: Set) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let member = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (member < MOST).then_some(member)
    })
}

impl Held {
    fn new() -> Held {
        Held { alike: std::array::from_fn(|register| 1 << register), slots: [0; REGISTERS] }
    }

    /// The slots that some register is like.
    pub(super) fn slots(&self) -> Set {
        self.slots.iter().fold(0, |all, slots| all | slots)
    }

    /// A register that is like a slot; the scratch register only if no other is.
    pub(super) fn holder(&self, slot: usize) -> Option<Gpr> {
        let scratch = usize::from(Gpr::SCRATCH.enc());
        let holds = |register: &usize| self.slots[*register] >> slot & 1 == 1;
        let others = (0..REGISTERS).filter(|register| *register != scratch);
        let found = others.chain([scratch]).find(holds);
        found.map(gpr)
    }

    /// Whether two places are alike.
    pub(super) fn are_alike(&self, a: Allocation, b: Allocation) -> bool {
        match (register(a), register(b), slot(a), slot(b)) {
            (Some(a), Some(b), ..) => self.alike[a] >> b & 1 == 1,
            (Some(register), _, _, Some(slot)) | (_, Some(register), Some(slot), _) => {
                self.slots[register] >> slot & 1 == 1
            }
            _ => false,
        }
    }

    /// A register gets something else. Returns the slots that no register is like
    /// any more.
    fn lose(&mut self, register: usize) -> Set {
        let slots = std::mem::take(&mut self.slots[register]);
        let alike = std::mem::replace(&mut self.alike[register], 1 << register);
        if alike == 1 << register {
            return slots;
        }
        for (other, of_other) in self.alike.iter_mut().enumerate() {
            if other != register {
                *of_other &= !(1 << register);
            }
        }
        0
    }

    /// A slot gets something else.
    fn lose_slot(&mut self, slot: usize) {
        self.slots.iter_mut().for_each(|slots| *slots &= !(1 << slot));
    }

    /// A register that was not like any other becomes like another.
    fn join(&mut self, register: usize, other: usize) {
        let alike = self.alike[other] | 1 << register;
        for (member, of_member) in self.alike.iter_mut().enumerate() {
            if alike >> member & 1 == 1 {
                *of_member = alike;
            }
        }
        self.slots[register] = self.slots[other];
    }

    /// A place gets what is in another one. A register was lost before.
    fn copy(&mut self, from: Allocation, to: Allocation) {
        if let Some(to) = slot(to) {
            self.lose_slot(to);
            let alike = register(from).map_or(0, |from| self.alike[from]);
            for (register, slots) in self.slots.iter_mut().enumerate() {
                *slots |= Set::from(alike >> register & 1) << to;
            }
        } else if let Some(to) = register(to) {
            let slot = slot(from);
            match register(from).or_else(|| self.like_slot(slot?)) {
                Some(other) => self.join(to, other),
                None => self.slots[to] = slot.map_or(0, |slot| 1 << slot),
            }
        }
    }

    fn like_slot(&self, slot: usize) -> Option<usize> {
        self.slots.iter().position(|slots| slots >> slot & 1 == 1)
    }

    /// Keeps what is alike in both; says whether that changed anything.
    fn meet(&mut self, other: &Held) -> bool {
        let before = self.clone();
        self.alike.iter_mut().zip(other.alike).for_each(|(mine, theirs)| *mine &= theirs);
        self.slots.iter_mut().zip(other.slots).for_each(|(mine, theirs)| *mine &= theirs);
        *self != before
    }
}

fn gpr(register: usize) -> Gpr {
    Gpr::from_preg(PReg::new(register, RegClass::Int))
}

/// An allocation to walk over.
pub(super) struct Walk<'a> {
    pub(super) function: &'a MachFunction,
    pub(super) output: &'a Output,
}

impl Walk<'_> {
    /// The number of the first move that does not come before an instruction.
    pub(super) fn first_move(&self, inst: u32) -> usize {
        let start = ProgPoint::before(Inst::new(inst as usize));
        self.output.edits.partition_point(|(point, _)| *point < start)
    }

    /// What happens in a block.
    pub(super) fn events(&self, block: usize) -> impl Iterator<Item = Event> {
        let range = &self.function.blocks[block];
        let edits = &self.output.edits;
        let (mut edit, mut inst) = (self.first_move(range.start), range.start as usize);
        let end = range.end as usize;
        std::iter::from_fn(move || {
            let until = ProgPoint::before(Inst::new(inst));
            if edits.get(edit).is_some_and(|(at, _)| *at < until || *at == until && inst < end) {
                edit += 1;
                return Some(Event::Move(edit - 1));
            }
            inst += 1;
            (inst <= end).then_some(Event::Inst(inst - 1))
        })
    }

    /// The locations of an instruction's operands of a kind.
    pub(super) fn locations(
        &self,
        inst: usize,
        kind: OperandKind,
    ) -> impl Iterator<Item = Allocation> {
        let operands = self.function.inst_operands(inst).iter();
        let locations = &self.output.allocs[self.function.info[inst].first as usize..];
        let both = operands.zip(locations);
        both.filter(move |(operand, _)| operand.kind() == kind).map(|(_, location)| *location)
    }

    /// From before an event to after it. `lost` is told of slots that no register is
    /// like any more, and of a register that was before.
    pub(super) fn step(&self, held: &mut Held, event: Event, mut lost: impl FnMut(Gpr, Set)) {
        let mut lose = |held: &mut Held, register: usize| match held.lose(register) {
            0 => {}
            slots => lost(gpr(register), slots),
        };
        let inst = match event {
            Event::Move(edit) => {
                let Edit::Move { from, to } = self.output.edits[edit].1;
                if !held.are_alike(from, to) {
                    if let Some(register) = register(to) {
                        lose(held, register);
                    }
                    held.copy(from, to);
                }
                return;
            }
            Event::Inst(inst) => inst,
        };
        // Emission may use it for anything.
        lose(held, usize::from(Gpr::SCRATCH.enc()));
        for preg in self.function.info[inst].clobbers {
            lose(held, preg.hw_enc());
        }
        for location in self.locations(inst, OperandKind::Def) {
            if let Some(register) = register(location) {
                lose(held, register);
            } else if let Some(slot) = slot(location) {
                held.lose_slot(slot);
            }
        }
    }

    /// What holds at the starts of blocks; `None` where nothing leads.
    pub(super) fn solve(&self) -> Vec<Option<Held>> {
        let blocks = &self.function.blocks;
        let mut starts: Vec<Option<Held>> = vec![None; blocks.len()];
        let mut dirty = vec![false; blocks.len()];
        starts[0] = Some(Held::new());
        dirty[0] = true;
        let mut again = true;
        while std::mem::take(&mut again) {
            for block in 0..blocks.len() {
                if !std::mem::take(&mut dirty[block]) {
                    continue;
                }
                let Some(mut held) = starts[block].clone() else { continue };
                for event in self.events(block) {
                    self.step(&mut held, event, |_, _| {});
                }
                for succ in blocks[block].succs.iter().map(|succ| succ.index()) {
                    let changed = match &mut starts[succ] {
                        Some(start) => start.meet(&held),
                        start => {
                            *start = Some(held.clone());
                            true
                        }
                    };
                    if changed {
                        dirty[succ] = true;
                        again |= succ <= block;
                    }
                }
            }
        }
        starts
    }
}
