//! Maps of places that packets are sent to: devices (by index or hashed),
//! processors and sockets. Nothing is sent; a redirect is noted in the run's
//! environment.
//!
//! | operation | case | result |
//! | --- | --- | --- |
//! | lookup | nothing there | none |
//! | update | unknown flags, or a hashed device of number 0 | -EINVAL |
//! | | index out of range, or the map is full | -E2BIG |
//! | | `NOEXIST` (of a hash: and the key exists) | -EEXIST |
//! | | `EXIST`, and no socket is there | -ENOENT |
//! | | a device of number 0, a processor with no room for packets | removes it |
//! | delete | index out of range | -EINVAL |
//! | | of a hash: no such key | -ENOENT |
//!
//! A device's value starts with its number, a processor's with its room for
//! packets. The kernel also wants devices and processors that exist, and a
//! socket's value to be a descriptor of one; here everything exists.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use tailor_bpf::{MapDef, MapKind};

use super::pool::{Pool, Slots};
use super::{EXIST, NOEXIST, Operations};
use crate::errno;

/// Most packets that may wait for a processor.
const MAX_WAITING: u32 = 16384;

pub(super) struct Targets {
    kind: MapKind,
    pool: Pool,
    max_entries: u32,
    state: Mutex<State>,
}

struct State {
    /// What there is, and its value in the pool.
    present: BTreeMap<u32, usize>,
    slots: Slots,
}

impl Targets {
    pub(super) fn new(def: &MapDef) -> Targets {
        let count = def.max_entries as usize;
        Targets {
            kind: def.kind,
            pool: Pool::new(def.value_size as usize, count, 1),
            max_entries: def.max_entries,
            state: Mutex::new(State { present: BTreeMap::new(), slots: Slots::new(count) }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    fn is_hash(&self) -> bool {
        self.kind == MapKind::DevMapHash
    }

    /// Why an update of a place that is or is not there is refused, by kind.
    fn refusal(&self, key: u32, exists: bool, first: u32, flags: u64) -> i64 {
        let outside = key >= self.max_entries;
        match self.kind {
            _ if flags > EXIST => errno::EINVAL,
            MapKind::DevMapHash if first == 0 => errno::EINVAL,
            MapKind::DevMapHash if exists && flags == NOEXIST => errno::EEXIST,
            MapKind::DevMapHash => 0,
            _ if outside => errno::E2BIG,
            MapKind::XskMap if exists && flags == NOEXIST => errno::EEXIST,
            MapKind::XskMap if !exists && flags == EXIST => errno::ENOENT,
            MapKind::XskMap => 0,
            _ if flags == NOEXIST => errno::EEXIST,
            MapKind::CpuMap if first > MAX_WAITING => errno::EOVERFLOW,
            _ => 0,
        }
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

impl State {
    fn remove(&mut self, key: u32) -> bool {
        let removed = self.present.remove(&key);
        removed.inspect(|index| self.slots.give(*index)).is_some()
    }
}

impl Operations for Targets {
    fn lookup(&self, key: &[u8]) -> Option<u64> {
        let state = self.state();
        state.present.get(&number(key)?).map(|&index| self.pool.address(index, 0))
    }

    fn update(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        let (Some(key), Some(first)) = (number(key), number(value)) else {
            return -errno::EINVAL;
        };
        let mut state = self.state();
        let old = state.present.get(&key).copied();
        let refusal = self.refusal(key, old.is_some(), first, flags);
        if refusal != 0 {
            return -refusal;
        }
        if first == 0 && self.kind != MapKind::XskMap {
            state.remove(key);
            return 0;
        }
        let Some(index) = old.or_else(|| state.slots.take()) else {
            return -errno::E2BIG;
        };
        self.pool.set(index, 0, value);
        state.present.insert(key, index);
        0
    }

    fn delete(&self, key: &[u8]) -> i64 {
        let Some(key) = number(key).filter(|key| self.is_hash() || *key < self.max_entries) else {
            return -errno::EINVAL;
        };
        let removed = self.state().remove(key);
        if self.is_hash() && !removed { -errno::ENOENT } else { 0 }
    }

    fn read(&self, key: &[u8]) -> Option<Vec<u8>> {
        let state = self.state();
        state.present.get(&number(key)?).map(|&index| self.pool.get(index))
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        self.state().present.keys().map(|key| key.to_le_bytes().to_vec()).collect()
    }

    fn region(&self, address: u64) -> Option<(u64, usize)> {
        self.pool.region(address)
    }
}
