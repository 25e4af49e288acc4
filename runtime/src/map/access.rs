//! What programs and the host do to a map.

use std::sync::atomic::Ordering;

use tailor_bpf::helpers::Access;

use super::*;
use crate::poke::{Slots, Turn};

/// What programs do, on the thread that they run on.
impl Map {
    /// Address of the value of a key, if there is one: the value of the
    /// program's processor, or an inner map's own address.
    pub fn lookup(&self, key: &[u8]) -> Option<u64> {
        self.operations().lookup(key)
    }

    /// The value of another processor, in a per-CPU map.
    pub(crate) fn lookup_on(&self, key: &[u8], cpu: u32) -> Option<u64> {
        let has_value = is_per_cpu(self.kind) && cpu < self.cpus;
        if has_value { self.operations().lookup_on(key, cpu) } else { None }
    }

    /// Sets the value of a key; 0 or a negated error number.
    pub(crate) fn program_update(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        self.operations().update(key, value, flags)
    }

    /// Address of the value of a control group's storage.
    pub(crate) fn local_storage(&self) -> Option<u64> {
        match &self.storage {
            Storage::CgroupStorage(storage) => Some(storage.value()),
            _ => None,
        }
    }

    /// Whether its entries are network devices.
    pub(crate) fn holds_devices(&self) -> bool {
        matches!(self.kind, MapKind::DevMap | MapKind::DevMapHash)
    }

    /// All keys, ascending.
    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        self.operations().keys()
    }

    /// Address of the value of a key, which does not count as its use.
    pub(crate) fn visit(&self, key: &[u8]) -> Option<u64> {
        self.operations().visit(key)
    }

    /// Adds a value to a queue or stack; 0 or a negated error number.
    pub(crate) fn push(&self, value: &[u8], flags: u64) -> i64 {
        match &self.storage {
            Storage::Queue(queue) => queue.push(value, flags),
            _ => -errno::EINVAL,
        }
    }

    /// The next value of a queue or stack, which `take` takes out.
    pub(crate) fn next(&self, take: bool) -> Option<Vec<u8>> {
        match &self.storage {
            Storage::Queue(queue) => queue.next(take),
            _ => None,
        }
    }

    /// Reserves a record of a ring buffer.
    pub(crate) fn reserve(&self, size: u64, flags: u64) -> Option<u64> {
        match &self.storage {
            Storage::RingBuf(ring) => ring.reserve(size, flags),
            _ => None,
        }
    }

    /// Copies a record into a ring buffer; 0 or a negated error number.
    pub(crate) fn output(&self, data: &[u8], flags: u64) -> i64 {
        match &self.storage {
            Storage::RingBuf(ring) => ring.output(data, flags),
            _ => -errno::EINVAL,
        }
    }

    /// What a program can ask of a ring buffer.
    pub(crate) fn query(&self, what: u64) -> u64 {
        match &self.storage {
            Storage::RingBuf(ring) => ring.query(what),
            _ => 0,
        }
    }

    /// Puts a sample out to a slot of a perf event array, or to that of the
    /// program's processor; 0 or a negated error number.
    pub(crate) fn sample(&self, slot: Option<u32>, data: impl FnOnce() -> Vec<u8>) -> i64 {
        match &self.storage {
            Storage::PerfEventArray(array) => array.output(slot, data),
            _ => -errno::EINVAL,
        }
    }

    /// Start and length of the value or record that an address lies in, of this map
    /// or one in it: memory that a program may access so.
    pub(crate) fn region(&self, address: u64, access: Access) -> Option<(u64, usize)> {
        match &self.storage {
            Storage::Nested(nested) => nested.find(|map| map.region(address, access)),
            _ if access != Access::Read && self.is_read_only() => None,
            _ => self.operations().region(address),
        }
    }

    /// Whether programs cannot write it (`BPF_F_RDONLY_PROG`).
    pub(crate) fn is_read_only(&self) -> bool {
        self.flags & RDONLY_PROG != 0
    }

    /// Whether a ring buffer's record that is not submitted yet lies at an
    /// address, in this map or one in it.
    pub(crate) fn holds_record(&self, record: u64) -> bool {
        match &self.storage {
            Storage::RingBuf(ring) => ring.holds(record),
            Storage::Nested(nested) => {
                nested.find(|map| map.holds_record(record).then_some(())).is_some()
            }
            _ => false,
        }
    }

    /// The map in this one whose block is at an address.
    pub(crate) fn inner_at(&self, address: u64) -> Option<Arc<Map>> {
        match &self.storage {
            Storage::Nested(nested) => {
                nested.find(|map| (map.address() == address).then(|| map.clone()))
            }
            _ => None,
        }
    }
}

