//! Maps.
//!
//! A program knows a map by the address of its *block*: a header that code may
//! read (the program array's size and slots) and a pointer back to the [`Map`].
//! Values have addresses that stay valid as long as the map: they come from a
//! pool of `max_entries` values (and one to spare), as in the kernel's
//! preallocated maps.
//!
//! Each kind has a file, which says what its operations return. What programs
//! and the host do alike is an `Operations` of the kind; what only one kind
//! can do (a queue's push, a ring buffer's records) goes to it directly. The
//! host's operations are those of bpf(2): where values are per processor, it
//! reads and sets those of all.
//!
//! The processors that there can be are a property of a map, fixed when it is
//! made ([`Options`]; 1 unless said otherwise). A program that runs on a
//! processor of a higher number uses the values of that number modulo theirs.

mod access;
mod array;
mod cgroup_storage;
mod hash;
mod lpm_trie;
mod nested;
mod perf_event_array;
mod pool;
mod prog_array;
mod queue;
mod recency;
mod redirect;
mod ringbuf;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use prog_array::SlotLayout;
pub(crate) use ringbuf::{Fate, finish};
use tailor_bpf::{MapDef, MapKind};

use crate::{Error, env};
use array::Array;
use cgroup_storage::CgroupStorage;
use hash::Hash;
use lpm_trie::LpmTrie;
use nested::Nested;
use perf_event_array::PerfEventArray;
use prog_array::ProgArray;
use queue::Queue;
use redirect::Targets;
use ringbuf::RingBuf;

pub use crate::errno;

/// Largest pool of values, in bytes.
const MAX_POOL_BYTES: u64 = 4 << 30;
/// Word of the block that points back to the map.
const BACK_POINTER: usize = 1;

/// `BPF_NOEXIST`: make a new entry only.
pub const NOEXIST: u64 = 1;
/// `BPF_EXIST`: change an entry only.
pub const EXIST: u64 = 2;
/// `BPF_F_LOCK`: take the lock in the value meanwhile.
const LOCK: u64 = 4;
/// `BPF_F_RDONLY_PROG` among a map's flags: programs cannot write it.
const RDONLY_PROG: u32 = 1 << 7;

/// How maps are made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where code finds the slots of a program array.
    pub slots: SlotLayout,
    /// Processors that there can be: each has a value of its own in per-CPU
    /// maps, and a slot in perf event arrays. At least 1.
    pub cpus: u32,
}

impl From<SlotLayout> for Options {
    /// For one processor.
    fn from(slots: SlotLayout) -> Options {
        Options { slots, cpus: 1 }
    }
}

/// What a program put out for the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The processor whose slot of a perf event array it went to; else 0.
    pub cpu: u32,
    /// The bytes.
    pub data: Vec<u8>,
}

/// A map.
pub struct Map {
    name: Arc<str>,
    kind: MapKind,
    key_size: usize,
    value_size: usize,
    max_entries: u32,
    flags: u32,
    /// Processors that there can be.
    cpus: u32,
    storage: Storage,
    block: Box<[AtomicU64]>,
}

enum Storage {
    Array(Array),
    CgroupStorage(CgroupStorage),
    Hash(Hash),
    LpmTrie(LpmTrie),
    Nested(Nested),
    PerfEventArray(PerfEventArray),
    ProgArray(ProgArray),
    Queue(Queue),
    RingBuf(RingBuf),
    Targets(Targets),
}

/// What can be done to maps of all kinds; what a kind does not have fails as
/// said here. Results are 0 or a negated error number.
trait Operations {
    /// Address of the value of a key, as the program on this thread sees it.
    fn lookup(&self, _key: &[u8]) -> Option<u64> {
        None
    }

    /// The same, but not a use of the entry.
    fn visit(&self, key: &[u8]) -> Option<u64> {
        self.lookup(key)
    }

    /// The same for another processor, which must be one that there can be.
    fn lookup_on(&self, _key: &[u8], _cpu: u32) -> Option<u64> {
        None
    }

    /// A program's update.
    fn update(&self, _key: &[u8], _value: &[u8], _flags: u64) -> i64 {
        -errno::EINVAL
    }

    /// The host's update.
    fn write(&self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        self.update(key, value, flags)
    }

    /// Removes a key.
    fn delete(&self, _key: &[u8]) -> i64 {
        -errno::EINVAL
    }

