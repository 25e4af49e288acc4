//! Helpers on an XDP context.

use super::{Args, Outcome, Row, bytes_mut, copy_bytes, rows, size};
use crate::ctx::XdpBuff;
use crate::errno::{EACCES, EFAULT, EINVAL, ENOTSUPP};

/// Bytes of an Ethernet header, which a packet always keeps.
const ETHERNET: u64 = 14;
/// Most bytes of metadata.
const MAX_METADATA: u64 = 255;

/// The context that a program passes.
///
/// # Safety
/// `context` must be XDP's, and there must be no other reference to it.
pub(super) unsafe fn xdp<'a>(context: u64) -> &'a mut XdpBuff {
    // SAFETY: as above.
    unsafe { &mut *(context as *mut XdpBuff) }
}

/// An address moved by a signed 32-bit distance.
fn moved(address: u64, by: u64) -> u64 {
    address.wrapping_add_signed(i64::from(by as i32))
}

// SAFETY of what follows: a verified program passes its context, which is
// XDP's, and memory of the sizes that it says. The context's addresses stay
// between its bounds.

unsafe fn xdp_adjust_head([context, by, ..]: Args) -> Outcome {
    // SAFETY: a context.
    let xdp = unsafe { xdp(context) };
    let metadata = xdp.data - xdp.data_meta;
    let data = moved(xdp.data, by);
    if data < xdp.lowest + metadata || data + ETHERNET > xdp.data_end {
        return Err(EINVAL);
    }
    let to = moved(xdp.data_meta, by);
    // SAFETY: both places lie between the bounds.
    unsafe { copy_bytes(xdp.data_meta, to, metadata as usize) };
    xdp.data_meta = to;
    xdp.data = data;
    Ok(0)
}

unsafe fn xdp_adjust_tail([context, by, ..]: Args) -> Outcome {
    // SAFETY: a context.
    let xdp = unsafe { xdp(context) };
    let end = moved(xdp.data_end, by);
    if end > xdp.highest || end < xdp.data + ETHERNET {
        return Err(EINVAL);
    }
    if end > xdp.data_end {
        // SAFETY: the place lies between the bounds.
        unsafe { bytes_mut(xdp.data_end, (end - xdp.data_end) as usize) }.fill(0);
    }
    xdp.data_end = end;
    Ok(0)
}

unsafe fn xdp_adjust_meta([context, by, ..]: Args) -> Outcome {
    // SAFETY: a context.
    let xdp = unsafe { xdp(context) };
    if !xdp.has_meta {
        return Err(ENOTSUPP);
    }
    let meta = moved(xdp.data_meta, by);
    if meta < xdp.lowest || meta > xdp.data {
        return Err(EINVAL);
    }
    let len = xdp.data - meta;
    if !len.is_multiple_of(4) || len > MAX_METADATA {
        return Err(EACCES);
    }
    xdp.data_meta = meta;
    Ok(0)
}

unsafe fn xdp_get_buff_len([context, ..]: Args) -> Outcome {
    // SAFETY: a context.
    let xdp = unsafe { xdp(context) };
    Ok(xdp.data_end - xdp.data)
}

/// Address of bytes of the packet.
fn place(xdp: &XdpBuff, offset: u64, len: u64) -> Outcome {
    let (offset, len) = (u64::from(offset as u32), u64::from(len as u32));
    match offset + len {
        _ if offset > 0xffff || len > 0xffff => Err(EFAULT),
        end if end > xdp.data_end - xdp.data => Err(EINVAL),
        _ => Ok(xdp.data + offset),
    }
}

unsafe fn xdp_load_bytes([context, offset, to, len, _]: Args) -> Outcome {
    // SAFETY: a context, and room for `len` bytes.
    unsafe { copy_bytes(place(xdp(context), offset, len)?, to, size(len)) };
    Ok(0)
}

unsafe fn xdp_store_bytes([context, offset, from, len, _]: Args) -> Outcome {
    // SAFETY: a context, and `len` bytes.
    unsafe { copy_bytes(from, place(xdp(context), offset, len)?, size(len)) };
    Ok(0)
}

pub(super) static ROWS: &[Row] = rows! {
    44 XDP xdp_adjust_head;
    54 XDP xdp_adjust_meta;
    65 XDP xdp_adjust_tail;
    188 XDP xdp_get_buff_len;
    189 XDP xdp_load_bytes;
    190 XDP xdp_store_bytes;
};
