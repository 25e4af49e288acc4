//! The frame: its objects become stack slots, and what is known to be R10 plus
//! a constant becomes the address of a byte in one of them.
//!
//! Objects need not keep their distances, so `r10 - 8` must not be computed
//! from `r10`: every instruction whose result the facts know is replaced by the
//! address itself. A pointer of which only the object is known (an index was
//! added) stays within its slot, since the facts cut no object that an access
//! crosses; so does one past the end of a slot as long as it is compared only
//! with pointers to the same object, which the facts see to as well.

use tailor_ir::{StackSlotData, Type, Value};

use super::Lifter;
use crate::facts::StackObject;
use crate::insn::Op;

impl Lifter<'_> {
    /// Makes a stack slot for each object of the frame.
    pub(super) fn make_frame(&mut self) {
        for object in &self.own.stack_objects {
            let size = if object.touched { (object.hi - object.lo).unsigned_abs() } else { 0 };
            let data = StackSlotData { size, align: alignment(object), escapes: object.escapes };
            self.slots.push(self.b.add_slot(data));
        }
    }

    /// The address of a byte relative to R10. One in no object is never
    /// followed or compared, and any number will do.
    pub(super) fn frame_address(&mut self, offset: i32) -> Value {
        match self.own.stack_object_at(offset) {
            Some(index) => {
                let lo = self.own.stack_objects[index].lo;
                self.b.stack_addr(self.slots[index], offset - lo)
            }
            None => self.b.iconst(Type::I64, 0),
        }
    }

    /// If the facts know that an instruction makes R10 plus a constant, writes
    /// that to its register instead.
    pub(super) fn makes_frame_pointer(&mut self, op: &Op) -> bool {
        let offset = self.own.frame_pointers.get(&(self.pc as u32));
        let (Some(&offset), Some(dst)) = (offset, op.def()) else {
            return false;
        };
        if !matches!(op.plain(), Op::Mov { .. } | Op::Alu { .. } | Op::Load { .. }) {
            return false;
        }
        let address = self.frame_address(offset);
        self.write(dst, address);
        true
    }
}

/// What an object is aligned to in the bytecode's frame, R10 being a multiple of
/// 8, but no more than its size can use.
fn alignment(object: &StackObject) -> u32 {
    let largest_access = 1 << (object.hi - object.lo).ilog2();
    let of_start = 1 << object.lo.trailing_zeros().min(3);
    of_start.min(largest_access)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_aligned_like_their_objects() {
        let of = |lo, hi| alignment(&StackObject { lo, hi, escapes: false, touched: true });
        assert_eq!(of(-8, 0), 8);
        assert_eq!(of(-48, -16), 8);
        assert_eq!(of(-12, 0), 4);
        assert_eq!(of(-8, -4), 4);
        assert_eq!(of(-6, -4), 2);
        assert_eq!(of(-8, -5), 2);
        assert_eq!(of(-1, 0), 1);
    }
}