/// What the host does.
impl Map {
    /// Sets the value of a key; 0 or a negated error number. In a per-CPU map
    /// `value` is the value for all processors, or one for each, one after the
    /// other. A queue or stack takes a value with an empty key. Maps go into a
    /// map of maps with [`Map::insert_map`].
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        if flags & LOCK != 0 {
            return -errno::EINVAL;
        }
        self.operations().write(key, value, flags)
    }

    /// Removes a key; 0 or a negated error number.
    pub fn delete(&self, key: &[u8]) -> i64 {
        self.operations().delete(key)
    }

    /// A copy of the value of a key. In a per-CPU map those of all processors,
    /// one after the other.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.operations().read(key)
    }

    /// All keys and values, ascending by key; see [`Map::get`] for the values. A
    /// queue's or stack's values have empty keys and come in the order in which
    /// they would be popped. Program arrays, maps of maps, ring buffers and perf
    /// event arrays have no values of this kind.
    pub fn entries(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        if let Storage::Queue(queue) = &self.storage {
            return queue.all().into_iter().map(|value| (Vec::new(), value)).collect();
        }
        let operations = self.operations();
        let keys = operations.keys().into_iter();
        keys.filter_map(|key| operations.read(&key).map(|value| (key, value))).collect()
    }

    /// Puts a map into a map of maps; 0 or a negated error number.
    pub fn insert_map(&self, key: &[u8], map: &Arc<Map>, flags: u64) -> i64 {
        match &self.storage {
            Storage::Nested(nested) => nested.insert(key, map, flags),
            _ => -errno::EINVAL,
        }
    }

    /// The keys of a map of maps and the maps in it, ascending by key.
    pub fn inner_maps(&self) -> Vec<(Vec<u8>, Arc<Map>)> {
        match &self.storage {
            Storage::Nested(nested) => nested.all(),
            _ => Vec::new(),
        }
    }

    /// Takes the next value out of a queue or stack.
    pub fn pop(&self) -> Option<Vec<u8>> {
        self.next(true)
    }

    /// Takes what programs put out into a ring buffer or perf event array,
    /// oldest first. In a ring buffer a record that is reserved but not
    /// submitted holds back those after it.
    pub fn drain(&self) -> Vec<Sample> {
        match &self.storage {
            Storage::RingBuf(ring) => ring.drain(),
            Storage::PerfEventArray(array) => array.drain(),
            _ => Vec::new(),
        }
    }

    /// Address of the first value of an array that is not per-CPU: what code
    /// with the address of a variable refers to.
    pub fn first_value(&self) -> Option<u64> {
        match &self.storage {
            Storage::Array(array) if matches!(self.kind, MapKind::Array | MapKind::InsnArray) => {
                Some(array.first())
            }
            _ => None,
        }
    }

    /// The slot of a program array that code reads; an error where there is none.
    pub(crate) fn slot(&self, index: u32) -> Result<&AtomicU64, Error> {
        let fail = |what: String| Err(Error::Map { map: self.name.to_string(), what });
        let Storage::ProgArray(array) = &self.storage else {
            return fail("not a program array".into());
        };
        if index >= self.max_entries {
            return fail(format!(
                "index {index} is out of range (max_entries {})",
                self.max_entries
            ));
        }
        Ok(&self.block[array.word(index)])
    }

    /// What code reads in a program array's slots: 0 where one is empty.
    pub fn slot_values(&self) -> Vec<u64> {
        let slots = (0..self.max_entries).map_while(|index| self.slot(index).ok());
        slots.map(|slot| slot.load(Ordering::Acquire)).collect()
    }

    /// What the host knows of a program array's slots.
    pub(crate) fn slots(&self) -> Option<Turn<'_, Slots>> {
        match &self.storage {
            Storage::ProgArray(array) => Some(array.slots()),
            _ => None,
        }
    }

    /// Where code finds a program array's fields.
    pub(crate) fn slot_layout(&self) -> Option<SlotLayout> {
        match &self.storage {
            Storage::ProgArray(array) => Some(array.layout()),
            _ => None,
        }
    }

    /// Address of the cell that code reads for a slot of a program array.
    pub fn slot_address(&self, index: u32) -> Option<u64> {
        self.slot(index).ok().map(|slot| slot as *const AtomicU64 as u64)
    }
}
