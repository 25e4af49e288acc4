//! Hash maps: plain, per-CPU, and those that make room by evicting the least
//! recently used entry.
//!
//! | operation | case | result |
//! | --- | --- | --- |
//! | lookup | no such key | none |
//! | update | unknown flags | -EINVAL |
//! | | `NOEXIST`, and the key exists | -EEXIST |
//! | | `EXIST`, and it does not | -ENOENT |
//! | | a new key, and the map is full | -E2BIG, or an eviction |
//! | delete | no such key | -ENOENT |
//!
//! Values come from a pool. As in the kernel, an update of an existing entry
//! puts the new value elsewhere, and one that is replaced, deleted or evicted
//! can be read until it is used again. In per-CPU maps an update changes the
//! value of the program's processor in place; a new entry has zeros for the
//! others. The host's updates set the values of all.
//!
//! Used are entries that a program looks up and entries that are updated. The
//! order is exact; the kernel's is an approximation, with lists for each
//! processor.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use tailor_bpf::MapDef;

use super::pool::{Pool, Slots};
use super::recency::Recency;
use super::{EXIST, NOEXIST, Operations, processor};
use crate::errno;

pub(super) struct Hash {
    pool: Pool,
    key_size: usize,
    per_cpu: bool,
    state: Mutex<State>,
}

struct State {
    entries: HashMap<Vec<u8>, usize>,
    max_entries: usize,
    slots: Slots,
    /// In maps that evict.
    recency: Option<Recency<Vec<u8>>>,
}

/// What becomes of a value.
#[derive(Clone, Copy)]
enum Write {
    /// A program's: its own processor's value.
    Own,
    /// The host's: those of all processors.
    All,
}

impl Hash {
    /// `cpus` says for how many processors, if it is a per-CPU map.
    pub(super) fn new(def: &MapDef, cpus: Option<u32>, evicts: bool) -> Hash {
        let max_entries = def.max_entries as usize;
        // One more, for the new value of an entry while it has an old one.
        let count = max_entries + 1;
        Hash {
            pool: Pool::new(def.value_size as usize, count, cpus.unwrap_or(1)),
            key_size: def.key_size as usize,
            per_cpu: cpus.is_some(),
            state: Mutex::new(State {
                entries: HashMap::new(),
                max_entries,
                slots: Slots::new(count),
                recency: evicts.then(Recency::default),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    /// The value of an entry, which a program is about to use.
    fn used(&self, key: &[u8]) -> Option<usize> {
        let mut state = self.state();
        let index = *state.entries.get(key)?;
        state.touch(index);
        Some(index)
    }

    fn set(&self, key: &[u8], value: &[u8], flags: u64, write: Write) -> i64 {
        if flags > EXIST || key.len() != self.key_size {
            return -errno::EINVAL;
        }
        let mut state = self.state();
        let old = state.entries.get(key).copied();
        match old {
            Some(_) if flags == NOEXIST => return -errno::EEXIST,
            None if flags == EXIST => return -errno::ENOENT,
            Some(index) if self.per_cpu => {
                self.write_value(index, value, write);
                state.touch(index);
                return 0;
            }
            _ => {}
        }
        if old.is_none() && !state.make_room() {
            return -errno::E2BIG;
        }
        let index = state.slots.take().expect("there is one more than there are entries");
        self.pool.set_all(index, if self.per_cpu { &[] } else { value });
        if self.per_cpu {
            self.write_value(index, value, write);
        }
        state.replace(key, old, index);
        0
    }

    fn write_value(&self, index: usize, value: &[u8], write: Write) {
        match write {
            Write::Own => self.pool.set(index, processor(self.pool.cpus()), value),
            Write::All => self.pool.set_all(index, value),
        }
    }
}

impl Operations for Hash {
    fn lookup(&self, key: &[u8]) -> Option<u64> {
        self.used(key).map(|index| self.pool.address(index, processor(self.pool.cpus())))
    }

    fn visit(&self, key: &[u8]) -> Option<u64> {
        let index = *self.state().entries.get(key)?;
        Some(self.pool.address(index, processor(self.pool.cpus())))
    }

    fn lookup_on(&self, key: &[u8], cpu: u32) -> Option<u64> {
        self.used(key).map(|index| self.pool.address(index, cpu))
    }

    fn update(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        self.set(key, value, flags, Write::Own)
    }

    fn write(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        self.set(key, value, flags, Write::All)
    }

    fn delete(&self, key: &[u8]) -> i64 {
        if self.state().remove(key) { 0 } else { -errno::ENOENT }
    }

    fn read(&self, key: &[u8]) -> Option<Vec<u8>> {
        let state = self.state();
        state.entries.get(key).map(|&index| self.pool.get(index))
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        let mut keys: Vec<_> = self.state().entries.keys().cloned().collect();
        // So that listings are the same in every run.
        keys.sort();
        keys
    }

    fn region(&self, address: u64) -> Option<(u64, usize)> {
        self.pool.region(address)
    }
}

impl State {
    fn touch(&mut self, index: usize) {
        if let Some(recency) = &mut self.recency {
            recency.touch(index);
        }
    }

    /// Makes sure that one more entry fits.
    fn make_room(&mut self) -> bool {
        if self.entries.len() < self.max_entries {
            return true;
        }
        let oldest = self.recency.as_ref().and_then(Recency::oldest).cloned();
        oldest.is_some_and(|key| self.remove(&key))
    }

    /// Gives an entry a value, in place of an old one if it has one.
    fn replace(&mut self, key: &[u8], old: Option<usize>, index: usize) {
        if let Some(old) = old {
            self.slots.give(old);
            if let Some(recency) = &mut self.recency {
                recency.remove(old);
            }
        }
        self.entries.insert(key.to_vec(), index);
        if let Some(recency) = &mut self.recency {
            recency.push(index, key.to_vec());
        }
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let Some(index) = self.entries.remove(key) else {
            return false;
        };
        self.slots.give(index);
        if let Some(recency) = &mut self.recency {
            recency.remove(index);
        }
        true
    }
}
