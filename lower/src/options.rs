//! What lowering is told, and what can go wrong.

use tailor_ir::{FuncRef, Size};
use thiserror::Error;

/// What the processor can do beyond the x86-64 baseline.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// Shifts that take their count in any register and leave the flags alone.
    pub bmi2: bool,
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
    /// Whether a function of the module takes the invocation record
    /// (its `reaches_tail_call`).
    pub wants_record: &'a dyn Fn(FuncRef) -> bool,
    /// The native place of a field, by kind of context and field.
    pub ctx_field: &'a dyn Fn(u8, u8) -> CtxField,
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
