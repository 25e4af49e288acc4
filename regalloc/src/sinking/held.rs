//! What registers hold of what is in spill slots.
//!
//! A flow analysis forwards over moves, calls and definitions, without a notion
//! of values: two places are alike while one is a copy of the other on every
//! path. Registers that are alike hold the same slots, so both together are an
//! equivalence relation, and so is the intersection of two.

use regalloc2::{Allocation, PReg, RegClass};
use tailor_lower::Gpr;
use tailor_lower::objects::{MOST, Set};

use crate::locations::{Access, Locations};
use crate::steps::{Located, Step};

const REGISTERS: usize = 16;

/// By register, what is like it.
#[derive(Clone, PartialEq)]
pub(super) struct Held {
    /// Registers, itself included.
    alike: [u16; REGISTERS],
    slots: [Set; REGISTERS],
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
        let alike = self.alike[register];
        if alike == 1 << register {
            return slots;
        }
        self.alike[register] = 1 << register;
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
        let mut changed = false;
        for register in 0..REGISTERS {
            let alike = self.alike[register] & other.alike[register];
            let slots = self.slots[register] & other.slots[register];
            changed |= alike != self.alike[register] || slots != self.slots[register];
            (self.alike[register], self.slots[register]) = (alike, slots);
        }
        changed
    }
}

fn gpr(register: usize) -> Gpr {
    Gpr::from_preg(PReg::new(register, RegClass::Int))
}

/// From before a step to after it. `lost` is told of slots that no register is like
/// any more, and of a register that was before.
pub(super) fn pass(located: &Located, step: Step, held: &mut Held, mut lost: impl FnMut(Gpr, Set)) {
    let mut lose = |held: &mut Held, register: usize| match held.lose(register) {
        0 => {}
        slots => lost(gpr(register), slots),
    };
    match step {
        Step::Move { from, to, .. } if !held.are_alike(from, to) => {
            if let Some(register) = register(to) {
                lose(held, register);
            }
            held.copy(from, to);
        }
        Step::Move { .. } => {}
        Step::Inst(inst) => {
            // Emission may use it for anything.
            lose(held, usize::from(Gpr::SCRATCH.enc()));
            let Locations { registers, slots } = Access::of(located, Step::Inst(inst)).writes;
            for register in members(registers.into()) {
                lose(held, register);
            }
            held.slots.iter_mut().for_each(|held| *held &= !slots);
        }
    }
}

/// What holds at the starts of blocks; `None` where nothing leads.
pub(super) fn at_starts(located: &Located) -> Vec<Option<Held>> {
    let blocks = &located.function.blocks;
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
            for step in located.steps(block) {
                pass(located, step, &mut held, |_, _| {});
            }
            for succ in blocks[block].succs.iter().map(|succ| succ.index()) {
                let changed = match &mut starts[succ] {
                    Some(start) => start.meet(&held),
                    start => {
                        *start = Some(held.clone());
                        true
                    }
                };
                dirty[succ] |= changed;
                again |= changed && succ <= block;
            }
        }
    }
    starts
}
