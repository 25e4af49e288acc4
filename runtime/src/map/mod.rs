//! Maps.
//!
//! A program knows a map by the address of its *block*: a header that code may
//! read (the program array's size and slots) and a pointer back to the [`Map`].
//! Values have addresses that stay valid as long as the map: they come from a
//! pool of `max_entries` values, as in the kernel's preallocated maps.

mod array;
mod hash;
mod prog_array;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use prog_array::SlotLayout;
use tailor_bpf::{MapDef, MapKind};

use crate::Error;
use array::Array;
use hash::Hash;
use prog_array::ProgArray;

/// Largest pool of values, in bytes.
const MAX_POOL_BYTES: u64 = 4 << 30;
/// Word of the block that points back to the map.
const BACK_POINTER: usize = 1;

/// Error numbers that map operations return to programs, negated.
pub mod errno {
    /// No such key.
    pub const ENOENT: i64 = 2;
    /// More entries or a larger index than the map has room for.
    pub const E2BIG: i64 = 7;
    /// The key exists already.
    pub const EEXIST: i64 = 17;
    /// Not an operation of this map.
    pub const EINVAL: i64 = 22;
}

/// `BPF_NOEXIST`: make a new entry only.
pub const NOEXIST: u64 = 1;
/// `BPF_EXIST`: change an entry only.
pub const EXIST: u64 = 2;

/// A map.
pub struct Map {
    name: String,
    key_size: usize,
    value_size: usize,
    max_entries: u32,
    storage: Storage,
    block: Box<[AtomicU64]>,
}

enum Storage {
    Array(Array),
    Hash(Hash),
    ProgArray(ProgArray),
}

impl Map {
    /// Makes a map as defined; `layout` says where code finds the slots of a program array.
    pub fn new(def: &MapDef, layout: SlotLayout) -> Result<Arc<Map>, Error> {
        let fail = |what: String| Err(Error::Map { map: def.name.clone(), what });
        if def.max_entries == 0 {
            return fail("max_entries is 0; it must be set before the map is made".into());
        }
        let stride = u64::from(def.value_size).next_multiple_of(8).max(8);
        if stride * u64::from(def.max_entries) > MAX_POOL_BYTES {
            return fail(format!("more than {MAX_POOL_BYTES} bytes of values"));
        }
        let (storage, slots) = match def.kind {
            MapKind::Array if def.key_size == 4 => (Storage::Array(Array::new(def)), 0),
            MapKind::ProgArray if def.key_size == 4 => {
                (Storage::ProgArray(ProgArray::new(layout)), def.max_entries as usize)
            }
            MapKind::Array | MapKind::ProgArray => return fail("the key size must be 4".into()),
            MapKind::Hash => (Storage::Hash(Hash::new(def)), 0),
            MapKind::Other(kind) => return fail(format!("map type {kind} is not implemented")),
        };
        let words = layout.slots as usize / 8 + slots;
        let mut map = Arc::new(Map {
            name: def.name.clone(),
            key_size: def.key_size as usize,
            value_size: def.value_size as usize,
            max_entries: def.max_entries,
            storage,
            block: (0..words.max(2)).map(|_| AtomicU64::new(0)).collect(),
        });
        let address = Arc::as_ptr(&map) as u64;
        let block = Arc::get_mut(&mut map).expect("not shared yet");
        *block.block[BACK_POINTER].get_mut() = address;
        let word = layout.max_entries as usize / 8;
        *block.block[word].get_mut() |=
            u64::from(def.max_entries) << (8 * (layout.max_entries % 8));
        Ok(map)
    }

    /// The map whose block is at `address`.
    ///
    /// # Safety
    /// `address` must come from [`Map::address`] of a map that still lives.
    pub unsafe fn from_address<'a>(address: u64) -> &'a Map {
        // SAFETY: the caller vouches for the block, whose word 1 was set to the
        // address of the map that owns it and never changes.
        unsafe { &*(*(address as *const u64).add(BACK_POINTER) as *const Map) }
    }

    /// The address of the block: what a program passes to helpers.
    pub fn address(&self) -> u64 {
        self.block.as_ptr() as u64
    }

    /// Name, as defined.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of a key.
    pub fn key_size(&self) -> usize {
        self.key_size
    }

    /// Bytes of a value.
    pub fn value_size(&self) -> usize {
        self.value_size
    }

