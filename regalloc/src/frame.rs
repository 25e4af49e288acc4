//! The layout of a frame.
//!
//! Problem: place saved registers, stack objects and spill slots below the
//! return address in as few bytes as possible.
//! Idea: no frame pointer; everything is addressed from rsp. Objects that are
//! not live together share memory. Those with larger alignment come first, so
//! that few gaps are needed between them. Padding is
//! added only in a function that makes calls which rely on alignment. A leaf
//! keeps its objects in the red zone and does not move rsp at all.
//! Invariant: where alignment is relied on, rsp is a multiple of 16 at calls,
//! given that it was 8 below one at entry (as the C convention has it).

use cranelift_entity::SecondaryMap;
use smallvec::SmallVec;
use tailor_lower::objects::Interference;
use tailor_lower::{FuncRef, Gpr, MInst, MachFunction, Role, StackSlot};

use crate::adapter::SPILL_SLOT_BYTES;

/// Bytes below rsp that signal handlers leave alone (System V ABI).
const RED_ZONE: u32 = 128;

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

/// What the calls of a function ask of its frame.
struct Calls {
    /// There are some: rsp must lie below everything in use.
    any: bool,
    /// One of them relies on an aligned stack.
    aligned: bool,
}

fn calls(function: &MachFunction, relies_on_alignment: &dyn Fn(FuncRef) -> bool) -> Calls {
    let mut calls = Calls { any: false, aligned: false };
    for (inst, info) in function.insts.iter().zip(&function.info) {
        let aligned = match (info.role, inst) {
            (Role::CallLocal, MInst::CallLocal(callee)) => relies_on_alignment(*callee),
            (Role::CallC | Role::CallLocal, _) => true,
            _ => continue,
        };
        calls.any = true;
        calls.aligned |= aligned;
    }
    calls
}

/// Places objects from `base` upwards, the most aligned and largest first, each
/// at the first place where nothing is that is live together with it. Returns
/// their offsets and where they end.
fn place(
    function: &MachFunction,
    interference: &Interference,
    base: u32,
) -> (SecondaryMap<StackSlot, i32>, u32) {
    let mut order: Vec<StackSlot> = function.stack_slots.keys().collect();
    let data = |slot: StackSlot| &function.stack_slots[slot];
    order.sort_by_key(|&slot| std::cmp::Reverse((data(slot).align, data(slot).size)));
    let mut offsets = SecondaryMap::new();
    let mut placed: Vec<(StackSlot, std::ops::Range<u32>)> = Vec::new();
    for slot in order {
        // rsp is a multiple of 8, so more cannot be had.
        let align = data(slot).align.clamp(1, 8);
        let mut start = base.next_multiple_of(align);
        let conflict = |start: u32| {
            let end = start + data(slot).size;
            let overlaps = |other: &std::ops::Range<u32>| other.start < end && start < other.end;
            let others = placed
                .iter()
                .filter(|(other, at)| overlaps(at) && interference.between(slot, *other));
            others.map(|(_, at)| at.end).max()
        };
        while let Some(end) = conflict(start) {
            start = end.next_multiple_of(align);
        }
        offsets[slot] = start as i32;
        placed.push((slot, start..start + data(slot).size));
    }
    let end = placed.iter().map(|(_, at)| at.end).max().unwrap_or(base);
    (offsets, end)
}

/// Lays out the frame of a function that preserves `saved` and has
/// `spill_slots` slots of 8 bytes.
pub fn layout(
    function: &MachFunction,
    saved: SmallVec<[Gpr; 6]>,
    spill_slots: u32,
    interference: &Interference,
    relies_on_alignment: &dyn Fn(FuncRef) -> bool,
) -> FrameLayout {
    // Upwards from the lowest byte: spill slots, then objects.
    let (slots, content) = place(function, interference, spill_slots * SPILL_SLOT_BYTES);
    let size = content;
    let size = size.next_multiple_of(8);
    let calls = calls(function, relies_on_alignment);
    let mut frame = FrameLayout { saved, slots, ..FrameLayout::default() };
    if !calls.any && size <= RED_ZONE {
        frame.red_zone = size;
        frame.spill_base = -(size as i32);
        function.stack_slots.keys().for_each(|slot| frame.slots[slot] -= size as i32);
        frame.padding = size - content;
        return frame;
    }
    let below_return = 8 * (frame.saved.len() as u32 + 1) + size;
    let misaligned = calls.aligned && !below_return.is_multiple_of(16);
    frame.adjust = size + if misaligned { 8 } else { 0 };
    frame.padding = frame.adjust - content;
    frame
}
