//! What lowering is told, and what can go wrong.

use tailor_ir::{FuncRef, Size};
use thiserror::Error;

use crate::Gpr;

/// What the processor can do beyond the x86-64 baseline.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// Shifts that take their count in any register and leave the flags alone.
    pub bmi2: bool,
}

/// How functions are entered, where tail calls land, and how frames are laid
/// out. The pages of docs/abi.md draw them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Convention {
    /// Tailor's own: the landing point is the entry, the record travels in r9,
    /// frames are addressed from rsp.
    #[default]
    Saving,
    /// A kernel's: rbp frame, a counter in it, and a landing point so many bytes
    /// behind the entry, by which its generations differ.
    Kernel {
        /// Bytes of the prologue that a tail call skips.
        landing: u32,
    },
}

impl Convention {
    /// The callee-saved registers that a function may take, in the order of
    /// preference. A kernel's frame pointer is none of them.
    pub fn callee_saved(self) -> &'static [Gpr] {
        match self {
            Convention::Saving => &Gpr::CALLEE_SAVED,
            Convention::Kernel { .. } => &[Gpr::RBX, Gpr::R13, Gpr::R14, Gpr::R15, Gpr::R12],
        }
    }
}

/// How a tail-call site whose map and key are known follows its slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Poking {
    /// It loads the slot: code never changes.
    #[default]
    Data,
    /// Two of its instructions are patched whenever the slot changes.
    Patch,
}

/// Where a context field really is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CtxField {
    /// Bytes from the context pointer.
    pub offset: i32,
    /// Size in memory.
    pub size: Size,
}

/// What lowering must know beside the function.
pub struct Options<'a> {
    /// Instructions that may be used.
    pub features: Features,
    /// How functions of the module are entered.
    pub convention: Convention,
    /// What becomes of tail calls whose slot is known.
    pub poking: Poking,
    /// Whether a function of the module takes the invocation record
    /// (its `reaches_tail_call`).
    pub wants_record: &'a dyn Fn(FuncRef) -> bool,
    /// The native place of a field, by kind of context and field.
    pub ctx_field: &'a dyn Fn(u8, u8) -> CtxField,
}

impl Default for Options<'_> {
    /// For a function on its own: no callee that wants the record, and no fields of
    /// contexts; on any processor, in Tailor's convention.
    fn default() -> Self {
        Options {
            features: Features::default(),
            convention: Convention::default(),
            poking: Poking::default(),
            wants_record: &|_| false,
            ctx_field: &|_, _| CtxField { offset: 0, size: Size::D },
        }
    }
}

/// Why a verified function cannot be lowered.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Error {
    /// The allocator numbers instructions and registers in 30 bits.
    #[error("too large: {count} {what}")]
    TooLarge {
        /// What there are too many of.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// A caller that has no invocation record must not have callees that want it.
    #[error("{callee} takes the invocation record, which this function does not have")]
    NoRecord {
        /// The function called.
        callee: FuncRef,
    },
}
