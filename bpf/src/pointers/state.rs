//! What is known at a point of a function: registers and spilled values.
//!
//! The frame is seen as 64 slots of 8 bytes. A slot that was last written by an
//! aligned 8-byte store holds that value; any other write leaves a number
//! there. Numbers are not listed, and states share their lists as long as they
//! are the same, so that a state is small and most joins are short.

use std::rc::Rc;

use super::flow::Thresholds;
use super::range::Range;
use super::value::{Base, Bases, Val};
use crate::insn::Reg;
use crate::interp::FRAME_BYTES;

const SLOTS: i64 = FRAME_BYTES as i64 / 8;

/// The state before an instruction.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct State {
    /// R0 to R9.
    registers: [Val; 10],
    /// Slots with something better than a number, ascending.
    slots: Rc<Vec<(u8, Val)>>,
    /// Slots that were written at all.
    written: u64,
}

/// The bytes of the frame that a range of offsets from R10 covers, as far as
/// they exist: `lo..hi`, empty if none do.
pub(super) fn clip(bytes: Range) -> (i64, i64) {
    let lo = bytes.lo.max(-i64::from(FRAME_BYTES));
    let hi = bytes.hi.min(0);
    (lo, hi.max(lo))
}

/// The slots that bytes of the frame lie in.
fn slots_of(bytes: Range) -> std::ops::Range<i64> {
    let (lo, hi) = clip(bytes);
    if lo >= hi {
        return 0..0;
    }
    lo.div_euclid(8) + SLOTS..(hi - 1).div_euclid(8) + SLOTS + 1
}

impl State {
    /// At the entry of a function: parameters, and nothing else.
    pub fn entry() -> State {
        let mut registers = [Val::Undefined; 10];
        for index in 0..5 {
            registers[usize::from(index) + 1] = Val::base(Base::Param(index));
        }
        State { registers, slots: Rc::default(), written: 0 }
    }

    pub fn get(&self, reg: Reg) -> Val {
        let index = reg.index();
        let value = self.registers.get(index).copied();
        value.unwrap_or(Val::base(Base::Frame))
    }

    pub fn set(&mut self, reg: Reg, value: Val) {
        if let Some(place) = self.registers.get_mut(reg.index()) {
            *place = value;
        }
    }

    /// R1 to R5 as arguments.
    pub fn args(&self) -> [Val; 5] {
        let mut args = [Val::Undefined; 5];
        args.copy_from_slice(&self.registers[1..6]);
        args
    }

    fn slot(&self, slot: i64) -> Val {
        match self.slots.binary_search_by_key(&slot, |s| s.0.into()) {
            Ok(index) => self.slots[index].1,
            Err(_) => self.unlisted(slot as u8),
        }
    }

    /// What a slot that is not listed holds.
    fn unlisted(&self, slot: u8) -> Val {
        if self.written & (1 << slot) != 0 { Val::ANY } else { Val::Undefined }
    }

    fn set_slot(&mut self, slot: i64, value: Val) {
        self.written |= 1 << slot;
        match self.slots.binary_search_by_key(&slot, |s| s.0.into()) {
            Ok(index) if self.slots[index].1 == value => {}
            Ok(index) if value == Val::ANY => drop(Rc::make_mut(&mut self.slots).remove(index)),
            Ok(index) => Rc::make_mut(&mut self.slots)[index].1 = value,
            Err(_) if value == Val::ANY => {}
            Err(index) => Rc::make_mut(&mut self.slots).insert(index, (slot as u8, value)),
        }
    }

    /// What an 8-byte load from one of these bytes can give.
    pub fn load(&self, bytes: Range, aligned: bool) -> Val {
        let slots = slots_of(bytes).map(|slot| self.slot(slot));
        let joined = slots.fold(Val::Undefined, Val::join);
        if aligned { joined } else { Val::tainted(joined.bases()) }
    }

    /// An aligned 8-byte store that certainly happens.
    pub fn store(&mut self, offset: i64, value: Val) {
        for slot in slots_of(Range::new(offset, offset + 8)) {
            self.set_slot(slot, value);
        }
    }

    /// These bytes may be overwritten with (parts of) `value`.
    pub fn may_store(&mut self, bytes: Range, value: Val) {
        for slot in slots_of(bytes) {
            let old = self.slot(slot);
            self.set_slot(slot, old.join(value));
        }
    }

    /// These bytes are overwritten with no pointer that is followed.
    pub fn scribble(&mut self, bytes: Range) {
        for slot in slots_of(bytes) {
            self.set_slot(slot, Val::ANY);
        }
    }

    /// The bases of the pointers that are spilled in these bytes.
    pub fn spilled(&self, bytes: Range) -> Bases {
        let inside = self.spilled_at(bytes);
        inside.fold(Bases::NONE, |all, (_, bases)| all.union(bases))
    }

