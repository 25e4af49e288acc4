//! `skb_adjust_room`: room for an outer header, or its removal.

use super::reshape::MAX_LEN;
use super::skb::skb;
use super::{Args, Outcome, Row, rows};
use crate::ctx::SkBuff;
use crate::errno::{EALREADY, EFAULT, EINVAL, ENOMEM, ENOTSUPP};

/// Where the room is: after the network header, or after the Ethernet header.
const AFTER_NETWORK: u32 = 0;
const AFTER_ETHERNET: u32 = 1;

/// Flags: sizes of segments stay.
const FIXED_SEGMENTS: u64 = 1;
/// An outer header of IPv4 or IPv6; by GRE or UDP; with an inner Ethernet header,
/// whose length the highest byte says.
const ENCAP_IPV4: u64 = 1 << 1;
const ENCAP_IPV6: u64 = 1 << 2;
const ENCAP: u64 = ENCAP_IPV4 | ENCAP_IPV6;
const BY_GRE: u64 = 1 << 3;
const BY_UDP: u64 = 1 << 4;
const INNER_ETHERNET: u64 = 1 << 6;
const INNER_LEN_SHIFT: u32 = 56;
/// Sums stay as they are.
const NO_CSUM_RESET: u64 = 1 << 5;
/// What is left is a packet of IPv4 or IPv6.
const DECAP_IPV4: u64 = 1 << 7;
const DECAP_IPV6: u64 = 1 << 8;
const DECAP: u64 = DECAP_IPV4 | DECAP_IPV6;
const ALL: u64 = FIXED_SEGMENTS
    | ENCAP
    | BY_GRE
    | BY_UDP
    | NO_CSUM_RESET
    | INNER_ETHERNET
    | DECAP
    | 0xff << INNER_LEN_SHIFT;

/// Most bytes that a packet grows or shrinks by.
const MAX_DIFFERENCE: u64 = 0xfff;
/// Bytes of headers.
const ETHERNET: u64 = 14;
const IPV4: u64 = 20;
const IPV6: u64 = 40;

unsafe fn skb_adjust_room([context, difference, mode, flags, _]: Args) -> Outcome {
    // SAFETY: a verified program passes its context, which is a socket buffer's.
    let skb = unsafe { skb(context) };
    let difference = difference as i32;
    let len = u64::from(difference.unsigned_abs());
    if flags & !ALL != 0 {
        return Err(EINVAL);
    }
    if len > MAX_DIFFERENCE {
        return Err(EFAULT);
    }
    let header = match skb.protocol {
        SkBuff::IPV4 => IPV4,
        SkBuff::IPV6 => IPV6,
        _ => return Err(ENOTSUPP),
    };
    let keep = match mode as u32 {
        AFTER_NETWORK => skb.network_offset() + header,
        AFTER_ETHERNET => skb.network_offset(),
        _ => return Err(ENOTSUPP),
    };
    let least = match flags & DECAP {
        0 => header,
        _ if difference >= 0 => return Err(EINVAL),
        DECAP_IPV4 => IPV4,
        DECAP_IPV6 => IPV6,
        _ => return Err(EINVAL),
    };
    let behind = u64::from(skb.len).saturating_sub(skb.network_offset());
    if difference >= 0 {
        return if u64::from(skb.len) + len > MAX_LEN {
            Err(ENOTSUPP)
        } else {
            grow(skb, keep, len, flags)
        };
    }
    if len >= behind || behind - len < least {
        return Err(ENOTSUPP);
    }
    shrink(skb, keep, len, flags)
}

fn shrink(skb: &mut SkBuff, keep: u64, len: u64, flags: u64) -> Outcome {
    if flags & !(FIXED_SEGMENTS | DECAP | NO_CSUM_RESET) != 0 {
        return Err(EINVAL);
    }
    if keep + len > u64::from(skb.len) {
        return Err(ENOMEM);
    }
    skb.shrink(keep, len);
    skb.network_header += len;
    match flags & DECAP {
        DECAP_IPV4 => skb.protocol = SkBuff::IPV4,
        DECAP_IPV6 => skb.protocol = SkBuff::IPV6,
        _ => {}
    }
    Ok(0)
}

fn grow(skb: &mut SkBuff, keep: u64, len: u64, flags: u64) -> Outcome {
    let outer = flags & ENCAP;
    let inner = flags >> INNER_LEN_SHIFT;
    if outer != 0 {
        let both = outer == ENCAP || flags & (BY_GRE | BY_UDP) == BY_GRE | BY_UDP;
        if both || flags & INNER_ETHERNET != 0 && inner < ETHERNET {
            return Err(EINVAL);
        }
        if skb.is_encapsulated {
            return Err(EALREADY);
        }
        if inner > len {
            return Err(EINVAL);
        }
    }
    if keep > u64::from(skb.len) {
        return Err(ENOMEM);
    }
    skb.grow(keep, len)?;
    skb.network_header -= len;
    match outer {
        0 => return Ok(0),
        ENCAP_IPV4 => skb.protocol = SkBuff::IPV4,
        _ => skb.protocol = SkBuff::IPV6,
    }
    skb.is_encapsulated = true;
    Ok(0)
}

pub(super) static ROWS: &[Row] = rows! {
    50 WRITERS skb_adjust_room;
};
