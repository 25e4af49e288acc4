//! Tailor's front end: everything that knows what eBPF is.
//!
//! Bytecode becomes [`insn::Op`]s (`decode`), objects become [`object::Object`]s
//! (`elf`), analyses on bytecode say what every engine must agree on, the
//! interpreter is the oracle, and `lift` hands a function over to the IR.
#![forbid(unsafe_code)]

mod analyze;
mod arity;
pub mod callgraph;
pub mod cfg;
pub mod chains;
pub mod ctx;
pub mod decode;
pub mod dominators;
mod elf;
pub mod encode;
pub mod error;
pub mod facts;
pub mod frequency;
pub mod helpers;
pub mod host;
pub mod insn;
pub mod interp;
pub mod lift;
pub mod lines;
mod link;
pub mod object;
mod pointers;
mod specialise;
mod table;
pub mod text;
pub mod validate;

pub use analyze::analyze;
pub use error::Error;
pub use insn::{
    AluOp, AtomicOp, Callee, Cond, EndKind, Imm64, MAY_GOTO_BUDGET, Op, Reg, Src, Width,
};
pub use object::{Function, MapDef, MapKind, Object, ProgId, Program, ProgramKind};
pub use specialise::{separate_entries, specialise};
pub use tailor_ir::{CALL_BY_NUMBER, FuncRef, MapRef, Size};
