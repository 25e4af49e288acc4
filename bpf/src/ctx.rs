//! Program contexts: what bytecode sees and where it really is.
//!
//! Bytecode reads fields at the offsets of the user-visible structure, 32 bits
//! each; pointers among them are 64 bits wide in a register. The native
//! structure is the runtime's own (`runtime::ctx` has the same layout as
//! `#[repr(C)]`, and a test compares them).

use tailor_ir::Size;

/// A kind of context.
pub struct Kind {
    /// Name for messages.
    pub name: &'static str,
    /// Fields, in the order of their user-visible offset.
    pub fields: &'static [Field],
}

/// A field of a context.
pub struct Field {
    /// Name.
    pub name: &'static str,
    /// Offset in the structure that bytecode is compiled against.
    pub offset: u16,
    /// Size there.
    pub size: Size,
    /// Offset in the native structure.
    pub native_offset: u16,
    /// Size there; 8 for pointers.
    pub native_size: Size,
    /// What the loaded value is.
    pub value: FieldValue,
    /// Whether programs may write it.
    pub writable: bool,
}

/// What a context field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldValue {
    /// A number.
    Scalar,
    /// A pointer to packet bytes (data, data_end, data_meta).
    Packet,
}

const fn pointer(name: &'static str, offset: u16, native_offset: u16) -> Field {
    Field {
        name,
        offset,
        size: Size::W,
        native_offset,
        native_size: Size::D,
        value: FieldValue::Packet,
        writable: false,
    }
}

const fn scalar(name: &'static str, offset: u16, native_offset: u16) -> Field {
    Field {
        name,
        offset,
        size: Size::W,
        native_offset,
        native_size: Size::W,
        value: FieldValue::Scalar,
        writable: false,
    }
}

/// A field of the same size in both structures that programs may write.
const fn state(name: &'static str, offset: u16, native_offset: u16) -> Field {
    Field { writable: true, ..scalar(name, offset, native_offset) }
}

/// The same of 64 bits.
const fn wide(name: &'static str, offset: u16, native_offset: u16, writable: bool) -> Field {
    let size = Size::D;
    Field { size, native_size: size, writable, ..scalar(name, offset, native_offset) }
}

/// Index of `xdp_md` in [`KINDS`].
pub const XDP: u8 = 0;
/// Index of `__sk_buff` in [`KINDS`].
pub const SKB: u8 = 1;

/// All kinds, by number.
pub const KINDS: &[Kind] =
    &[Kind { name: "xdp_md", fields: XDP_FIELDS }, Kind { name: "__sk_buff", fields: SKB_FIELDS }];

const XDP_FIELDS: &[Field] = &[
    pointer("data", 0, 0),
    pointer("data_end", 4, 8),
    pointer("data_meta", 8, 16),
    scalar("ingress_ifindex", 12, 24),
    scalar("rx_queue_index", 16, 28),
    scalar("egress_ifindex", 20, 32),
];

/// One table for all types of programs on socket buffers. Which fields a type
/// may read differs a little (a classifier sees no `family`, a socket filter no
/// `data`); the kernel's verifier sees to that. Writable are the fields that
/// some type may write. The native structure has the wide fields first.
const SKB_FIELDS: &[Field] = &[
    scalar("len", 0, 48),
    scalar("pkt_type", 4, 52),
    state("mark", 8, 56),
    state("queue_mapping", 12, 60),
    scalar("protocol", 16, 64),
    scalar("vlan_present", 20, 68),
    scalar("vlan_tci", 24, 72),
    scalar("vlan_proto", 28, 76),
    state("priority", 32, 80),
    scalar("ingress_ifindex", 36, 84),
    scalar("ifindex", 40, 88),
    state("tc_index", 44, 92),
    state("cb[0]", 48, 96),
    state("cb[1]", 52, 100),
    state("cb[2]", 56, 104),
    state("cb[3]", 60, 108),
    state("cb[4]", 64, 112),
    scalar("hash", 68, 116),
    state("tc_classid", 72, 120),
    pointer("data", 76, 0),
    pointer("data_end", 80, 8),
    scalar("napi_id", 84, 124),
    scalar("family", 88, 128),
    scalar("remote_ip4", 92, 132),
    scalar("local_ip4", 96, 136),
    scalar("remote_ip6[0]", 100, 140),
    scalar("remote_ip6[1]", 104, 144),
    scalar("remote_ip6[2]", 108, 148),
    scalar("remote_ip6[3]", 112, 152),
    scalar("local_ip6[0]", 116, 156),
    scalar("local_ip6[1]", 120, 160),
    scalar("local_ip6[2]", 124, 164),
    scalar("local_ip6[3]", 128, 168),
    scalar("remote_port", 132, 172),
    scalar("local_port", 136, 176),
    pointer("data_meta", 140, 16),
    wide("flow_keys", 144, 24, false),
    wide("tstamp", 152, 32, true),
    scalar("wire_len", 160, 180),
    scalar("gso_segs", 164, 184),
    wide("sk", 168, 40, false),
    scalar("gso_size", 176, 188),
    scalar("tstamp_type", 180, 192),
    wide("hwtstamp", 184, 200, false),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields ascend, and neither they nor their native places overlap.
    #[test]
    fn fields_do_not_overlap() {
        for kind in KINDS {
            let mut native: Vec<(u16, u16)> = Vec::new();
            let mut end = 0;
            for field in kind.fields {
                assert!(field.offset >= end, "{} {}", kind.name, field.name);
                end = field.offset + field.size.bytes() as u16;
                native.push((field.native_offset, field.native_size.bytes() as u16));
            }
            native.sort_unstable();
            assert!(native.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
            assert!(native.iter().all(|(offset, size)| offset % size == 0));
        }
    }
}
