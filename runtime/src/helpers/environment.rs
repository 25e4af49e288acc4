//! Helpers on what surrounds a program: time, chance, processor and task.

use super::{Args, Outcome, Row, bytes_mut, rows, size};
use crate::env::current;

/// Nanoseconds of the unit in which `jiffies64` counts: 250 a second.
const JIFFY: u64 = 4_000_000;
/// Bytes of a task's name, the zero at its end included.
const COMM: usize = 16;

// SAFETY of what follows: nothing is asked of the arguments unless said.

unsafe fn ktime_get_ns(_: Args) -> Outcome {
    Ok(current(|env| env.now()))
}

unsafe fn jiffies64(_: Args) -> Outcome {
    Ok(current(|env| env.now()) / JIFFY)
}

unsafe fn get_prandom_u32(_: Args) -> Outcome {
    Ok(current(|env| env.random()).into())
}

unsafe fn get_smp_processor_id(_: Args) -> Outcome {
    Ok(current(|env| env.cpu()).into())
}

unsafe fn get_current_pid_tgid(_: Args) -> Outcome {
    Ok(current(|env| u64::from(env.task().tgid) << 32 | u64::from(env.task().pid)))
}

unsafe fn get_current_uid_gid(_: Args) -> Outcome {
    Ok(current(|env| u64::from(env.task().gid) << 32 | u64::from(env.task().uid)))
}

/// What does not fit is cut; there is always a zero at the end, and zeros behind.
unsafe fn get_current_comm([to, len, ..]: Args) -> Outcome {
    // SAFETY: a verified program passes room for `len` bytes.
    let to = unsafe { bytes_mut(to, size(len)) };
    current(|env| {
        let name = env.task().comm.as_bytes().iter().take(COMM - 1).chain(std::iter::repeat(&0));
        to.iter_mut().zip(name).for_each(|(to, byte)| *to = *byte);
    });
    if let Some(last) = to.last_mut() {
        *last = 0;
    }
    Ok(0)
}

/// Where nothing of the kind exists: the address of a task, the number of a
/// control group, of its class, of a memory node, or of a route's realm.
unsafe fn nothing(_: Args) -> Outcome {
    Ok(0)
}

unsafe fn get_retval(_: Args) -> Outcome {
    Ok(i64::from(current(|env| env.retval())) as u64)
}

unsafe fn set_retval([value, ..]: Args) -> Outcome {
    current(|env| env.set_retval(value as i32));
    Ok(0)
}

pub(super) static ROWS: &[Row] = rows! {
    5 ANY ktime_get_ns;
    7 ANY get_prandom_u32;
    8 ANY get_smp_processor_id;
    14 ANY get_current_pid_tgid;
    15 ANY get_current_uid_gid;
    16 ANY get_current_comm;
    17 SKB nothing; // get_cgroup_classid
    24 SKB nothing; // get_route_realm
    35 ANY nothing; // get_current_task
    42 ANY nothing; // get_numa_node_id
    79 SKB nothing; // skb_cgroup_id
    80 ANY nothing; // get_current_cgroup_id
    83 SKB nothing; // skb_ancestor_cgroup_id
    118 ANY jiffies64;
    123 ANY nothing; // get_current_ancestor_cgroup_id
    125 ANY ktime_get_ns; // ktime_get_boot_ns
    151 SKB nothing; // skb_cgroup_classid
    160 ANY ktime_get_ns; // ktime_get_coarse_ns
    186 CGROUP get_retval;
    187 CGROUP set_retval;
    208 ANY ktime_get_ns; // ktime_get_tai_ns
};
