//! Perf event arrays: programs put samples out, the host collects them. The
//! slots of the possible processors are open, as after `perf_buffer__new`.
//!
//! | output | result |
//! | --- | --- |
//! | to a slot that does not exist | -E2BIG |
//! | to a slot that is not open | -ENOENT |
//! | to another processor's slot | -EOPNOTSUPP |
//! | where the host let too much pile up | -ENOSPC |
//!
//! Lookups find nothing; updates and deletions by programs are refused.

use std::sync::Mutex;

use tailor_bpf::MapDef;

use super::{Operations, Sample, processor};
use crate::errno;

/// Bytes of samples of a processor that are kept for the host.
const MAX_WAITING: usize = 1 << 20;
/// Bytes that a sample counts more than it has.
const HEADER: usize = 12;

pub(super) struct PerfEventArray {
    max_entries: u32,
    cpus: u32,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    samples: Vec<Sample>,
    /// Bytes by processor.
    bytes: Vec<usize>,
}

impl PerfEventArray {
    /// The number of entries that is 0 is that of the processors.
    pub(super) fn new(def: &MapDef, cpus: u32) -> PerfEventArray {
        let waiting = Waiting { samples: Vec::new(), bytes: vec![0; cpus as usize] };
        let max_entries = if def.max_entries == 0 { cpus } else { def.max_entries };
        PerfEventArray { max_entries, cpus, waiting: Mutex::new(waiting) }
    }

    /// Puts a sample out to a slot, or to that of the program's processor;
    /// `data` makes the sample if it is wanted. 0 or a negated error number.
    pub(super) fn output(&self, slot: Option<u32>, data: impl FnOnce() -> Vec<u8>) -> i64 {
        let cpu = processor(self.cpus);
        let slot = slot.unwrap_or(cpu);
        match slot {
            _ if slot >= self.max_entries => return -errno::E2BIG,
            _ if slot >= self.cpus => return -errno::ENOENT,
            _ if slot != cpu => return -errno::EOPNOTSUPP,
            _ => {}
        }
        let data = data();
        let mut waiting = self.waiting.lock().expect("no panic while locked");
        let bytes = &mut waiting.bytes[slot as usize];
        if *bytes + data.len() + HEADER > MAX_WAITING {
            return -errno::ENOSPC;
        }
        *bytes += data.len() + HEADER;
        waiting.samples.push(Sample { cpu: slot, data });
        0
    }

    /// Takes what was put out, oldest first.
    pub(super) fn drain(&self) -> Vec<Sample> {
        let mut waiting = self.waiting.lock().expect("no panic while locked");
        waiting.bytes.fill(0);
        std::mem::take(&mut waiting.samples)
    }
}

impl Operations for PerfEventArray {}
