//! The instruction set of RFC 9669, as decoded operations.
//!
//! A function's code is a list of [`Op`]s, one a slot, so that an index into
//! the list is an instruction's address and jump offsets count list elements.
//! A 64-bit immediate load takes two slots; the second is [`Op::LoadImmHi`].

use std::fmt;

pub use tailor_ir::{AtomicOp, Cond, FuncRef, MapRef, Size};

/// An eBPF register, R0 to R10.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg(u8);

impl Reg {
    /// Result of calls and of the function.
    pub const R0: Reg = Reg(0);
    /// First argument; the context or memory at entry.
    pub const R1: Reg = Reg(1);
    /// Second argument.
    pub const R2: Reg = Reg(2);
    /// Third argument.
    pub const R3: Reg = Reg(3);
    /// Fourth argument.
    pub const R4: Reg = Reg(4);
    /// Fifth argument.
    pub const R5: Reg = Reg(5);
    /// Preserved across calls, as are R7 to R9.
    pub const R6: Reg = Reg(6);
    /// The last of them.
    pub const R9: Reg = Reg(9);
    /// The frame pointer: read-only, one past the highest byte of the frame.
    pub const FP: Reg = Reg(10);

    /// The register of this number, if there is one.
    pub fn new(number: u8) -> Option<Reg> {
        (number <= 10).then_some(Reg(number))
    }

    /// Number, 0 to 10.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// R0 to R10 in order.
    pub fn all() -> impl Iterator<Item = Reg> {
        (0..=10).map(Reg)
    }

    /// R1 to R5: the arguments of calls.
    pub fn args() -> impl Iterator<Item = Reg> {
        (1..=5).map(Reg)
    }
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl fmt::Debug for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The width of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Width {
    /// The low half; results are zero-extended.
    W32,
    /// All 64 bits.
    W64,
}

/// The second operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Src {
    /// A register.
    Reg(Reg),
    /// An immediate, sign-extended to the operation's width.
    Imm(i32),
}

/// Two-operand arithmetic: `dst = dst op src`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // the names are the documentation
pub enum AluOp {
    Add,
    Sub,
    Mul,
    Div,
    Sdiv,
    Mod,
    Smod,
    Or,
    And,
    Xor,
    Lsh,
    Rsh,
    Arsh,
}

/// Byte-order operations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EndKind {
    /// To little-endian: truncates on this machine.
    Le,
    /// To big-endian: swaps and truncates.
    Be,
    /// Swaps and truncates whatever the host's order.
    Swap,
}

/// What a two-slot load puts in a register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Imm64 {
    /// A number.
    Const(u64),
    /// Address of a map (linked code).
    Map(MapRef),
    /// Address in a map's first value (linked code).
    MapValue(MapRef, u32),
    /// Address of a function (linked code).
    Function(FuncRef),
    /// An unlinked form: the source-register field and both immediates.
    Pseudo(u8, i32, i32),
}

/// What a call calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Callee {
    /// A helper by number.
    Helper(u32),
    /// The function that starts this many slots after the next instruction (unlinked code).
    Relative(i32),
    /// A function of the object (linked code).
    Function(FuncRef),
    /// The helper whose number is in a register.
    Register(Reg),
    /// A kernel function by BTF id.
    Kfunc(i32),
}

/// Times that a run of a function may pass its `may_goto` instructions: what
/// kernels that count allow. (Newer ones go by time, a quarter of a second.)
pub const MAY_GOTO_BUDGET: u32 = 8 << 20;

