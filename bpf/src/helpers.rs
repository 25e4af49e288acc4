//! What helpers take, return and do, one row each.
//!
//! The rows follow the kernel's own declarations of its helpers, with two
//! differences. Where the kernel takes any number and then reads the memory at
//! it (`probe_read` and its kin, the arguments of `trace_printk`), the row says
//! so, because it may be the frame's. And the effects are those that matter for
//! keeping memory accesses in order: releasing an object counts as a write,
//! since no access may move past it.

use crate::Size;
use crate::cfg::TAIL_CALL;

/// A row of the table.
#[derive(Debug)]
pub struct Helper {
    /// Its number in the eBPF ABI; 0 in the row for unknown helpers.
    pub id: u32,
    /// Name without the `bpf_` prefix.
    pub name: &'static str,
    /// What it takes in R1 and up.
    pub args: &'static [Arg],
    /// What it returns.
    pub returns: Returns,
    /// What it does to memory that programs can see.
    pub effect: Effect,
}

/// What a helper takes in one register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arg {
    /// A number, or an address that the helper does not follow.
    Number,
    /// The size of another argument's memory.
    Size {
        /// Whether it may be zero.
        zero: bool,
    },
    /// The program's context.
    Context,
    /// An object that is no plain memory: a socket, a record, a timer, a lock.
    Object,
    /// A map.
    Map,
    /// Memory that the helper accesses during the call; null where a size may
    /// be zero.
    Memory {
        /// How it is accessed.
        access: Access,
        /// How far, from the pointer upwards.
        extent: Extent,
    },
    /// Memory that the helper keeps the address of.
    Kept,
    /// A function that the helper calls.
    Callback {
        /// The number (1 to 5) of its argument in which it gets the
        /// [`Arg::CallbackArg`]; 0 if there is none.
        passed: u8,
    },
    /// A pointer, often null, that the callback gets.
    CallbackArg,
}

/// How a helper accesses memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the names are the documentation
pub enum Access {
    Read,
    Write,
    Update,
}

/// How many bytes a helper accesses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// The key size of the map among the arguments.
    Key,
    /// The value size of the map among the arguments.
    Value,
    /// This many.
    Bytes(u32),
    /// What the argument of this number (1 to 5) says.
    Argument(u8),
    /// Not known.
    Unknown,
}

/// What a helper returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Returns {
    /// A number.
    Number,
    /// A pointer into a map's value, or null.
    Value,
    /// A pointer to something else, or null.
    Object,
    /// Nothing of use.
    Nothing,
}

/// What a helper does to memory that programs can see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effect {
    /// May read it.
    pub reads: bool,
    /// May write it, or take it away.
    pub writes: bool,
    /// Packet pointers are invalid afterwards.
    pub moves_packet: bool,
}

impl Arg {
    /// Whether it is the pointer that a callback gets.
    pub fn is_passed_on(&self) -> bool {
        *self == Arg::CallbackArg
    }
}

impl Helper {
    /// Whether it may keep an address that it is given, or hand it to a function
    /// of the program; so may one that is not known.
    pub fn keeps_addresses(&self) -> bool {
        let keeps = |arg: &Arg| matches!(arg, Arg::Kept | Arg::Callback { .. });
        self.id == 0 || self.args.iter().any(keeps)
    }

    /// How many of R1 to R5 it reads.
    pub fn arity(&self) -> u8 {
        self.args.len() as u8
    }

    /// The position of the map among its arguments, from 0.
    pub fn map_arg(&self) -> Option<usize> {
        self.args.iter().position(|arg| *arg == Arg::Map)
    }
}

/// R0 after a call through a register that holds no number of a helper that the
/// program may call: -EINVAL. The tail call is no helper, and has no address.
pub const NO_HELPER: u64 = -22i64 as u64;

/// The helper that a number in a register can mean.
pub fn by_number(number: u64) -> Option<u32> {
    let id = u32::try_from(number).ok()?;
    (id < PACKET_LOAD && id != TAIL_CALL).then_some(id)
}

