//! Operations to bytes: 8-byte little-endian slots.

use crate::insn::{AluOp, AtomicOp, Callee, Cond, EndKind, Imm64, Op, Reg, Size, Src, Width};
use crate::table::{self, SizeRow, X, class, code, mode, pseudo};
use crate::{Error, MapRef};

/// The fields of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Slot {
    pub opcode: u8,
    pub dst: u8,
    pub src: u8,
    pub off: i16,
    pub imm: i32,
}

impl Slot {
    /// Reads a slot.
    pub fn read(bytes: &[u8; 8]) -> Slot {
        let [opcode, regs, o0, o1, i0, i1, i2, i3] = *bytes;
        Slot {
            opcode,
            dst: regs & 15,
            src: regs >> 4,
            off: i16::from_le_bytes([o0, o1]),
            imm: i32::from_le_bytes([i0, i1, i2, i3]),
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> [u8; 8] {
        let [o0, o1] = self.off.to_le_bytes();
        let [i0, i1, i2, i3] = self.imm.to_le_bytes();
        [self.opcode, self.dst | self.src << 4, o0, o1, i0, i1, i2, i3]
    }

    fn new(opcode: u8) -> Slot {
        Slot { opcode, ..Slot::default() }
    }

    fn dst(self, reg: Reg) -> Slot {
        Slot { dst: reg.index() as u8, ..self }
    }

    fn src(self, reg: Reg) -> Slot {
        Slot { src: reg.index() as u8, ..self }
    }

    fn off(self, off: i16) -> Slot {
        Slot { off, ..self }
    }

    fn imm(self, imm: i32) -> Slot {
        Slot { imm, ..self }
    }

    /// The right operand of arithmetic or of a jump.
    fn operand(self, src: Src) -> Slot {
        match src {
            Src::Reg(reg) => Slot { opcode: self.opcode | X, ..self.src(reg) },
            Src::Imm(imm) => self.imm(imm),
        }
    }
}

/// The bytes of a function. Addresses of maps are encoded by the map's number
/// (as an index into the loader's array of maps). Calls and addresses of
/// functions of an object have no encoding before the functions are laid out:
/// see [`Object::flatten`](crate::Object::flatten).
pub fn encode(function: &str, ops: &[Op]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(8 * ops.len());
    let mut hi = None;
    for (pc, op) in ops.iter().enumerate() {
        let slot = match (hi.take(), op) {
            (Some(imm), Op::LoadImmHi) => Slot::new(0).imm(imm),
            (Some(_), _) => return Err(Error::at(function, pc, CUT)),
            (None, _) => slot(op).map_err(|what| Error::at(function, pc, what))?,
        };
        if let Op::LoadImm { value, .. } = op {
            hi = Some(imm64(value).map_err(|what| Error::at(function, pc, what))?.2);
        }
        bytes.extend_from_slice(&slot.bytes());
    }
    match hi {
        Some(_) => Err(Error::at(function, ops.len(), CUT)),
        None => Ok(bytes),
    }
}

const CUT: &str = "the second slot of a 64-bit immediate is missing";

/// The slot of an operation; of a two-slot load the first.
pub(crate) fn slot(op: &Op) -> Result<Slot, &'static str> {
    Ok(match *op {
        Op::Alu { op, w, dst, src } => alu(op, w)?.dst(dst).operand(src),
        Op::Mov { w, dst, src } => Slot::new(code::MOV | alu_class(w)).dst(dst).operand(src),
        Op::MovSx { w, from, dst, src } => {
            if from == Size::D || (w, from) == (Width::W32, Size::W) {
                return Err("a sign-extending move as wide as its source has no encoding");
            }
            let slot = Slot::new(code::MOV | alu_class(w) | X).dst(dst).src(src);
            slot.off(from.bits() as i16)
        }
        Op::Neg { w, dst } => Slot::new(code::NEG | alu_class(w)).dst(dst),
        Op::End { kind, size, dst } => {
            if size == Size::B {
                return Err("one byte has no order");
            }
            let opcode = match kind {
                EndKind::Le => code::END | class::ALU,
                EndKind::Be => code::END | class::ALU | X,
                EndKind::Swap => code::END | class::ALU64,
            };
            Slot::new(opcode).dst(dst).imm(size.bits() as i32)
        }
        Op::LoadImm { dst, value } => {
            let (src, lo, _) = imm64(&value)?;
            let slot = Slot::new(mode::IMM | 0x18 | class::LD).dst(dst).imm(lo);
            Slot { src, ..slot }
        }
        Op::LoadImmHi => return Err("a second slot without a first"),
        Op::Jump { .. }
        | Op::Branch { .. }
        | Op::MayGoto { .. }
        | Op::IndirectJump { .. }
        | Op::Call(_)
        | Op::Exit => jump(op)?,
        _ => memory(op)?,
    })
}

fn alu_class(w: Width) -> u8 {
    match w {
        Width::W32 => class::ALU,
        Width::W64 => class::ALU64,
    }
}

fn alu(op: AluOp, w: Width) -> Result<Slot, &'static str> {
    let row = table::ALU.iter().find(|row| row.op == op);
    let row = row.ok_or("an arithmetic operation without encoding")?;
    Ok(Slot::new(row.code | alu_class(w)).off(row.off))
}

