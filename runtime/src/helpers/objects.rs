//! Helpers on objects: locks, pointers in maps, and sockets, of which there are
//! none. What takes a socket is never reached by a program that looks at what
//! it was given; it is here so that the program runs.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Args, Outcome, Row, rows};
use crate::errno::EINVAL;

/// Tries to take a lock after which another thread gets the processor.
const SPINS: u32 = 100;

// SAFETY of what follows: a verified program passes a lock or a slot in a map's
// value, aligned.

unsafe fn spin_lock([lock, ..]: Args) -> Outcome {
    // SAFETY: a lock of 4 bytes, which is only accessed here.
    let lock = unsafe { AtomicU32::from_ptr(lock as *mut u32) };
    let mut tries = 0;
    while lock.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
        tries += 1;
        match tries % SPINS {
            0 => std::thread::yield_now(),
            _ => std::hint::spin_loop(),
        }
    }
    Ok(0)
}

unsafe fn spin_unlock([lock, ..]: Args) -> Outcome {
    // SAFETY: a lock of 4 bytes, which is only accessed here.
    unsafe { AtomicU32::from_ptr(lock as *mut u32) }.store(0, Ordering::Release);
    Ok(0)
}

unsafe fn kptr_xchg([slot, pointer, ..]: Args) -> Outcome {
    // SAFETY: a slot of 8 bytes that programs change with this helper only.
    Ok(unsafe { AtomicU64::from_ptr(slot as *mut u64) }.swap(pointer, Ordering::AcqRel))
}

/// No socket.
unsafe fn none(_: Args) -> Outcome {
    Ok(0)
}

/// What needs a socket, and has none.
unsafe fn refused(_: Args) -> Outcome {
    Err(EINVAL)
}

pub(super) static ROWS: &[Row] = rows! {
    84 PACKET none; // sk_lookup_tcp
    85 PACKET none; // sk_lookup_udp
    86 PACKET refused; // sk_release
    93 ANY spin_lock;
    94 ANY spin_unlock;
    95 SKB none; // sk_fullsock
    96 SKB none; // tcp_sock
    98 SKB none; // get_listener_sock
    99 PACKET none; // skc_lookup_tcp
    100 PACKET refused; // tcp_check_syncookie
    110 PACKET refused; // tcp_gen_syncookie
    124 TC refused; // sk_assign
    128 SKB none; // sk_cgroup_id
    129 SKB none; // sk_ancestor_cgroup_id
    136 ANY none; // skc_to_tcp6_sock
    137 ANY none; // skc_to_tcp_sock
    138 ANY none; // skc_to_tcp_timewait_sock
    139 ANY none; // skc_to_tcp_request_sock
    140 ANY none; // skc_to_udp6_sock
    194 ANY kptr_xchg;
};