/// The row of a helper. One that is not in the table takes five arguments and
/// may do anything with them.
pub fn helper(id: u32) -> &'static Helper {
    find(id).unwrap_or(&UNKNOWN)
}

/// The row of a helper of which nothing is known.
pub fn unknown() -> &'static Helper {
    &UNKNOWN
}

/// The row of a helper, if it is in the table.
pub fn find(id: u32) -> Option<&'static Helper> {
    if id >= PACKET_LOAD {
        return PACKET_LOADS.get((id - PACKET_LOAD) as usize);
    }
    // The rows are numbered from 1 without gaps.
    let row = HELPERS.get((id as usize).checked_sub(1)?)?;
    debug_assert_eq!(row.id, id);
    Some(row)
}

/// Number of the first of three rows that are no helpers of the eBPF ABI: what
/// `LD_ABS` and `LD_IND` call to load one, two or four bytes. They take the
/// context and an offset, and return a number in host order, or a negative one
/// where the packet has no such bytes.
pub const PACKET_LOAD: u32 = 0x8000_0000;

/// The number of the row that loads `size` bytes of the packet.
pub fn packet_load(size: Size) -> u32 {
    PACKET_LOAD + size as u32
}

static PACKET_LOADS: [Helper; 3] = [
    packet_load_row(0, "packet_load_8"),
    packet_load_row(1, "packet_load_16"),
    packet_load_row(2, "packet_load_32"),
];

const fn packet_load_row(index: u32, name: &'static str) -> Helper {
    let effect = Effect { reads: true, writes: false, moves_packet: false };
    Helper {
        id: PACKET_LOAD + index,
        name,
        args: &[Arg::Context, Arg::Number],
        returns: Returns::Number,
        effect,
    }
}

static UNKNOWN: Helper =
    Helper { id: 0, name: "unknown", args: &[Arg::Kept; 5], returns: Returns::Object, effect: PKT };

const NUM: Arg = Arg::Number;
const SIZE: Arg = Arg::Size { zero: false };
const SIZE0: Arg = Arg::Size { zero: true };
const CTX: Arg = Arg::Context;
const OBJ: Arg = Arg::Object;
const MAP: Arg = Arg::Map;
const PASSED: Arg = Arg::CallbackArg;
const KEPT: Arg = Arg::Kept;
const KEY: Arg = memory(Access::Read, Extent::Key);
const VALUE: Arg = memory(Access::Read, Extent::Value);
const VALUE_OUT: Arg = memory(Access::Write, Extent::Value);
/// A callback that gets the passed pointer in this argument.
const fn func(passed: u8) -> Arg {
    Arg::Callback { passed }
}

/// A string that ends where it ends, or a number.
const TEXT: Arg = memory(Access::Read, Extent::Unknown);

const fn memory(access: Access, extent: Extent) -> Arg {
    Arg::Memory { access, extent }
}

/// Memory with its size in another argument.
const fn read(size: u8) -> Arg {
    memory(Access::Read, Extent::Argument(size))
}

const fn write(size: u8) -> Arg {
    memory(Access::Write, Extent::Argument(size))
}

const fn update(size: u8) -> Arg {
    memory(Access::Update, Extent::Argument(size))
}

/// Memory of a fixed size.
const fn read_bytes(bytes: u32) -> Arg {
    memory(Access::Read, Extent::Bytes(bytes))
}

const fn write_bytes(bytes: u32) -> Arg {
    memory(Access::Write, Extent::Bytes(bytes))
}

const fn update_bytes(bytes: u32) -> Arg {
    memory(Access::Update, Extent::Bytes(bytes))
}

const fn effect(reads: bool, writes: bool, moves_packet: bool) -> Effect {
    Effect { reads, writes, moves_packet }
}

