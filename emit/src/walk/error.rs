//! What the walk refuses.

use crate::Gpr;

/// What is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at:#x}: {wrong}")]
pub struct WalkError {
    /// Offset from the start of the code.
    pub at: u32,
    /// What is wrong there.
    pub wrong: Wrong,
}

/// What can be wrong at an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Not an instruction, or one that is cut off.
    #[error("no instruction")]
    NoInstruction,
    /// Two paths read the same bytes as different instructions.
    #[error("an instruction inside of another one")]
    Overlaps,
    /// A path runs over the end, or a branch without relocation leaves the code.
    #[error("a path leaves the code")]
    LeavesCode,
    /// A jump to where nobody knows.
    #[error("a jump that is no recorded tail call")]
    UnknownTarget,
    /// A recorded site's jump is none.
    #[error("a tail call is recorded here, and there is none")]
    NoTailCall,
    /// Nothing passes through where tail calls enter.
    #[error("tail calls enter where no path leads")]
    NoLanding,
    /// rsp is computed from something unknown.
    #[error("rsp becomes unknown")]
    UnknownStack,
    /// The return address, or what lies above it, is dropped or written.
    #[error("the return address or the caller's frame is touched")]
    AboveFrame,
    /// More than 128 bytes below rsp.
    #[error("an access below the red zone")]
    BelowRedZone,
    /// Below rsp at a call, and read after it.
    #[error("reads what a callee may have overwritten")]
    Overwritten,
    /// Paths meet with different rsp.
    #[error("paths meet with rsp at {0} and {1}")]
    Unbalanced(i64, i64),
    /// An exit with rsp elsewhere than it must be.
    #[error("leaves with rsp at {found} instead of {expected}")]
    Depth {
        /// Seen from the entry.
        found: i64,
        /// What it must be.
        expected: i64,
    },
    /// The only copy of a callee-saved register's value is overwritten.
    #[error("{0} is overwritten before it is saved")]
    Lost(Gpr),
    /// An exit without a register's value.
    #[error("leaves without {0} as it was")]
    Unrestored(Gpr),
    /// C code is called with rsp not a multiple of 16.
    #[error("calls C code with a misaligned stack")]
    Misaligned,
}

impl Wrong {
    pub(super) fn at(self, at: u32) -> WalkError {
        WalkError { at, wrong: self }
    }
}
