//! The x86-64 target.

pub mod inst;
pub mod regs;
pub mod select;
