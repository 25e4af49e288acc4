//! Memory that a packet lies in, with room before and behind it.

use std::cell::UnsafeCell;

/// Bytes at an address that stays. They are only accessed by address.
pub(super) struct Buffer(Box<[UnsafeCell<u8>]>);

impl Buffer {
    /// `packet`, with so many zeros before and behind.
    pub fn new(before: usize, packet: &[u8], behind: usize) -> Buffer {
        let mut bytes = vec![0u8; before + packet.len() + behind];
        bytes[before..before + packet.len()].copy_from_slice(packet);
        let bytes = Box::into_raw(bytes.into_boxed_slice());
        // SAFETY: UnsafeCell<u8> has the layout of u8.
        Buffer(unsafe { Box::from_raw(bytes as *mut [UnsafeCell<u8>]) })
    }

    /// Address of the first byte.
    pub fn start(&self) -> u64 {
        self.0.as_ptr() as u64
    }

    /// Address behind the last byte.
    pub fn end(&self) -> u64 {
        self.start() + self.0.len() as u64
    }
}

/// A copy of memory.
///
/// # Safety
/// `len` bytes must be readable at `address`, and nobody may write them meanwhile.
pub(super) unsafe fn copy(address: u64, len: u64) -> Vec<u8> {
    if len == 0 {
        return Vec::new();
    }
    // SAFETY: the caller vouches for the bytes.
    unsafe { std::slice::from_raw_parts(address as *const u8, len as usize) }.to_vec()
}
