//! Contexts as compiled code sees them. The layouts are those of
//! `tailor_bpf::ctx`; a test compares the two.

use std::marker::PhantomData;

/// The native XDP context.
#[repr(C)]
#[derive(Debug, Default)]
struct XdpBuff {
    data: u64,
    data_end: u64,
    data_meta: u64,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// A packet with its XDP context.
#[derive(Debug)]
pub struct Xdp<'a> {
    buff: XdpBuff,
    packet: PhantomData<&'a mut [u8]>,
}

impl<'a> Xdp<'a> {
    /// The context of a packet that came in on interface 1, queue 0.
    pub fn new(packet: &'a mut [u8]) -> Xdp<'a> {
        let range = packet.as_mut_ptr_range();
        let buff = XdpBuff {
            data: range.start as u64,
            data_end: range.end as u64,
            data_meta: range.start as u64,
            ingress_ifindex: 1,
            rx_queue_index: 0,
            egress_ifindex: 0,
        };
        Xdp { buff, packet: PhantomData }
    }
}

/// What a program can be run on.
pub trait Context {
    /// R1 and R2 at entry.
    fn args(&mut self) -> [u64; 2];
    /// Address and length of all memory that the program may touch through them.
    fn regions(&mut self) -> Vec<(u64, usize)>;
}

impl Context for Xdp<'_> {
    fn args(&mut self) -> [u64; 2] {
        [&raw mut self.buff as u64, 0]
    }

    fn regions(&mut self) -> Vec<(u64, usize)> {
        let buff = &self.buff;
        vec![
            (&raw const self.buff as u64, size_of::<XdpBuff>()),
            (buff.data, (buff.data_end - buff.data) as usize),
        ]
    }
}

/// Plain memory: R1 = its address, R2 = its length. Also an opaque context.
impl Context for &mut [u8] {
    fn args(&mut self) -> [u64; 2] {
        // An empty slice has a dangling address; a program gets 0.
        let address = if self.is_empty() { 0 } else { self.as_mut_ptr() as u64 };
        [address, self.len() as u64]
    }

    fn regions(&mut self) -> Vec<(u64, usize)> {
        vec![(self.as_mut_ptr() as u64, self.len())]
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn xdp_layout_is_the_front_ends() {
        let fields = tailor_bpf::ctx::KINDS[tailor_bpf::ctx::XDP as usize].fields;
        let offset = |name: &str| {
            let field = fields.iter().find(|field| field.name == name).expect("declared");
            (field.native_offset as usize, field.native_size.bytes())
        };
        assert_eq!(offset("data"), (offset_of!(XdpBuff, data), 8));
        assert_eq!(offset("data_end"), (offset_of!(XdpBuff, data_end), 8));
        assert_eq!(offset("data_meta"), (offset_of!(XdpBuff, data_meta), 8));
        assert_eq!(offset("ingress_ifindex"), (offset_of!(XdpBuff, ingress_ifindex), 4));
        assert_eq!(offset("rx_queue_index"), (offset_of!(XdpBuff, rx_queue_index), 4));
        assert_eq!(offset("egress_ifindex"), (offset_of!(XdpBuff, egress_ifindex), 4));
        assert_eq!(fields.len(), 6);
    }
}
