//! Emitted bytes, decoded again and compared with what was to be emitted.
//!
//! Problem: between a machine instruction with its registers and the bytes lie
//! encodings with special cases for single registers, instructions that are
//! left out since the one before did their work, flags that must last until a
//! branch, blocks that share their code, and branches of several sizes.
//!
//! Idea: each block is read from where branches to it go. An independent
//! reading of every machine instruction and of the allocator's moves
//! (`inst`, `sequence`) says which decoded instructions (by iced-x86) must
//! come next, down to operands, sizes and relocations. A block that shares the
//! code of another one is read there, so that what is shared must be the same.
//!
//! Beyond single instructions it proves that
//! - a branch takes the flags of its own comparison: nothing that changes flags
//!   comes in between, and one that is left out asks for what the arithmetic
//!   just before it has left;
//! - no half of a value is read that a move of four bytes, or a slot of four, has
//!   lost (`halves`);
//! - branches go to their successors, or execution is there already;
//! - every byte is part of something that was to be emitted, and every
//!   relocation of an instruction that asked for it.
//!
//! It is proved for every function in debug builds.

mod frame;
mod halves;
mod inst;
mod line;
mod reader;
mod sequence;

#[cfg(test)]
mod tests;

use regalloc2::{Edit, Inst, ProgPoint};
use tailor_lower::x64::inst::Cc;
use tailor_lower::{Gpr, MInst, MachFunction};
use tailor_regalloc::{Allocated, FrameLayout};

use crate::{CompiledFunction, FunctionKind};
use line::{Line, Op, Place};
use reader::Reader;

/// Bytes that are not what was to be emitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at:#x} ({what}): expected {wanted}, found {found}")]
pub struct IntentError {
    /// Offset from the start of the code.
    pub at: u32,
    /// The machine instruction, or the part of the function.
    pub what: String,
    /// What has to be there.
    pub wanted: String,
    /// What is there.
    pub found: String,
}

/// Compares a function's bytes with the machine instructions that they are
/// made from. `blocks` has the offset to which branches to each block go.
pub fn check(
    function: &MachFunction,
    allocated: &Allocated,
    compiled: &CompiledFunction,
    blocks: &[u32],
) -> Result<(), IntentError> {
    let (kind, reader) = (compiled.kind, Reader::new(compiled));
    halves::check(function, allocated)?;
    let mut check = Check { function, kind, allocated, blocks, reader };
    check.reader.part("the prologue");
    check.prologue()?;
    check.reader.is_at(blocks.first().copied().unwrap_or(0))?;
    for block in 0..blocks.len() {
        check.block(block)?;
    }
    check.reader.finish()
}

struct Check<'a> {
    function: &'a MachFunction,
    kind: FunctionKind,
    allocated: &'a Allocated,
    blocks: &'a [u32],
    reader: Reader<'a>,
}

impl Check<'_> {
    fn block(&mut self, block: usize) -> Result<(), IntentError> {
        let data = &self.function.blocks[block];
        self.reader.go_to(self.blocks[block]);
        for at in data.start as usize..data.end as usize {
            self.edits(ProgPoint::before(Inst::new(at)))?;
            self.reader.part_of(at, self.function);
            self.inst(at, block)?;
            self.edits(ProgPoint::after(Inst::new(at)))?;
        }
        Ok(())
    }

    /// The allocator's moves at a point, of as many bytes as [`halves`] has proved
    /// to be enough.
    fn edits(&mut self, point: ProgPoint) -> Result<(), IntentError> {
        let edits = &self.allocated.edits;
        let first = edits.partition_point(|(at, _)| *at < point);
        let here = edits[first..].iter().take_while(|(at, _)| *at == point);
        for (number, (_, Edit::Move { from, to })) in here.enumerate() {
            self.reader.part("a move");
            if from != to {
                let bytes = self.allocated.move_bytes(first + number);
                let [from, to] = [from, to].map(|at| self.place(*at).sized(bytes));
                self.reader.take(Line::of("mov", [to, from]))?;
            }
        }
        Ok(())
    }

    /// Execution goes on at a block: it is there, or a jump leads there.
    fn goes_to(&mut self, block: regalloc2::Block) -> Result<(), IntentError> {
        let target = self.blocks[block.index()];
        let jump = Line::of("jmp", [Op::Code(target)]);
        let is_jump = self.reader.is_next(&jump);
        // A jump to itself is an endless loop, and there all the same.
        if self.reader.at() == target && !is_jump {
            return Ok(());
        }
        self.reader.take(jump)
    }

    /// A branch on the flags that the comparison of its block has set.
    fn branch(&mut self, cc: Cc, block: usize) -> Result<(), IntentError> {
        let [taken, other] = self.function.blocks[block].succs[..] else {
            return self.reader.fail("two successors");
        };
        let offset = |block: regalloc2::Block| self.blocks[block.index()];
        if offset(taken) == offset(other) {
            return self.goes_to(taken);
        }
        self.reader.wants_flags()?;
        let straight = Line::of(jump_if(cc), [Op::Code(offset(taken))]);
        let inverse = Line::of(jump_unless(cc), [Op::Code(offset(other))]);
        if self.reader.is_next(&straight) {
            self.reader.take(straight)?;
            self.goes_to(other)
        } else {
            self.reader.take(inverse)?;
            self.goes_to(taken)
        }
    }

    /// Where a location is.
    fn place(&self, location: regalloc2::Allocation) -> Place {
        match (location.as_reg(), location.as_stack()) {
            (Some(reg), _) => Place::Reg(Gpr::from_preg(reg)),
            (None, Some(slot)) => {
                let frame = &self.allocated.frame;
                match frame.spills.get(slot.index()) {
                    Some(&disp) => Place::Mem { base: frame_base(frame), index: None, disp },
                    None => Place::Nowhere,
                }
            }
            (None, None) => Place::Nowhere,
        }
    }

    /// Whether the instruction at `at` is a branch that asks for (in)equality.
    fn asks_for_zero(&self, at: usize) -> bool {
        matches!(self.function.insts.get(at), Some(MInst::Jcc(Cc::E | Cc::Ne)))
    }
}

/// What places in the frame are addressed from.
fn frame_base(frame: &FrameLayout) -> Gpr {
    if frame.frame_pointer { Gpr::RBP } else { Gpr::RSP }
}

/// The branch that is taken if a condition holds, as processors' manuals name it.
fn jump_if(cc: Cc) -> &'static str {
    match cc {
        Cc::B => "jb",
        Cc::Ae => "jae",
        Cc::E => "je",
        Cc::Ne => "jne",
        Cc::Be => "jbe",
        Cc::A => "ja",
        Cc::L => "jl",
        Cc::Ge => "jge",
        Cc::Le => "jle",
        Cc::G => "jg",
    }
}

/// The branch that is taken if it does not.
fn jump_unless(cc: Cc) -> &'static str {
    match cc {
        Cc::B => "jae",
        Cc::Ae => "jb",
        Cc::E => "jne",
        Cc::Ne => "je",
        Cc::Be => "ja",
        Cc::A => "jbe",
        Cc::L => "jge",
        Cc::Ge => "jl",
        Cc::Le => "jg",
        Cc::G => "jle",
    }
}
