//! Registers, saves and the frame.
//!
//! [`prepare()`] rewrites a function so that its registers cost less, and
//! [`Prepared::allocate`] goes on from there. Virtual
//! registers get locations from regalloc2, which leaves the function alone. From
//! the locations and the inserted moves follows which callee-saved registers the
//! function must preserve, and with the spill slots and the stack objects the
//! layout of its frame. Where that turns out to be costly, [`split`] rewrites the
//! function once more, in view of that allocation, and takes the better one.
#![forbid(unsafe_code)]

pub mod allocate;
mod arguments;
pub mod bound;
mod colouring;
pub mod cost;
pub mod dataflow;
mod descent;
mod exits;
pub mod frame;
pub mod holdings;
pub mod levers;
pub mod liveness;
pub mod locations;
pub mod packing;
pub mod placement;
pub mod plain;
pub mod prepare;
#[cfg(test)]
mod random;
pub mod region;
pub mod remat;
pub mod saves;
pub mod sharing;
#[cfg(test)]
mod simulation;
pub mod sinking;
pub mod split;
pub mod steps;
pub mod text;
mod webs;

pub use allocate::{Allocated, Error, Options, allocate};
pub use frame::FrameLayout;
pub use levers::{Lever, Levers};
pub use plain::plain;
pub use prepare::{Prepared, prepare};
pub use regalloc2::Algorithm;
