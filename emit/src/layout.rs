//! What compiled code knows of the runtime's objects: offsets and limits that
//! both sides take from here.

/// Tail calls that may succeed in one invocation.
pub const MAX_TAIL_CALLS: i32 = 33;

/// In a program array: its number of slots, four bytes.
pub const PROG_ARRAY_MAX_ENTRIES: i32 = 0;
/// In a program array: its slots, eight bytes each: where a tail call enters
/// the program there, or 0.
pub const PROG_ARRAY_SLOTS: i32 = 16;
/// log2 of the size of a slot.
pub const PROG_ARRAY_SLOT_SHIFT: u8 = 3;

/// In an invocation record: tail calls that may still succeed, eight bytes. It
/// goes down by one for each that finds its slot set, below zero for those that
/// then fail, of which there are never enough to get around to where it began.
pub const RECORD_TAIL_CALLS: i32 = 0;
/// Size of an invocation record.
pub const RECORD_BYTES: u32 = 8;
