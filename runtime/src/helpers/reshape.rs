//! Helpers that change a socket buffer's length: at its ends, after its
//! Ethernet or network header, and by tags of virtual networks.

use super::skb::skb;
use super::{Args, Outcome, Row, bytes_mut, copy_bytes, rows, size};
use crate::ctx::SkBuff;
use crate::errno::{EFAULT, EINVAL, ENOMEM, ENOTSUPP};

/// Most bytes of a packet (the kernel's `SKB_MAX_ALLOC`).
const MAX_LEN: u64 = 16064;
/// Bytes of two Ethernet addresses, and of a tag.
const ADDRESSES: u64 = 12;
const TAG: u64 = 4;
/// Types of tags, in network order.
const VLAN: u32 = 0x0081;
const SERVICE_VLAN: u32 = 0xa888;

/// Room after the network header, or after the Ethernet header.
const AFTER_NETWORK: u64 = 0;
const AFTER_ETHERNET: u64 = 1;
/// Flags of `skb_adjust_room`: the packet gets an outer header of IPv4 or IPv6,
/// or what is left has one of these.
const ENCAP_IPV4: u64 = 1 << 1;
const ENCAP_IPV6: u64 = 1 << 2;
const DECAP_IPV4: u64 = 1 << 7;
const DECAP_IPV6: u64 = 1 << 8;
const DECAP: u64 = DECAP_IPV4 | DECAP_IPV6;
/// All of them: not changing sizes of segments, tunnels by GRE or UDP, sums left
/// alone, and eight bits of an inner Ethernet header's length.
const ROOM_FLAGS: u64 = 0x1ff | 0xff << 56;

impl SkBuff {
    fn set_end(&mut self, end: u64) {
        self.data_end = end;
        self.len = (end - self.data) as u32;
    }

    fn set_start(&mut self, start: u64) {
        self.data = start;
        self.data_meta = start;
        self.len = (self.data_end - start) as u32;
    }

    /// Bytes from what the program sees to the network header.
    fn network_offset(&self) -> u64 {
        self.network_header.saturating_sub(self.data)
    }

    /// Makes room of `len` bytes, zeros, after the first `keep` bytes.
    fn grow(&mut self, keep: u64, len: u64) -> Result<(), i64> {
        if self.data - self.lowest < len {
            return Err(ENOMEM);
        }
        let start = self.data - len;
        // SAFETY: the bytes before the packet are its own, and there are so many.
        unsafe {
            copy_bytes(self.data, start, keep as usize);
            bytes_mut(start + keep, len as usize).fill(0);
        }
        self.set_start(start);
        self.mac_header = self.mac_header.map(|header| header - len);
        Ok(())
    }

    /// Takes out `len` bytes after the first `keep` bytes.
    fn shrink(&mut self, keep: u64, len: u64) {
        let start = self.data + len;
        // SAFETY: the packet has so many bytes, which the caller saw to.
        unsafe { copy_bytes(self.data, start, keep as usize) };
        self.set_start(start);
        self.mac_header = self.mac_header.map(|header| header + len);
    }
}

// SAFETY of what follows: a verified program passes its context, which is a
// socket buffer's.

unsafe fn skb_change_tail([context, len, flags, ..]: Args) -> Outcome {
    // SAFETY: a context.
    let skb = unsafe { skb(context) };
    let len = u64::from(len as u32);
    if flags != 0 || len > MAX_LEN || len < skb.network_offset() {
        return Err(EINVAL);
    }
    let end = skb.data + len;
    if end > skb.highest {
        return Err(ENOMEM);
    }
    if end > skb.data_end {
        // SAFETY: the bytes behind the packet are its own, up to `highest`.
        unsafe { bytes_mut(skb.data_end, (end - skb.data_end) as usize) }.fill(0);
    }
    skb.set_end(end);
    Ok(0)
}

unsafe fn skb_change_head([context, len, flags, ..]: Args) -> Outcome {
    // SAFETY: a context.
    let skb = unsafe { skb(context) };
    let room = u64::from(len as u32);
    if flags != 0 || len as i32 <= -1 || u64::from(skb.len) + room > MAX_LEN {
        return Err(EINVAL);
    }
    skb.grow(0, room)?;
    skb.mac_header = Some(skb.data);
    Ok(0)
}

