//! Ring buffers: programs reserve records and submit or discard them, the host
//! drains them in order.
//!
//! | operation | case | result |
//! | --- | --- | --- |
//! | reserve | any flags, too large, or no room | none |
//! | output | unknown flags | -EINVAL |
//! | | too large, or no room | -EAGAIN |
//! | query | data, size, consumer's or producer's position | the number |
//! | | anything else | 0 |
//! | lookup | always | none |
//! | update, delete | always | -EINVAL |
//!
//! A record takes a header of 8 bytes and its own bytes, rounded up to 8. A
//! record that would run past the end of the ring goes on behind it (the kernel
//! maps the ring twice there); as a lap later the same happens at other places
//! only once this record was drained, the space behind the end suffices.
//!
//! Before the ring lies a page that starts with the ring's address, and a
//! header holds the number of pages back to it: that is how a record, which is
//! all that `submit` gets, leads to its ring.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapMut, MmapOptions};
use tailor_bpf::MapDef;

use super::{Operations, Sample};
use crate::errno;

const PAGE: u64 = 4096;
/// Bytes before a record.
const HEADER: u64 = 8;
/// The record is not submitted yet.
const BUSY: u32 = 1 << 31;
/// The record is to be skipped.
const DISCARDED: u32 = 1 << 30;
/// Flags of an output that wake the consumer, or do not.
const WAKE_FLAGS: u64 = 3;
/// Largest size of a ring.
const MAX_SIZE: u64 = 1 << 31;

pub(super) struct RingBuf(Box<Ring>);

/// The ring, at an address that stays.
pub(super) struct Ring {
    /// The page before the ring, the ring, and as much again. Only accessed by
    /// address, as programs do too.
    _memory: MmapMut,
    /// Address of the ring.
    start: u64,
    size: u64,
    positions: Mutex<Positions>,
}

/// Bytes that were ever reserved and drained.
struct Positions {
    producer: u64,
    consumer: u64,
}

/// What becomes of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Submitted,
    Discarded,
}

impl RingBuf {
    /// A ring of `max_entries` bytes, rounded up to a power of two of pages.
    pub(super) fn new(def: &MapDef) -> Result<RingBuf, String> {
        let size = u64::from(def.max_entries).next_power_of_two().max(PAGE);
        if def.key_size != 0 || def.value_size != 0 || size > MAX_SIZE {
            return Err("a ring buffer has no keys, no values and at most 2 GiB".into());
        }
        let len = (PAGE + 2 * size) as usize;
        let memory = MmapOptions::new().len(len).map_anon();
        let mut memory = memory.map_err(|error| format!("no memory: {error}"))?;
        let start = memory.as_mut_ptr() as u64 + PAGE;
        let positions = Mutex::new(Positions { producer: 0, consumer: 0 });
        let ring = Box::new(Ring { _memory: memory, start, size, positions });
        // SAFETY: the page before the ring is the ring's own.
        unsafe { *((start - PAGE) as *mut u64) = &raw const *ring as u64 };
        Ok(RingBuf(ring))
    }

    /// Address of a new record of `size` bytes.
    pub(super) fn reserve(&self, size: u64, flags: u64) -> Option<u64> {
        if flags == 0 { self.0.reserve(size) } else { None }
    }

    /// Copies a record in; 0 or a negated error number.
    pub(super) fn output(&self, data: &[u8], flags: u64) -> i64 {
        if flags & !WAKE_FLAGS != 0 {
            return -errno::EINVAL;
        }
        let Some(record) = self.0.reserve(data.len() as u64) else {
            return -errno::EAGAIN;
        };
        // SAFETY: the ring has room for so many bytes at the record, which is
        // nobody else's before it is submitted.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), record as *mut u8, data.len()) };
        self.0.finish(record, Fate::Submitted);
        0
    }

    /// What a program can ask.
    pub(super) fn query(&self, what: u64) -> u64 {
        let positions = self.0.positions.lock().expect("no panic while locked");
        match what {
            0 => positions.producer - positions.consumer,
            1 => self.0.size,
            2 => positions.consumer,
            3 => positions.producer,
            _ => 0,
        }
    }

