//! From the IR to machine instructions over virtual registers.
//!
//! Instruction selection for x86-64: the result is a [`MachFunction`], in which
//! blocks are in their final order and every register is virtual or fixed by a
//! calling convention. What the allocator must know of each instruction stands
//! beside it (operands and clobbers), so that allocation never looks at
//! [`MInst`] itself.
#![forbid(unsafe_code)]

pub mod mach;
pub mod x64;

pub use mach::{MachBlock, MachFunction, Role};
pub use x64::inst::{MInst, Symbol};
pub use x64::regs::Gpr;
// The entities that later stages share, so that they need no edge to the IR.
pub use tailor_ir::function::StackSlotData;
pub use tailor_ir::{AtomicOp, FuncRef, MapRef, StackSlot};
