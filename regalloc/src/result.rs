//! What allocation hands to emission.

use regalloc2::{Allocation, Edit, ProgPoint};

use crate::FrameLayout;

/// Locations for a function's operands, and moves to insert.
#[derive(Clone, Debug)]
pub struct Allocated {
    /// One for each element of `MachFunction::operands`.
    pub locations: Vec<Allocation>,
    /// Moves, ascending by the point at which they happen.
    pub edits: Vec<(ProgPoint, Edit)>,
    /// The frame.
    pub frame: FrameLayout,
}
