//! The context of programs that run on socket buffers.

use std::cell::UnsafeCell;
use std::mem::offset_of;

use tailor_bpf::ProgramKind;
use tailor_bpf::ctx::{KINDS, SKB};

use super::Context;
use super::buffer::{Buffer, copy};

/// The native context. Everything that the kernel keeps in network byte order
/// is so here.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct SkBuff {
    pub data: u64,
    pub data_end: u64,
    pub data_meta: u64,
    pub flow_keys: u64,
    pub tstamp: u64,
    pub sk: u64,
    pub len: u32,
    pub pkt_type: u32,
    pub mark: u32,
    pub queue_mapping: u32,
    pub protocol: u32,
    pub vlan_present: u32,
    pub vlan_tci: u32,
    pub vlan_proto: u32,
    pub priority: u32,
    pub ingress_ifindex: u32,
    pub ifindex: u32,
    pub tc_index: u32,
    pub cb: [u32; 5],
    pub hash: u32,
    pub tc_classid: u32,
    pub napi_id: u32,
    pub family: u32,
    pub remote_ip4: u32,
    pub local_ip4: u32,
    pub remote_ip6: [u32; 4],
    pub local_ip6: [u32; 4],
    pub remote_port: u32,
    pub local_port: u32,
    pub wire_len: u32,
    pub gso_segs: u32,
    pub gso_size: u32,
    pub tstamp_type: u32,
    pub hwtstamp: u64,
    /// Where the parsing of a flow dissector goes (`struct bpf_flow_keys`).
    pub keys: [u32; 14],
    /// Programs see nothing from here on. The lowest address that the packet
    /// may start at.
    pub lowest: u64,
    /// The highest address that it may end at.
    pub highest: u64,
    /// Address of the Ethernet header, if the buffer has one.
    pub mac_header: Option<u64>,
    /// Address of the network header.
    pub network_header: u64,
    /// What is known of `hash`.
    pub hash_state: Hash,
    /// The packet got an outer header.
    pub is_encapsulated: bool,
    /// The key of the tunnel that the packet came through or is to go through.
    pub tunnel: Option<TunnelKey>,
}

/// What is known of the hash in a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Hash {
    /// To be computed.
    #[default]
    Unknown,
    /// Computed over the flow, or set.
    Known,
}

/// What a tunnel's packet is to go with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TunnelKey {
    /// A `struct bpf_tunnel_key`.
    pub key: [u8; 44],
    pub is_ipv6: bool,
    pub options: Vec<u8>,
}

/// Bytes that a packet can grow to, at either end: helpers stop a little before.
const MAX_LEN: usize = 16384;
const HEADROOM: usize = MAX_LEN;
const ETHERNET: usize = 14;

/// A packet with the context of programs on socket buffers.
pub struct Skb {
    buff: Box<UnsafeCell<SkBuff>>,
    /// The packet's memory.
    _buffer: Buffer,
}

impl Skb {
    /// The context of a packet that starts with its Ethernet header, for
    /// programs of this kind; as when the kernel tests a program (`BPF_PROG_RUN`),
    /// but with no socket, and `wire_len` the packet's length. Classifiers and
    /// flow dissectors see the Ethernet header, the others what is behind it;
    /// for programs of socket maps the packet is a payload without headers.
    ///
    /// It is a copy of the packet that can grow to 16 KiB.
    pub fn new(kind: ProgramKind, packet: &[u8]) -> Skb {
        let behind = MAX_LEN.saturating_sub(packet.len());
        let buffer = Buffer::new(HEADROOM, packet, behind);
        let mac = buffer.start() + HEADROOM as u64;
        let end = mac + packet.len() as u64;
        let header = if kind == ProgramKind::SkSkb { 0 } else { packet.len().min(ETHERNET) };
        let network = mac + header as u64;
        let sees_ethernet = matches!(kind, ProgramKind::SchedCls | ProgramKind::FlowDissector);
        let data = if sees_ethernet { mac } else { network };
        let mut buff = SkBuff {
            data,
            data_end: end,
            data_meta: data,
            len: (end - data) as u32,
            wire_len: (end - data) as u32,
            ifindex: 1,
            lowest: buffer.start(),
            highest: buffer.end(),
            mac_header: (header > 0).then_some(mac),
            network_header: network,
            ..SkBuff::default()
        };
        let (ethernet, rest) = packet.split_at(header);
        buff.read_ethernet(ethernet, rest);
        buff.read_addresses(rest);
        let mut skb = Skb { buff: Box::new(UnsafeCell::new(buff)), _buffer: buffer };
        if kind == ProgramKind::FlowDissector {
            skb.start_dissection(header as u16, be16(packet, 12));
        }
        skb
    }

    /// Where the keys are, and what they say at the start.
    fn start_dissection(&mut self, network: u16, protocol: u32) {
        let buff = self.buff.get_mut();
        buff.flow_keys = &raw const buff.keys as u64;
        // The offsets of the network and transport headers; the protocol at byte 10.
        buff.keys[0] = u32::from(network) << 16 | u32::from(network);
        buff.keys[2] = protocol << 16;
    }

    /// Sets a field by its name in `__sk_buff` (an element of an array as
    /// `cb[0]`), to be done before a run; false if there is no such field or it
    /// holds an address.
    pub fn set(&mut self, field: &str, value: u64) -> bool {
        match self.place(field) {
            Some((address, 8)) => {
                // SAFETY: the field of 8 bytes lies in the context, which is ours.
                unsafe { *(address as *mut u64) = value };
                true
            }
            Some((address, _)) => {
                // SAFETY: as above, with 4 bytes.
                unsafe { *(address as *mut u32) = value as u32 };
                true
            }
            None => false,
        }
    }

