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

/// Index of `xdp_md` in [`KINDS`].
pub const XDP: u8 = 0;

/// All kinds, by number.
pub const KINDS: &[Kind] = &[Kind {
    name: "xdp_md",
    fields: &[
        pointer("data", 0, 0),
        pointer("data_end", 4, 8),
        pointer("data_meta", 8, 16),
        scalar("ingress_ifindex", 12, 24),
        scalar("rx_queue_index", 16, 28),
        scalar("egress_ifindex", 20, 32),
    ],
}];
