//! What helpers need to know of a packet's headers.

use super::checksum::{add, updated};
use super::skb::place;
use super::{bytes, bytes_mut};
use crate::ctx::SkBuff;

const FRAGMENT_OFFSET: u16 = 0x1fff;
/// Protocols whose headers start with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// A number for the packet's flow: the same for packets with the same
/// addresses, protocol and ports, and never 0. (The kernel's is keyed with a
/// random number.)
pub(super) fn hash(skb: &SkBuff) -> u32 {
    let start = skb.network_header.min(skb.data_end);
    // SAFETY: the packet reaches from its headers to data_end, and nobody else
    // uses it during a call of a helper.
    let packet = unsafe { bytes(start, (skb.data_end - start) as usize) };
    let mut hash = 0x811c_9dc5;
    for byte in flow(skb.protocol, packet) {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    hash.max(1)
}

/// The bytes that tell a flow from others.
fn flow(protocol: u32, packet: &[u8]) -> impl Iterator<Item = &u8> {
    let empty: &[u8] = &[];
    let at = |range: std::ops::Range<usize>| packet.get(range).unwrap_or(empty);
    let (addresses, next, header) = match (protocol, packet) {
        (SkBuff::IPV4, [first, ..]) if packet.len() >= 20 => {
            let fragment = u16::from_be_bytes([packet[6], packet[7]]) & FRAGMENT_OFFSET != 0;
            let length = 4 * usize::from(first & 15);
            (at(12..20), at(9..10), if fragment { usize::MAX } else { length })
        }
        (SkBuff::IPV6, _) if packet.len() >= 40 => (at(8..40), at(6..7), 40),
        _ => (empty, empty, usize::MAX),
    };
    let has_ports = next.first().is_some_and(|next| WITH_PORTS.contains(next));
    let ports = match header.checked_add(4) {
        Some(end) if has_ports => at(header..end),
        _ => empty,
    };
    addresses.iter().chain(next).chain(ports)
}

/// Marks a packet that can be marked as having met congestion, and says whether
/// it is marked.
pub(super) fn mark_congestion(skb: &mut SkBuff) -> bool {
    const MARK: u8 = 3;
    let len = match skb.protocol {
        SkBuff::IPV4 => 20,
        SkBuff::IPV6 => 40,
        _ => return false,
    };
    let offset = skb.network_header.wrapping_sub(skb.data);
    let Some(address) = place(skb, offset, len) else {
        return false;
    };
    // SAFETY: the header lies there, and nobody else uses it during a call of a
    // helper.
    let header = unsafe { bytes_mut(address, len as usize) };
    if len == 40 {
        // The two bits stand in the upper half of the second byte.
        let marked = header[1] >> 4 & MARK != 0;
        header[1] |= if marked { MARK << 4 } else { 0 };
        return marked;
    }
    let old = u16::from_le_bytes([header[0], header[1]]);
    if header[1] & MARK == 0 {
        return false;
    }
    header[1] |= MARK;
    let new = u16::from_le_bytes([header[0], header[1]]);
    let sum = u16::from_le_bytes([header[10], header[11]]);
    let sum = updated(sum, add(!u32::from(old), new.into()));
    header[10..12].copy_from_slice(&sum.to_le_bytes());
    true
}
