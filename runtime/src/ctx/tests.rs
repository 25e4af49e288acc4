//! Contexts in memory are as their tables of fields declare them.

use std::mem::offset_of;

use tailor_bpf::ctx::{KINDS, SKB, XDP};

use super::*;

/// Native offset and size of a declared field.
fn declared(kind: u8, name: &str) -> (usize, usize) {
    let field = KINDS[kind as usize].fields.iter().find(|field| field.name == name);
    let field = field.expect("declared");
    (field.native_offset.into(), field.native_size.bytes() as usize)
}

/// Compares fields with the declaration, and that there are no others.
macro_rules! compare {
    ($structure:ty, $kind:expr, $($field:ident $size:literal),*; $($array:ident $length:literal),*) => {
        let mut count = 0;
        $(
            let native = (offset_of!($structure, $field), $size);
            assert_eq!(declared($kind, stringify!($field)), native, stringify!($field));
            count += 1;
        )*
        $(
            for index in 0..$length {
                let name = format!(concat!(stringify!($array), "[{}]"), index);
                let native = (offset_of!($structure, $array) + 4 * index, 4);
                assert_eq!(declared($kind, &name), native, "{name}");
                count += 1;
            }
        )*
        assert_eq!(KINDS[$kind as usize].fields.len(), count);
    };
}

#[test]
fn layouts_are_the_front_ends() {
    compare!(XdpBuff, XDP, data 8, data_end 8, data_meta 8, ingress_ifindex 4, rx_queue_index 4,
        egress_ifindex 4;);
    compare!(SkBuff, SKB, len 4, pkt_type 4, mark 4, queue_mapping 4, protocol 4, vlan_present 4,
        vlan_tci 4, vlan_proto 4, priority 4, ingress_ifindex 4, ifindex 4, tc_index 4, hash 4,
        tc_classid 4, data 8, data_end 8, napi_id 4, family 4, remote_ip4 4, local_ip4 4,
        remote_port 4, local_port 4, data_meta 8, flow_keys 8, tstamp 8, wire_len 4, gso_segs 4,
        sk 8, gso_size 4, tstamp_type 4, hwtstamp 8;
        cb 5, remote_ip6 4, local_ip6 4);
}

/// An IPv4 packet from 1.2.3.4 to 5.6.7.8.
fn packet() -> Vec<u8> {
    let mut packet = vec![0; 34];
    packet[0] = 2;
    packet[12..15].copy_from_slice(&[8, 0, 0x45]);
    packet[26..].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    packet
}

#[test]
fn what_a_buffer_says_of_its_packet() {
    let mut skb = Skb::new(ProgramKind::SchedCls, &packet());
    let field = |skb: &Skb, name: &str| skb.get(name).unwrap();
    assert_eq!(field(&skb, "len"), 34);
    assert_eq!(field(&skb, "protocol"), 8);
    assert_eq!(field(&skb, "pkt_type"), 3);
    assert_eq!(field(&skb, "family"), 2);
    assert_eq!(field(&skb, "local_ip4"), 0x0403_0201);
    assert_eq!(field(&skb, "remote_ip4"), 0x0807_0605);
    assert_eq!(skb.packet(), packet());
    assert!(skb.set("mark", 7) && skb.set("tstamp", 1 << 40));
    assert_eq!((field(&skb, "mark"), field(&skb, "tstamp")), (7, 1 << 40));
    assert!(!skb.set("data", 0) && skb.get("sk").is_none() && skb.get("nothing").is_none());

    let filter = Skb::new(ProgramKind::CgroupSkb, &packet());
    assert_eq!((field(&filter, "len"), filter.packet().len()), (20, 20));
    let payload = Skb::new(ProgramKind::SkSkb, &packet());
    assert_eq!((field(&payload, "len"), field(&payload, "protocol")), (34, 0));
    let short = Skb::new(ProgramKind::SocketFilter, &[1, 2, 3]);
    assert_eq!((field(&short, "len"), field(&short, "protocol")), (0, 0));
    let zeros = Skb::new(ProgramKind::SchedCls, &[0; 64]);
    assert_eq!((field(&zeros, "pkt_type"), field(&zeros, "protocol")), (0, 0x0400));
}

#[test]
fn a_dissector_starts_at_the_network_header() {
    let dissector = Skb::new(ProgramKind::FlowDissector, &packet());
    let keys = dissector.flow_keys();
    assert_eq!(keys[..4], [14, 0, 14, 0]);
    assert_eq!(keys[8..12], [0, 0, 8, 0]);
    assert_eq!(dissector.packet(), packet());
}

#[test]
fn contexts_by_kind_of_program() {
    let mut data = packet();
    let kinds = [
        (ProgramKind::Xdp, Some(XDP)),
        (ProgramKind::Lwt, Some(SKB)),
        (ProgramKind::Raw, None),
        (ProgramKind::Opaque, None),
    ];
    for (kind, context) in kinds {
        let mut made = for_program(kind, &mut data);
        assert_eq!(made.kind(), context);
        assert!(made.regions().iter().all(|(address, len)| *address != 0 && *len > 0));
        assert_ne!(made.args()[0], 0);
    }
}
