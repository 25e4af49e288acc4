//! Generated eBPF programs, and what compares the engines on them.
//!
//! [`generate`] makes a [`program::Case`] from bytes, so that ordinary tests
//! (bytes from a seed) and coverage-guided fuzzing (bytes from the fuzzer) share
//! it; [`assemble`] makes an object of it, [`compare`] runs that everywhere.

pub mod assemble;
pub mod bisect;
pub mod compare;
pub mod features;
pub mod generate;
#[cfg(feature = "kernel")]
pub mod kernel;
pub mod levers;
pub mod operations;
pub mod print;
pub mod program;
pub mod report;
pub mod shrink;
pub mod source;
pub mod targets;

use program::Case;
use source::Source;

/// The case of a seed.
pub fn seeded(seed: u64, options: generate::Options) -> Case {
    generate::case(&mut Source::new(&source::seed_bytes(seed)), options)
}
