//! Program arrays: slots that code reads. What is done to them is in `poke/`.

use crate::poke::{Slots, Turn, Turns};

/// Where code finds a program array's fields, in bytes from the block's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotLayout {
    /// A 32-bit number of entries.
    pub max_entries: u32,
    /// The first of the 64-bit slots; a multiple of 8.
    pub slots: u32,
}

pub(super) struct ProgArray {
    layout: SlotLayout,
    slots: Turns<Slots>,
}

impl ProgArray {
    pub(super) fn new(layout: SlotLayout) -> ProgArray {
        ProgArray { layout, slots: Turns::default() }
    }

    pub(super) fn layout(&self) -> SlotLayout {
        self.layout
    }

    /// The block's word that holds a slot.
    pub(super) fn word(&self, index: u32) -> usize {
        (self.layout.slots / 8 + index) as usize
    }

    /// What the host knows of the slots. Whoever holds this may wait for
    /// readers, so no reader may ask for it.
    pub(super) fn slots(&self) -> Turn<'_, Slots> {
        self.slots.lock()
    }
}
