//! The helpers that run here, as C functions that compiled code calls.
//!
//! A helper trusts its pointer arguments, as the kernel's do: a verifier
//! accepted the program. The interpreter's host checks them beforehand.

use std::collections::BTreeMap;

use crate::env;
use crate::map::Map;
use crate::trace;

/// A helper: up to five 64-bit arguments, one result.
pub type Helper = unsafe extern "C" fn(u64, u64, u64, u64, u64) -> u64;

/// The helpers that programs of a runtime can call, by number. The tail call
/// is not among them: it is an instruction of the compiler's.
#[derive(Clone, Debug)]
pub struct Table(BTreeMap<u32, Helper>);

impl Default for Table {
    /// Those of this module.
    fn default() -> Table {
        Table::empty()
            .with(1, map_lookup_elem)
            .with(2, map_update_elem)
            .with(3, map_delete_elem)
            .with(5, ktime_get_ns)
            .with(6, trace_printk)
            .with(7, get_prandom_u32)
            .with(8, get_smp_processor_id)
            .with(23, redirect)
            .with(28, csum_diff)
    }
}

impl Table {
    /// No helper at all.
    pub fn empty() -> Table {
        Table(BTreeMap::new())
    }

    /// Adds or replaces a helper.
    pub fn with(mut self, number: u32, helper: Helper) -> Table {
        self.0.insert(number, helper);
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, ascending by number.
    pub fn iter(&self) -> impl Iterator<Item = Helper> {
        self.0.values().copied()
    }

    /// The position of a number in that order.
    pub fn position(&self, number: u32) -> Option<usize> {
        self.0.keys().position(|&other| other == number)
    }

    /// The helper with this number in the eBPF ABI.
    pub fn get(&self, number: u32) -> Option<Helper> {
        self.0.get(&number).copied()
    }
}

/// The bytes that a program points to.
///
/// # Safety
/// The program was verified: `len` bytes are readable at `address`.
unsafe fn bytes<'a>(address: u64, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts(address as *const u8, len) }
}

unsafe extern "C" fn map_lookup_elem(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: a verified program passes a map and a key of its size.
    unsafe {
        let map = Map::from_address(map);
        map.lookup(bytes(key, map.key_size())).unwrap_or(0)
    }
}

unsafe extern "C" fn map_update_elem(map: u64, key: u64, value: u64, flags: u64, _: u64) -> u64 {
    // SAFETY: a verified program passes a map, a key and a value of its sizes.
    unsafe {
        let map = Map::from_address(map);
        map.program_update(bytes(key, map.key_size()), bytes(value, map.value_size()), flags) as u64
    }
}

unsafe extern "C" fn map_delete_elem(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: a verified program passes a map and a key of its size.
    unsafe {
        let map = Map::from_address(map);
        map.delete(bytes(key, map.key_size())) as u64
    }
}

unsafe extern "C" fn ktime_get_ns(_: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    env::current(|env| env.now())
}

unsafe extern "C" fn get_prandom_u32(_: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    u64::from(env::current(|env| env.random()))
}

unsafe extern "C" fn get_smp_processor_id(_: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    u64::from(env::current(|env| env.cpu()))
}

unsafe extern "C" fn trace_printk(format: u64, size: u64, a: u64, b: u64, c: u64) -> u64 {
    // SAFETY: a verified program passes a format of `size` bytes.
    let format = unsafe { bytes(format, size as u32 as usize) };
    let text = trace::format(format, [a, b, c]);
    env::current(|env| env.print(&text));
    text.len() as u64
}

/// XDP's form: returns XDP_REDIRECT, or XDP_ABORTED for flags.
unsafe extern "C" fn redirect(ifindex: u64, flags: u64, _: u64, _: u64, _: u64) -> u64 {
    const XDP_ABORTED: u64 = 0;
    const XDP_REDIRECT: u64 = 4;
    if flags != 0 {
        return XDP_ABORTED;
    }
    env::current(|env| env.set_redirect(ifindex as u32));
    XDP_REDIRECT
}

/// The difference that replacing `from` by `to` makes to an internet checksum
/// (RFC 1071), folded to 16 bits as the kernel does since 6.13.
unsafe extern "C" fn csum_diff(from: u64, from_size: u64, to: u64, to_size: u64, seed: u64) -> u64 {
    let (from_size, to_size, seed) = (from_size as u32, to_size as u32, seed as u32);
    if !from_size.is_multiple_of(4) || !to_size.is_multiple_of(4) {
        return -crate::errno::EINVAL as u64;
    }
    // SAFETY: a verified program passes buffers of these sizes.
    let (from, to) = unsafe { (bytes(from, from_size as usize), bytes(to, to_size as usize)) };
    let sum = match (from.is_empty(), to.is_empty()) {
        (false, false) => add(checksum(to, seed), !checksum(from, 0)),
        (true, false) => checksum(to, seed),
        (false, true) => !checksum(from, !seed),
        (true, true) => seed,
    };
    u64::from(sum.wrapping_add(sum.rotate_left(16)) >> 16)
}

/// One's complement sum of 32-bit words; 0 only if everything is.
fn checksum(bytes: &[u8], seed: u32) -> u32 {
    let words = bytes.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
    words.fold(seed, add)
}

/// One's complement addition.
fn add(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u32::from(carry)
}
