//! The layout of a frame.
//!
//! Problem: place saved registers, stack objects and spill slots below the
//! return address in as few bytes as possible.
//! Idea: no frame pointer; everything is addressed from rsp. What is not live
//! together shares memory ([`crate::sharing`]). Padding is added only in a function
//! that makes calls which rely on alignment. A leaf keeps its objects in the red
//! zone and does not move rsp at all.
//! A kernel's convention gives that up: everything is addressed from rbp, rsp is
//! aligned to 8, there is no red zone, the counter has its two slots, and the
//! saved registers come last.
//! Invariant: where alignment is relied on, rsp is a multiple of 16 at calls,
//! given that it was 8 below one at entry (as the C convention has it).

use cranelift_entity::SecondaryMap;
use smallvec::SmallVec;
use tailor_lower::{Convention, FuncRef, Gpr, MachFunction, Role, StackSlot};

use crate::sharing::{Interference, Thing, place};

/// Bytes below rsp that signal handlers leave alone (System V ABI).
const RED_ZONE: u32 = 128;

/// Where everything in a frame is. From the return address downwards: saved
/// registers in push order, then `adjust` bytes (padding, stack objects, spill
/// slots). All offsets are from rsp after the prologue; in a red-zone frame
/// (`adjust` 0 and objects below rsp) they are negative. With a frame pointer:
/// rbp, `adjust` bytes, the counter, saved registers, and offsets are from rbp.
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
    /// rbp is pushed first, and what it holds then is where offsets start.
    pub frame_pointer: bool,
    /// Bytes of a kernel's tail-call counter and its address.
    pub counter_bytes: u32,
    /// Offset of each spill slot.
    pub spills: Vec<i32>,
    /// Bytes of each, 4 or 8.
    pub spill_bytes: Vec<u8>,
    /// Offset of each stack object.
    pub slots: SecondaryMap<StackSlot, i32>,
}

impl FrameLayout {
    /// Bytes from the return address (exclusive) to the lowest byte used.
    pub fn frame_bytes(&self) -> u32 {
        8 * u32::from(self.frame_pointer) + self.unwound_bytes() + self.red_zone
    }

    /// Bytes by which a tail call raises rsp: all of the frame that is above
    /// rsp, but for a frame pointer.
    pub fn unwound_bytes(&self) -> u32 {
        8 * self.saved.len() as u32 + self.counter_bytes + self.adjust
    }

    /// Puts the `size` bytes that were laid out above the base below it.
    fn shift_below(&mut self, function: &MachFunction, size: u32) {
        self.spills.iter_mut().for_each(|offset| *offset -= size as i32);
        function.stack_slots.keys().for_each(|slot| self.slots[slot] -= size as i32);
    }

    /// The register that offsets start from.
    pub fn base(&self) -> Gpr {
        if self.frame_pointer { Gpr::RBP } else { Gpr::RSP }
    }

    /// Offset of the address of a kernel's tail-call counter.
    pub fn counter(&self) -> i32 {
        -((self.adjust + self.counter_bytes) as i32)
    }
}

/// Bytes of a kernel's counter and of its address.
const COUNTER_BYTES: u32 = 16;

/// What the calls of a function ask of its frame.
struct Calls {
    /// There are some: rsp must lie below everything in use.
    any: bool,
    /// One of them relies on an aligned stack.
    aligned: bool,
}

fn calls(function: &MachFunction, relies_on_alignment: &dyn Fn(FuncRef) -> bool) -> Calls {
    let mut calls = Calls { any: false, aligned: false };
    for info in &function.info {
        let aligned = match info.role {
            Role::CallLocal(callee) => relies_on_alignment(callee),
            Role::CallC => true,
            _ => continue,
        };
        calls.any = true;
        calls.aligned |= aligned;
    }
    calls
}

/// Lays out the frame of a function that preserves `saved` and has spill slots
/// of so many bytes.
pub fn layout(
    function: &MachFunction,
    saved: SmallVec<[Gpr; 6]>,
    spill_bytes: Vec<u8>,
    interference: &Interference,
    relies_on_alignment: &dyn Fn(FuncRef) -> bool,
) -> FrameLayout {
    let objects = function.stack_slots.values();
    let objects = objects.map(|slot| Thing {
        size: slot.size,
        align: slot.align.clamp(1, 8),
        is_half: false,
    });
    let spills = spill_bytes.iter().map(|&bytes| Thing {
        size: bytes.into(),
        align: bytes.into(),
        is_half: bytes == 4,
    });
    let things: Vec<Thing> = objects.chain(spills).collect();
    let (offsets, content) = place(&things, interference);
    let mut offsets = offsets.into_iter().map(|offset| offset as i32);
    let size = content.next_multiple_of(8);
    let mut frame = FrameLayout { saved, ..FrameLayout::default() };
    for (slot, offset) in function.stack_slots.keys().zip(offsets.by_ref()) {
        frame.slots[slot] = offset;
    }
    frame.spills = offsets.collect();
    frame.spill_bytes = spill_bytes;
    if let Convention::Kernel { .. } = function.convention {
        frame.frame_pointer = true;
        frame.adjust = size;
        frame.counter_bytes = if function.reaches_tail_call { COUNTER_BYTES } else { 0 };
        frame.shift_below(function, size);
        frame.padding = size - content;
        return frame;
    }
    let calls = calls(function, relies_on_alignment);
    if !calls.any && size <= RED_ZONE {
        frame.red_zone = size;
        frame.shift_below(function, size);
        frame.padding = size - content;
        return frame;
    }
    let below_return = 8 * (frame.saved.len() as u32 + 1) + size;
    let misaligned = calls.aligned && !below_return.is_multiple_of(16);
    frame.adjust = size + if misaligned { 8 } else { 0 };
    frame.padding = frame.adjust - content;
    frame
}
