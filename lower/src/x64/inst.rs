//! The machine instructions that selection chooses from.
//!
//! A variant says what is done; the registers stand in the function's operand
//! list, in the order documented here: definitions, then uses, then the
//! registers of the memory operand (base if it is a register, then index).
//! `d=s` marks a definition that must share the register of use `s`.
//! "r/m" operands may be left in a spill slot by the allocator.

use tailor_ir::{AtomicOp, FuncRef, MapRef, StackSlot};

/// Operation width.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Width {
    /// 32 bits; a register's upper half becomes zero.
    W32,
    /// 64 bits.
    W64,
}

impl Width {
    /// Bytes of that width.
    pub fn bytes(self) -> u32 {
        match self {
            Width::W32 => 4,
            Width::W64 => 8,
        }
    }
}

/// Two-operand arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum AluOp {
    Add,
    Sub,
    And,
    Or,
    Xor,
}

/// Shifts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum ShiftOp {
    Shl,
    Shr,
    Sar,
    Rol,
    Ror,
}

/// How a narrow value fills a register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Extend {
    /// A byte, zero-extended to 64 bits.
    Zero8,
    /// Two bytes, zero-extended.
    Zero16,
    /// Four bytes, zero-extended.
    Zero32,
    /// All eight bytes.
    None64,
    /// A byte, sign-extended to 32 bits (the upper half is zero).
    Sign8To32,
    /// Two bytes, sign-extended to 32 bits.
    Sign16To32,
    /// A byte, sign-extended to 64 bits.
    Sign8,
    /// Two bytes, sign-extended to 64 bits.
    Sign16,
    /// Four bytes, sign-extended to 64 bits.
    Sign32,
}

/// Condition codes, with their number in encodings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Cc {
    B = 2,
    Ae = 3,
    E = 4,
    Ne = 5,
    Be = 6,
    A = 7,
    L = 12,
    Ge = 13,
    Le = 14,
    G = 15,
}

/// The right-hand operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rhs {
    /// One operand, r/m.
    Reg,
    /// An immediate, sign-extended.
    Imm(i32),
    /// Memory of the operation's width.
    Mem(Mem),
}

/// A memory operand; its registers are the instruction's last operands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mem {
    /// What the address starts from.
    pub base: Base,
    /// An index register, shifted left by 0 to 3.
    pub index: Option<u8>,
    /// Added to the address.
    pub disp: i32,
}

/// The base of a memory operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Base {
    /// A register operand.
    Reg,
    /// A frame object.
    Slot(StackSlot),
}

/// Something whose address is known when code is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Symbol {
    /// A map, as helpers take it.
    Map(MapRef),
    /// A byte of a map's first value.
    MapValue(MapRef, u32),
    /// The cell of a program array that holds slot `.1`.
    MapSlot(MapRef, u32),
    /// A function of the module, where calls enter it.
    Function(FuncRef),
    /// A function of the module, where C code enters it: what a callback's
    /// address is. There may be a stub before it.
    Entry(FuncRef),
    /// A helper by number, as C code calls it.
    Helper(u32),
    /// The cell of the runtime's table that holds a helper's address.
    HelperCell(u32),
}

/// How a tail-call site finds its target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Site {
    /// The index is not known, or the array: both are in registers.
    Array,
    /// The slot is known, and loaded.
    Slot(MapRef, u32),
    /// The slot is known, and two instructions are patched when it changes.
    Patched(MapRef, u32),
}

impl Site {
    /// The slot, if it is known.
    pub fn slot(self) -> Option<(MapRef, u32)> {
        match self {
            Site::Array => None,
            Site::Slot(map, key) | Site::Patched(map, key) => Some((map, key)),
        }
    }
}

/// What an instruction does to the flags.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Flags {
    /// Leaves them alone, or can be emitted so that it does.
    Keeps,
    /// May leave anything in them.
    Changes,
    /// Sets them for a conditional jump.
    Compares,
}