    /// Whether a record that is not submitted yet lies at an address.
    pub(super) fn holds(&self, record: u64) -> bool {
        self.0.reserved_at(record).is_some_and(|(start, _)| start == record)
    }

    /// Takes the submitted records, up to the first that is not.
    pub(super) fn drain(&self) -> Vec<Sample> {
        let ring = &self.0;
        let mut positions = ring.positions.lock().expect("no panic while locked");
        let mut samples = Vec::new();
        while positions.consumer < positions.producer {
            let header = ring.header(positions.consumer).load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            if header & DISCARDED == 0 {
                let record = (ring.address(positions.consumer) + HEADER) as *const u8;
                // SAFETY: the record is complete, its header says how long it
                // is, and reserving found room for it.
                let data = unsafe { std::slice::from_raw_parts(record, header as usize) };
                samples.push(Sample { cpu: 0, data: data.to_vec() });
            }
            positions.consumer += record_bytes(header);
        }
        samples
    }
}

/// Bytes that a record takes, by its header.
fn record_bytes(header: u32) -> u64 {
    (u64::from(header & !(BUSY | DISCARDED)) + HEADER).next_multiple_of(8)
}

/// Submits or discards a record.
///
/// # Safety
/// `record` must come from `reserve` of a ring that still lives, and must not
/// have been submitted or discarded.
pub(crate) unsafe fn finish(record: u64, fate: Fate) {
    let header = record - HEADER;
    // SAFETY: reserving wrote the number of pages behind the record's length,
    // and the ring's constructor its address at the start of the first page.
    let ring = unsafe {
        let pages = *((header + 4) as *const u32);
        let first = (header & !(PAGE - 1)) - PAGE * u64::from(pages);
        &*(*(first as *const u64) as *const Ring)
    };
    ring.finish(record, fate);
}

impl Ring {
    /// Address of a position's header.
    fn address(&self, position: u64) -> u64 {
        self.start + (position & (self.size - 1))
    }

    /// Length and state of the record whose header is at a position.
    fn header(&self, position: u64) -> &AtomicU32 {
        // SAFETY: the address is aligned to 8 and inside the ring's memory,
        // which lives as long as the ring. Programs do not touch headers.
        unsafe { AtomicU32::from_ptr(self.address(position) as *mut u32) }
    }

    fn reserve(&self, size: u64) -> Option<u64> {
        let size = u32::try_from(size).ok().filter(|size| *size <= u32::MAX / 4)?;
        let mut positions = self.positions.lock().expect("no panic while locked");
        let producer = positions.producer + record_bytes(size);
        // The last byte is never used, so that a full ring is told from an empty one.
        if producer - positions.consumer > self.size - 1 {
            return None;
        }
        let address = self.address(positions.producer);
        let pages = (address - self.start) / PAGE + 1;
        // SAFETY: the second half of the header, as above.
        unsafe { *((address + 4) as *mut u32) = pages as u32 };
        self.header(positions.producer).store(size | BUSY, Ordering::Release);
        positions.producer = producer;
        Some(address + HEADER)
    }

    /// Start and length of the record that an address lies in, if it is not
    /// submitted yet. (The interpreter asks, not compiled code.)
    fn reserved_at(&self, address: u64) -> Option<(u64, usize)> {
        let positions = self.positions.lock().expect("no panic while locked");
        let mut at = positions.consumer;
        while at < positions.producer {
            let header = self.header(at).load(Ordering::Acquire);
            let start = self.address(at) + HEADER;
            let len = u64::from(header & !(BUSY | DISCARDED));
            if header & BUSY != 0 && (address == start || (start..start + len).contains(&address)) {
                return Some((start, len as usize));
            }
            at += record_bytes(header);
        }
        None
    }

    fn finish(&self, record: u64, fate: Fate) {
        let header = self.header(record - HEADER - self.start);
        let discarded = if fate == Fate::Discarded { DISCARDED } else { 0 };
        let size = header.load(Ordering::Relaxed) & !BUSY;
        header.store(size | discarded, Ordering::Release);
    }
}

impl Operations for RingBuf {
    /// The record that is not submitted yet.
    fn region(&self, address: u64) -> Option<(u64, usize)> {
        self.0.reserved_at(address)
    }
}
