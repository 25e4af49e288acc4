//! What is known about each operation, in one table.
//!
//! The rows of `opcodes!` give the name in the text form, the types of
//! operands and result in terms of the instruction's type `ty`, and the class
//! of effects. What an operation computes is in `eval`, which both constant
//! folding and the interpreter call.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

/// The width of a value in bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Type {
    /// 32 bits; nothing is known of an upper half.
    I32,
    /// 64 bits, pointers included.
    I64,
}

impl Type {
    /// Width in bits.
    pub fn bits(self) -> u32 {
        match self {
            Type::I32 => 32,
            Type::I64 => 64,
        }
    }

    /// Ones in the bits that a value of this type has.
    pub fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// The type of that name (`i32`, `i64`).
    pub fn from_name(name: &str) -> Option<Type> {
        match name {
            "i32" => Some(Type::I32),
            "i64" => Some(Type::I64),
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.bits())
    }
}

/// The size of a memory access in bytes: 1, 2, 4 or 8.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Size {
    /// One byte.
    B,
    /// Two bytes.
    H,
    /// Four bytes.
    W,
    /// Eight bytes.
    D,
}

impl Size {
    /// Size in bytes.
    pub fn bytes(self) -> u32 {
        1 << self as u32
    }

    /// Size in bits.
    pub fn bits(self) -> u32 {
        8 * self.bytes()
    }

    /// All of them, smallest first.
    pub const ALL: [Size; 4] = [Size::B, Size::H, Size::W, Size::D];

    /// The size of a value of that type.
    pub fn of(ty: Type) -> Size {
        match ty {
            Type::I32 => Size::W,
            Type::I64 => Size::D,
        }
    }

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Size::B => "u8",
            Size::H => "u16",
            Size::W => "u32",
            Size::D => "u64",
        }
    }

    /// The size of that name.
    pub fn from_name(name: &str) -> Option<Size> {
        Size::ALL.into_iter().find(|size| size.name() == name)
    }
}

/// A comparison of two values of the same width.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cond {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Unsigned less.
    Ult,
    /// Unsigned less or equal.
    Ule,
    /// Unsigned greater.
    Ugt,
    /// Unsigned greater or equal.
    Uge,
    /// Signed less.
    Slt,
    /// Signed less or equal.
    Sle,
    /// Signed greater.
    Sgt,
    /// Signed greater or equal.
    Sge,
    /// A bit is set in both (`a & b != 0`).
    Set,
    /// No bit is set in both (`a & b == 0`).
    Clear,
}

impl Cond {
    /// The condition that holds exactly where this one does not.
    pub fn negate(self) -> Cond {
        use Cond::*;
        match self {
            Eq => Ne,
            Ne => Eq,
            Ult => Uge,
            Uge => Ult,
            Ule => Ugt,
            Ugt => Ule,
            Slt => Sge,
            Sge => Slt,
            Sle => Sgt,
            Sgt => Sle,
            Set => Clear,
            Clear => Set,
        }
    }

    /// The condition that holds of `(b, a)` exactly where this one holds of `(a, b)`.
    pub fn swap(self) -> Cond {
        use Cond::*;
        match self {
            Ult => Ugt,
            Ugt => Ult,
            Ule => Uge,
            Uge => Ule,
            Slt => Sgt,
            Sgt => Slt,
            Sle => Sge,
            Sge => Sle,
            other => other,
        }
    }

    /// All of them.
    pub const ALL: [Cond; 12] = {
        use Cond::*;
        [Eq, Ne, Ult, Ule, Ugt, Uge, Slt, Sle, Sgt, Sge, Set, Clear]
    };

    /// The condition of that name.
    pub fn from_name(name: &str) -> Option<Cond> {
        Cond::ALL.into_iter().find(|cond| cond.name() == name)
    }

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        use Cond::*;
        match self {
            Eq => "eq",
            Ne => "ne",
            Ult => "ult",
            Ule => "ule",
            Ugt => "ugt",
            Uge => "uge",
            Slt => "slt",
            Sle => "sle",
            Sgt => "sgt",
            Sge => "sge",
            Set => "set",
            Clear => "clear",
        }
    }
}

/// What an atomic read-modify-write does to memory. All return the old value
/// when they fetch; width 4 or 8 by the instruction's type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AtomicOp {
    /// Add.
    Add,
    /// Bitwise or.
    Or,
    /// Bitwise and.
    And,
    /// Bitwise exclusive or.
    Xor,
    /// Exchange.
    Xchg,
}

impl AtomicOp {
    /// All of them.
    pub const ALL: [AtomicOp; 5] = {
        use AtomicOp::*;
        [Add, Or, And, Xor, Xchg]
    };

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            AtomicOp::Add => "add",
            AtomicOp::Or => "or",
            AtomicOp::And => "and",
            AtomicOp::Xor => "xor",
            AtomicOp::Xchg => "xchg",
        }
    }

    /// The operation of that name.
    pub fn from_name(name: &str) -> Option<AtomicOp> {
        AtomicOp::ALL.into_iter().find(|op| op.name() == name)
    }
}

