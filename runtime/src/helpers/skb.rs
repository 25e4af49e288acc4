//! Helpers on the bytes and the state of a socket buffer.

use super::{Args, Outcome, Row, bytes_mut, copy_bytes, rows, size};
use crate::ctx::{Hash, SkBuff};
use crate::env::current;
use crate::errno::{EFAULT, EINVAL, ENOMEM, EOPNOTSUPP};
use crate::helpers::flow;

/// Sum up what was stored; packets here carry no sum.
const RECOMPUTE_CSUM: u64 = 1;
/// The flow's hash is no longer right.
const INVALIDATE_HASH: u64 = 2;
/// Offsets that count from the network header, or from the Ethernet header.
const NETWORK_HEADER: i64 = -0x10_0000;
const LINK_HEADER: i64 = -0x20_0000;
/// The user of a buffer without socket (the kernel's overflow user).
const NOBODY: u64 = 65534;

/// The context that a program passes.
///
/// # Safety
/// `context` must be a socket buffer's, and there must be no other reference to it.
pub(super) unsafe fn skb<'a>(context: u64) -> &'a mut SkBuff {
    // SAFETY: as above.
    unsafe { &mut *(context as *mut SkBuff) }
}

/// Address of bytes of the packet as the program sees it; none if they are not
/// all there.
pub(super) fn place(skb: &SkBuff, offset: u64, len: u64) -> Option<u64> {
    let (offset, len) = (u64::from(offset as u32), u64::from(len as u32));
    let inside = offset <= i32::MAX as u64 && offset + len <= skb.data_end - skb.data;
    inside.then_some(skb.data + offset)
}

// SAFETY of what follows: a verified program passes its context, which is a
// socket buffer's, and memory of the sizes that it says.

unsafe fn skb_store_bytes([context, offset, from, len, flags]: Args) -> Outcome {
    if flags & !(RECOMPUTE_CSUM | INVALIDATE_HASH) != 0 {
        return Err(EINVAL);
    }
    // SAFETY: a context and `len` bytes.
    unsafe {
        let skb = skb(context);
        copy_bytes(from, place(skb, offset, len).ok_or(EFAULT)?, size(len));
        if flags & INVALIDATE_HASH != 0 {
            clear_hash(skb);
        }
    }
    Ok(0)
}

unsafe fn skb_load_bytes([context, offset, to, len, _]: Args) -> Outcome {
    // SAFETY: a context and room for `len` bytes.
    unsafe { load(place(skb(context), offset, len), to, len) }
}

unsafe fn skb_load_bytes_relative([context, offset, to, len, start]: Args) -> Outcome {
    // SAFETY: a context and room for `len` bytes.
    unsafe {
        let skb = skb(context);
        let header = match start as u32 {
            0 => skb.mac_header,
            1 => Some(skb.network_header),
            _ => None,
        };
        let place = header.filter(|_| offset as u32 <= 0xffff).and_then(|header| {
            let start = header + u64::from(offset as u32);
            let len = u64::from(len as u32);
            (start + len <= skb.data_end).then_some(start)
        });
        load(place, to, len)
    }
}

/// Copies bytes of a packet, or zeroes where they were to go.
///
/// # Safety
/// `len` bytes must be writable at `to`, and readable at `from`.
unsafe fn load(from: Option<u64>, to: u64, len: u64) -> Outcome {
    match from {
        Some(from) => {
            // SAFETY: as above.
            unsafe { copy_bytes(from, to, size(len)) };
            Ok(0)
        }
        None => {
            // SAFETY: as above.
            unsafe { bytes_mut(to, size(len)) }.fill(0);
            Err(EFAULT)
        }
    }
}

/// All of a packet can be accessed here; what cannot is what it does not have.
unsafe fn skb_pull_data([context, len, ..]: Args) -> Outcome {
    // SAFETY: a context.
    let skb = unsafe { skb(context) };
    if len as u32 > skb.len { Err(ENOMEM) } else { Ok(0) }
}

