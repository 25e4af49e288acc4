//! Collects machine instructions from the last to the first.
//!
//! Selection walks blocks and instructions backwards, but a rule writes the
//! instructions of one IR instruction in order. So there are three stages: the
//! current sequence (forwards), the current block (backwards, with a list of
//! constants to be put in), and the function (backwards, block by block).

use regalloc2::{Operand, PRegSet, RegClass, VReg};
use smallvec::SmallVec;

use crate::mach::{InstInfo, MachBlock, Role};
use crate::x64::inst::MInst;

/// An instruction with what the allocator sees of it.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    inst: MInst,
    operands: SmallVec<[Operand; 4]>,
    role: Role,
    clobbers: PRegSet,
    origin: u32,
}

/// The instructions so far.
#[derive(Default)]
pub(super) struct Output {
    sequence: Vec<Pending>,
    block: Vec<Pending>,
    /// Instructions to be put in before what stands at this length of `block`.
    insertions: Vec<(usize, Pending)>,
    function: Vec<Pending>,
    /// For each finished block, the length of `function` behind it.
    ends: Vec<usize>,
    vreg_bytes: Vec<u8>,
    /// The bytecode instruction that is being selected for.
    pub origin: u32,
}

impl Output {
    /// A new register, of which only the low half is meaningful so far.
    pub fn new_vreg(&mut self) -> VReg {
        let vreg = VReg::new(self.vreg_bytes.len() % VReg::MAX, RegClass::Int);
        self.vreg_bytes.push(4);
        vreg
    }

    /// The number of registers so far.
    pub fn vregs(&self) -> usize {
        self.vreg_bytes.len()
    }

    /// The number of instructions in finished blocks.
    pub fn insts(&self) -> usize {
        self.function.len()
    }

    /// Notes that the upper half of a register is meaningful.
    pub fn widen(&mut self, vreg: VReg) {
        self.vreg_bytes[vreg.vreg()] = 8;
    }

    /// Whether the upper half of a register is meaningful.
    pub fn is_wide(&self, vreg: VReg) -> bool {
        self.vreg_bytes[vreg.vreg()] == 8
    }

    /// Appends to the current sequence.
    pub fn push(&mut self, inst: MInst, operands: &[Operand]) {
        self.push_special(inst, operands, Role::Plain, PRegSet::empty());
    }

    /// Appends an instruction with a role or clobbers.
    pub fn push_special(
        &mut self,
        inst: MInst,
        operands: &[Operand],
        role: Role,
        clobbers: PRegSet,
    ) {
        self.sequence.push(Pending {
            inst,
            operands: SmallVec::from_slice(operands),
            role,
            clobbers,
            origin: self.origin,
        });
    }

    /// How much of the current block is written.
    pub fn position(&self) -> usize {
        self.block.len()
    }

    /// Moves the current sequence into the block.
    pub fn finish_sequence(&mut self) {
        self.block.extend(self.sequence.drain(..).rev());
    }

    /// Puts an instruction before everything that stands in the block at the
    /// first `position` places (from the end).
    pub fn insert(&mut self, position: usize, inst: MInst, operands: &[Operand]) {
        self.push(inst, operands);
        if let Some(pending) = self.sequence.pop() {
            self.insertions.push((position, pending));
        }
    }

    /// Moves the current block into the function.
    pub fn finish_block(&mut self) {
        self.insertions.sort_by_key(|(position, _)| *position);
        let mut insertions = self.insertions.drain(..).peekable();
        for (index, pending) in self.block.drain(..).enumerate() {
            while let Some((_, inserted)) = insertions.next_if(|(at, _)| *at <= index) {
                self.function.push(inserted);
            }
            self.function.push(pending);
        }
        self.function.extend(insertions.map(|(_, inserted)| inserted));
        self.ends.push(self.function.len());
    }

    /// The lists of a machine function. Fills in the instruction ranges of
    /// blocks, and numbers the registers in the order of their definitions.
    pub fn finish(self, blocks: &mut [MachBlock]) -> Lists {
        let total = self.function.len();
        let mut start = 0;
        for (block, end) in blocks.iter_mut().rev().zip(self.ends) {
            (block.start, block.end) = ((total - end) as u32, (total - start) as u32);
            start = end;
        }
        let mut lists = Lists {
            insts: Vec::with_capacity(total),
            info: Vec::with_capacity(total),
            operands: Vec::with_capacity(self.function.iter().map(|p| p.operands.len()).sum()),
            vreg_bytes: Vec::with_capacity(self.vreg_bytes.len()),
        };
        for pending in self.function.into_iter().rev() {
            lists.info.push(InstInfo {
                first: lists.operands.len() as u32,
                count: pending.operands.len() as u16,
                role: pending.role,
                clobbers: pending.clobbers,
                origin: pending.origin,
                recomputed: false,
            });
            lists.operands.extend(pending.operands);
            lists.insts.push(pending.inst);
        }
        lists.renumber(blocks, &self.vreg_bytes);
        lists
    }
}

/// See [`crate::MachFunction`].
pub(super) struct Lists {
    pub insts: Vec<MInst>,
    pub info: Vec<InstInfo>,
    pub operands: Vec<Operand>,
    pub vreg_bytes: Vec<u8>,
}

impl Lists {
    fn renumber(&mut self, blocks: &mut [MachBlock], bytes: &[u8]) {
        let mut names = vec![None; bytes.len()];
        let mut rename = |vreg: VReg| {
            *names[vreg.vreg()].get_or_insert_with(|| {
                self.vreg_bytes.push(bytes[vreg.vreg()]);
                VReg::new(self.vreg_bytes.len() - 1, RegClass::Int)
            })
        };
        for block in blocks {
            for param in &mut block.params {
                *param = rename(*param);
            }
            let first = &self.info[block.start as usize];
            let last = &self.info[block.end as usize - 1];
            let range = first.first as usize..last.first as usize + usize::from(last.count);
            for operand in &mut self.operands[range] {
                let vreg = rename(operand.vreg());
                *operand = Operand::new(vreg, operand.constraint(), operand.kind(), operand.pos());
            }
            for arg in &mut block.args {
                *arg = rename(*arg);
            }
        }
    }
}
