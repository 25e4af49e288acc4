//! Where a block's conditional jump waits for flags.
//!
//! Between the comparison and the jump nothing may change the flags; elsewhere
//! shorter encodings that do are free to be used.

use tailor_lower::MInst;
use tailor_lower::x64::inst::Flags;

/// A position in a block, and the range in which flags are awaited.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Awaited {
    at: usize,
    from: usize,
    to: usize,
}

impl Awaited {
    /// Goes on to the next instruction.
    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    /// Whether the current instruction must leave the flags alone.
    pub(super) fn now(&self) -> bool {
        (self.from..self.to).contains(&self.at)
    }
}

/// The range in a block's instructions: from the comparison to the jump that
/// ends the block. Without a comparison to be found, all of the block.
pub(super) fn awaited(insts: &[MInst]) -> Awaited {
    let Some((MInst::Jcc(_), body)) = insts.split_last() else {
        return Awaited::default();
    };
    let from = body.iter().rposition(|inst| inst.flags() == Flags::Compares).unwrap_or(0);
    Awaited { at: 0, from, to: body.len() }
}
