//! Which callee-saved registers a function changes, and where it does.

use smallvec::SmallVec;
use tailor_lower::Gpr;
use tailor_lower::objects::Set;

use crate::locations::{self, BlockUse};
use crate::steps::Located;

/// For each block, the locations that have a value of the function's own somewhere
/// in it: they are read or changed there, or hold what is read later. Operands
/// and moves both count: the allocator may park a value in a register that no
/// instruction names.
#[derive(Clone, Debug)]
pub struct Occupied {
    blocks: Vec<BlockUse>,
}

impl Occupied {
    /// Of an allocation.
    pub fn new(located: &Located) -> Occupied {
        Occupied { blocks: locations::uses(located) }
    }

    fn registers(&self, block: usize) -> u16 {
        let BlockUse { accessed, live_at_end, .. } = self.blocks[block];
        (accessed | live_at_end).registers
    }

    /// The slots that are read from the start of a block on before they are written.
    pub fn live_slots(&self, block: usize) -> Set {
        self.blocks[block].live_at_start.slots
    }

    /// The callee-saved registers among those that are used anywhere, in the
    /// order of preference (`order`, which has all that may be allocated).
    pub fn callee_saved(&self, order: &[Gpr]) -> SmallVec<[Gpr; 6]> {
        let used = (0..self.blocks.len()).fold(0, |set, block| set | self.registers(block));
        order.iter().copied().filter(|reg| used & bit(*reg) != 0).collect()
    }

    /// Whether a register is occupied in a block.
    pub fn has(&self, block: usize, reg: Gpr) -> bool {
        self.registers(block) & bit(reg) != 0
    }
}

fn bit(reg: Gpr) -> u16 {
    1 << reg.enc()
}
