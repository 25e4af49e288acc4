//! The frame decoder: what a function's frame is, read from its bytes.
//!
//! Problem: every figure about frames and saves, of every engine and of the
//! running kernel, must come from one place that does not trust the compiler
//! that made the code; and a function that unwinds its frame wrongly on some
//! path must be noticed before it runs.
//!
//! Idea: an abstract walk over all paths from the entry. The state before an
//! instruction is, for each register and each eight-byte stack slot, one of
//! "the value that register r had at the entry", "the entry's rsp plus a
//! constant" and "something else". From that follow, without any pattern of
//! prologues: which instructions save (copy the entry value of a callee-saved
//! register from that register) and restore (bring it back), how deep rsp
//! goes, whether rbp is a frame pointer (it points at its own saved value),
//! and whether each exit finds everything as it must be.
//!
//! Invariants checked: paths that meet agree on rsp; rsp is always known and
//! never above the return address; a return finds rsp at the return address
//! and every callee-saved register with its entry value; a tail call finds
//! what its target expects at its landing point, which is what this function
//! has at its own (at the entry: the same as for a return; after a shared
//! prologue: the same rsp, the same saved values in the same slots).
//!
//! Where prologues end is not visible in general. The frame proper is taken
//! to be what the exits unwind: the depth before an exit's trailing run of
//! restoring instructions. What lies deeper in between is body pushes.
//!
//! What code cannot tell is handed in ([`FrameHints`]): which outgoing jumps
//! are tail calls, which instructions get patched, and how much is padding.

mod facts;
mod flow;
mod state;
mod walk;
mod weigh;

#[cfg(test)]
mod tests;

use smallvec::SmallVec;

use crate::{CompiledFunction, FrameBelief, Gpr, Reloc, TailSite, Unwound, Weights};
pub use weigh::Weighted;

/// What the bytes do not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameHints<'a> {
    /// Tail-call sites. A jump to a register or to memory is one anyway.
    pub sites: &'a [TailSite],
    /// Relocations: a branch with one leaves the function.
    pub relocs: &'a [Reloc],
    /// Offset at which tail calls enter.
    pub landing: u32,
    /// Bytes of the frame that only alignment asks for.
    pub padding_bytes: u32,
    /// Bytes below the lowest rsp that are in use though not all of them are
    /// visibly accessed.
    pub red_zone: u32,
    /// How often what is executed, if it is known.
    pub weights: Option<&'a Weights>,
}

impl<'a> FrameHints<'a> {
    /// What the compiler of `function` recorded.
    pub fn of(function: &'a CompiledFunction) -> FrameHints<'a> {
        FrameHints {
            sites: &function.tail_sites,
            relocs: &function.relocs,
            landing: function.landing,
            padding_bytes: function.frame.padding_bytes,
            red_zone: function.frame.red_zone,
            weights: Some(&function.weights),
        }
    }
}

/// A function's frame as its bytes have it; the words are the design's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrameFacts {
    /// Callee-saved registers it preserves, without a frame pointer, in the
    /// order of their first saves.
    pub saved: SmallVec<[Gpr; 6]>,
    /// rbp points at its own saved value.
    pub frame_pointer: bool,
    /// Saving instructions.
    pub push_sites: u32,
    /// Restoring instructions, those of every exit and tail-call site included.
    pub pop_sites: u32,
    /// Places where it may leave by a tail call.
    pub tail_call_sites: u32,
    /// Return address (exclusive) to the lowest byte in use, less body pushes.
    pub frame_bytes: u32,
    /// How far rsp goes below the frame between the prologue and the exits.
    pub body_push_bytes: u32,
    /// The hint.
    pub padding_bytes: u32,
    /// All bytes.
    pub code_bytes: u32,
    /// What each of the recorded tail-call sites undoes.
    pub unwinds: Vec<Unwound>,
    /// What the frame costs when the function runs, if weights were given.
    pub weighted: Option<Weighted>,
}

