//! Maps of maps. A program can only look inner maps up; the host puts them in.
//!
//! | operation | case | result |
//! | --- | --- | --- |
//! | lookup | no such key, or no map there | none |
//! | insertion | unknown flags (of an array: any), a map unlike those defined, or a program array | -EINVAL |
//! | | index out of range, or the map is full | -E2BIG |
//! | | of a hash: `NOEXIST`, and the key exists | -EEXIST |
//! | | of a hash: `EXIST`, and it does not | -ENOENT |
//! | removal | no such key | -ENOENT |
//! | | index out of range | -E2BIG |
//!
//! Inner maps that were replaced live on as long as the outer one, since a
//! program may still use them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tailor_bpf::{MapDef, MapKind};

use super::{EXIST, Map, NOEXIST, Operations};
use crate::errno;

/// Arrays of one definition may differ in their number of entries.
const INNER_MAP: u32 = 1 << 12;

pub(super) struct Nested {
    is_array: bool,
    key_size: usize,
    max_entries: u32,
    /// What inner maps look like, where the definition says so.
    inner: Option<Box<MapDef>>,
    maps: Mutex<Maps>,
}

#[derive(Default)]
struct Maps {
    current: BTreeMap<Vec<u8>, Arc<Map>>,
    /// Those that were there once.
    replaced: Vec<Arc<Map>>,
}

impl Nested {
    pub(super) fn new(def: &MapDef) -> Nested {
        Nested {
            is_array: def.kind == MapKind::ArrayOfMaps,
            key_size: def.key_size as usize,
            max_entries: def.max_entries,
            inner: def.inner.clone(),
            maps: Mutex::default(),
        }
    }

    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().expect("no panic while locked")
    }

    /// Whether a key is an index that there is; every key of a hash is.
    fn in_range(&self, key: &[u8]) -> bool {
        let index = key.try_into().map_or(u32::MAX, u32::from_le_bytes);
        !self.is_array || index < self.max_entries
    }

    /// All keys and inner maps, ascending.
    pub(super) fn all(&self) -> Vec<(Vec<u8>, Arc<Map>)> {
        self.maps().current.iter().map(|(key, map)| (key.clone(), map.clone())).collect()
    }

    /// The inner map, current or replaced, for which `found` has an answer.
    pub(super) fn find<R>(&self, found: impl FnMut(&Arc<Map>) -> Option<R>) -> Option<R> {
        let maps = self.maps();
        maps.current.values().chain(&maps.replaced).find_map(found)
    }

    /// Puts a map in.
    pub(super) fn insert(&self, key: &[u8], map: &Arc<Map>, flags: u64) -> i64 {
        let known = if self.is_array { 0 } else { EXIST };
        if flags > known || key.len() != self.key_size || !self.accepts(map) {
            return -errno::EINVAL;
        }
        if !self.in_range(key) {
            return -errno::E2BIG;
        }
        let mut maps = self.maps();
        match maps.current.contains_key(key) {
            true if flags == NOEXIST => return -errno::EEXIST,
            false if flags == EXIST => return -errno::ENOENT,
            false if maps.current.len() >= self.max_entries as usize => return -errno::E2BIG,
            _ => {}
        }
        if let Some(old) = maps.current.insert(key.to_vec(), map.clone()) {
            maps.replaced.push(old);
        }
        0
    }

    /// Whether a map is like those defined. A map of maps never is, nor is a
    /// program array: a program could tail-call through one that it was never
    /// compared with.
    fn accepts(&self, map: &Map) -> bool {
        if map.kind().holds_maps() || map.kind() == MapKind::ProgArray {
            return false;
        }
        let Some(inner) = &self.inner else {
            return true;
        };
        let sizes = map.key_size() == inner.key_size as usize
            && map.value_size() == inner.value_size as usize;
        let any_length = inner.kind != MapKind::Array || inner.flags & INNER_MAP != 0;
        map.kind() == inner.kind
            && sizes
            && map.flags() == inner.flags
            && (any_length || map.max_entries() == inner.max_entries)
    }
}

impl Operations for Nested {
    /// The address by which helpers know the inner map.
    fn lookup(&self, key: &[u8]) -> Option<u64> {
        self.maps().current.get(key).map(|map| map.address())
    }

    fn delete(&self, key: &[u8]) -> i64 {
        if !self.in_range(key) {
            return -errno::E2BIG;
        }
        let mut maps = self.maps();
        match maps.current.remove(key) {
            Some(old) => {
                maps.replaced.push(old);
                0
            }
            None => -errno::ENOENT,
        }
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        self.maps().current.keys().cloned().collect()
    }
}