    /// A copy of the value of a key; those of all processors, one after the other.
    fn read(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// All keys, ascending.
    fn keys(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Start and length of the value that an address lies in: memory that a
    /// program may access.
    fn region(&self, _address: u64) -> Option<(u64, usize)> {
        None
    }
}

impl Operations for ProgArray {}

/// The number of the processor that the program on this thread runs on.
fn processor(cpus: u32) -> u32 {
    if cpus == 1 { 0 } else { env::current(|env| env.cpu()) % cpus }
}

impl Map {
    /// Makes a map as defined.
    pub fn new(def: &MapDef, options: impl Into<Options>) -> Result<Arc<Map>, Error> {
        let Options { slots: layout, cpus } = options.into();
        let cpus = cpus.max(1);
        let storage = storage(def, layout, cpus)
            .map_err(|what| Error::Map { map: def.name.clone(), what })?;
        let slots = if def.kind == MapKind::ProgArray { def.max_entries as usize } else { 0 };
        let words = layout.slots as usize / 8 + slots;
        let mut map = Arc::new(Map {
            name: def.name.as_str().into(),
            kind: def.kind,
            key_size: def.key_size as usize,
            value_size: def.value_size as usize,
            max_entries: def.max_entries,
            flags: def.flags,
            cpus,
            storage,
            block: zeros(words.max(2)),
        });
        let address = Arc::as_ptr(&map) as u64;
        let block = Arc::get_mut(&mut map).expect("not shared yet");
        *block.block[BACK_POINTER].get_mut() = address;
        let word = layout.max_entries as usize / 8;
        *block.block[word].get_mut() |=
            u64::from(def.max_entries) << (8 * (layout.max_entries % 8));
        Ok(map)
    }

    /// The map whose block is at `address`.
    ///
    /// # Safety
    /// `address` must come from [`Map::address`] of a map that still lives.
    pub unsafe fn from_address<'a>(address: u64) -> &'a Map {
        // SAFETY: the caller vouches for the block, whose word 1 was set to the
        // address of the map that owns it and never changes.
        unsafe { &*(*(address as *const u64).add(BACK_POINTER) as *const Map) }
    }

    /// The address of the block: what a program passes to helpers.
    pub fn address(&self) -> u64 {
        self.block.as_ptr() as u64
    }

    /// Name, as defined.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Kind, as defined.
    pub fn kind(&self) -> MapKind {
        self.kind
    }

    /// Bytes of a key.
    pub fn key_size(&self) -> usize {
        self.key_size
    }

    /// Bytes of a value.
    pub fn value_size(&self) -> usize {
        self.value_size
    }

    /// Entries that fit, as defined.
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// `BPF_F_*`, as defined.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    fn operations(&self) -> &dyn Operations {
        match &self.storage {
            Storage::Array(array) => array,
            Storage::CgroupStorage(storage) => storage,
            Storage::Hash(hash) => hash,
            Storage::LpmTrie(trie) => trie,
            Storage::Nested(nested) => nested,
            Storage::PerfEventArray(array) => array,
            Storage::ProgArray(array) => array,
            Storage::Queue(queue) => queue,
            Storage::RingBuf(ring) => ring,
            Storage::Targets(targets) => targets,
        }
    }
}

/// So many words, which cost no memory before they are used: an object says how
/// many slots an array has.
fn zeros(words: usize) -> Box<[AtomicU64]> {
    let words = vec![0u64; words].into_boxed_slice();
    const { assert!(align_of::<AtomicU64>() == align_of::<u64>()) };
    // SAFETY: AtomicU64 has the size and (as was just asserted) the alignment of u64.
    unsafe { Box::from_raw(Box::into_raw(words) as *mut [AtomicU64]) }
}

/// The storage of a map of this kind, or why it cannot be.
fn storage(def: &MapDef, layout: SlotLayout, cpus: u32) -> Result<Storage, String> {
    let kind = def.kind;
    check_sizes(def, cpus)?;
    let own = if is_per_cpu(kind) { cpus } else { 1 };
    Ok(match kind {
        MapKind::Array | MapKind::PercpuArray | MapKind::InsnArray => {
            Storage::Array(Array::new(def, own))
        }
        MapKind::CgroupStorage | MapKind::PercpuCgroupStorage => {
            Storage::CgroupStorage(CgroupStorage::new(def, own))
        }
        MapKind::Hash => Storage::Hash(Hash::new(def, None, false)),
        MapKind::PercpuHash => Storage::Hash(Hash::new(def, Some(cpus), false)),
        MapKind::LruHash => Storage::Hash(Hash::new(def, None, true)),
        MapKind::LruPercpuHash => Storage::Hash(Hash::new(def, Some(cpus), true)),
        MapKind::LpmTrie if LpmTrie::fits(def.key_size) => Storage::LpmTrie(LpmTrie::new(def)),
        MapKind::LpmTrie => return Err("the key size must be 5 to 260".into()),
        MapKind::ArrayOfMaps | MapKind::HashOfMaps => Storage::Nested(Nested::new(def)),
        MapKind::DevMap | MapKind::DevMapHash | MapKind::CpuMap | MapKind::XskMap => {
            Storage::Targets(Targets::new(def))
        }
        MapKind::PerfEventArray => Storage::PerfEventArray(PerfEventArray::new(def, cpus)),
        MapKind::ProgArray => Storage::ProgArray(ProgArray::new(layout)),
        MapKind::Queue | MapKind::Stack => Storage::Queue(Queue::new(def, kind == MapKind::Stack)),
        MapKind::RingBuf => Storage::RingBuf(RingBuf::new(def)?),
        MapKind::Other(kind) => return Err(format!("map type {kind} is not implemented")),
    })
}

/// Whether every processor has a value of its own.
fn is_per_cpu(kind: MapKind) -> bool {
    use MapKind::*;
    matches!(kind, PercpuArray | PercpuHash | LruPercpuHash | PercpuCgroupStorage)
}

/// What is wrong with the sizes that a definition gives.
fn check_sizes(def: &MapDef, cpus: u32) -> Result<(), String> {
    use MapKind::*;
    let may_be_empty = matches!(def.kind, PerfEventArray | CgroupStorage | PercpuCgroupStorage);
    if def.max_entries == 0 && !may_be_empty {
        return Err("max_entries is 0; it must be set before the map is made".into());
    }
    let stride = u64::from(def.value_size).next_multiple_of(8).max(8);
    let cpus = if is_per_cpu(def.kind) { u64::from(cpus) } else { 1 };
    let has_pool = !matches!(def.kind, RingBuf | Queue | Stack);
    if has_pool && stride.saturating_mul((u64::from(def.max_entries) + 1) * cpus) > MAX_POOL_BYTES {
        return Err(format!("more than {MAX_POOL_BYTES} bytes of values"));
    }
    let has_indices = matches!(
        def.kind,
        Array | PercpuArray | ProgArray | ArrayOfMaps | DevMap | CpuMap | XskMap | DevMapHash
    );
    if has_indices && def.key_size != 4 {
        return Err("the key size must be 4".into());
    }
    Ok(())
}
