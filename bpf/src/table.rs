//! The numbers and spellings of the instruction set, each written once.
//!
//! Decoding, encoding, printing and parsing all look facts up in these rows, so
//! that none of them spells the instruction set out again.

use crate::{AluOp, AtomicOp, Cond, EndKind, Size};

/// Instruction classes: the low three bits of an opcode.
pub(crate) mod class {
    pub const LD: u8 = 0;
    pub const LDX: u8 = 1;
    pub const ST: u8 = 2;
    pub const STX: u8 = 3;
    pub const ALU: u8 = 4;
    pub const JMP: u8 = 5;
    pub const JMP32: u8 = 6;
    pub const ALU64: u8 = 7;
}

/// Modes of loads and stores: the high three bits of an opcode.
pub(crate) mod mode {
    pub const IMM: u8 = 0x00;
    pub const ABS: u8 = 0x20;
    pub const IND: u8 = 0x40;
    pub const MEM: u8 = 0x60;
    pub const MEMSX: u8 = 0x80;
    pub const ATOMIC: u8 = 0xc0;
}

/// Arithmetic and jump codes that are no rows of [`ALU`] or [`COND`]: the high
/// four bits of an opcode.
pub(crate) mod code {
    pub const NEG: u8 = 0x80;
    pub const MOV: u8 = 0xb0;
    pub const END: u8 = 0xd0;
    pub const JA: u8 = 0x00;
    pub const CALL: u8 = 0x80;
    pub const EXIT: u8 = 0x90;
    pub const MAY_GOTO: u8 = 0xe0;
}

/// The bit that makes the right operand a register.
pub(crate) const X: u8 = 0x08;

/// What the immediate of an atomic operation holds beside the rows of [`ATOMIC`].
pub(crate) mod atomic {
    pub const FETCH: i32 = 0x01;
    pub const XCHG: i32 = 0xe1;
    pub const CMPXCHG: i32 = 0xf1;
    pub const LOAD_ACQUIRE: i32 = 0x100;
    pub const STORE_RELEASE: i32 = 0x110;
}

/// The source-register field of a two-slot load and of a call.
pub(crate) mod pseudo {
    pub const CONST: u8 = 0;
    pub const FUNCTION: u8 = 4;
    pub const MAP_BY_INDEX: u8 = 5;
    pub const MAP_VALUE_BY_INDEX: u8 = 6;
    pub const HELPER: u8 = 0;
    pub const RELATIVE: u8 = 1;
    pub const KFUNC: u8 = 2;
}

/// An arithmetic operation.
pub(crate) struct AluRow {
    pub op: AluOp,
    pub code: u8,
    /// 1 for signed division and remainder.
    pub off: i16,
    pub text: &'static str,
}

const fn alu(op: AluOp, code: u8, off: i16, text: &'static str) -> AluRow {
    AluRow { op, code, off, text }
}

/// Arithmetic.
pub(crate) static ALU: &[AluRow] = &[
    alu(AluOp::Add, 0x00, 0, "+="),
    alu(AluOp::Sub, 0x10, 0, "-="),
    alu(AluOp::Mul, 0x20, 0, "*="),
    alu(AluOp::Div, 0x30, 0, "/="),
    alu(AluOp::Sdiv, 0x30, 1, "s/="),
    alu(AluOp::Or, 0x40, 0, "|="),
    alu(AluOp::And, 0x50, 0, "&="),
    alu(AluOp::Lsh, 0x60, 0, "<<="),
    alu(AluOp::Rsh, 0x70, 0, ">>="),
    alu(AluOp::Mod, 0x90, 0, "%="),
    alu(AluOp::Smod, 0x90, 1, "s%="),
    alu(AluOp::Xor, 0xa0, 0, "^="),
    alu(AluOp::Arsh, 0xc0, 0, "s>>="),
];

/// A comparison.
pub(crate) struct CondRow {
    pub cond: Cond,
    pub code: u8,
    pub text: &'static str,
}

const fn cond(cond: Cond, code: u8, text: &'static str) -> CondRow {
    CondRow { cond, code, text }
}

/// Comparisons of conditional jumps.
pub(crate) static COND: &[CondRow] = &[
    cond(Cond::Eq, 0x10, "=="),
    cond(Cond::Ugt, 0x20, ">"),
    cond(Cond::Uge, 0x30, ">="),
    cond(Cond::Set, 0x40, "&"),
    cond(Cond::Ne, 0x50, "!="),
    cond(Cond::Sgt, 0x60, "s>"),
    cond(Cond::Sge, 0x70, "s>="),
    cond(Cond::Ult, 0xa0, "<"),
    cond(Cond::Ule, 0xb0, "<="),
    cond(Cond::Slt, 0xc0, "s<"),
    cond(Cond::Sle, 0xd0, "s<="),
];

/// An atomic operation other than the exchanges.
pub(crate) struct AtomicRow {
    pub op: AtomicOp,
    pub imm: i32,
    /// Without fetching.
    pub text: &'static str,
    /// With fetching.
    pub fetch: &'static str,
}

/// Atomic operations other than the exchanges.
pub(crate) static ATOMIC: &[AtomicRow] = &[
    AtomicRow { op: AtomicOp::Add, imm: 0x00, text: "+=", fetch: "atomic_fetch_add" },
    AtomicRow { op: AtomicOp::Or, imm: 0x40, text: "|=", fetch: "atomic_fetch_or" },
    AtomicRow { op: AtomicOp::And, imm: 0x50, text: "&=", fetch: "atomic_fetch_and" },
    AtomicRow { op: AtomicOp::Xor, imm: 0xa0, text: "^=", fetch: "atomic_fetch_xor" },
];

/// The size of an access.
pub(crate) struct SizeRow {
    pub size: Size,
    pub code: u8,
    pub unsigned: &'static str,
    pub signed: &'static str,
}

const fn size(size: Size, code: u8, unsigned: &'static str, signed: &'static str) -> SizeRow {
    SizeRow { size, code, unsigned, signed }
}

/// Sizes.
pub(crate) static SIZE: &[SizeRow] = &[
    size(Size::B, 0x10, "u8", "s8"),
    size(Size::H, 0x08, "u16", "s16"),
    size(Size::W, 0x00, "u32", "s32"),
    size(Size::D, 0x18, "u64", "s64"),
];

impl SizeRow {
    /// The row of a size.
    pub fn of(size: Size) -> &'static SizeRow {
        // The rows stand in the order of the enum.
        &SIZE[size as usize]
    }

    /// The row that an opcode's size bits name.
    pub fn of_opcode(opcode: u8) -> &'static SizeRow {
        match opcode & 0x18 {
            0x10 => &SIZE[0],
            0x08 => &SIZE[1],
            0x00 => &SIZE[2],
            _ => &SIZE[3],
        }
    }

    /// Name of the type in the text form.
    pub fn name(&self, signed: bool) -> &'static str {
        if signed { self.signed } else { self.unsigned }
    }
}

/// The spelling of byte-order operations, without the size.
pub(crate) static END: &[(EndKind, &str)] =
    &[(EndKind::Le, "le"), (EndKind::Be, "be"), (EndKind::Swap, "bswap")];