/// What is wrong with a function's code. Offsets are from its start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Bytes that are no instruction, or an instruction that is cut off.
    #[error("{at:#x}: no instruction")]
    Invalid {
        /// Where.
        at: u32,
    },
    /// Two paths read the same bytes as different instructions.
    #[error("{at:#x}: a branch goes into the middle of an instruction")]
    Overlap {
        /// Where.
        at: u32,
    },
    /// Execution runs over the end.
    #[error("{at:#x}: execution continues behind the end")]
    RunsOver {
        /// The last instruction.
        at: u32,
    },
    /// A recorded site is not a jump that leaves the function.
    #[error("{at:#x}: a tail-call site is recorded here, and there is none")]
    NoSite {
        /// The recorded exit.
        at: u32,
    },
    /// Nothing passes through the landing point.
    #[error("{at:#x}: the landing point is not reached from the entry")]
    NoLanding {
        /// The recorded landing point.
        at: u32,
    },
    /// rsp becomes a value that is not a known distance from the entry's.
    #[error("{at:#x}: rsp becomes unknown")]
    UnknownStack {
        /// Where.
        at: u32,
    },
    /// More is popped than was pushed.
    #[error("{at:#x}: rsp rises over the return address")]
    Underflow {
        /// Where.
        at: u32,
    },
    /// Two paths meet with different rsp.
    #[error("{at:#x}: rsp is {one} from the entry's on one path and {other} on another")]
    Unbalanced {
        /// Where they meet.
        at: u32,
        /// Distance from the entry's rsp.
        one: i64,
        /// Distance on the other path.
        other: i64,
    },
    /// An exit with rsp elsewhere than it must be.
    #[error("{at:#x}: leaves with rsp {found} from the entry's instead of {expected}")]
    Depth {
        /// The exit.
        at: u32,
        /// Distance from the entry's rsp.
        found: i64,
        /// What it has to be.
        expected: i64,
    },
    /// An exit without a register's entry value, in it or where its target expects it.
    #[error("{at:#x}: leaves without having restored {reg}")]
    Unrestored {
        /// The exit.
        at: u32,
        /// Whose value is lost.
        reg: Gpr,
    },
}

/// Why a function's frame is not what its compiler says.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// It is broken.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is sound and different.
    #[error("believed {believed:?}, decoded {decoded:?}")]
    Differs {
        /// By the compiler.
        believed: FrameBelief,
        /// From the bytes.
        decoded: Box<FrameFacts>,
    },
}

/// Reads the frame of the function whose bytes `code` is.
pub fn decode_frame(code: &[u8], hints: &FrameHints<'_>) -> Result<FrameFacts, DecodeError> {
    let flow = flow::Flow::new(code, hints)?;
    let walk = walk::walk(&flow)?;
    facts::facts(&flow, &walk, hints)
}

/// Reads the frame of `function`.
pub fn decode(function: &CompiledFunction) -> Result<FrameFacts, DecodeError> {
    decode_frame(&function.code, &FrameHints::of(function))
}

/// Reads the frame of `function` and compares it with its compiler's belief.
pub fn check(function: &CompiledFunction) -> Result<FrameFacts, FrameError> {
    let decoded = decode(function)?;
    let believed = &function.frame;
    let sorted = |regs: &SmallVec<[Gpr; 6]>| {
        let mut regs = regs.clone();
        regs.sort();
        regs
    };
    let same = sorted(&decoded.saved) == sorted(&believed.saved)
        && decoded.frame_pointer == believed.frame_pointer
        && decoded.frame_bytes == believed.frame_bytes
        && decoded.tail_call_sites as usize == function.tail_sites.len()
        && decoded.unwinds.iter().eq(function.tail_sites.iter().map(|site| &site.unwinds));
    if same {
        Ok(decoded)
    } else {
        Err(FrameError::Differs { believed: believed.clone(), decoded: Box::new(decoded) })
    }
}
