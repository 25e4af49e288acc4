//! The baselines: a one-pass JIT that emits, instruction by instruction, what
//! the Linux JIT for x86-64 emits since 6.12, and with the prologues and
//! tail-call sites of older kernels ([`Variant`]) what frames were then.
//!
//! What is reproduced: register mapping, prologues, tail-call sites and their
//! counter, the choice of encodings, the sizes of jumps, and of the verifier's
//! rewriting that which leaves a trace in the code: unreachable instructions
//! are gone, divisions by a register are guarded, context accesses are native.
//! What is not: mitigations against speculation, control-flow integrity,
//! private stacks, arenas, and the inlining of helpers.
//!
//! A function that is a program's entry and that another program calls has the
//! entry's prologue here. No kernel's code exists to compare it with: loaders
//! refuse such an object, whether the function is global or static. The frame's
//! figures are those of a subprogram too; its count of tail calls starts anew.
//!
//! Nothing is optimised here and nothing must be: every ratio of the
//! optimizing pipeline is against these frames.
#![forbid(unsafe_code)]

mod alu;
mod atomics;
mod control;
mod divide;
mod frame;
mod jit;
mod memory;
mod regs;
mod tail;
mod variant;

#[cfg(test)]
mod tests;

pub use jit::compile;
pub use variant::Variant;
