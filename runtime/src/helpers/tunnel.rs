//! Helpers on the key of a tunnel: what a packet came with, or is to go with.

use super::skb::skb;
use super::{Args, Outcome, Row, bytes, bytes_mut, rows, size};
use crate::ctx::TunnelKey;
use crate::errno::{EINVAL, ENOENT, ENOMEM, EPROTO};

/// Bytes of `struct bpf_tunnel_key`, and of what it once was: without the
/// sender's address, without the label, without the flags, with room for one
/// word of an address.
const KEY: usize = 44;
const OLD_KEYS: [usize; 4] = [28, 24, 22, ONE_WORD];
const ONE_WORD: usize = 8;
/// Where its parts are.
const REMOTE: usize = 4;
const LABEL: usize = 24;
const LOCAL: usize = 28;
const EXTENSION: usize = 22;

/// The addresses are IPv6's.
const IPV6: u64 = 1;
/// Of `skb_set_tunnel_key`: no sum, not to be cut, numbered, no key.
const SET_FLAGS: u64 = IPV6 | 0x1e;
/// Of `skb_get_tunnel_key`: with the tunnel's flags.
const WITH_FLAGS: u64 = 1 << 4;
/// Most bytes of options.
const MAX_OPTIONS: usize = 255;

fn is_known_size(len: usize) -> bool {
    len == KEY || OLD_KEYS.contains(&len)
}

// SAFETY of what follows: a verified program passes its context, which is a
// socket buffer's, and memory of the sizes that it says.

unsafe fn skb_set_tunnel_key([context, from, len, flags, _]: Args) -> Outcome {
    let len = size(len);
    if flags & !SET_FLAGS != 0 || !is_known_size(len) {
        return Err(EINVAL);
    }
    let mut key = [0; KEY];
    // SAFETY: a context and `len` bytes.
    let skb = unsafe {
        key[..len].copy_from_slice(bytes(from, len));
        skb(context)
    };
    let has_label = key[LABEL..LABEL + 4] != [0; 4];
    let has_extension = key[EXTENSION..EXTENSION + 2] != [0; 2];
    if has_extension || flags & IPV6 == 0 && has_label {
        return Err(EINVAL);
    }
    // From here on the place holds the tunnel's flags.
    key[EXTENSION..EXTENSION + 2].copy_from_slice(&tunnel_flags(flags).to_be_bytes());
    skb.tunnel = Some(TunnelKey { key, is_ipv6: flags & IPV6 != 0, options: Vec::new() });
    Ok(0)
}

/// The tunnel's own flags: with a sum, with a key, numbered, not to be cut; and
/// that a route was not looked up.
fn tunnel_flags(flags: u64) -> u16 {
    let [zero_sum, whole, numbered, no_key] = [1, 2, 3, 4].map(|bit| flags & 1 << bit != 0);
    u16::from(!zero_sum)
        | u16::from(!no_key) << 2
        | u16::from(numbered) << 3
        | u16::from(whole) << 8
        | 1 << 13
}

/// What is read is the key of a packet that came in: if it was set just now, the
/// receiver is the sender.
unsafe fn skb_get_tunnel_key([context, to, len, flags, _]: Args) -> Outcome {
    // SAFETY: a context and room for `len` bytes.
    let (skb, to) = unsafe { (skb(context), bytes_mut(to, size(len))) };
    to.fill(0);
    let is_known = flags & !(IPV6 | WITH_FLAGS) == 0;
    let tunnel = skb.tunnel.as_ref().filter(|_| is_known).ok_or(EINVAL)?;
    if tunnel.is_ipv6 != (flags & IPV6 != 0) {
        return Err(EPROTO);
    }
    if !is_known_size(to.len()) || tunnel.is_ipv6 && to.len() == ONE_WORD {
        return Err(EINVAL);
    }
    let mut key = tunnel.key;
    let bytes = if tunnel.is_ipv6 { 16 } else { 4 };
    key[REMOTE..REMOTE + 16].fill(0);
    key[LOCAL..].fill(0);
    key[REMOTE..REMOTE + bytes].copy_from_slice(&tunnel.key[LOCAL..LOCAL + bytes]);
    key[LOCAL..LOCAL + bytes].copy_from_slice(&tunnel.key[REMOTE..REMOTE + bytes]);
    if flags & WITH_FLAGS == 0 {
        key[EXTENSION..EXTENSION + 2].fill(0);
    }
    let len = to.len();
    to.copy_from_slice(&key[..len]);
    Ok(0)
}

unsafe fn skb_set_tunnel_opt([context, from, len, ..]: Args) -> Outcome {
    // SAFETY: a context and `len` bytes.
    let (skb, from) = unsafe { (skb(context), bytes(from, size(len))) };
    let tunnel = skb.tunnel.as_mut().filter(|_| from.len().is_multiple_of(4)).ok_or(EINVAL)?;
    if from.len() > MAX_OPTIONS {
        return Err(ENOMEM);
    }
    tunnel.options = from.to_vec();
    Ok(0)
}

/// Returns how many bytes the options have.
unsafe fn skb_get_tunnel_opt([context, to, len, ..]: Args) -> Outcome {
    // SAFETY: a context and room for `len` bytes.
    let (skb, to) = unsafe { (skb(context), bytes_mut(to, size(len))) };
    to.fill(0);
    let options = skb.tunnel.as_ref().map_or(&[][..], |tunnel| &tunnel.options);
    if options.is_empty() {
        return Err(ENOENT);
    }
    let place = to.get_mut(..options.len()).ok_or(ENOMEM)?;
    place.copy_from_slice(options);
    Ok(options.len() as u64)
}

/// No packet here came through IPsec.
unsafe fn skb_get_xfrm_state([_, _, to, len, _]: Args) -> Outcome {
    // SAFETY: room for `len` bytes.
    unsafe { bytes_mut(to, size(len)) }.fill(0);
    Err(EINVAL)
}

pub(super) static ROWS: &[Row] = rows! {
    20 TC skb_get_tunnel_key;
    21 TC skb_set_tunnel_key;
    29 TC skb_get_tunnel_opt;
    30 TC skb_set_tunnel_opt;
    66 TC skb_get_xfrm_state;
};
