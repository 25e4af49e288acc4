//! XDP's context.

use std::cell::UnsafeCell;
use std::marker::PhantomData;

use super::Context;
use super::buffer::{Buffer, copy};

/// The native context.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct XdpBuff {
    pub data: u64,
    pub data_end: u64,
    pub data_meta: u64,
    pub ingress_ifindex: u32,
    pub rx_queue_index: u32,
    pub egress_ifindex: u32,
    /// Whether there can be metadata before the packet. Programs see nothing
    /// from here on.
    pub has_meta: bool,
    /// The lowest address that the packet or its metadata may start at.
    pub lowest: u64,
    /// The highest address that the packet may end at.
    pub highest: u64,
}

/// Bytes before a packet, as in the kernel: of these its own `struct xdp_frame`
/// takes the first [`FRAME_HEADER`].
const HEADROOM: usize = 256;
const FRAME_HEADER: u64 = 40;
/// Bytes of the page that a packet and all that belongs to it lie in.
const FRAME: usize = 4096;
/// What the kernel keeps at the end of the page (`struct skb_shared_info`).
const SHARED_INFO: usize = 320;

/// A packet with its XDP context.
pub struct Xdp<'a> {
    buff: UnsafeCell<XdpBuff>,
    /// The packet's own memory, if it is not borrowed.
    _buffer: Option<Buffer>,
    packet: PhantomData<&'a mut [u8]>,
}

impl<'a> Xdp<'a> {
    /// The context of a packet that came in on interface 1, queue 0. It can be
    /// cut but not grow, and changes of its bytes are made in place.
    pub fn new(packet: &'a mut [u8]) -> Xdp<'a> {
        let range = packet.as_mut_ptr_range();
        let (start, end) = (range.start as u64, range.end as u64);
        Xdp::of((start, end), (start, end), None)
    }

    /// The same with a copy of the packet that has room before it (256 bytes, of
    /// which the kernel keeps 40) and behind it (to the end of a page of 4,096
    /// bytes, of which it keeps 320).
    pub fn with_room(packet: &[u8]) -> Xdp<'static> {
        let behind = FRAME.saturating_sub(HEADROOM + packet.len() + SHARED_INFO);
        let buffer = Buffer::new(HEADROOM, packet, behind);
        let start = buffer.start() + HEADROOM as u64;
        let lowest = buffer.start() + FRAME_HEADER;
        let bounds = (lowest, buffer.end());
        Xdp::of((start, start + packet.len() as u64), bounds, Some(buffer))
    }

    fn of(
        (data, data_end): (u64, u64),
        (lowest, highest): (u64, u64),
        buffer: Option<Buffer>,
    ) -> Xdp<'a> {
        let buff = XdpBuff {
            data,
            data_end,
            data_meta: data,
            ingress_ifindex: 1,
            has_meta: true,
            lowest,
            highest,
            ..XdpBuff::default()
        };
        Xdp { buff: UnsafeCell::new(buff), _buffer: buffer, packet: PhantomData }
    }

    /// Start of the metadata, start and end of the packet.
    fn places(&self) -> [u64; 3] {
        let buff = self.buff.get();
        // SAFETY: programs run only while somebody has exclusive access to the
        // context (they get its address from `args`), and helpers have returned.
        unsafe { [(*buff).data_meta, (*buff).data, (*buff).data_end] }
    }

    /// The packet as it is now.
    pub fn packet(&self) -> Vec<u8> {
        let [_, start, end] = self.places();
        // SAFETY: the packet lies in the buffer or the borrowed memory; helpers
        // see to that.
        unsafe { copy(start, end - start) }
    }

    /// The metadata before the packet.
    pub fn metadata(&self) -> Vec<u8> {
        let [meta, start, _] = self.places();
        // SAFETY: as above.
        unsafe { copy(meta, start - meta) }
    }
}

impl Context for Xdp<'_> {
    fn args(&mut self) -> [u64; 2] {
        [self.buff.get() as u64, 0]
    }

    fn regions(&self) -> Vec<(u64, usize)> {
        let [meta, _, end] = self.places();
        vec![(meta, (end - meta) as usize)]
    }

    fn kind(&self) -> Option<u8> {
        Some(tailor_bpf::ctx::XDP)
    }

    fn data(&self) -> Vec<u8> {
        [self.metadata(), self.packet()].concat()
    }
}
