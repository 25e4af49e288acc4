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
//! no part is ever wanted above that needs four.
//! Invariants: whatever is moved in four bytes, or lies in a slot of four, is
//! never read in eight, which emission proves again on its own. Slots that are
//! not told apart are of eight bytes.

use regalloc2::{Allocation, Edit, Inst, OperandKind, ProgPoint};
use tailor_lower::MachFunction;
use tailor_lower::objects::MOST;

use crate::adapter::SPILL_SLOT_BYTES;
use crate::placement::Placed;

/// A set of locations: registers, then slots.
#[derive(Clone, Copy, Default, PartialEq)]
struct Set {
    registers: u32,
    slots: u128,
}

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
        Packing { slot_bytes: vec![SPILL_SLOT_BYTES as u8; slots], narrow: Vec::new() }
    }

    /// What an allocation with so many slots needs. Registers that are saved by
    /// moves are wanted wherever the function is left, and their slots, from which
    /// tail calls restore them.
    pub fn new(
        function: &MachFunction,
        locations: &[Allocation],
        edits: &[(ProgPoint, Edit)],
        slots: usize,
        placed: &[Placed],
    ) -> Packing {
        if slots == 0 {
            return Packing::wide(slots);
        }
        let mut flow = Flow {
            function,
            locations,
            edits,
            kept: Set::default(),
            narrow: vec![true; edits.len()],
            ever: 0,
        };
        for Placed { reg, slot, .. } in placed {
            flow.kept.add(Allocation::reg(reg.preg()));
            flow.kept.add(*slot);
        }
        flow.ever = flow.kept.slots;
        flow.solve();
        let bytes = |slot: usize| match slot < MOST && flow.ever >> slot & 1 == 0 {
            true => 4,
            false => SPILL_SLOT_BYTES as u8,
        };
        Packing { slot_bytes: (0..slots).map(bytes).collect(), narrow: flow.narrow }
    }
}

impl Set {
    fn bit(at: Allocation) -> Set {
        let mut set = Set::default();
        if let Some(register) = at.as_reg() {
            set.registers = 1 << register.hw_enc();
        } else if let Some(slot) = at.as_stack().filter(|slot| slot.index() < MOST) {
            set.slots = 1 << slot.index();
        }
        set
    }

    fn add(&mut self, at: Allocation) {
        self.unite(Set::bit(at));
    }

    fn unite(&mut self, other: Set) {
        self.registers |= other.registers;
        self.slots |= other.slots;
    }

    fn remove(&mut self, at: Allocation) {
        let Set { registers, slots } = Set::bit(at);
        self.registers &= !registers;
        self.slots &= !slots;
    }

    fn has(self, at: Allocation) -> bool {
        let Set { registers, slots } = Set::bit(at);
        let is_known = registers != 0 || slots != 0;
        !is_known || self.registers & registers != 0 || self.slots & slots != 0
    }
}

struct Flow<'a> {
    function: &'a MachFunction,
    locations: &'a [Allocation],
    edits: &'a [(ProgPoint, Edit)],
    /// Wanted wherever the function is left.
    kept: Set,
    narrow: Vec<bool>,
    /// Slots that were ever wanted.
    ever: u128,
}

impl Flow<'_> {
    fn solve(&mut self) {
        let mut starts = vec![Set::default(); self.function.blocks.len()];
        let mut changed = true;
        while changed {
            changed = false;
            for block in (0..starts.len()).rev() {
                let mut wanted = Set::default();
                for succ in &self.function.blocks[block].succs {
                    wanted.unite(starts[succ.index()]);
                }
                self.block(block, &mut wanted);
                if starts[block] != wanted {
                    starts[block] = wanted;
                    changed = true;
                }
            }
        }
    }

    /// From what is wanted at a block's end to what is at its start.
    fn block(&mut self, block: usize, wanted: &mut Set) {
        let data = &self.function.blocks[block];
        let end = ProgPoint::before(Inst::new(data.end as usize));
        let mut edit = self.edits.partition_point(|(point, _)| *point < end);
        for inst in (data.start as usize..data.end as usize).rev() {
            self.moves(ProgPoint::after(Inst::new(inst)), &mut edit, wanted);
            self.inst(inst, wanted);
            self.ever |= wanted.slots;
            self.moves(ProgPoint::before(Inst::new(inst)), &mut edit, wanted);
        }
    }

    /// The moves at a point, the last first.
    fn moves(&mut self, point: ProgPoint, edit: &mut usize, wanted: &mut Set) {
        while let Some((at, Edit::Move { from, to })) = self.edits[..*edit].last()
            && *at >= point
        {
            *edit -= 1;
            if wanted.has(*to) {
                self.narrow[*edit] = false;
                wanted.remove(*to);
                wanted.add(*from);
                self.ever |= wanted.slots;
            }
        }
    }

    fn inst(&mut self, inst: usize, wanted: &mut Set) {
        let info = &self.function.info[inst];
        if info.role.leaves() {
            wanted.unite(self.kept);
        }
        wanted.registers &= !info.clobbers.into_iter().map(|reg| 1 << reg.hw_enc()).sum::<u32>();
        let operands = self.function.inst_operands(inst);
        let locations = &self.locations[info.first as usize..];
        for kind in [OperandKind::Def, OperandKind::Use] {
            for (operand, &at) in operands.iter().zip(locations) {
                if operand.kind() != kind {
                    continue;
                }
                let wide = self.function.vreg_bytes[operand.vreg().vreg()] > 4;
                let read = at.is_stack() && self.function.slot_bytes(inst) > 4;
                match kind {
                    OperandKind::Def => wanted.remove(at),
                    OperandKind::Use if wide || read => wanted.add(at),
                    OperandKind::Use => {}
                }
            }
        }
    }
}
