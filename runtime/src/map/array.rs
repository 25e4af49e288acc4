//! Arrays and per-CPU arrays: every index exists; values start as zeros, or as
//! the section's bytes.
//!
//! | operation | case | result |
//! | --- | --- | --- |
//! | lookup | index out of range | none |
//! | update | unknown flags | -EINVAL |
//! | | index out of range | -E2BIG |
//! | | `NOEXIST` | -EEXIST |
//! | | to be done under the value's lock | -EINVAL: not supported |
//! | delete | always | -EINVAL |
//!
//! A program updates the value of its own processor, the host those of all.

use tailor_bpf::MapDef;

use super::pool::Pool;
use super::{EXIST, LOCK, NOEXIST, Operations, processor};
use crate::errno;

pub(super) struct Array {
    pool: Pool,
    max_entries: u32,
}

impl Array {
    /// With a value for each of so many processors.
    pub(super) fn new(def: &MapDef, cpus: u32) -> Array {
        let pool = Pool::new(def.value_size as usize, def.max_entries as usize, cpus);
        let size = def.value_size.max(1) as usize;
        for (index, value) in def.initial.chunks(size).enumerate().take(def.max_entries as usize) {
            pool.set(index, 0, value);
        }
        Array { pool, max_entries: def.max_entries }
    }

    /// Address of the first value.
    pub(super) fn first(&self) -> u64 {
        self.pool.address(0, 0)
    }

    fn index(&self, key: &[u8]) -> Option<usize> {
        let index = u32::from_le_bytes(key.try_into().ok()?);
        (index < self.max_entries).then_some(index as usize)
    }

    /// The index that an update sets.
    fn target(&self, key: &[u8], flags: u64) -> Result<usize, i64> {
        let known = flags & !LOCK;
        if known > EXIST {
            return Err(-errno::EINVAL);
        }
        let index = self.index(key).ok_or(-errno::E2BIG)?;
        match known {
            NOEXIST => Err(-errno::EEXIST),
            _ if flags & LOCK != 0 => Err(-errno::EINVAL),
            _ => Ok(index),
        }
    }
}

impl Operations for Array {
    fn lookup(&self, key: &[u8]) -> Option<u64> {
        self.lookup_on(key, processor(self.pool.cpus()))
    }

    fn lookup_on(&self, key: &[u8], cpu: u32) -> Option<u64> {
        self.index(key).map(|index| self.pool.address(index, cpu))
    }

    fn update(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        match self.target(key, flags) {
            Ok(index) => {
                self.pool.set(index, processor(self.pool.cpus()), value);
                0
            }
            Err(error) => error,
        }
    }

    fn write(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        match self.target(key, flags) {
            Ok(index) => {
                self.pool.set_all(index, value);
                0
            }
            Err(error) => error,
        }
    }

    fn read(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.index(key).map(|index| self.pool.get(index))
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        (0..self.max_entries).map(|index| index.to_le_bytes().to_vec()).collect()
    }

    fn region(&self, address: u64) -> Option<(u64, usize)> {
        self.pool.region(address)
    }
}
