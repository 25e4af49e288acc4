//! Helpers that change a socket buffer's length: at its ends, and by tags of
//! virtual networks. (After its headers: `room`.)

use super::skb::skb;
use super::{Args, Outcome, Row, bytes_mut, copy_bytes, rows, size};
use crate::ctx::SkBuff;
use crate::errno::{EINVAL, ENOMEM, ENOTSUPP};

/// Most bytes of a packet (the kernel's `SKB_MAX_ALLOC`).
pub(super) const MAX_LEN: u64 = 16064;
/// Bytes of two Ethernet addresses, and of a tag.
const ADDRESSES: u64 = 12;
const TAG: u64 = 4;
/// Types of tags, in network order.
const VLAN: u32 = 0x0081;
const SERVICE_VLAN: u32 = 0xa888;

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
    pub(super) fn network_offset(&self) -> u64 {
        self.network_header.saturating_sub(self.data)
    }

    /// Makes room of `len` bytes, zeros, after the first `keep` bytes.
    pub(super) fn grow(&mut self, keep: u64, len: u64) -> Result<(), i64> {
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
    pub(super) fn shrink(&mut self, keep: u64, len: u64) {
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
    if skb.is_encapsulated {
        return Err(ENOTSUPP);
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
    let kind = [bytes[4], bytes[5]];
    skb.shrink(ADDRESSES, TAG);
    let start = ADDRESSES + 2;
    // SAFETY: as above.
    let rest = unsafe { super::bytes(skb.data + start, (u64::from(skb.len) - start) as usize) };
    skb.protocol = SkBuff::protocol_of(kind, rest);
    skb.network_header = skb.data + ADDRESSES + 2;
    Ok(Some(tag))
}

pub(super) static ROWS: &[Row] = rows! {
    18 TC skb_vlan_push;
    19 TC skb_vlan_pop;
    38 WRITERS skb_change_tail;
    43 WRITERS skb_change_head;
};