/// The memory that an access may touch. Accesses to different known regions do
/// not overlap; `Any` overlaps all of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Region {
    /// Not known.
    Any,
    /// One stack object of this function.
    Stack(crate::StackSlot),
    /// The program's context.
    Ctx,
    /// Packet bytes.
    Packet,
    /// A map's values.
    Map(crate::MapRef),
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Region::Any => f.write_str("any"),
            Region::Ctx => f.write_str("ctx"),
            Region::Packet => f.write_str("packet"),
            Region::Stack(slot) => write!(f, "{slot}"),
            Region::Map(map) => write!(f, "{map}"),
        }
    }
}

/// What else than computing its result an operation does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing: may be removed, duplicated, moved and merged.
    Pure,
    /// Reads memory: may be removed if unused, and must stay between stores.
    Load,
    /// Writes memory.
    Store,
    /// Reads and writes memory, and must happen exactly once.
    Call,
}

/// The type of an operand or of a result, relative to the instruction's type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ty {
    /// The instruction's own type.
    Same,
    /// Always 32 bits.
    W32,
    /// Always 64 bits.
    W64,
}

impl Ty {
    /// The type, in an instruction of type `own`.
    pub fn resolve(self, own: Type) -> Type {
        match self {
            Ty::Same => own,
            Ty::W32 => Type::I32,
            Ty::W64 => Type::I64,
        }
    }
}

/// The number of no helper of the eBPF ABI: of the function that calls a helper
/// by its number, which it takes as a sixth argument.
pub const CALL_BY_NUMBER: u32 = u32::MAX;

/// What an instruction carries beside its operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PayloadKind {
    /// Nothing.
    None,
    /// A constant.
    Imm,
    /// Offset, size and region of an access.
    Mem,
    /// An access and an atomic operation.
    Atomic,
    /// A stack slot and an offset into it.
    Slot,
    /// A map.
    Map,
    /// A map and an offset into its first value.
    MapValue,
    /// A function of the module.
    Func,
    /// A declared helper.
    Ext,
    /// A context kind and one of its fields.
    Ctx,
}

/// A row of the opcode table.
pub struct Info {
    /// Name in the text form.
    pub name: &'static str,
    /// Operand types; `None` where the number varies (calls: all 64 bits).
    pub args: Option<&'static [Ty]>,
    /// Type of the result, if there is one.
    pub result: Option<Ty>,
    /// What it carries.
    pub payload: PayloadKind,
    /// Side effects.
    pub effect: Effect,
    /// `a op b = b op a`.
    pub commutes: bool,
}

impl Info {
    /// Whether operands or result depend on the instruction's type. Only then
    /// does the text form show it.
    pub fn typed(&self) -> bool {
        self.result == Some(Ty::Same) || self.args.is_some_and(|args| args.contains(&Ty::Same))
    }

    /// The one type that an instruction has where nothing depends on it: its
    /// result's, so that equal instructions have equal data.
    pub fn fixed_type(&self) -> Option<Type> {
        match self.result {
            _ if self.typed() => None,
            Some(Ty::W32) => Some(Type::I32),
            _ => Some(Type::I64),
        }
    }
}