    /// Entries that fit.
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// Address and length of the pool that all values lie in.
    pub fn pool(&self) -> (u64, usize) {
        match &self.storage {
            Storage::Array(array) => array.pool(),
            Storage::Hash(hash) => hash.pool(),
            Storage::ProgArray(_) => (0, 0),
        }
    }

    /// Address of the value of a key, if there is one.
    pub fn lookup(&self, key: &[u8]) -> Option<u64> {
        match &self.storage {
            Storage::Array(array) => array.lookup(key),
            Storage::Hash(hash) => hash.lookup(key),
            Storage::ProgArray(_) => None,
        }
    }

    /// Sets the value of a key; 0 or a negated error number.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        if flags > EXIST {
            return -errno::EINVAL;
        }
        match &self.storage {
            Storage::Array(array) => array.update(key, value, flags),
            Storage::Hash(hash) => hash.update(key, value, flags),
            Storage::ProgArray(_) => -errno::EINVAL,
        }
    }

    /// Removes a key; 0 or a negated error number.
    pub fn delete(&self, key: &[u8]) -> i64 {
        match &self.storage {
            Storage::Hash(hash) => hash.delete(key),
            Storage::Array(_) | Storage::ProgArray(_) => -errno::EINVAL,
        }
    }

    /// A copy of the value of a key.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let address = self.lookup(key)?;
        // SAFETY: lookup returns the address of a value of value_size bytes in
        // the pool, which lives as long as the map.
        Some(unsafe { std::slice::from_raw_parts(address as *const u8, self.value_size) }.to_vec())
    }

    /// All keys and values, ascending by key. Empty for a program array.
    pub fn entries(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let keys: Vec<Vec<u8>> = match &self.storage {
            Storage::Array(_) => (0..self.max_entries).map(|i| i.to_le_bytes().to_vec()).collect(),
            Storage::Hash(hash) => hash.keys(),
            Storage::ProgArray(_) => Vec::new(),
        };
        keys.into_iter().filter_map(|key| self.get(&key).map(|value| (key, value))).collect()
    }

    /// Sets what code finds in a slot of a program array (0: empty).
    pub fn set_slot(&self, index: u32, value: u64) -> Result<(), Error> {
        let fail = |what: String| Err(Error::Map { map: self.name.clone(), what });
        let Storage::ProgArray(array) = &self.storage else {
            return fail("not a program array".into());
        };
        if index >= self.max_entries {
            return fail(format!(
                "index {index} is out of range (max_entries {})",
                self.max_entries
            ));
        }
        self.block[array.word(index)].store(value, Ordering::Release);
        Ok(())
    }

    /// Address of the cell that code reads for a slot of a program array.
    pub fn slot_address(&self, index: u32) -> Option<u64> {
        match &self.storage {
            Storage::ProgArray(array) if index < self.max_entries => {
                Some(&self.block[array.word(index)] as *const AtomicU64 as u64)
            }
            _ => None,
        }
    }
}

/// The values of a map: `count` values, each aligned to 8 bytes.
struct Pool {
    words: Box<[std::cell::UnsafeCell<u64>]>,
    stride: usize,
    value_size: usize,
}

// SAFETY: programs share values without synchronisation by design (as in the
// kernel); the runtime itself only copies whole values in and out.
unsafe impl Sync for Pool {}
// SAFETY: plain memory.
unsafe impl Send for Pool {}

impl Pool {
    fn new(value_size: usize, count: usize) -> Pool {
        let stride = value_size.next_multiple_of(8).max(8);
        let words = vec![0u64; stride / 8 * count].into_boxed_slice();
        // SAFETY: UnsafeCell<u64> has the layout of u64.
        let words =
            unsafe { Box::from_raw(Box::into_raw(words) as *mut [std::cell::UnsafeCell<u64>]) };
        Pool { words, stride, value_size }
    }

    /// Address of value `index`, which must be in range.
    fn address(&self, index: usize) -> u64 {
        self.words[index * (self.stride / 8)].get() as u64
    }

    /// Overwrites value `index` with `value`, cut or padded to the value's size.
    fn set(&self, index: usize, value: &[u8]) {
        let len = value.len().min(self.value_size);
        // SAFETY: the value has stride >= value_size >= len bytes at this
        // address, inside cells that may be written through.
        unsafe {
            std::ptr::copy_nonoverlapping(value.as_ptr(), self.address(index) as *mut u8, len);
        }
    }

    fn range(&self) -> (u64, usize) {
        (self.words.as_ptr() as u64, self.words.len() * 8)
    }
}
