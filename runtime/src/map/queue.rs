//! Queues and stacks: values without keys.
//!
//! | operation | case | result |
//! | --- | --- | --- |
//! | push | `NOEXIST`, or unknown flags | -EINVAL |
//! | | full | -E2BIG, or with `EXIST` the oldest value goes |
//! | pop, peek | empty | -ENOENT, and zeros |
//! | lookup | always | none |
//! | update, delete | always | -EINVAL |
//!
//! The host pushes by an update with an empty key.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tailor_bpf::MapDef;

use super::{EXIST, NOEXIST, Operations};
use crate::errno;

pub(super) struct Queue {
    /// Last in, first out.
    is_stack: bool,
    value_size: usize,
    max_entries: usize,
    /// Oldest first.
    values: Mutex<VecDeque<Vec<u8>>>,
}

impl Queue {
    pub(super) fn new(def: &MapDef, is_stack: bool) -> Queue {
        Queue {
            is_stack,
            value_size: def.value_size as usize,
            max_entries: def.max_entries as usize,
            values: Mutex::new(VecDeque::new()),
        }
    }

    fn values(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.values.lock().expect("no panic while locked")
    }

    /// Adds a value, cut or filled up with zeros; 0 or a negated error number.
    pub(super) fn push(&self, value: &[u8], flags: u64) -> i64 {
        if flags & NOEXIST != 0 || flags > EXIST {
            return -errno::EINVAL;
        }
        let mut values = self.values();
        if values.len() >= self.max_entries {
            if flags != EXIST {
                return -errno::E2BIG;
            }
            values.pop_front();
        }
        let mut value = value.to_vec();
        value.resize(self.value_size, 0);
        values.push_back(value);
        0
    }

    /// The value that is next, which `take` takes out.
    pub(super) fn next(&self, take: bool) -> Option<Vec<u8>> {
        let mut values = self.values();
        match (self.is_stack, take) {
            (true, true) => values.pop_back(),
            (true, false) => values.back().cloned(),
            (false, true) => values.pop_front(),
            (false, false) => values.front().cloned(),
        }
    }

    /// All values in the order in which they would be popped.
    pub(super) fn all(&self) -> Vec<Vec<u8>> {
        let values = self.values();
        match self.is_stack {
            true => values.iter().rev().cloned().collect(),
            false => values.iter().cloned().collect(),
        }
    }
}

impl Operations for Queue {
    fn write(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        if key.is_empty() { self.push(value, flags) } else { -errno::EINVAL }
    }

    fn read(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.next(false).filter(|_| key.is_empty())
    }
}
