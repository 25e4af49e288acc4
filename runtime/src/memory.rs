//! Executable memory: one reserved range, never writable where it is executable.
//!
//! A memory file is mapped twice, once writable and once executable, so code
//! can be added (and later patched) while other code in the range runs. All
//! addresses that code sees are of the executable view.

use std::fs::File;
use std::os::fd::FromRawFd;
use std::sync::Mutex;

use memmap2::{Mmap, MmapMut, MmapOptions};

use crate::Error;

/// Bytes of address space reserved: every distance within fits in 32 bits.
const RESERVED: usize = 1 << 30;

/// The code range of a runtime.
pub struct CodeSpace {
    writable: Mutex<Writable>,
    executable: Mmap,
}

struct Writable {
    map: MmapMut,
    used: usize,
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
        // SAFETY: the file is anonymous and ours alone; it never shrinks, and
        // the writable view is changed only below, where no code refers to yet.
        let (map, executable) = unsafe {
            (options.map_mut(&file).map_err(failed)?, options.map_exec(&file).map_err(failed)?)
        };
        Ok(CodeSpace { writable: Mutex::new(Writable { map, used: 0 }), executable })
    }

    /// Takes `len` bytes, aligned to 64, and returns their offset in the range.
    pub fn allocate(&self, len: usize) -> Result<usize, Error> {
        let mut writable = self.writable.lock().expect("no panic while locked");
        let offset = writable.used.next_multiple_of(64);
        if offset.checked_add(len).is_none_or(|end| end > RESERVED) {
            return Err(Error::Memory("the reserved code range is full".into()));
        }
        writable.used = offset + len;
        Ok(offset)
    }

    /// Writes bytes at an offset that `allocate` returned, before anything runs there.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let mut writable = self.writable.lock().expect("no panic while locked");
        writable.map[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// The address at which code sees an offset.
    pub fn address(&self, offset: usize) -> u64 {
        self.executable.as_ptr() as u64 + offset as u64
    }
}