    /// The offsets of the slots in these bytes that hold pointers, and their
    /// bases.
    pub fn spilled_at(&self, bytes: Range) -> impl Iterator<Item = (i64, Bases)> {
        let slots = slots_of(bytes);
        let inside = self.slots.iter().filter(move |s| slots.contains(&s.0.into()));
        let bases = inside.map(|s| ((i64::from(s.0) - SLOTS) * 8, s.1.bases()));
        bases.filter(|(_, bases)| !bases.is_empty())
    }

    /// Takes in what is known on another path. With thresholds it widens.
    /// Returns whether anything changed.
    pub fn join(&mut self, other: &State, thresholds: Option<&Thresholds>) -> bool {
        let mut changed = false;
        let pairs = self.registers.iter_mut().zip(&other.registers);
        for (index, (mine, theirs)) in pairs.enumerate() {
            let merged = match thresholds {
                Some(thresholds) => mine.widen(*theirs, thresholds.of_register(index)),
                None => mine.join(*theirs),
            };
            changed |= merged != *mine;
            *mine = merged;
        }
        changed |= self.join_slots(other, thresholds.map(Thresholds::of_slots));
        changed |= self.written | other.written != self.written;
        self.written |= other.written;
        changed
    }

    /// Merges the lists of slots; `written` is not yet up to date.
    fn join_slots(&mut self, other: &State, thresholds: Option<&[i64]>) -> bool {
        if Rc::ptr_eq(&self.slots, &other.slots) {
            return false;
        }
        let mut merged = Vec::with_capacity(self.slots.len());
        let (mut mine, mut theirs) = (self.slots.iter().peekable(), other.slots.iter().peekable());
        loop {
            let next = [mine.peek(), theirs.peek()].into_iter().flatten();
            let Some(slot) = next.map(|s| s.0).min() else {
                break;
            };
            let take = |(_, value): &(u8, Val)| *value;
            let a = mine.next_if(|s| s.0 == slot).map(take);
            let b = theirs.next_if(|s| s.0 == slot).map(take);
            let a = a.unwrap_or_else(|| self.unlisted(slot));
            let b = b.unwrap_or_else(|| other.unlisted(slot));
            let value = match thresholds {
                Some(thresholds) => a.widen(b, thresholds),
                None => a.join(b),
            };
            if value != Val::ANY {
                merged.push((slot, value));
            }
        }
        if merged == *self.slots {
            return false;
        }
        self.slots = if merged == *other.slots { other.slots.clone() } else { Rc::new(merged) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(lo: i64, hi: i64) -> Range {
        Range::new(lo, hi)
    }

    #[test]
    fn slots_hold_what_was_spilled() {
        let param = Val::base(Base::Param(0));
        let mut state = State::entry();
        assert_eq!(state.load(bytes(-8, 0), true), Val::Undefined);
        state.store(-16, param);
        assert_eq!(state.load(bytes(-16, -8), true), param);
        assert_eq!(state.spilled(bytes(-512, 0)), param.bases());
        assert_eq!(state.spilled(bytes(-8, 0)), Bases::NONE);
        // Part of it is overwritten.
        let mut partly = state.clone();
        partly.scribble(bytes(-9, -8));
        assert_eq!(partly.load(bytes(-16, -8), true), Val::ANY);
        // It may be overwritten.
        state.may_store(bytes(-24, -15), Val::ANY);
        assert_eq!(state.load(bytes(-16, -8), true), param.join(Val::ANY));
        // Loads across slots or at one of several places.
        assert_eq!(state.load(bytes(-20, -12), false), Val::tainted(param.bases()));
        assert_eq!(state.load(bytes(-24, -8), true), param.join(Val::ANY));
    }

    #[test]
    fn joins_keep_pointers_and_forget_numbers() {
        let param = Val::base(Base::Param(0));
        let mut a = State::entry();
        let mut b = State::entry();
        a.store(-8, param);
        a.store(-16, Val::constant(1));
        // A path that wrote nothing adds nothing.
        let mut joined = a.clone();
        assert!(!joined.join(&b, None));
        b.store(-8, Val::ANY);
        b.store(-16, Val::constant(2));
        assert!(joined.join(&b, None));
        assert_eq!(joined.load(bytes(-8, 0), true), param.join(Val::ANY));
        assert_eq!(joined.load(bytes(-16, -8), true), Val::Number(bytes(1, 2)));
        assert!(!joined.join(&b, None));
        assert!(!joined.join(&a, None));
    }

    #[test]
    fn offsets_outside_the_frame_are_clipped() {
        assert_eq!(slots_of(bytes(i64::MIN, i64::MAX)), 0..64);
        assert_eq!(slots_of(bytes(-8, 8)), 63..64);
        assert_eq!(slots_of(bytes(0, 8)), 0..0);
        assert_eq!(slots_of(bytes(-600, -512)), 0..0);
        assert_eq!(slots_of(bytes(-1, 0)), 63..64);
    }
}