const NONE: Effect = effect(false, false, false);
const R: Effect = effect(true, false, false);
const W: Effect = effect(false, true, false);
const RW: Effect = effect(true, true, false);
const PKT: Effect = effect(true, true, true);

macro_rules! helpers {
    ($($id:literal $name:tt($($arg:expr),*) -> $returns:ident, $effect:ident;)*) => {
        &[$(Helper {
            id: $id,
            name: stringify!($name),
            args: &[$($arg),*],
            returns: Returns::$returns,
            effect: $effect,
        },)*]
    };
}

static HELPERS: &[Helper] = helpers! {
    1 map_lookup_elem(MAP, KEY) -> Value, R;
    2 map_update_elem(MAP, KEY, VALUE, NUM) -> Number, RW;
    3 map_delete_elem(MAP, KEY) -> Number, RW;
    4 probe_read(write(2), SIZE0, read(2)) -> Number, RW;
    5 ktime_get_ns() -> Number, NONE;
    6 trace_printk(read(2), SIZE, TEXT, TEXT, TEXT) -> Number, R;
    7 get_prandom_u32() -> Number, NONE;
    8 get_smp_processor_id() -> Number, NONE;
    9 skb_store_bytes(CTX, NUM, read(4), SIZE, NUM) -> Number, PKT;
    10 l3_csum_replace(CTX, NUM, NUM, NUM, NUM) -> Number, PKT;
    11 l4_csum_replace(CTX, NUM, NUM, NUM, NUM) -> Number, PKT;
    12 tail_call(CTX, MAP, NUM) -> Number, PKT;
    13 clone_redirect(CTX, NUM, NUM) -> Number, PKT;
    14 get_current_pid_tgid() -> Number, NONE;
    15 get_current_uid_gid() -> Number, NONE;
    16 get_current_comm(write(2), SIZE) -> Number, W;
    17 get_cgroup_classid(CTX) -> Number, R;
    18 skb_vlan_push(CTX, NUM, NUM) -> Number, PKT;
    19 skb_vlan_pop(CTX) -> Number, PKT;
    20 skb_get_tunnel_key(CTX, write(3), SIZE, NUM) -> Number, RW;
    21 skb_set_tunnel_key(CTX, read(3), SIZE, NUM) -> Number, RW;
    22 perf_event_read(MAP, NUM) -> Number, R;
    23 redirect(NUM, NUM) -> Number, NONE;
    24 get_route_realm(CTX) -> Number, R;
    25 perf_event_output(CTX, MAP, NUM, read(5), SIZE0) -> Number, R;
    26 skb_load_bytes(CTX, NUM, write(4), SIZE) -> Number, RW;
    27 get_stackid(CTX, MAP, NUM) -> Number, RW;
    28 csum_diff(read(2), SIZE0, read(4), SIZE0, NUM) -> Number, R;
    29 skb_get_tunnel_opt(CTX, write(3), SIZE) -> Number, RW;
    30 skb_set_tunnel_opt(CTX, read(3), SIZE) -> Number, RW;
    31 skb_change_proto(CTX, NUM, NUM) -> Number, PKT;
    32 skb_change_type(CTX, NUM) -> Number, RW;
    33 skb_under_cgroup(CTX, MAP, NUM) -> Number, R;
    34 get_hash_recalc(CTX) -> Number, RW;
    35 get_current_task() -> Number, NONE;
    36 probe_write_user(NUM, read(3), SIZE) -> Number, RW;
    37 current_task_under_cgroup(MAP, NUM) -> Number, R;
    38 skb_change_tail(CTX, NUM, NUM) -> Number, PKT;
    39 skb_pull_data(CTX, NUM) -> Number, PKT;
    40 csum_update(CTX, NUM) -> Number, RW;
    41 set_hash_invalid(CTX) -> Nothing, RW;
    42 get_numa_node_id() -> Number, NONE;
    43 skb_change_head(CTX, NUM, NUM) -> Number, PKT;
    44 xdp_adjust_head(CTX, NUM) -> Number, PKT;
    45 probe_read_str(write(2), SIZE0, read(2)) -> Number, RW;
    46 get_socket_cookie(CTX) -> Number, RW;
    47 get_socket_uid(CTX) -> Number, R;
    48 set_hash(CTX, NUM) -> Number, RW;
    49 setsockopt(CTX, NUM, NUM, read(5), SIZE) -> Number, RW;
    50 skb_adjust_room(CTX, NUM, NUM, NUM) -> Number, PKT;
    51 redirect_map(MAP, NUM, NUM) -> Number, R;
    52 sk_redirect_map(CTX, MAP, NUM, NUM) -> Number, RW;
    53 sock_map_update(CTX, MAP, KEY, NUM) -> Number, RW;
    54 xdp_adjust_meta(CTX, NUM) -> Number, PKT;
    55 perf_event_read_value(MAP, NUM, write(4), SIZE) -> Number, RW;
    56 perf_prog_read_value(CTX, write(3), SIZE) -> Number, RW;
    57 getsockopt(CTX, NUM, NUM, write(5), SIZE) -> Number, RW;
    58 override_return(CTX, NUM) -> Number, RW;
    59 sock_ops_cb_flags_set(CTX, NUM) -> Number, RW;
    60 msg_redirect_map(CTX, MAP, NUM, NUM) -> Number, RW;
    61 msg_apply_bytes(CTX, NUM) -> Number, RW;
    62 msg_cork_bytes(CTX, NUM) -> Number, RW;
    63 msg_pull_data(CTX, NUM, NUM, NUM) -> Number, PKT;
    64 bind(CTX, read(3), SIZE) -> Number, RW;
    65 xdp_adjust_tail(CTX, NUM) -> Number, PKT;
    66 skb_get_xfrm_state(CTX, NUM, write(4), SIZE, NUM) -> Number, RW;
    67 get_stack(CTX, write(3), SIZE0, NUM) -> Number, RW;
    68 skb_load_bytes_relative(CTX, NUM, write(4), SIZE, NUM) -> Number, RW;
    69 fib_lookup(CTX, update(3), SIZE, NUM) -> Number, RW;
    70 sock_hash_update(CTX, MAP, KEY, NUM) -> Number, RW;
    71 msg_redirect_hash(CTX, MAP, KEY, NUM) -> Number, RW;
    72 sk_redirect_hash(CTX, MAP, KEY, NUM) -> Number, RW;
    73 lwt_push_encap(CTX, NUM, read(4), SIZE) -> Number, PKT;
    74 lwt_seg6_store_bytes(CTX, NUM, read(4), SIZE) -> Number, PKT;
    75 lwt_seg6_adjust_srh(CTX, NUM, NUM) -> Number, PKT;
    76 lwt_seg6_action(CTX, NUM, read(4), SIZE) -> Number, PKT;
    77 rc_repeat(CTX) -> Number, R;
    78 rc_keydown(CTX, NUM, NUM, NUM) -> Number, R;
    79 skb_cgroup_id(CTX) -> Number, R;
    80 get_current_cgroup_id() -> Number, NONE;
    81 get_local_storage(MAP, NUM) -> Value, R;
    82 sk_select_reuseport(CTX, MAP, KEY, NUM) -> Number, RW;
    83 skb_ancestor_cgroup_id(CTX, NUM) -> Number, R;
    84 sk_lookup_tcp(CTX, read(3), SIZE, NUM, NUM) -> Object, R;
    85 sk_lookup_udp(CTX, read(3), SIZE, NUM, NUM) -> Object, R;
    86 sk_release(OBJ) -> Number, RW;
    87 map_push_elem(MAP, VALUE, NUM) -> Number, RW;
    88 map_pop_elem(MAP, VALUE_OUT) -> Number, RW;
    89 map_peek_elem(MAP, VALUE_OUT) -> Number, RW;
    90 msg_push_data(CTX, NUM, NUM, NUM) -> Number, PKT;
    91 msg_pop_data(CTX, NUM, NUM, NUM) -> Number, PKT;
    92 rc_pointer_rel(CTX, NUM, NUM) -> Number, R;
    93 spin_lock(OBJ) -> Nothing, RW;
    94 spin_unlock(OBJ) -> Nothing, RW;
    95 sk_fullsock(OBJ) -> Object, R;
    96 tcp_sock(OBJ) -> Object, R;
    97 skb_ecn_set_ce(CTX) -> Number, RW;
    98 get_listener_sock(OBJ) -> Object, R;
    99 skc_lookup_tcp(CTX, read(3), SIZE, NUM, NUM) -> Object, R;
    100 tcp_check_syncookie(OBJ, read(3), SIZE, read(5), SIZE) -> Number, R;
    101 sysctl_get_name(CTX, write(3), SIZE, NUM) -> Number, RW;
    102 sysctl_get_current_value(CTX, write(3), SIZE) -> Number, RW;
    103 sysctl_get_new_value(CTX, write(3), SIZE) -> Number, RW;
    104 sysctl_set_new_value(CTX, read(3), SIZE) -> Number, RW;
    105 strtol(read(2), SIZE, NUM, write_bytes(8)) -> Number, RW;
    106 strtoul(read(2), SIZE, NUM, write_bytes(8)) -> Number, RW;
    107 sk_storage_get(MAP, OBJ, VALUE, NUM) -> Value, RW;
    108 sk_storage_delete(MAP, OBJ) -> Number, RW;
    109 send_signal(NUM) -> Number, NONE;
    110 tcp_gen_syncookie(OBJ, read(3), SIZE, read(5), SIZE) -> Number, R;
    111 skb_output(OBJ, MAP, NUM, read(5), SIZE0) -> Number, R;
    112 probe_read_user(write(2), SIZE0, read(2)) -> Number, RW;
    113 probe_read_kernel(write(2), SIZE0, read(2)) -> Number, RW;
    114 probe_read_user_str(write(2), SIZE0, read(2)) -> Number, RW;
    115 probe_read_kernel_str(write(2), SIZE0, read(2)) -> Number, RW;
    116 tcp_send_ack(OBJ, NUM) -> Number, R;
    117 send_signal_thread(NUM) -> Number, NONE;
    118 jiffies64() -> Number, NONE;
    119 read_branch_records(CTX, write(3), SIZE0, NUM) -> Number, RW;
    120 get_ns_current_pid_tgid(NUM, NUM, write(4), SIZE) -> Number, W;
    121 xdp_output(OBJ, MAP, NUM, read(5), SIZE0) -> Number, R;
    122 get_netns_cookie(CTX) -> Number, R;
    123 get_current_ancestor_cgroup_id(NUM) -> Number, NONE;
    124 sk_assign(CTX, OBJ, NUM) -> Number, RW;
    125 ktime_get_boot_ns() -> Number, NONE;
    126 seq_printf(OBJ, read(3), SIZE, read(5), SIZE0) -> Number, R;
    127 seq_write(OBJ, read(3), SIZE0) -> Number, R;
    128 sk_cgroup_id(OBJ) -> Number, R;
    129 sk_ancestor_cgroup_id(OBJ, NUM) -> Number, R;
    130 ringbuf_output(MAP, read(3), SIZE0, NUM) -> Number, R;
    131 ringbuf_reserve(MAP, NUM, NUM) -> Object, NONE;
    132 ringbuf_submit(OBJ, NUM) -> Nothing, RW;
    133 ringbuf_discard(OBJ, NUM) -> Nothing, RW;
    134 ringbuf_query(MAP, NUM) -> Number, NONE;
    135 csum_level(CTX, NUM) -> Number, RW;
    136 skc_to_tcp6_sock(OBJ) -> Object, R;
    137 skc_to_tcp_sock(OBJ) -> Object, R;
    138 skc_to_tcp_timewait_sock(OBJ) -> Object, R;
    139 skc_to_tcp_request_sock(OBJ) -> Object, R;
    140 skc_to_udp6_sock(OBJ) -> Object, R;
    141 get_task_stack(OBJ, write(3), SIZE0, NUM) -> Number, RW;
    142 load_hdr_opt(CTX, update(3), SIZE, NUM) -> Number, RW;
    143 store_hdr_opt(CTX, read(3), SIZE, NUM) -> Number, PKT;
    144 reserve_hdr_opt(CTX, NUM, NUM) -> Number, RW;
    145 inode_storage_get(MAP, OBJ, VALUE, NUM) -> Value, RW;
    146 inode_storage_delete(MAP, OBJ) -> Number, RW;
    147 d_path(OBJ, write(3), SIZE0) -> Number, RW;
    148 copy_from_user(write(2), SIZE0, read(2)) -> Number, RW;
    149 snprintf_btf(write(2), SIZE, read(4), SIZE, NUM) -> Number, RW;
    150 seq_printf_btf(OBJ, read(3), SIZE0, NUM) -> Number, R;
    151 skb_cgroup_classid(CTX) -> Number, R;
    152 redirect_neigh(NUM, read(3), SIZE0, NUM) -> Number, R;
    153 per_cpu_ptr(OBJ, NUM) -> Object, NONE;
    154 this_cpu_ptr(OBJ) -> Object, NONE;
    155 redirect_peer(NUM, NUM) -> Number, NONE;
    156 task_storage_get(MAP, OBJ, VALUE, NUM) -> Value, RW;
    157 task_storage_delete(MAP, OBJ) -> Number, RW;
    158 get_current_task_btf() -> Object, NONE;
    159 bprm_opts_set(OBJ, NUM) -> Number, RW;
    160 ktime_get_coarse_ns() -> Number, NONE;
    161 ima_inode_hash(OBJ, write(3), SIZE) -> Number, RW;
    162 sock_from_file(OBJ) -> Object, R;
    163 check_mtu(CTX, NUM, update_bytes(4), NUM, NUM) -> Number, RW;
    164 for_each_map_elem(MAP, func(4), PASSED, NUM) -> Number, RW;
    165 snprintf(write(2), SIZE0, TEXT, read(5), SIZE0) -> Number, RW;
    166 sys_bpf(NUM, update(3), SIZE) -> Number, RW;
    167 btf_find_by_name_kind(read(2), SIZE, NUM, NUM) -> Number, R;
    168 sys_close(NUM) -> Number, NONE;
    169 timer_init(OBJ, MAP, NUM) -> Number, RW;
    170 timer_set_callback(OBJ, func(0)) -> Number, RW;
    171 timer_start(OBJ, NUM, NUM) -> Number, RW;
    172 timer_cancel(OBJ) -> Number, RW;
    173 get_func_ip(CTX) -> Number, R;
    174 get_attach_cookie(CTX) -> Number, R;
    175 task_pt_regs(OBJ) -> Object, R;
    176 get_branch_snapshot(write(2), SIZE0, NUM) -> Number, W;
    177 trace_vprintk(read(2), SIZE, read(4), SIZE0) -> Number, R;
    178 skc_to_unix_sock(OBJ) -> Object, R;
    179 kallsyms_lookup_name(read(2), SIZE0, NUM, write_bytes(8)) -> Number, RW;
    180 find_vma(OBJ, NUM, func(3), PASSED, NUM) -> Number, RW;
    181 loop(NUM, func(2), PASSED, NUM) -> Number, RW;
    182 strncmp(read(2), SIZE, TEXT) -> Number, R;
    183 get_func_arg(CTX, NUM, write_bytes(8)) -> Number, RW;
    184 get_func_ret(CTX, write_bytes(8)) -> Number, RW;
    185 get_func_arg_cnt(CTX) -> Number, R;
    186 get_retval() -> Number, R;
    187 set_retval(NUM) -> Number, W;
    188 xdp_get_buff_len(CTX) -> Number, R;
    189 xdp_load_bytes(CTX, NUM, write(4), SIZE) -> Number, RW;
    190 xdp_store_bytes(CTX, NUM, read(4), SIZE) -> Number, RW;
    191 copy_from_user_task(write(2), SIZE0, read(2), OBJ, NUM) -> Number, RW;
    192 skb_set_tstamp(CTX, NUM, NUM) -> Number, RW;
    193 ima_file_hash(OBJ, write(3), SIZE) -> Number, RW;
    194 kptr_xchg(OBJ, OBJ) -> Object, RW;
    195 map_lookup_percpu_elem(MAP, KEY, NUM) -> Value, R;
    196 skc_to_mptcp_sock(OBJ) -> Object, R;
    197 dynptr_from_mem(KEPT, SIZE0, NUM, write_bytes(16)) -> Number, RW;
    198 ringbuf_reserve_dynptr(MAP, NUM, NUM, write_bytes(16)) -> Number, RW;
    199 ringbuf_submit_dynptr(update_bytes(16), NUM) -> Nothing, RW;
    200 ringbuf_discard_dynptr(update_bytes(16), NUM) -> Nothing, RW;
    201 dynptr_read(write(2), SIZE0, read_bytes(16), NUM, NUM) -> Number, RW;
    202 dynptr_write(read_bytes(16), NUM, read(4), SIZE0, NUM) -> Number, RW;
    203 dynptr_data(read_bytes(16), NUM, NUM) -> Object, R;
    204 tcp_raw_gen_syncookie_ipv4(read_bytes(20), read(3), SIZE0) -> Number, R;
    205 tcp_raw_gen_syncookie_ipv6(read_bytes(40), read(3), SIZE0) -> Number, R;
    206 tcp_raw_check_syncookie_ipv4(read_bytes(20), read_bytes(20)) -> Number, R;
    207 tcp_raw_check_syncookie_ipv6(read_bytes(40), read_bytes(20)) -> Number, R;
    208 ktime_get_tai_ns() -> Number, NONE;
    209 user_ringbuf_drain(MAP, func(2), PASSED, NUM) -> Number, RW;
    210 cgrp_storage_get(MAP, OBJ, VALUE, NUM) -> Value, RW;
    211 cgrp_storage_delete(MAP, OBJ) -> Number, RW;
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_at_their_numbers() {
        for (index, row) in HELPERS.iter().enumerate() {
            assert_eq!(row.id as usize, index + 1, "{}", row.name);
            assert_eq!(find(row.id).map(|found| found.name), Some(row.name));
        }
        assert!(find(0).is_none() && find(u32::MAX).is_none());
        assert_eq!(helper(5000).arity(), 5);
        assert_eq!(helper(181).name, "loop");
    }

    #[test]
    fn extents_refer_to_what_is_there() {
        for row in HELPERS {
            for arg in row.args {
                let Arg::Memory { extent, .. } = arg else {
                    continue;
                };
                let fits = match extent {
                    Extent::Key | Extent::Value => row.map_arg().is_some(),
                    Extent::Argument(number) => {
                        let size = row.args.get(usize::from(*number) - 1);
                        matches!(size, Some(Arg::Size { .. }))
                    }
                    Extent::Bytes(bytes) => *bytes > 0,
                    Extent::Unknown => true,
                };
                assert!(fits, "{}", row.name);
            }
        }
    }

    #[test]
    fn effects_cover_the_arguments() {
        for row in HELPERS {
            for arg in row.args {
                let Arg::Memory { access, .. } = arg else {
                    continue;
                };
                let Effect { reads, writes, .. } = row.effect;
                assert!(reads || *access == Access::Write, "{}", row.name);
                assert!(writes || *access == Access::Read, "{}", row.name);
            }
        }
    }
}
