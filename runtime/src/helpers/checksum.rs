//! Internet checksums (RFC 1071) and the helpers that keep them right.
//!
//! Sums are of words as they lie in memory; byte order does not matter to one's
//! complement sums as long as it is the same for all. Packets here carry no sum
//! of a network card's, which is what `csum_update` and `csum_level` are about.

use super::skb::{place, skb};
use super::{Args, Outcome, Row, bytes, bytes_mut, rows, size};
use crate::errno::{EACCES, EFAULT, EINVAL, ENOTSUPP};

/// Bits of the flags that hold the size of the changed field.
const FIELD_SIZE: u64 = 0xf;
/// The field is part of the pseudo header.
const PSEUDO_HEADER: u64 = 0x10;
/// A sum of 0 means that there is none.
const ZERO_IS_NONE: u64 = 0x20;
/// Sum all the same.
const ENFORCE: u64 = 0x40;
/// The pseudo header is IPv6's.
const IPV6: u64 = 0x80;
/// What is asked of `csum_level`: how many sums are known to be right.
const QUERY_LEVEL: u64 = 0;
const INCREMENT_LEVEL: u64 = 1;
const RESET_LEVEL: u64 = 3;

/// One's complement addition.
pub(super) fn add(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u32::from(carry)
}

/// One's complement sum of 32-bit words, the last filled up with zeros; 0 only
/// if everything is.
fn sum(bytes: &[u8], seed: u32) -> u32 {
    let (words, rest) = bytes.as_chunks();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain(std::iter::once(&last));
    words.map(|word| u32::from_le_bytes(*word)).fold(seed, add)
}

/// The 16 bits that stand for a sum of 32.
fn fold(sum: u32) -> u16 {
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// A header's checksum after a change whose sum is `difference`.
pub(super) fn updated(checksum: u16, difference: u32) -> u16 {
    !fold(add(difference, !u32::from(checksum)))
}

/// The difference that replacing `from` by `to` makes to a sum. As in the kernel
/// since 6.13 it is folded to 16 bits, and sizes need not be multiples of 4.
unsafe fn csum_diff([from, from_size, to, to_size, seed]: Args) -> Outcome {
    let (from_size, to_size, seed) = (size(from_size), size(to_size), seed as u32);
    // SAFETY: a verified program passes buffers of these sizes.
    let (from, to) = unsafe { (bytes(from, from_size), bytes(to, to_size)) };
    let sum = match (from.is_empty(), to.is_empty()) {
        (false, false) => add(sum(to, seed), !sum(from, 0)),
        (true, false) => sum(to, seed),
        (false, true) => !sum(from, !seed),
        (true, true) => seed,
    };
    Ok(fold(sum).into())
}

/// The difference that a change of one field makes.
fn difference(from: u64, to: u64, flags: u64) -> Result<u32, i64> {
    match flags & FIELD_SIZE {
        0 if from == 0 => Ok(to as u32),
        2 => Ok(add(!u32::from(from as u16), u32::from(to as u16))),
        4 => Ok(add(!(from as u32), to as u32)),
        _ => Err(EINVAL),
    }
}

/// A checksum in a packet.
///
/// # Safety
/// `context` must be a socket buffer's, and nobody may hold references to the packet.
unsafe fn checksum_at<'a>(context: u64, offset: u64) -> Result<&'a mut [u8], i64> {
    if offset as u32 > 0xffff || offset & 1 != 0 {
        return Err(EFAULT);
    }
    // SAFETY: as above.
    unsafe { Ok(bytes_mut(place(skb(context), offset, 2).ok_or(EFAULT)?, 2)) }
}

unsafe fn l3_csum_replace([context, offset, from, to, flags]: Args) -> Outcome {
    if flags & !FIELD_SIZE != 0 {
        return Err(EINVAL);
    }
    // SAFETY: a verified program passes its context.
    let place = unsafe { checksum_at(context, offset)? };
    let checksum = u16::from_le_bytes([place[0], place[1]]);
    let checksum = updated(checksum, difference(from, to, flags)?);
    place.copy_from_slice(&checksum.to_le_bytes());
    Ok(0)
}

unsafe fn l4_csum_replace([context, offset, from, to, flags]: Args) -> Outcome {
    if flags & !(FIELD_SIZE | PSEUDO_HEADER | ZERO_IS_NONE | ENFORCE | IPV6) != 0 {
        return Err(EINVAL);
    }
    // SAFETY: a verified program passes its context.
    let place = unsafe { checksum_at(context, offset)? };
    let checksum = u16::from_le_bytes([place[0], place[1]]);
    let zero_is_none = flags & ZERO_IS_NONE != 0;
    if zero_is_none && flags & ENFORCE == 0 && checksum == 0 {
        return Ok(0);
    }
    let mut checksum = updated(checksum, difference(from, to, flags)?);
    if zero_is_none && checksum == 0 {
        checksum = 0xffff;
    }
    place.copy_from_slice(&checksum.to_le_bytes());
    Ok(0)
}

unsafe fn csum_update(_: Args) -> Outcome {
    Err(ENOTSUPP)
}

unsafe fn csum_level([_, level, ..]: Args) -> Outcome {
    match level {
        QUERY_LEVEL => Err(EACCES),
        INCREMENT_LEVEL..=RESET_LEVEL => Ok(0),
        _ => Err(EINVAL),
    }
}

pub(super) static ROWS: &[Row] = rows! {
    10 WRITERS l3_csum_replace;
    11 WRITERS l4_csum_replace;
    28 ANY csum_diff;
    40 WRITERS csum_update;
    135 WRITERS csum_level;
};
