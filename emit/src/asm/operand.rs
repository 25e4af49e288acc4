//! Operands, and how they are handed to the encoder.

use cranelift_assembler_x64 as enc;
use enc::Registers;
use tailor_lower::Gpr;

/// A memory operand over physical registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mem {
    /// Any register.
    pub base: Gpr,
    /// Any register but rsp, and by how many bits (0 to 3) it is shifted left.
    pub index: Option<(Gpr, u8)>,
    /// Added.
    pub disp: i32,
}

impl Mem {
    /// `[base + disp]`
    pub fn new(base: Gpr, disp: i32) -> Mem {
        Mem { base, index: None, disp }
    }

    /// `[base + index * 2^shift + disp]`
    pub fn indexed(base: Gpr, index: Gpr, shift: u8, disp: i32) -> Mem {
        Mem { base, index: Some((index, shift)), disp }
    }

    pub(super) fn amode(self) -> enc::Amode<u8> {
        match self.index {
            None => enc::Amode::ImmReg {
                base: self.base.enc(),
                simm32: enc::AmodeOffsetPlusKnownOffset {
                    simm32: enc::AmodeOffset::new(self.disp),
                    offset: None,
                },
                trap: None,
            },
            Some((index, shift)) => enc::Amode::ImmRegRegShift {
                base: self.base.enc(),
                index: enc::NonRspGpr::new(index.enc()),
                scale: enc::Scale::new(shift),
                simm32: enc::AmodeOffset::new(self.disp),
                trap: None,
            },
        }
    }
}

/// A register or memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rm {
    /// The register.
    Reg(Gpr),
    /// Memory of the operation's width.
    Mem(Mem),
}

impl Rm {
    pub(super) fn encode(self) -> enc::GprMem<u8, u8> {
        match self {
            Rm::Reg(reg) => enc::GprMem::Gpr(reg.enc()),
            Rm::Mem(mem) => enc::GprMem::Mem(mem.amode()),
        }
    }
}

impl From<Gpr> for Rm {
    fn from(reg: Gpr) -> Rm {
        Rm::Reg(reg)
    }
}

impl From<Mem> for Rm {
    fn from(mem: Mem) -> Rm {
        Rm::Mem(mem)
    }
}

/// Registers are their numbers.
pub(super) struct Regs;

impl Registers for Regs {
    type ReadGpr = u8;
    type ReadWriteGpr = u8;
    type WriteGpr = u8;
    type ReadXmm = u8;
    type ReadWriteXmm = u8;
    type WriteXmm = u8;
}

/// Encodes the first form for 32 bits, the second for 64.
macro_rules! sized {
    ($asm:expr, $w:expr, $l:ident / $q:ident, $($arg:expr),*) => {
        match $w {
            Width::W32 => inst::$l::<Regs>::new($($arg),*).encode(&mut $asm.code),
            Width::W64 => inst::$q::<Regs>::new($($arg),*).encode(&mut $asm.code),
        }
    };
}

/// Encodes the form of a table that stands beside the value of `$op`.
macro_rules! table {
    ($asm:expr, $op:expr, $w:expr, $args:tt, { $($($case:path)|+ => $l:ident / $q:ident),+ $(,)? }) => {
        match $op {
            $($($case)|+ => table!(@one $asm, $w, $l / $q, $args)),+
        }
    };
    (@one $asm:expr, $w:expr, $l:ident / $q:ident, ($($arg:expr),*)) => {
        sized!($asm, $w, $l / $q, $($arg),*)
    };
}

pub(super) use {sized, table};
