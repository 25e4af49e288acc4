//! Sets of registers and spill slots, and which of them live.

use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

use regalloc2::{Allocation, OperandKind, PRegSet};
use tailor_lower::objects::{MOST, Set};

use crate::dataflow::{Direction, solve};
use crate::steps::{Located, Step};

/// A set of locations. Slots from [`MOST`] on are in none.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Locations {
    /// By number of the register.
    pub registers: u16,
    /// By number of the slot.
    pub slots: Set,
}

impl Locations {
    /// Whether nothing is in it.
    pub fn is_empty(self) -> bool {
        self == Locations::default()
    }
}

impl From<Allocation> for Locations {
    fn from(location: Allocation) -> Locations {
        let mut set = Locations::default();
        if let Some(register) = location.as_reg() {
            set.registers = 1 << register.hw_enc();
        } else if let Some(slot) = location.as_stack().filter(|slot| slot.index() < MOST) {
            set.slots = 1 << slot.index();
        }
        set
    }
}

impl From<PRegSet> for Locations {
    fn from(registers: PRegSet) -> Locations {
        let registers = registers.into_iter().fold(0, |set, preg| set | 1 << preg.hw_enc());
        Locations { registers, slots: 0 }
    }
}

impl BitOr for Locations {
    type Output = Locations;

    fn bitor(self, other: Locations) -> Locations {
        let Locations { registers, slots } = other;
        Locations { registers: self.registers | registers, slots: self.slots | slots }
    }
}

impl BitOrAssign for Locations {
    fn bitor_assign(&mut self, other: Locations) {
        *self = *self | other;
    }
}

impl BitAnd for Locations {
    type Output = Locations;

    fn bitand(self, other: Locations) -> Locations {
        let Locations { registers, slots } = other;
        Locations { registers: self.registers & registers, slots: self.slots & slots }
    }
}

impl Not for Locations {
    type Output = Locations;

    fn not(self) -> Locations {
        Locations { registers: !self.registers, slots: !self.slots }
    }
}

/// What a step does to locations, or several steps in a row.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Access {
    /// Read, and not written before in these steps.
    pub reads: Locations,
    /// Written or destroyed.
    pub writes: Locations,
}

impl Access {
    /// Of one step, which reads before it writes.
    pub fn of(located: &Located, step: Step) -> Access {
        let inst = match step {
            Step::Move { from, to, .. } => return Access { reads: from.into(), writes: to.into() },
            Step::Inst(inst) => inst,
        };
        let writes = located.function.info[inst].clobbers.into();
        let mut access = Access { writes, ..Access::default() };
        for (operand, location) in located.operands(inst) {
            match operand.kind() {
                OperandKind::Use => access.reads |= location.into(),
                OperandKind::Def => access.writes |= location.into(),
            }
        }
        access
    }

    /// With what is done next.
    pub fn then(self, next: Access) -> Access {
        let reads = self.reads | next.reads & !self.writes;
        Access { reads, writes: self.writes | next.writes }
    }

    /// What lives before, given what lives behind.
    pub fn before(self, live: Locations) -> Locations {
        self.reads | live & !self.writes
    }
}

/// The locations that matter to a block.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct BlockUse {
    /// Read, written or destroyed in it.
    pub accessed: Locations,
    /// Read in it or later before anything is written there.
    pub live_at_start: Locations,
    /// The same from its end on.
    pub live_at_end: Locations,
}

/// Liveness of locations, by block.
pub fn uses(located: &Located) -> Vec<BlockUse> {
    let blocks = &located.function.blocks;
    let access = |block: usize| {
        let steps = located.steps(block).map(|step| Access::of(located, step));
        steps.fold(Access::default(), Access::then)
    };
    let accesses: Vec<Access> = (0..blocks.len()).map(access).collect();
    let at_end = solve(Direction::Backward, blocks, |block, end| accesses[block].before(end));
    let uses = accesses.iter().zip(at_end).map(|(access, live_at_end)| BlockUse {
        accessed: access.reads | access.writes,
        live_at_start: access.before(live_at_end),
        live_at_end,
    });
    uses.collect()
}
