//! Registers, saves and the frame.
//!
//! Virtual registers get locations from regalloc2; the function itself is left
//! alone. From the locations and the inserted moves follows which callee-saved
//! registers the function must preserve, and with the spill slots and the
//! stack objects the layout of its frame.
#![forbid(unsafe_code)]

mod adapter;
pub mod allocate;
pub mod bound;
pub mod cost;
pub mod frame;
pub mod levers;
pub mod placement;
pub mod region;
pub mod saves;
pub mod sharing;
pub mod text;

pub use allocate::{Allocated, Error, Options, allocate};
pub use frame::FrameLayout;
pub use levers::{Lever, Levers};
