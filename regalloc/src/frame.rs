//! The layout of a frame.

use cranelift_entity::SecondaryMap;
use smallvec::SmallVec;
use tailor_lower::{Gpr, StackSlot};

/// Where everything in a frame is. From the return address downwards: saved
/// registers in push order, then `adjust` bytes (padding, stack objects, spill
/// slots). All offsets are from rsp after the prologue; in a red-zone frame
/// (`adjust` 0 and objects below rsp) they are negative.
#[derive(Clone, Debug, Default)]
pub struct FrameLayout {
    /// Callee-saved registers in the order in which they are pushed.
    pub saved: SmallVec<[Gpr; 6]>,
    /// Bytes subtracted from rsp after the pushes.
    pub adjust: u32,
    /// Bytes below rsp that a leaf uses without moving rsp (0 unless red zone).
    pub red_zone: u32,
    /// The part of `adjust` that only alignment asks for.
    pub padding: u32,
    /// Offset of spill slot 0; slot `n` is 8 * `n` bytes above it.
    pub spill_base: i32,
    /// Offset of each stack object.
    pub slots: SecondaryMap<StackSlot, i32>,
}

impl FrameLayout {
    /// Bytes from the return address (exclusive) to the lowest byte used.
    pub fn frame_bytes(&self) -> u32 {
        8 * self.saved.len() as u32 + self.adjust + self.red_zone
    }
}