/// What `LD_ABS` and `LD_IND` load: bytes in network order, from where the program
/// sees the packet, or for some negative offsets from a header on.
///
/// # Safety
/// The first argument must be a socket buffer's context.
unsafe fn packet_load<const N: usize>([context, offset, ..]: Args) -> Outcome {
    // SAFETY: as above.
    let skb = unsafe { skb(context) };
    let offset = i64::from(offset as i32);
    let (start, offset) = match offset {
        0.. => (Some(skb.data), offset),
        NETWORK_HEADER..0 => (Some(skb.network_header), offset - NETWORK_HEADER),
        LINK_HEADER..NETWORK_HEADER => (skb.mac_header, offset - LINK_HEADER),
        _ => (None, 0),
    };
    let start = start.ok_or(EFAULT)? + offset as u64;
    if start + N as u64 > skb.data_end {
        return Err(EFAULT);
    }
    let mut bytes = [0; 8];
    // SAFETY: the packet has these bytes.
    unsafe { copy_bytes(start, &raw mut bytes[8 - N] as u64, N) };
    Ok(u64::from_be_bytes(bytes))
}

fn clear_hash(skb: &mut SkBuff) {
    skb.hash = 0;
    skb.hash_state = Hash::Unknown;
}

unsafe fn get_hash_recalc([context, ..]: Args) -> Outcome {
    // SAFETY: a context.
    let skb = unsafe { skb(context) };
    if skb.hash_state == Hash::Unknown {
        skb.hash = flow::hash(skb);
        skb.hash_state = Hash::Known;
    }
    Ok(skb.hash.into())
}

unsafe fn set_hash_invalid([context, ..]: Args) -> Outcome {
    // SAFETY: a context.
    clear_hash(unsafe { skb(context) });
    Ok(0)
}

unsafe fn set_hash([context, hash, ..]: Args) -> Outcome {
    // SAFETY: a context.
    let skb = unsafe { skb(context) };
    skb.hash = hash as u32;
    skb.hash_state = Hash::Known;
    Ok(0)
}

unsafe fn skb_change_type([context, kind, ..]: Args) -> Outcome {
    // SAFETY: a context.
    let skb = unsafe { skb(context) };
    let kind = kind as u32;
    if kind > SkBuff::OTHERHOST || skb.pkt_type > SkBuff::OTHERHOST {
        return Err(EINVAL);
    }
    skb.pkt_type = kind;
    Ok(0)
}

unsafe fn skb_set_tstamp([context, tstamp, kind, ..]: Args) -> Outcome {
    // SAFETY: a context.
    let skb = unsafe { skb(context) };
    if !matches!(skb.protocol, SkBuff::IPV4 | SkBuff::IPV6) {
        return Err(EOPNOTSUPP);
    }
    // The clock of real time for 0, otherwise a time is needed.
    match kind as u32 {
        0 => {}
        1 | 2 if tstamp != 0 => {}
        _ => return Err(EINVAL),
    }
    skb.tstamp = tstamp;
    skb.tstamp_type = kind as u32;
    Ok(0)
}

unsafe fn skb_ecn_set_ce([context, ..]: Args) -> Outcome {
    // SAFETY: a context.
    Ok(flow::mark_congestion(unsafe { skb(context) }).into())
}

unsafe fn get_socket_cookie(_: Args) -> Outcome {
    Ok(current(|env| env.cookie()))
}

unsafe fn get_socket_uid(_: Args) -> Outcome {
    Ok(NOBODY)
}

pub(super) static ROWS: &[Row] = rows! {
    9 WRITERS skb_store_bytes;
    26 SKB skb_load_bytes;
    32 TC skb_change_type;
    34 SKB get_hash_recalc;
    39 WRITERS skb_pull_data;
    41 WRITERS set_hash_invalid;
    46 SKB get_socket_cookie;
    47 SKB get_socket_uid;
    48 TC set_hash;
    68 SKB skb_load_bytes_relative;
    97 SKB skb_ecn_set_ce;
    122 SKB get_socket_cookie; // get_netns_cookie
    192 TC skb_set_tstamp;
    0x8000_0000 SKB packet_load::<1>;
    0x8000_0001 SKB packet_load::<2>;
    0x8000_0002 SKB packet_load::<4>;
};
