//! Hash maps: values come from a pool, so that a value that a program still
//! points to after it was deleted stays readable (and may be reused, as in the
//! kernel's preallocated hash maps).

use std::collections::HashMap;
use std::sync::Mutex;

use tailor_bpf::MapDef;

use super::{EXIST, NOEXIST, Pool, errno};

pub(super) struct Hash {
    pool: Pool,
    key_size: usize,
    state: Mutex<State>,
}

struct State {
    entries: HashMap<Vec<u8>, usize>,
    /// Values never used start here.
    fresh: usize,
    free: Vec<usize>,
    max_entries: usize,
}

impl Hash {
    pub(super) fn new(def: &MapDef) -> Hash {
        Hash {
            pool: Pool::new(def.value_size as usize, def.max_entries as usize),
            key_size: def.key_size as usize,
            state: Mutex::new(State {
                entries: HashMap::new(),
                fresh: 0,
                free: Vec::new(),
                max_entries: def.max_entries as usize,
            }),
        }
    }

    pub(super) fn pool(&self) -> (u64, usize) {
        self.pool.range()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    pub(super) fn lookup(&self, key: &[u8]) -> Option<u64> {
        self.state().entries.get(key).map(|&index| self.pool.address(index))
    }

    pub(super) fn update(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        if key.len() != self.key_size {
            return -errno::EINVAL;
        }
        let mut state = self.state();
        match state.entries.get(key).copied() {
            Some(_) if flags == NOEXIST => return -errno::EEXIST,
            None if flags == EXIST => return -errno::ENOENT,
            Some(index) => self.pool.set(index, value),
            None => {
                let Some(index) = state.take() else {
                    return -errno::E2BIG;
                };
                self.pool.set(index, value);
                state.entries.insert(key.to_vec(), index);
            }
        }
        0
    }

    pub(super) fn delete(&self, key: &[u8]) -> i64 {
        let mut state = self.state();
        match state.entries.remove(key) {
            Some(index) => {
                state.free.push(index);
                0
            }
            None => -errno::ENOENT,
        }
    }

    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        let mut keys: Vec<_> = self.state().entries.keys().cloned().collect();
        // So that listings are the same in every run.
        keys.sort();
        keys
    }
}

impl State {
    fn take(&mut self) -> Option<usize> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        (self.fresh < self.max_entries).then(|| {
            self.fresh += 1;
            self.fresh - 1
        })
    }
}
