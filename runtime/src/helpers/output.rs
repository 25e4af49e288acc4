//! Helpers that put data out for the host: ring buffers and perf events.

use super::maps::copy;
use super::skb::skb;
use super::xdp::xdp;
use super::{Args, Outcome, Row, bytes, rows, size};
use crate::env;
use crate::errno::{EFAULT, EINVAL};
use crate::map::{Fate, Map, finish};
use tailor_bpf::ProgramKind;

/// Bits of the flags that hold a slot of the array.
const SLOT: u64 = 0xffff_ffff;
/// The slot that stands for the program's processor.
const CURRENT_CPU: u64 = 0xffff_ffff;
/// Bits of the flags that hold how many bytes of the packet go along.
const PACKET_LEN: u64 = 0xf_ffff << 32;

// SAFETY of what follows: a verified program passes a map (or a record that it
// reserved and has not given back), its context, and memory of the sizes that
// it says.

unsafe fn ringbuf_output([map, data, len, flags, _]: Args) -> Outcome {
    // SAFETY: a map and `len` bytes, which are copied because they may lie in
    // the same ring.
    unsafe { Ok(Map::from_address(map).output(&copy(data, size(len)), flags) as u64) }
}

unsafe fn ringbuf_reserve([map, len, flags, ..]: Args) -> Outcome {
    // SAFETY: a map.
    Ok(unsafe { Map::from_address(map) }.reserve(len, flags).unwrap_or(0))
}

unsafe fn ringbuf_submit([record, ..]: Args) -> Outcome {
    // SAFETY: a record.
    unsafe { finish(record, Fate::Submitted) };
    Ok(0)
}

unsafe fn ringbuf_discard([record, ..]: Args) -> Outcome {
    // SAFETY: a record.
    unsafe { finish(record, Fate::Discarded) };
    Ok(0)
}

unsafe fn ringbuf_query([map, what, ..]: Args) -> Outcome {
    // SAFETY: a map.
    Ok(unsafe { Map::from_address(map) }.query(what))
}

/// A program on packets can add the start of its packet to the sample.
unsafe fn perf_event_output([context, map, flags, data, len]: Args) -> Outcome {
    let kind = env::kind();
    let known = if kind.context().is_some() { SLOT | PACKET_LEN } else { SLOT };
    if flags & !known != 0 {
        return Err(EINVAL);
    }
    let extra = (flags & PACKET_LEN) >> 32;
    // SAFETY: a context of the kind of the program that runs, a map, and `len`
    // bytes.
    unsafe {
        let (start, end) = match kind {
            _ if extra == 0 => (0, 0),
            ProgramKind::Xdp => (xdp(context).data, xdp(context).data_end),
            _ => (skb(context).data, skb(context).data_end),
        };
        if extra > end - start {
            return Err(EFAULT);
        }
        let data = || [bytes(data, size(len)), bytes(start, extra as usize)].concat();
        let slot = match flags & SLOT {
            CURRENT_CPU => None,
            slot => Some(slot as u32),
        };
        Ok(Map::from_address(map).sample(slot, data) as u64)
    }
}

pub(super) static ROWS: &[Row] = rows! {
    25 ANY perf_event_output;
    130 ANY ringbuf_output;
    131 ANY ringbuf_reserve;
    132 ANY ringbuf_submit;
    133 ANY ringbuf_discard;
    134 ANY ringbuf_query;
};
