//! Executable memory: one reserved range, never writable where it is executable.
//!
//! A memory file is mapped twice, once writable and once executable, so code
//! can be added and patched while other code in the range runs. All addresses
//! that code sees are of the executable view.
//!
//! Blocks are multiples of 64 bytes and start at such, so that no two share a
//! cache line. A freed block is used again, by the first that fits.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::FromRawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Mmap, MmapOptions, MmapRaw};

use crate::{Error, barrier};

/// Bytes of address space reserved: every distance within fits in 32 bits.
const RESERVED: usize = 1 << 30;
/// Blocks are multiples of this.
const LINE: usize = 64;
/// `int3`: what freed memory is filled with.
const INT3: u8 = 0xcc;

/// The code range of a runtime.
pub(crate) struct CodeSpace {
    writable: MmapRaw,
    executable: Mmap,
    blocks: Mutex<Blocks>,
}

#[derive(Default)]
struct Blocks {
    /// Bytes ever used.
    used: usize,
    /// Bytes that were not given back.
    held: usize,
    /// Offset and length of blocks that were freed, no two adjacent.
    free: BTreeMap<usize, usize>,
}

impl CodeSpace {
    /// Reserves the range. Pages cost memory only once they hold code.
    pub fn new() -> Result<CodeSpace, Error> {
        let failed = |error: std::io::Error| Error::Memory(error.to_string());
        // SAFETY: the name is a C string; the result is checked below.
        let fd = unsafe { libc::memfd_create(c"tailor-code".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(failed(std::io::Error::last_os_error()));
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(RESERVED as u64).map_err(failed)?;
        let mut options = MmapOptions::new();
        options.len(RESERVED);
        let writable = options.map_raw(&file).map_err(failed)?;
        // SAFETY: the file is anonymous and ours alone, and never shrinks. What
        // changes under this view is code, which nobody borrows.
        let executable = unsafe { options.map_exec(&file).map_err(failed)? };
        Ok(CodeSpace { writable, executable, blocks: Mutex::default() })
    }

    /// Takes `len` bytes, aligned to 64, and returns their offset in the range.
    pub fn allocate(&self, len: usize) -> Result<usize, Error> {
        let len = len.next_multiple_of(LINE);
        let mut blocks = self.blocks.lock().expect("no panic while locked");
        blocks.held += len;
        let fits = blocks.free.iter().find(|&(_, &size)| size >= len);
        if let Some((&offset, &size)) = fits {
            blocks.free.remove(&offset);
            if size > len {
                blocks.free.insert(offset + len, size - len);
            }
            return Ok(offset);
        }
        let offset = blocks.used;
        if offset.checked_add(len).is_none_or(|end| end > RESERVED) {
            blocks.held -= len;
            return Err(Error::Memory("the reserved code range is full".into()));
        }
        blocks.used = offset + len;
        Ok(offset)
    }

    /// Gives a block back that nobody executes any more. Where cores cannot be
    /// synchronised it is not used again.
    pub fn free(&self, offset: usize, len: usize) {
        let len = len.next_multiple_of(LINE);
        self.write(offset, &vec![INT3; len]);
        let mut blocks = self.blocks.lock().expect("no panic while locked");
        blocks.held -= len;
        if len == 0 || !barrier::can_synchronize_cores() {
            return;
        }
        let (mut start, mut end) = (offset, offset + len);
        if let Some((&before, &size)) = blocks.free.range(..offset).next_back()
            && before + size == start
        {
            blocks.free.remove(&before);
            start = before;
        }
        if let Some(size) = blocks.free.remove(&end) {
            end += size;
        }
        blocks.free.insert(start, end - start);
    }

    /// Writes bytes into a block where nothing runs. Who makes the block known
    /// to others synchronises cores in between.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= RESERVED);
        // SAFETY: within the mapping; the block is the caller's alone.
        unsafe {
            let to = self.writable.as_mut_ptr().add(offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    /// Eight aligned bytes, which may be code that runs or data that it reads.
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= RESERVED);
        // SAFETY: aligned and within the mapping, which lives as long as self;
        // what is patched is only ever accessed through here.
        unsafe { AtomicU64::from_ptr(self.writable.as_mut_ptr().add(offset).cast()) }
    }

    /// A copy of the bytes of a block that is not written meanwhile, or of a
    /// site in one.
    pub fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        let words = offset / 8..(offset + len).div_ceil(8);
        let bytes =
            words.flat_map(|word| self.word(8 * word).load(Ordering::Acquire).to_le_bytes());
        bytes.skip(offset % 8).take(len).collect()
    }

    /// The address at which code sees an offset.
    pub fn address(&self, offset: usize) -> u64 {
        self.executable.as_ptr() as u64 + offset as u64
    }

    /// Bytes that were taken and not given back.
    pub fn held(&self) -> usize {
        self.blocks.lock().expect("no panic while locked").held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_blocks_are_joined_and_used_again() {
        let space = CodeSpace::new().unwrap();
        let [a, b, c] = [100, 64, 1].map(|len| space.allocate(len).unwrap());
        assert_eq!([a, b, c], [0, 128, 192]);
        space.write(b, &[1, 2, 3]);
        assert_eq!((space.held(), space.read(b + 1, 2)), (256, vec![2, 3]));
        space.free(a, 100);
        space.free(c, 1);
        space.free(b, 64);
        assert_eq!((space.held(), space.read(b, 3)), (0, vec![INT3; 3]));
        if !barrier::can_synchronize_cores() {
            return;
        }
        assert_eq!(space.allocate(250).unwrap(), 0);
        assert_eq!(space.allocate(1).unwrap(), 256);
    }
}
