//! Array maps: every index exists; values start as zeros, or as the section's bytes.

use tailor_bpf::MapDef;

use super::{NOEXIST, Pool, errno};

pub(super) struct Array {
    pool: Pool,
    max_entries: u32,
}

impl Array {
    pub(super) fn new(def: &MapDef) -> Array {
        let pool = Pool::new(def.value_size as usize, def.max_entries as usize);
        pool.set(0, &def.initial);
        Array { pool, max_entries: def.max_entries }
    }

    pub(super) fn pool(&self) -> (u64, usize) {
        self.pool.range()
    }

    fn index(&self, key: &[u8]) -> Option<usize> {
        let index = u32::from_le_bytes(key.try_into().ok()?);
        (index < self.max_entries).then_some(index as usize)
    }

    pub(super) fn lookup(&self, key: &[u8]) -> Option<u64> {
        self.index(key).map(|index| self.pool.address(index))
    }

    pub(super) fn update(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        let Some(index) = self.index(key) else {
            return -errno::E2BIG;
        };
        if flags == NOEXIST {
            return -errno::EEXIST;
        }
        self.pool.set(index, value);
        0
    }
}
