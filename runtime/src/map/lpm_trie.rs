//! Longest-prefix maps. A key is a 32-bit number of bits that count, and the
//! bits, first byte and highest bit first.
//!
//! | operation | case | result |
//! | --- | --- | --- |
//! | lookup | more bits than the key has | none |
//! | | else | the longest prefix of the key that is in the map |
//! | update | unknown flags, or more bits than the key has | -EINVAL |
//! | | `NOEXIST`, and this very prefix exists | -EEXIST |
//! | | `EXIST`, and it does not | -ENOENT |
//! | | a new prefix, and the map is full | -ENOSPC |
//! | delete | more bits than the key has | -EINVAL |
//! | | not this very prefix | -ENOENT |
//!
//! No trie, but one ordered table for all lengths: a lookup tries the lengths
//! that occur, longest first.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use tailor_bpf::MapDef;

use super::pool::{Pool, Slots};
use super::{EXIST, NOEXIST, Operations};
use crate::errno;

/// Bytes of the number of bits.
const HEADER: usize = 4;
/// Most bytes after it.
const MAX_DATA: u32 = 256;

pub(super) struct LpmTrie {
    pool: Pool,
    /// Bytes of a key after its length.
    data_size: usize,
    state: Mutex<State>,
}

/// A length and the bits that count, the others zero.
type Prefix = (u32, Vec<u8>);

struct State {
    entries: BTreeMap<Prefix, Entry>,
    /// How many entries have a length.
    lengths: BTreeMap<u32, usize>,
    slots: Slots,
    max_entries: usize,
}

struct Entry {
    index: usize,
    /// As it was given: bits that do not count are kept.
    key: Vec<u8>,
}

impl LpmTrie {
    /// Whether keys can have so many bytes.
    pub(super) fn fits(key_size: u32) -> bool {
        (HEADER as u32 + 1..=HEADER as u32 + MAX_DATA).contains(&key_size)
    }

    pub(super) fn new(def: &MapDef) -> LpmTrie {
        let max_entries = def.max_entries as usize;
        // One more, for the new value of a prefix while it has an old one.
        let count = max_entries + 1;
        LpmTrie {
            pool: Pool::new(def.value_size as usize, count, 1),
            data_size: def.key_size as usize - HEADER,
            state: Mutex::new(State {
                entries: BTreeMap::new(),
                lengths: BTreeMap::new(),
                slots: Slots::new(count),
                max_entries,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    /// The length and bits of a key; none if it is longer than keys can be.
    fn split<'a>(&self, key: &'a [u8]) -> Option<(u32, &'a [u8])> {
        let (length, data) = key.split_first_chunk()?;
        let length = u32::from_le_bytes(*length);
        (data.len() == self.data_size && length as usize <= 8 * data.len())
            .then_some((length, data))
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        let (length, data) = self.split(key)?;
        let state = self.state();
        let mut lengths = state.lengths.range(..=length).rev();
        lengths.find_map(|(&length, _)| {
            state.entries.get(&prefix(length, data)).map(|entry| entry.index)
        })
    }
}

/// The first bits of a key.
fn prefix(length: u32, data: &[u8]) -> Prefix {
    let mut bits = data.to_vec();
    let (whole, rest) = (length as usize / 8, length % 8);
    if let Some(byte) = bits.get_mut(whole) {
        *byte &= !(0xff >> rest);
    }
    bits.iter_mut().skip(whole + 1).for_each(|byte| *byte = 0);
    (length, bits)
}

impl Operations for LpmTrie {
    fn lookup(&self, key: &[u8]) -> Option<u64> {
        self.find(key).map(|index| self.pool.address(index, 0))
    }

    fn update(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        let split = self.split(key).filter(|_| flags <= EXIST);
        let Some((length, data)) = split else {
            return -errno::EINVAL;
        };
        let prefix = prefix(length, data);
        let mut state = self.state();
        let old = state.entries.get(&prefix).map(|entry| entry.index);
        match old {
            Some(_) if flags == NOEXIST => return -errno::EEXIST,
            None if flags == EXIST => return -errno::ENOENT,
            None if state.entries.len() >= state.max_entries => return -errno::ENOSPC,
            _ => {}
        }
        let index = state.slots.take().expect("there is one more than there are entries");
        self.pool.set(index, 0, value);
        match old {
            Some(old) => state.slots.give(old),
            None => *state.lengths.entry(length).or_default() += 1,
        }
        state.entries.insert(prefix, Entry { index, key: key.to_vec() });
        0
    }

    fn delete(&self, key: &[u8]) -> i64 {
        let Some((length, data)) = self.split(key) else {
            return -errno::EINVAL;
        };
        let mut state = self.state();
        let Some(entry) = state.entries.remove(&prefix(length, data)) else {
            return -errno::ENOENT;
        };
        state.slots.give(entry.index);
        let left = state.lengths.entry(length).or_default();
        *left -= 1;
        if *left == 0 {
            state.lengths.remove(&length);
        }
        0
    }

    fn read(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.find(key).map(|index| self.pool.get(index))
    }

    /// Shorter prefixes first.
    fn keys(&self) -> Vec<Vec<u8>> {
        self.state().entries.values().map(|entry| entry.key.clone()).collect()
    }

    fn region(&self, address: u64) -> Option<(u64, usize)> {
        self.pool.region(address)
    }
}