/// The source-register field and the two immediates of a two-slot load.
fn imm64(value: &Imm64) -> Result<(u8, i32, i32), &'static str> {
    let index = |map: MapRef| map.as_u32() as i32;
    Ok(match *value {
        Imm64::Const(value) => (pseudo::CONST, value as i32, (value >> 32) as i32),
        Imm64::Map(map) => (pseudo::MAP_BY_INDEX, index(map), 0),
        Imm64::MapValue(map, off) => (pseudo::MAP_VALUE_BY_INDEX, index(map), off as i32),
        Imm64::Function(_) => return Err("the address of a function that is not laid out"),
        Imm64::Pseudo(src @ 1..16, lo, hi) => (src, lo, hi),
        Imm64::Pseudo(..) => return Err("a source field that does not exist"),
    })
}

fn memory(op: &Op) -> Result<Slot, &'static str> {
    Ok(match *op {
        Op::Load { size, signed, dst, base, off } => {
            if signed && size == Size::D {
                return Err("a sign-extending load of 64 bits has no encoding");
            }
            let mode = if signed { mode::MEMSX } else { mode::MEM };
            Slot::new(mode | SizeRow::of(size).code | class::LDX).dst(dst).src(base).off(off)
        }
        Op::Store { size, base, off, src } => {
            let opcode = mode::MEM | SizeRow::of(size).code;
            let slot = match src {
                Src::Reg(src) => Slot::new(opcode | class::STX).src(src),
                Src::Imm(imm) => Slot::new(opcode | class::ST).imm(imm),
            };
            slot.dst(base).off(off)
        }
        Op::Atomic { op, w, fetch, base, off, src } => {
            let imm = match table::ATOMIC.iter().find(|row| row.op == op) {
                Some(row) if fetch => row.imm | table::atomic::FETCH,
                Some(row) => row.imm,
                None if op == AtomicOp::Xchg => table::atomic::XCHG,
                None => return Err("an atomic operation without encoding"),
            };
            atomic(width_size(w)).dst(base).src(src).off(off).imm(imm)
        }
        Op::CmpXchg { w, base, off, src } => {
            let slot = atomic(width_size(w)).dst(base).src(src).off(off);
            slot.imm(table::atomic::CMPXCHG)
        }
        Op::LoadAcquire { size, dst, base, off } => {
            atomic(size).dst(dst).src(base).off(off).imm(table::atomic::LOAD_ACQUIRE)
        }
        Op::StoreRelease { size, base, off, src } => {
            atomic(size).dst(base).src(src).off(off).imm(table::atomic::STORE_RELEASE)
        }
        Op::LoadPacket { size, index, off } => {
            if size == Size::D {
                return Err("a packet load of 64 bits has no encoding");
            }
            let opcode = SizeRow::of(size).code | class::LD;
            let slot = match index {
                Some(index) => Slot::new(opcode | mode::IND).src(index),
                None => Slot::new(opcode | mode::ABS),
            };
            slot.imm(off)
        }
        _ => return Err("not an access"),
    })
}

fn width_size(w: Width) -> Size {
    match w {
        Width::W32 => Size::W,
        Width::W64 => Size::D,
    }
}

fn atomic(size: Size) -> Slot {
    Slot::new(mode::ATOMIC | SizeRow::of(size).code | class::STX)
}

fn jump(op: &Op) -> Result<Slot, &'static str> {
    Ok(match *op {
        Op::Jump { off, long: true } => Slot::new(code::JA | class::JMP32).imm(off),
        Op::Jump { off, long: false } => {
            let off = i16::try_from(off).map_err(|_| "a jump too far for a 16-bit offset")?;
            Slot::new(code::JA | class::JMP).off(off)
        }
        Op::Branch { cond, w, dst, src, off } => branch(cond, w)?.dst(dst).operand(src).off(off),
        Op::MayGoto { off } => Slot::new(code::MAY_GOTO | class::JMP).off(off),
        Op::IndirectJump { target } => Slot::new(code::JA | X | class::JMP).dst(target),
        Op::Call(callee) => call(callee)?,
        Op::Exit => Slot::new(code::EXIT | class::JMP),
        _ => return Err("not a jump"),
    })
}

fn branch(cond: Cond, w: Width) -> Result<Slot, &'static str> {
    let row = table::COND.iter().find(|row| row.cond == cond);
    let row = row.ok_or("a condition without encoding")?;
    let class = match w {
        Width::W32 => class::JMP32,
        Width::W64 => class::JMP,
    };
    Ok(Slot::new(row.code | class))
}

fn call(callee: Callee) -> Result<Slot, &'static str> {
    let (src, imm) = match callee {
        Callee::Helper(number) => (pseudo::HELPER, number as i32),
        Callee::Relative(off) => (pseudo::RELATIVE, off),
        Callee::Kfunc(id) => (pseudo::KFUNC, id),
        Callee::Register(reg) => return Ok(Slot::new(code::CALL | X | class::JMP).dst(reg)),
        Callee::Function(_) => return Err("a call of a function that is not laid out"),
    };
    let slot = Slot::new(code::CALL | class::JMP).imm(imm);
    Ok(Slot { src, ..slot })
}
