//! From the IR to machine instructions over virtual registers.
//!
//! Instruction selection for x86-64: the result is a [`MachFunction`], in which
//! blocks are in their final order and every register is virtual or fixed by a
//! calling convention. What the allocator must know of each instruction stands
//! beside it (operands and clobbers), so that allocation never looks at
//! [`MInst`] itself.
//!
//! The steps of [`lower`]: [`legalise`] rewrites what the target does not have,
//! [`order`] splits critical edges and puts the blocks in their final order,
//! [`x64::select`] chooses the instructions. [`objects`] says of the result which
//! stack objects may share memory, and [`edit`] changes it.
#![forbid(unsafe_code)]

mod allocatable;
pub mod edit;
pub mod legalise;
pub mod mach;
pub mod objects;
pub mod options;
pub mod order;
mod text;
pub mod x64;

pub use edit::Editor;
pub use mach::{InstInfo, MachBlock, MachFunction, Role};
pub use options::{Convention, CtxField, Error, Features, Options, Poking};
pub use x64::inst::{MInst, Site, Symbol};
pub use x64::regs::Gpr;
// The entities that later stages share, so that they need no edge to the IR.
pub use tailor_ir::function::StackSlotData;
pub use tailor_ir::{AtomicOp, CALL_BY_NUMBER, FuncRef, MapRef, StackSlot};

/// Chooses machine instructions for a verified function.
pub fn lower(function: &tailor_ir::Function, options: &Options) -> Result<MachFunction, Error> {
    let function = legalise::legalise(function, options);
    let order = order::Order::new(&function);
    x64::select::select(&function, &order, options)
}