    /// The value of a field, by the same names.
    pub fn get(&self, field: &str) -> Option<u64> {
        let (address, size) = self.place(field)?;
        // SAFETY: the field lies in the context, and no program runs now: runs
        // take exclusive access.
        unsafe {
            Some(match size {
                8 => *(address as *const u64),
                _ => (*(address as *const u32)).into(),
            })
        }
    }

    /// Address and size of a field that is no address itself.
    fn place(&self, name: &str) -> Option<(u64, u32)> {
        let fields = KINDS[SKB as usize].fields.iter();
        let field = fields.filter(|field| !ADDRESSES.contains(&field.name));
        let field = { field }.find(|field| field.name == name)?;
        let address = self.buff.get() as u64 + u64::from(field.native_offset);
        Some((address, field.native_size.bytes()))
    }

    /// Start of the metadata, start and end of the packet.
    fn places(&self) -> [u64; 3] {
        let buff = self.buff.get();
        // SAFETY: programs run only while somebody has exclusive access to the
        // context (they get its address from `args`), and helpers have returned.
        unsafe { [(*buff).data_meta, (*buff).data, (*buff).data_end] }
    }

    /// The packet as it is now, from where programs see it.
    pub fn packet(&self) -> Vec<u8> {
        let [_, start, end] = self.places();
        // SAFETY: the packet lies in the buffer; helpers see to that.
        unsafe { copy(start, end - start) }
    }

    /// What a flow dissector found: a `struct bpf_flow_keys`. As in the kernel the
    /// offsets in it lie between the Ethernet header and the packet's end.
    pub fn flow_keys(&self) -> [u8; 56] {
        let buff = self.buff.get();
        // SAFETY: the keys lie in the context, and no program runs now.
        let (mut keys, end) = unsafe { ((*buff).keys, (*buff).len) };
        let least = end.min(ETHERNET as u32);
        let [network, transport] =
            [keys[0] & 0xffff, keys[0] >> 16].map(|at| at.clamp(least, end) & 0xffff);
        keys[0] = network | transport << 16;
        let mut bytes = [0; 56];
        for (word, key) in bytes.chunks_exact_mut(4).zip(keys) {
            word.copy_from_slice(&key.to_le_bytes());
        }
        bytes
    }
}

/// Fields that hold addresses.
const ADDRESSES: [&str; 5] = ["data", "data_end", "data_meta", "flow_keys", "sk"];

impl Context for Skb {
    fn args(&mut self) -> [u64; 2] {
        [self.buff.get() as u64, 0]
    }

    fn regions(&self) -> Vec<(u64, usize)> {
        let [meta, _, end] = self.places();
        let keys = self.buff.get() as u64 + offset_of!(SkBuff, keys) as u64;
        vec![(meta, (end - meta) as usize), (keys, self.flow_keys().len())]
    }

    fn kind(&self) -> Option<u8> {
        Some(SKB)
    }

    fn data(&self) -> Vec<u8> {
        self.packet()
    }
}

/// Two bytes in network order as the kernel holds them in a number.
fn be16(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..at + 2) {
        Some(bytes) => u32::from(u16::from_le_bytes([bytes[0], bytes[1]])),
        None => 0,
    }
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    be16(bytes, at) | be16(bytes, at + 2) << 16
}

impl SkBuff {
    pub const HOST: u32 = 0;
    pub const MULTICAST: u32 = 2;
    pub const OTHERHOST: u32 = 3;
    /// IPv4's and IPv6's types of packets, in network order.
    pub const IPV4: u32 = 0x0008;
    pub const IPV6: u32 = 0xdd86;

    /// What the Ethernet header says of receiver and protocol, as on the
    /// loopback interface: this host's address is zeros, and so is that of
    /// broadcasts.
    fn read_ethernet(&mut self, header: &[u8], rest: &[u8]) {
        if header.len() < ETHERNET {
            return;
        }
        self.pkt_type = match header[..6] {
            [0, 0, 0, 0, 0, 0] => SkBuff::HOST,
            [first, ..] if first & 1 != 0 => SkBuff::MULTICAST,
            _ => SkBuff::OTHERHOST,
        };
        self.protocol = SkBuff::protocol_of([header[12], header[13]], rest);
    }

    /// The protocol that a type in front of `rest` stands for.
    pub fn protocol_of(kind: [u8; 2], rest: &[u8]) -> u32 {
        match (kind[0], rest) {
            // A small number is a length, and what follows is of IEEE 802.
            (0..6, [0xff, 0xff, ..]) => 0x0100,
            (0..6, _) => 0x0400,
            _ => be16(&kind, 0),
        }
    }

    /// The addresses of the packet's network header, as those of a socket that
    /// sends it.
    fn read_addresses(&mut self, packet: &[u8]) {
        if self.protocol == SkBuff::IPV4 && packet.len() >= 20 {
            self.family = 2;
            self.local_ip4 = be32(packet, 12);
            self.remote_ip4 = be32(packet, 16);
        } else if self.protocol == SkBuff::IPV6 && packet.len() >= 40 {
            self.family = 10;
            for word in 0..4 {
                self.local_ip6[word] = be32(packet, 8 + 4 * word);
                self.remote_ip6[word] = be32(packet, 24 + 4 * word);
            }
        }
    }
}
