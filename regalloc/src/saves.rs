//! Which callee-saved registers a function changes, and where it does.

use regalloc2::{Allocation, Edit, OperandKind, PRegSet, ProgPoint};
use smallvec::SmallVec;
use tailor_lower::{Gpr, MachFunction};

/// A set of registers by number.
type Set = u16;

/// For each block, the registers that have a value of the function's own
/// somewhere in it: they are read or changed there, or hold what is read later.
/// Operands and moves both count: the allocator may park a value in a register
/// that no instruction names.
#[derive(Clone, Debug)]
pub struct Occupied {
    blocks: Vec<Set>,
    /// By block, what lives at its end.
    at_end: Vec<Set>,
}

impl Occupied {
    /// Of an allocation: what lives in registers, by flow analysis.
    pub fn new(
        function: &MachFunction,
        locations: &[Allocation],
        edits: &[(ProgPoint, Edit)],
    ) -> Occupied {
        let blocks = block_accesses(function, locations, edits);
        let mut occupied: Vec<Set> = blocks.iter().map(|block| block.touched).collect();
        let mut at_ends = vec![0; blocks.len()];
        let mut at_start: Vec<Set> = blocks.iter().map(|block| block.read_first).collect();
        let mut changed = true;
        while changed {
            changed = false;
            for (at, block) in function.blocks.iter().enumerate().rev() {
                let ends = block.succs.iter().map(|succ| at_start[succ.index()]);
                let at_end = ends.fold(0, |a, b| a | b);
                occupied[at] |= at_end;
                at_ends[at] = at_end;
                let start = blocks[at].read_first | at_end & !blocks[at].written;
                changed |= start != at_start[at];
                at_start[at] = start;
            }
        }
        Occupied { blocks: occupied, at_end: at_ends }
    }

    /// The callee-saved registers among those that are used anywhere, in the
    /// order of preference (`order`, which has all that may be allocated).
    pub fn callee_saved(&self, order: &[Gpr]) -> SmallVec<[Gpr; 6]> {
        let used = self.blocks.iter().fold(0, |a, b| a | b);
        order.iter().copied().filter(|reg| used & bit(*reg) != 0).collect()
    }

    /// The registers that live at the end of a block, as bits by number.
    pub(crate) fn at_end(&self, block: usize) -> u16 {
        self.at_end[block]
    }

    /// Whether a register is occupied in a block.
    pub fn has(&self, block: usize, reg: Gpr) -> bool {
        self.blocks[block] & bit(reg) != 0
    }
}

fn bit(reg: Gpr) -> Set {
    1 << reg.enc()
}

fn member(location: Allocation) -> Set {
    location.as_reg().map_or(0, |preg| 1 << preg.hw_enc())
}

/// What a block does to registers.
#[derive(Clone, Copy, Default)]
struct Accesses {
    touched: Set,
    /// Read before they are written.
    read_first: Set,
    written: Set,
}

impl Accesses {
    fn read(&mut self, regs: Set) {
        self.touched |= regs;
        self.read_first |= regs & !self.written;
    }

    fn write(&mut self, regs: Set) {
        self.touched |= regs;
        self.written |= regs;
    }
}

fn block_accesses(
    function: &MachFunction,
    locations: &[Allocation],
    edits: &[(ProgPoint, Edit)],
) -> Vec<Accesses> {
    let mut edits = edits.iter().peekable();
    let mut moves_until = |point: ProgPoint, accesses: &mut Accesses| {
        while let Some((_, Edit::Move { from, to })) = edits.next_if(|edit| edit.0 <= point) {
            accesses.read(member(*from));
            accesses.write(member(*to));
        }
    };
    let mut blocks = vec![Accesses::default(); function.blocks.len()];
    for (block, accesses) in function.blocks.iter().zip(&mut blocks) {
        for inst in block.start as usize..block.end as usize {
            let at = regalloc2::Inst::new(inst);
            moves_until(ProgPoint::before(at), accesses);
            let operands = function.inst_operands(inst);
            let locations = &locations[function.info[inst].first as usize..];
            let of_kind = |kind: OperandKind| {
                let operands = operands.iter().zip(locations);
                let of_kind = operands.filter(move |(operand, _)| operand.kind() == kind);
                of_kind.fold(0, |set, (_, location)| set | member(*location))
            };
            accesses.read(of_kind(OperandKind::Use));
            accesses.write(of_kind(OperandKind::Def) | destroyed(function.info[inst].clobbers));
            moves_until(ProgPoint::after(at), accesses);
        }
    }
    blocks
}

fn destroyed(clobbers: PRegSet) -> Set {
    clobbers.into_iter().fold(0, |set, preg| set | 1 << preg.hw_enc())
}
