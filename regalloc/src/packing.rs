//! How much of what locations hold is ever read.
//!
//! Problem: the allocator moves values in eight bytes and gives each a slot of
//! eight, though of many only the low half counts; an edit does not say whose
//! value it moves.
//! Idea: backward flow analysis over registers and slots: the upper half of what
//! a location holds is wanted if a use wants it before anything else is put
//! there. Operands with eight bytes that count want it, an instruction that reads
//! a slot wants what it reads, and moves pass on what is wanted. A move whose
//! destination does not want it can be one of four bytes, and a slot of which
//! no part is ever wanted above that needs four, unless an instruction writes more
//! into it.
//! Invariants: whatever is moved in four bytes, or lies in a slot of four, is
//! never read in eight, nor is more written there, which emission proves again on
//! its own. Slots that are not told apart are of eight bytes.

use regalloc2::{Allocation, VReg};
use tailor_lower::objects::{MOST, Set};

use crate::dataflow::{Direction, solve};
use crate::locations::{Access, Locations};
use crate::placement::Placed;
use crate::steps::{Located, Step};

/// What a slot has at most, and in regalloc2's count.
const SLOT_BYTES: u8 = 8;

/// What is enough.
#[derive(Clone, Debug, Default)]
pub struct Packing {
    /// Bytes of each slot, 4 or 8.
    pub slot_bytes: Vec<u8>,
    /// By edit, whether it moves the low half alone.
    pub narrow: Vec<bool>,
}

impl Packing {
    /// Eight bytes everywhere.
    pub fn wide(slots: usize) -> Packing {
        Packing { slot_bytes: vec![SLOT_BYTES; slots], narrow: Vec::new() }
    }

    /// What an allocation with so many slots needs. Registers that are saved by
    /// moves are wanted wherever the function is left. They are saved and restored as
    /// a whole even where it is not left any more: whoever unwinds reads them.
    pub fn new(located: &Located, slots: usize) -> Packing {
        if slots == 0 {
            return Packing::wide(slots);
        }
        let kept = located.placed.iter().fold(Locations::default(), |kept, placed| {
            let Placed { reg, slot, .. } = placed;
            kept | Allocation::reg(reg.preg()).into() | (*slot).into()
        });
        let narrow = vec![true; located.edits.len()];
        let mut flow = Flow { located, kept, narrow, ever: kept.slots };
        solve(Direction::Backward, &located.function.blocks, |block, wanted| {
            located.steps(block).rev().fold(wanted, |wanted, step| flow.before(step, wanted))
        });
        let bytes = |slot: usize| match slot < MOST && flow.ever >> slot & 1 == 0 {
            true => 4,
            false => SLOT_BYTES,
        };
        Packing { slot_bytes: (0..slots).map(bytes).collect(), narrow: flow.narrow }
    }
}

/// The upper halves that are wanted, and what is known of all of them so far.
struct Flow<'a> {
    located: &'a Located<'a>,
    /// Wanted wherever the function is left.
    kept: Locations,
    narrow: Vec<bool>,
    /// Slots that were ever wanted.
    ever: Set,
}

impl Flow<'_> {
    /// What is wanted before a step.
    fn before(&mut self, step: Step, wanted: Locations) -> Locations {
        let Access { reads, writes } = Access::of(self.located, step);
        let saves = (reads | writes).slots & self.kept.slots != 0;
        let wanted = match step {
            // What is in no set is always wanted.
            Step::Move { .. } if !saves && !writes.is_empty() && (writes & wanted).is_empty() => {
                wanted
            }
            Step::Move { edit, from, .. } => {
                self.narrow[edit] = false;
                wanted & !writes | from.into()
            }
            Step::Inst(inst) => {
                let leaves = self.located.function.info[inst].role.leaves();
                let kept = if leaves { self.kept } else { Locations::default() };
                self.ever |= self.written_whole(inst).slots;
                (wanted | kept) & !writes | self.read_whole(inst)
            }
        };
        self.ever |= wanted.slots;
        wanted
    }

    /// The locations of which an instruction reads more than the low half.
    fn read_whole(&self, inst: usize) -> Locations {
        let function = self.located.function;
        let is_whole = |(vreg, location): &(VReg, Allocation)| {
            let counts = function.vreg_bytes[vreg.vreg()] > 4;
            counts || location.is_stack() && function.slot_bytes(inst) > 4
        };
        let whole = self.located.uses(inst).filter(is_whole);
        whole.fold(Locations::default(), |set, (_, location)| set | location.into())
    }

    /// The slots into which an instruction writes more than that itself, whether or
    /// not anybody reads it.
    fn written_whole(&self, inst: usize) -> Locations {
        let defs = self.located.defs(inst).filter(|(_, location)| location.is_stack());
        let whole = defs.filter(|_| self.located.function.slot_bytes(inst) > 4);
        whole.fold(Locations::default(), |set, (_, location)| set | location.into())
    }
}

#[cfg(test)]
mod tests {
    use regalloc2::{Allocation, Edit, Inst, Operand, ProgPoint, RegClass, SpillSlot, VReg};
    use tailor_lower::x64::inst::{Rhs, Width};
    use tailor_lower::{Gpr, MInst, MachBlock, Role};

    use super::*;
    use crate::random::{empty, push};

    /// The instruction that writes a slot writes all of a value, though only the low
    /// half of it is read; a move would write no more than that.
    #[test]
    fn a_slot_has_room_for_what_is_written() {
        let [whole, half] = [VReg::new(0, RegClass::Int), VReg::new(1, RegClass::Int)];
        let mut function = empty();
        function.vreg_bytes = vec![8, 4];
        let copy = [Operand::any_def(whole), Operand::reg_use(whole)];
        push(&mut function, MInst::Mov(Width::W64), Role::Plain, &copy);
        let compared = [Operand::reg_use(half), Operand::any_use(half)];
        push(&mut function, MInst::Cmp(Width::W32, Rhs::Reg), Role::Plain, &compared);
        function.blocks.push(MachBlock { start: 0, end: 2, ..MachBlock::default() });
        let [a, b] = [Gpr::RAX, Gpr::RCX].map(|reg| Allocation::reg(reg.preg()));
        let [written, moved] = [0, 1].map(|slot| Allocation::stack(SpillSlot::new(slot)));
        let at = ProgPoint::before(Inst::new(1));
        let edits = [(a, moved), (written, b), (moved, a)];
        let edits = edits.map(|(from, to)| (at, Edit::Move { from, to }));
        let locations = [written, a, a, b];
        let located = Located::new(&function, &locations, &edits, &[]);
        let Packing { slot_bytes, narrow } = Packing::new(&located, 2);
        assert_eq!(slot_bytes, [8, 4]);
        assert_eq!(narrow, [true; 3]);
    }
}