/// A machine instruction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum MInst {
    /// Defines the function's arguments: d.. (each fixed); no code.
    Args,
    /// d, s: copy; W32 zero-extends. One of the two may be r/m, but a 64-bit result
    /// of W32 is in a register.
    Mov(Width),
    /// d: constant; shortest encoding that leaves the flags alone.
    Imm(u64),
    /// d: address.
    Addr(Symbol),
    /// d, mem: address of the memory operand (`lea`).
    Lea(Width, Mem),
    /// d=s, s, rhs.
    Alu(AluOp, Width, Rhs),
    /// d=s, s, rhs (not an immediate): low half of the product.
    Imul(Width, Rhs),
    /// d, s (r/m): product with an immediate.
    ImulImm(Width, i32),
    /// d=s, s.
    Neg(Width),
    /// d=s, s: by a constant count.
    ShiftImm(ShiftOp, Width, u8),
    /// d=s, s, count in rcx.
    ShiftCl(ShiftOp, Width),
    /// d, s (r/m), count: BMI2, flags untouched (Shl, Shr, Sar).
    ShiftX(ShiftOp, Width),
    /// d=s, s: reverses all bytes of the width.
    Bswap(Width),
    /// d=s, s: reverses the low two bytes and clears the rest.
    Bswap16,
    /// d=s, s: reverses the low two bytes and leaves the rest as it is.
    Swap16,
    /// d, s (r/m).
    Ext(Extend),
    /// d, mem.
    Load(Extend, Mem),
    /// s, mem: the low `bytes` (1, 2, 4, 8) of a register.
    Store(u8, Mem),
    /// mem: a constant of `bytes` bytes.
    StoreImm(u8, i32, Mem),
    /// s (none with an immediate), mem: changes memory of that width in place.
    AluMem(AluOp, Width, Option<i32>, Mem),
    /// quotient in rax, rdx (scratch definition, early), dividend in rax, divisor.
    /// W32 zero-extends the result, here and in `Rem`.
    /// Total as eBPF's: by zero 0; MIN / -1 = MIN. `nonzero`: divisor known not to be 0 (or -1 if signed).
    Div {
        /// Signed.
        signed: bool,
        /// Width.
        w: Width,
        /// No checks are needed.
        nonzero: bool,
    },
    /// rax (scratch definition), remainder in rdx (early), dividend in rax, divisor: by
    /// zero the dividend (W32: zero-extended); MIN % -1 = 0.
    Rem {
        /// Signed.
        signed: bool,
        /// Width.
        w: Width,
        /// No checks are needed.
        nonzero: bool,
    },
    /// s, rhs: sets flags.
    Cmp(Width, Rhs),
    /// mem: compares `bytes` bytes of memory with an immediate, of which the low
    /// `bytes` count (for 8: sign-extended); sets flags.
    CmpMemImm(u8, i32, Mem),
    /// s, rhs: sets flags of the bitwise and.
    Test(Width, Rhs),
    /// mem: sets flags of the bitwise and of `bytes` (1, 4, 8) bytes of memory
    /// with an immediate.
    TestMemImm(u8, i32, Mem),
    /// Goes to the first successor if the condition holds, else to the second.
    Jcc(Cc),
    /// Goes to the only successor.
    Jmp,
    /// s, mem: `lock op [mem], s` (not exchange).
    Atomic(AtomicOp, Width, Mem),
    /// mem: the same with an immediate.
    AtomicImm(AtomicOp, Width, i32, Mem),
    /// d=s, s, mem: old value (`lock xadd`, `xchg`); Add and Xchg only.
    AtomicFetch(AtomicOp, Width, Mem),
    /// old value in rax (early), scratch definition (early, any register), s, mem: a compare-and-exchange loop; And, Or, Xor.
    AtomicLoop(AtomicOp, Width, Mem),
    /// old value in rax, expected value in rax, s, mem. A W32 one that succeeds
    /// leaves the upper half of the expected value.
    CmpXchg(Width, Mem),
    /// result in rax, then the arguments, each fixed: calls C code.
    CallHelper(u32),
    /// result in rax, then the arguments, each fixed (if the callee wants it, the record
    /// too, or under a kernel's convention the counter's address in rax).
    CallLocal(FuncRef),
    /// d: the address of the tail-call counter, from where a kernel's prologue put it.
    Counter,
    /// scratch definition in rax (early; a patched site of the saving convention has none); ctx in rdi;
    /// record in r9, unless the convention is a kernel's; then, if the slot is not known, the array in rsi and the index in rdx, of which the low half counts.
    /// Falls through if the tail call does not happen. May use the scratch register.
    TailCall(Site),
    /// The result in rax: restores, drops the frame, returns.
    Ret,
    /// Never reached.
    Trap,
}

impl MInst {
    /// Whether its results follow from its register operands alone, so that it
    /// could be executed again.
    pub fn is_pure(&self) -> bool {
        use MInst::{
            Addr, Alu, Bswap, Bswap16, Ext, Imm, Imul, ImulImm, Lea, Mov, Neg, ShiftCl, ShiftImm,
            ShiftX, Swap16,
        };
        self.mem().is_none()
            && matches!(
                self,
                Mov(_)
                    | Imm(_)
                    | Addr(_)
                    | Lea(..)
                    | Alu(..)
                    | Imul(..)
                    | ImulImm(..)
                    | Neg(_)
                    | ShiftImm(..)
                    | ShiftCl(..)
                    | ShiftX(..)
                    | Bswap(_)
                    | Bswap16
                    | Swap16
                    | Ext(_)
            )
    }

    /// What it does to the flags.
    pub fn flags(&self) -> Flags {
        use MInst::{
            Addr, Args, Bswap, Cmp, CmpMemImm, Counter, Ext, Imm, Jcc, Jmp, Lea, Load, Mov, ShiftX,
            Store, StoreImm, Test, TestMemImm,
        };
        match self {
            Args | Mov(_) | Imm(_) | Addr(_) | Lea(..) | ShiftX(..) | Bswap(_) | Ext(_)
            | Load(..) | Store(..) | StoreImm(..) | Counter | Jcc(_) | Jmp => Flags::Keeps,
            Cmp(..) | CmpMemImm(..) | Test(..) | TestMemImm(..) => Flags::Compares,
            _ => Flags::Changes,
        }
    }

    /// The memory that it reads or writes, spill slots of operands aside.
    pub fn mem(&self) -> Option<&Mem> {
        match self {
            MInst::Load(_, mem)
            | MInst::Store(_, mem)
            | MInst::StoreImm(_, _, mem)
            | MInst::AluMem(_, _, _, mem)
            | MInst::CmpMemImm(_, _, mem)
            | MInst::TestMemImm(_, _, mem)
            | MInst::Atomic(_, _, mem)
            | MInst::AtomicImm(_, _, _, mem)
            | MInst::AtomicFetch(_, _, mem)
            | MInst::AtomicLoop(_, _, mem)
            | MInst::CmpXchg(_, mem)
            | MInst::Alu(_, _, Rhs::Mem(mem))
            | MInst::Imul(_, Rhs::Mem(mem))
            | MInst::Cmp(_, Rhs::Mem(mem))
            | MInst::Test(_, Rhs::Mem(mem)) => Some(mem),
            _ => None,
        }
    }
}
