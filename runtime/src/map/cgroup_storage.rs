//! Storage of a control group, per-CPU or not. There is one group, so there is
//! one value, which every key leads to; programs get it without a key.
//!
//! | operation of the host | case | result |
//! | --- | --- | --- |
//! | update | unknown flags, or `NOEXIST` | -EINVAL |
//! | delete | always | -EINVAL |

use tailor_bpf::MapDef;

use super::pool::Pool;
use super::{EXIST, Operations, processor};
use crate::errno;

pub(super) struct CgroupStorage {
    key_size: usize,
    pool: Pool,
}

impl CgroupStorage {
    /// With a value for each of so many processors.
    pub(super) fn new(def: &MapDef, cpus: u32) -> CgroupStorage {
        let pool = Pool::new(def.value_size as usize, 1, cpus);
        CgroupStorage { key_size: def.key_size as usize, pool }
    }

    /// Address of the value, as the program on this thread sees it.
    pub(super) fn value(&self) -> u64 {
        self.pool.address(0, processor(self.pool.cpus()))
    }
}

impl Operations for CgroupStorage {
    fn write(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        if key.len() != self.key_size || flags & !EXIST != 0 {
            return -errno::EINVAL;
        }
        self.pool.set_all(0, value);
        0
    }

    fn read(&self, key: &[u8]) -> Option<Vec<u8>> {
        (key.len() == self.key_size).then(|| self.pool.get(0))
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        vec![vec![0; self.key_size]]
    }

    fn region(&self, address: u64) -> Option<(u64, usize)> {
        self.pool.region(address)
    }
}
