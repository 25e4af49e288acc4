//! Bytes: encoding, labels and relaxation, frames, tail-call sites, relocations.
//!
//! Two producers share this crate's assembler and its [`CompiledFunction`]: the
//! emitter of the optimizing pipeline, and the baseline JITs. The frame decoder
//! reads the bytes of either and says what their frames are.
#![forbid(unsafe_code)]

pub mod asm;
pub mod code;
pub mod elf;
pub mod error;
pub mod frame;
pub mod intent;
pub mod kernel;
pub mod layout;
pub mod listing;
pub mod unwind;
pub mod walk;
pub mod x64;

pub use asm::{Assembled, Assembler};
pub use code::{
    ARCHITECTURE, Architecture, CompiledCode, CompiledFunction, FrameBelief, FunctionKind, Poke,
    PokeReloc, Reloc, RelocKind, TailSite, Unwound, WeightLabels, Weights,
};
pub use error::EmitError;
pub use tailor_lower::{
    AtomicOp, CALL_BY_NUMBER, Convention, FuncRef, Gpr, MapRef, Poking, Symbol,
};
pub use x64::{emit, entry_stub};