macro_rules! opcodes {
    ($($(#[$doc:meta])* $op:ident = $name:literal $args:tt -> $result:tt $payload:ident $effect:ident $($commutes:ident)?;)*) => {
        /// An operation that is not a terminator.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Opcode { $($(#[$doc])* $op,)* }

        impl Opcode {
            /// All of them, in table order.
            pub const ALL: &'static [Opcode] = &[$(Opcode::$op,)*];

            /// This operation's row.
            pub fn info(self) -> &'static Info {
                static TABLE: &[Info] = &[$(Info {
                    name: $name,
                    args: opcodes!(@args $args),
                    result: opcodes!(@result $result),
                    payload: PayloadKind::$payload,
                    effect: Effect::$effect,
                    commutes: opcodes!(@commutes $($commutes)?),
                },)*];
                &TABLE[self as usize]
            }

            /// The operation of that name.
            pub fn from_name(name: &str) -> Option<Opcode> {
                static NAMES: LazyLock<HashMap<&str, Opcode>> =
                    LazyLock::new(|| Opcode::ALL.iter().map(|op| (op.info().name, *op)).collect());
                NAMES.get(name).copied()
            }
        }
    };
    (@args (varies)) => { None };
    (@args ($($t:ident),*)) => { Some(&[$(Ty::$t),*]) };
    (@result (none)) => { None };
    (@result ($t:ident)) => { Some(Ty::$t) };
    (@commutes) => { false };
    (@commutes commutes) => { true };
}

opcodes! {
    /// A constant.
    Iconst = "iconst" () -> (Same) Imm Pure;
    /// Address of a map object (what a helper takes).
    MapAddr = "map_addr" () -> (W64) Map Pure;
    /// Address in the first value of an array map (.rodata and the like).
    MapValue = "map_value" () -> (W64) MapValue Pure;
    /// Address of a function (a callback).
    FuncAddr = "func_addr" () -> (W64) Func Pure;
    /// Address in a stack object.
    StackAddr = "stack_addr" () -> (W64) Slot Pure;

    /// Wrapping addition.
    Iadd = "iadd" (Same, Same) -> (Same) None Pure commutes;
    /// Wrapping subtraction.
    Isub = "isub" (Same, Same) -> (Same) None Pure;
    /// Low half of the product.
    Imul = "imul" (Same, Same) -> (Same) None Pure commutes;
    /// Unsigned division; by zero: 0.
    Udiv = "udiv" (Same, Same) -> (Same) None Pure;
    /// Unsigned remainder; by zero: the dividend.
    Urem = "urem" (Same, Same) -> (Same) None Pure;
    /// Signed division, truncating; by zero: 0; MIN / -1 = MIN.
    Sdiv = "sdiv" (Same, Same) -> (Same) None Pure;
    /// Signed remainder with the dividend's sign; by zero: the dividend; MIN % -1 = 0.
    Srem = "srem" (Same, Same) -> (Same) None Pure;
    /// Bitwise and.
    And = "and" (Same, Same) -> (Same) None Pure commutes;
    /// Bitwise or.
    Or = "or" (Same, Same) -> (Same) None Pure commutes;
    /// Bitwise exclusive or.
    Xor = "xor" (Same, Same) -> (Same) None Pure commutes;
    /// Shift left by the count modulo the width.
    Shl = "shl" (Same, Same) -> (Same) None Pure;
    /// Logical shift right by the count modulo the width.
    Lshr = "lshr" (Same, Same) -> (Same) None Pure;
    /// Arithmetic shift right by the count modulo the width.
    Ashr = "ashr" (Same, Same) -> (Same) None Pure;
    /// Two's complement negation.
    Neg = "neg" (Same) -> (Same) None Pure;
    /// Reverses the low two bytes and clears the rest.
    Bswap16 = "bswap16" (Same) -> (Same) None Pure;
    /// Reverses all bytes of the type.
    Bswap = "bswap" (Same) -> (Same) None Pure;
    /// Sign-extends the low byte to the type.
    Sext8 = "sext8" (Same) -> (Same) None Pure;
    /// Sign-extends the low two bytes to the type.
    Sext16 = "sext16" (Same) -> (Same) None Pure;
    /// Sign-extends 32 bits to 64.
    Sext32 = "sext32" (W32) -> (W64) None Pure;
    /// Zero-extends 32 bits to 64.
    Uext32 = "uext32" (W32) -> (W64) None Pure;
    /// The low 32 bits of 64.
    Trunc = "trunc" (W64) -> (W32) None Pure;

    /// Load, zero-extended to the type.
    Load = "load" (W64) -> (Same) Mem Load;
    /// Load, sign-extended to the type.
    Sload = "sload" (W64) -> (Same) Mem Load;
    /// Store of the low bytes of operand 1 at operand 0.
    Store = "store" (W64, Same) -> (none) Mem Store;
    /// Atomic read-modify-write that returns the old value; memory width = type.
    AtomicFetch = "atomic_fetch" (W64, Same) -> (Same) Atomic Call;
    /// Atomic read-modify-write without result.
    Atomic = "atomic" (W64, Same) -> (none) Atomic Call;
    /// Compare operand 1 with memory at operand 0, store operand 2 if equal; the old value.
    AtomicCas = "atomic_cas" (W64, Same, Same) -> (Same) Mem Call;
    /// Atomic load, zero-extended, that no later access may overtake.
    LoadAcquire = "load_acquire" (W64) -> (Same) Mem Call;
    /// Atomic store of the low bytes that may overtake no earlier access.
    StoreRelease = "store_release" (W64, Same) -> (none) Mem Call;
    /// Read of a context field; becomes a real load per target just before lowering.
    CtxLoad = "ctx_load" (W64) -> (Same) Ctx Load;
    /// Write of a context field.
    CtxStore = "ctx_store" (W64, Same) -> (none) Ctx Store;

    /// Call of a helper.
    CallExt = "call_ext" (varies) -> (W64) Ext Call;
    /// Call of the helper whose number operand 0 is, with the five others.
    CallNumber = "call_number" (W64, W64, W64, W64, W64, W64) -> (W64) None Call;
    /// Call of a function of the module.
    Call = "call" (varies) -> (W64) Func Call;
}