unsafe fn skb_adjust_room([context, difference, mode, flags, _]: Args) -> Outcome {
    // SAFETY: a context.
    let skb = unsafe { skb(context) };
    let difference = difference as i32;
    let len = u64::from(difference.unsigned_abs());
    let (own, other) = match skb.protocol {
        SkBuff::IPV4 => (20, SkBuff::IPV6),
        SkBuff::IPV6 => (40, SkBuff::IPV4),
        _ if flags & !ROOM_FLAGS == 0 && len <= 0xfff => return Err(ENOTSUPP),
        _ => (0, 0),
    };
    if flags & !ROOM_FLAGS != 0 {
        return Err(EINVAL);
    }
    if len > 0xfff {
        return Err(EFAULT);
    }
    let keep = match mode as u32 as u64 {
        AFTER_NETWORK => skb.network_offset() + own,
        AFTER_ETHERNET => skb.network_offset(),
        _ => return Err(ENOTSUPP),
    };
    let least = match flags & DECAP {
        0 => own,
        _ if difference >= 0 => return Err(EINVAL),
        DECAP_IPV4 => 20,
        DECAP_IPV6 => 40,
        _ => return Err(EINVAL),
    };
    let behind = u64::from(skb.len).saturating_sub(skb.network_offset());
    if difference < 0 {
        if len >= behind || behind - len < least || keep + len > u64::from(skb.len) {
            return Err(ENOTSUPP);
        }
        skb.shrink(keep, len);
        skb.network_header += len;
        if flags & DECAP != 0 && least != own {
            skb.protocol = other;
        }
        return Ok(0);
    }
    if u64::from(skb.len) + len > MAX_LEN {
        return Err(ENOTSUPP);
    }
    if keep > u64::from(skb.len) {
        return Err(ENOMEM);
    }
    let offset = skb.network_offset();
    skb.grow(keep, len)?;
    skb.network_header = skb.data + offset;
    match flags & (ENCAP_IPV4 | ENCAP_IPV6) {
        ENCAP_IPV4 => skb.protocol = SkBuff::IPV4,
        ENCAP_IPV6 => skb.protocol = SkBuff::IPV6,
        _ => {}
    }
    Ok(0)
}

fn is_tag(protocol: u32) -> bool {
    matches!(protocol, VLAN | SERVICE_VLAN)
}

/// A tag that a packet has already goes into it; the new one stays outside, as
/// for a network card to add.
unsafe fn skb_vlan_push([context, protocol, tag, ..]: Args) -> Outcome {
    // SAFETY: a context.
    let skb = unsafe { skb(context) };
    let protocol = match protocol as u16 as u32 {
        SERVICE_VLAN => SERVICE_VLAN,
        _ => VLAN,
    };
    if skb.vlan_present != 0 {
        if skb.mac_header != Some(skb.data) || u64::from(skb.len) < ADDRESSES {
            return Err(EINVAL);
        }
        skb.grow(ADDRESSES, TAG)?;
        let tag = [skb.vlan_proto.to_le_bytes(), skb.vlan_tci.to_be_bytes()];
        // SAFETY: there are so many bytes now after the addresses.
        let place = unsafe { bytes_mut(skb.data + ADDRESSES, size(TAG)) };
        place.copy_from_slice(&[tag[0][0], tag[0][1], tag[1][2], tag[1][3]]);
        skb.protocol = skb.vlan_proto;
        skb.network_header = skb.data + ADDRESSES + 2;
    }
    (skb.vlan_present, skb.vlan_proto, skb.vlan_tci) = (1, protocol, tag as u16 as u32);
    Ok(0)
}

unsafe fn skb_vlan_pop([context, ..]: Args) -> Outcome {
    // SAFETY: a context.
    let skb = unsafe { skb(context) };
    match skb.vlan_present {
        0 => drop(take_tag(skb)?),
        _ => (skb.vlan_present, skb.vlan_proto, skb.vlan_tci) = (0, 0, 0),
    }
    // The next tag takes the place of the one that went.
    let protocol = skb.protocol;
    if let Some(tag) = take_tag(skb)? {
        (skb.vlan_present, skb.vlan_proto, skb.vlan_tci) = (1, protocol, tag);
    }
    Ok(0)
}

/// Takes a tag out of the packet, if there is one.
fn take_tag(skb: &mut SkBuff) -> Result<Option<u32>, i64> {
    if !is_tag(skb.protocol) {
        return Ok(None);
    }
    if skb.mac_header != Some(skb.data) {
        return Err(EINVAL);
    }
    if u64::from(skb.len) < ADDRESSES + TAG + 2 {
        return Err(ENOMEM);
    }
    // SAFETY: the packet has so many bytes.
    let bytes = unsafe { bytes_mut(skb.data + ADDRESSES, size(TAG + 2)) };
    let tag = u32::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    let protocol = u32::from(u16::from_le_bytes([bytes[4], bytes[5]]));
    skb.shrink(ADDRESSES, TAG);
    skb.protocol = protocol;
    skb.network_header = skb.data + ADDRESSES + 2;
    Ok(Some(tag))
}

pub(super) static ROWS: &[Row] = rows! {
    18 TC skb_vlan_push;
    19 TC skb_vlan_pop;
    38 WRITERS skb_change_tail;
    43 WRITERS skb_change_head;
    50 WRITERS skb_adjust_room;
};
