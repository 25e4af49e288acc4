//! Tailor's SSA intermediate representation.
//!
//! A [`Function`] is a control-flow graph of [blocks](Block) with parameters
//! (no phis). Each block holds a list of [instructions](Inst), each with at
//! most one result, and ends in one [`Terminator`]. Values are 32 or 64 bits
//! wide; a 32-bit value says nothing about an upper half, and widening is an
//! instruction of its own. Everything that is known about an operation stands
//! in one table, [`opcode`].
#![forbid(unsafe_code)]

pub mod builder;
pub mod cfg;
#[cfg(test)]
mod cfg_tests;
pub mod dom;
pub mod entities;
pub mod eval;
pub mod function;
#[cfg(test)]
mod fuzz_tests;
pub mod interp;
#[cfg(test)]
mod interp_tests;
pub mod loops;
#[cfg(test)]
mod loops_tests;
pub mod module;
pub mod opcode;
pub mod passes;
pub mod text;
pub mod verifier;
#[cfg(test)]
mod verifier_tests;

pub use builder::{Access, Builder, Variable};
pub use entities::{Block, ExtFunc, FuncRef, Inst, MapRef, StackSlot, Value};
pub use function::{
    BlockCall, BlockData, ExternData, Function, InstData, Payload, StackSlotData,
    TAIL_CALL_SUCCEEDS, Terminator, ValueData, ValueDef,
};
pub use module::Module;
pub use opcode::{AtomicOp, CALL_BY_NUMBER, Cond, Opcode, Region, Size, Type};
