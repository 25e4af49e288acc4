//! Helpers that say where a packet is to go. Nothing is sent: the run's
//! environment remembers the place, and the program returns the verdict that the
//! helper gave it.

use tailor_bpf::ProgramKind;

use super::skb::skb;
use super::xdp::xdp;
use super::{Args, Outcome, Row, bytes, bytes_mut, rows, size};
use crate::env::{self, Redirect, current};
use crate::errno::{EAFNOSUPPORT, EINVAL};
use crate::map::Map;

/// Verdicts of XDP and of traffic control.
const XDP_ABORTED: u64 = 0;
const XDP_REDIRECT: u64 = 4;
const TC_ACT_SHOT: u64 = 2;
const TC_ACT_REDIRECT: u64 = 7;

/// The packet goes to the interface's receiving side.
const INGRESS: u64 = 1;
/// Flags of `redirect_map`: the verdict where there is no such entry; and, for
/// devices, to send to all, but not back.
const VERDICT: u64 = 3;
const BROADCAST: u64 = 8;
const EXCLUDE_INGRESS: u64 = 16;

/// Bytes of `struct bpf_fib_lookup` and of `struct bpf_redir_neigh`.
const FIB_LOOKUP: usize = 64;
const REDIR_NEIGH: u64 = 20;
/// Flags of `fib_lookup` that are known.
const FIB_FLAGS: u64 = 0x3f;
/// The packet is not forwarded.
const FIB_NOT_FORWARDED: u64 = 4;

/// Bytes of an Ethernet header.
const ETHERNET: i32 = 14;
/// The packet fits, or would have to be cut.
const MTU_FITS: u64 = 0;
const MTU_TOO_LARGE: u64 = 1;
/// Check the segments of a large packet.
const MTU_SEGMENTS: u64 = 1;

fn to_interface(index: u64, flags: u64) {
    current(|env| env.set_redirect(Redirect::Interface { index: index as u32, flags }));
}

// SAFETY of what follows: a verified program passes a map, its context, and
// memory of the sizes that it says.

unsafe fn redirect([index, flags, ..]: Args) -> Outcome {
    let (known, refused, verdict) = match env::kind() {
        ProgramKind::SchedCls | ProgramKind::Lwt => (INGRESS, TC_ACT_SHOT, TC_ACT_REDIRECT),
        _ => (0, XDP_ABORTED, XDP_REDIRECT),
    };
    if flags & !known != 0 {
        return Ok(refused);
    }
    to_interface(index, flags);
    Ok(verdict)
}

unsafe fn clone_redirect([_, index, flags, ..]: Args) -> Outcome {
    // No interface has the number 0.
    if flags & !INGRESS != 0 || index as u32 == 0 {
        return Err(EINVAL);
    }
    to_interface(index, flags);
    Ok(0)
}

unsafe fn redirect_neigh([index, _, len, flags, _]: Args) -> Outcome {
    if flags != 0 || len != 0 && (len as u32 as u64) < REDIR_NEIGH {
        return Ok(TC_ACT_SHOT);
    }
    to_interface(index, flags);
    Ok(TC_ACT_REDIRECT)
}

unsafe fn redirect_peer([index, flags, ..]: Args) -> Outcome {
    if flags != 0 {
        return Ok(TC_ACT_SHOT);
    }
    to_interface(index, flags);
    Ok(TC_ACT_REDIRECT)
}

unsafe fn redirect_map([map, key, flags, ..]: Args) -> Outcome {
    // SAFETY: a map.
    let map = unsafe { Map::from_address(map) };
    let known = if map.holds_devices() { VERDICT | BROADCAST | EXCLUDE_INGRESS } else { VERDICT };
    if flags & !known != 0 {
        return Ok(XDP_ABORTED);
    }
    let exists = map.lookup(&(key as u32).to_le_bytes()).is_some();
    if !exists && flags & BROADCAST == 0 {
        return Ok(flags & VERDICT);
    }
    let map = map.name().clone();
    current(|env| env.set_redirect(Redirect::Map { map, key, flags }));
    Ok(XDP_REDIRECT)
}

/// There are no routes.
unsafe fn fib_lookup([_, parameters, len, flags, _]: Args) -> Outcome {
    if size(len) < FIB_LOOKUP || flags as u32 as u64 & !FIB_FLAGS != 0 {
        return Err(EINVAL);
    }
    // SAFETY: `len` bytes; the family comes first.
    match unsafe { bytes(parameters, 1) }[0] {
        2 | 10 => Ok(FIB_NOT_FORWARDED),
        _ => Err(EAFNOSUPPORT),
    }
}

/// All interfaces exist, and have the same MTU.
unsafe fn check_mtu([context, _, mtu_len, difference, flags]: Args) -> Outcome {
    let is_xdp = env::kind() == ProgramKind::Xdp;
    let known = if is_xdp { 0 } else { MTU_SEGMENTS };
    // SAFETY: a context of the kind of the program that runs, and 4 bytes.
    unsafe {
        let asked = bytes_mut(mtu_len, 4);
        let given = i32::from_le_bytes([asked[0], asked[1], asked[2], asked[3]]);
        let difference = difference as i32;
        let segments = flags & MTU_SEGMENTS != 0;
        if flags & !known != 0 || segments && (difference != 0 || given != 0) {
            return Err(EINVAL);
        }
        let packet = match is_xdp {
            true => (xdp(context).data_end - xdp(context).data) as i32,
            false => skb(context).len as i32,
        };
        let len = if given != 0 { given.wrapping_add(ETHERNET) } else { packet };
        let mtu = current(|env| env.mtu());
        asked.copy_from_slice(&mtu.to_le_bytes());
        // What does not fit in 32 bits wraps, as it does in the kernel.
        let fits = len.wrapping_add(difference) <= (mtu as i32).wrapping_add(ETHERNET);
        Ok(if fits { MTU_FITS } else { MTU_TOO_LARGE })
    }
}

pub(super) static ROWS: &[Row] = rows! {
    13 TC clone_redirect;
    23 PACKET redirect;
    51 XDP redirect_map;
    69 PACKET fib_lookup;
    152 TC redirect_neigh;
    155 TC redirect_peer;
    163 PACKET check_mtu;
};