/// A decoded instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// `dst = dst op src`.
    Alu {
        /// Operation.
        op: AluOp,
        /// Width.
        w: Width,
        /// Left operand and destination.
        dst: Reg,
        /// Right operand.
        src: Src,
    },
    /// `dst = src`; 32 bits wide it zero-extends.
    Mov {
        /// Width.
        w: Width,
        /// Destination.
        dst: Reg,
        /// Source.
        src: Src,
    },
    /// `dst = sign-extended low part of src`.
    MovSx {
        /// Width of the result.
        w: Width,
        /// Part that is extended: B, H, or W (64-bit only).
        from: Size,
        /// Destination.
        dst: Reg,
        /// Source.
        src: Reg,
    },
    /// `dst = -dst`.
    Neg {
        /// Width.
        w: Width,
        /// Operand and destination.
        dst: Reg,
    },
    /// Byte order of the low 16, 32 or 64 bits; the rest is cleared.
    End {
        /// Which order.
        kind: EndKind,
        /// H, W or D.
        size: Size,
        /// Operand and destination.
        dst: Reg,
    },
    /// A 64-bit immediate; takes two slots.
    LoadImm {
        /// Destination.
        dst: Reg,
        /// Value.
        value: Imm64,
    },
    /// The second slot of the above; never executed.
    LoadImmHi,
    /// `dst = *(size *)(base + off)`.
    Load {
        /// Bytes read.
        size: Size,
        /// Sign-extend to 64 bits instead of zero-extending.
        signed: bool,
        /// Destination.
        dst: Reg,
        /// Address.
        base: Reg,
        /// Offset.
        off: i16,
    },
    /// `*(size *)(base + off) = src`.
    Store {
        /// Bytes written.
        size: Size,
        /// Address.
        base: Reg,
        /// Offset.
        off: i16,
        /// Value.
        src: Src,
    },
    /// `lock *(base + off) op= src`, width W32 or W64; src = old value if `fetch` (always for exchange).
    Atomic {
        /// Operation.
        op: AtomicOp,
        /// Memory width.
        w: Width,
        /// Whether the old value replaces src.
        fetch: bool,
        /// Address.
        base: Reg,
        /// Offset.
        off: i16,
        /// Operand.
        src: Reg,
    },
    /// Compare R0 with memory; if equal store src; R0 = old value.
    CmpXchg {
        /// Memory width.
        w: Width,
        /// Address.
        base: Reg,
        /// Offset.
        off: i16,
        /// New value.
        src: Reg,
    },
    /// Atomic load, zero-extended, that no later access overtakes.
    LoadAcquire {
        /// Bytes read.
        size: Size,
        /// Destination.
        dst: Reg,
        /// Address.
        base: Reg,
        /// Offset.
        off: i16,
    },
    /// Atomic store that overtakes no earlier access.
    StoreRelease {
        /// Bytes written.
        size: Size,
        /// Address.
        base: Reg,
        /// Offset.
        off: i16,
        /// Value.
        src: Reg,
    },
    /// Legacy packet load into R0 (`LD_ABS`, `LD_IND`).
    LoadPacket {
        /// Bytes read, in network order.
        size: Size,
        /// Added to the offset (`LD_IND`).
        index: Option<Reg>,
        /// Offset into the packet.
        off: i32,
    },
    /// Unconditional jump, relative to the next slot.
    Jump {
        /// Slots.
        off: i32,
        /// Encoded with a 32-bit offset (`gotol`).
        long: bool,
    },
    /// Conditional jump, relative to the next slot.
    Branch {
        /// Comparison; `Clear` has no encoding.
        cond: Cond,
        /// Width.
        w: Width,
        /// Left side.
        dst: Reg,
        /// Right side.
        src: Src,
        /// Slots.
        off: i16,
    },
    /// Goes on with the next slot [`MAY_GOTO_BUDGET`] times in a run of the
    /// function, all its instructions of this kind taken together; then jumps.
    MayGoto {
        /// Slots, relative to the next one.
        off: i16,
    },
    /// Jump to the slot of this function that an entry of a jump table names.
    IndirectJump {
        /// Holds the entry.
        target: Reg,
    },
    /// Call; arguments in R1 to R5, result in R0.
    Call(Callee),
    /// Return R0.
    Exit,
}

impl Op {
    /// Slots that the instruction takes: 1 or 2.
    pub fn slots(&self) -> usize {
        if matches!(self, Op::LoadImm { .. }) { 2 } else { 1 }
    }

    /// Loads, stores and atomic operations (not those of classic packet access).
    pub fn accesses_memory(&self) -> bool {
        use Op::{Atomic, CmpXchg, Load, Store};
        matches!(self.plain(), Load { .. } | Store { .. } | Atomic { .. } | CmpXchg { .. })
    }

    /// The register that the instruction writes beside what calls clobber.
    pub fn def(&self) -> Option<Reg> {
        match *self {
            Op::Alu { dst, .. }
            | Op::Mov { dst, .. }
            | Op::MovSx { dst, .. }
            | Op::Neg { dst, .. }
            | Op::End { dst, .. }
            | Op::LoadImm { dst, .. }
            | Op::Load { dst, .. }
            | Op::LoadAcquire { dst, .. } => Some(dst),
            Op::Atomic { op, fetch, src, .. } if fetch || op == AtomicOp::Xchg => Some(src),
            Op::CmpXchg { .. } | Op::LoadPacket { .. } | Op::Call(_) => Some(Reg::R0),
            _ => None,
        }
    }

    /// The slot that a jump at slot `pc` goes to, which may lie outside the function.
    pub fn jump_target(&self, pc: usize) -> Option<i64> {
        match *self {
            Op::Jump { off, .. } => Some(pc as i64 + 1 + i64::from(off)),
            Op::Branch { off, .. } | Op::MayGoto { off } => Some(pc as i64 + 1 + i64::from(off)),
            _ => None,
        }
    }

    /// An access without what it says about the order of others.
    pub fn plain(&self) -> Op {
        match *self {
            Op::LoadAcquire { size, dst, base, off } => {
                Op::Load { size, signed: false, dst, base, off }
            }
            Op::StoreRelease { size, base, off, src } => {
                Op::Store { size, base, off, src: Src::Reg(src) }
            }
            op => op,
        }
    }
}
