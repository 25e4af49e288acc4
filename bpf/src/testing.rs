//! Instructions by hand, for the unit tests of this crate's analyses.
#![allow(missing_docs)]

use crate::insn::{AluOp, Callee, Cond, Imm64, Op, Reg, Src, Width};
use crate::object::{Function, Object, Program, ProgramKind};
use crate::{FuncRef, MapDef, MapKind, MapRef, Size};

pub fn r(number: u8) -> Reg {
    Reg::new(number).expect("a register number")
}

pub fn mov(dst: u8, imm: i32) -> Op {
    let (w, dst, src) = (Width::W64, r(dst), Src::Imm(imm));
    Op::Mov { w, dst, src }
}

pub fn movr(dst: u8, src: u8) -> Op {
    let (w, dst, src) = (Width::W64, r(dst), Src::Reg(r(src)));
    Op::Mov { w, dst, src }
}

pub fn alu(op: AluOp, dst: u8, src: Src) -> Op {
    let (w, dst) = (Width::W64, r(dst));
    Op::Alu { op, w, dst, src }
}

pub fn add(dst: u8, imm: i32) -> Op {
    alu(AluOp::Add, dst, Src::Imm(imm))
}

pub fn addr(dst: u8, src: u8) -> Op {
    alu(AluOp::Add, dst, Src::Reg(r(src)))
}

pub fn and(dst: u8, imm: i32) -> Op {
    alu(AluOp::And, dst, Src::Imm(imm))
}

pub fn lddw(dst: u8, value: u64) -> [Op; 2] {
    wide(dst, Imm64::Const(value))
}

pub fn ldmap(dst: u8, map: u32) -> [Op; 2] {
    wide(dst, Imm64::Map(MapRef::from_u32(map)))
}

pub fn wide(dst: u8, value: Imm64) -> [Op; 2] {
    let dst = r(dst);
    [Op::LoadImm { dst, value }, Op::LoadImmHi]
}

pub fn load(size: Size, dst: u8, base: u8, off: i16) -> Op {
    let (signed, dst, base) = (false, r(dst), r(base));
    Op::Load {
        size,
        signed,
        dst,
        base,
        off,
    }
}

pub fn store(size: Size, base: u8, off: i16, src: u8) -> Op {
    let (base, src) = (r(base), Src::Reg(r(src)));
    Op::Store {
        size,
        base,
        off,
        src,
    }
}

pub fn store_imm(size: Size, base: u8, off: i16, imm: i32) -> Op {
    let (base, src) = (r(base), Src::Imm(imm));
    Op::Store {
        size,
        base,
        off,
        src,
    }
}

pub fn branch(cond: Cond, dst: u8, src: Src, off: i16) -> Op {
    let (w, dst) = (Width::W64, r(dst));
    Op::Branch {
        cond,
        w,
        dst,
        src,
        off,
    }
}

pub fn jeq(dst: u8, imm: i32, off: i16) -> Op {
    branch(Cond::Eq, dst, Src::Imm(imm), off)
}

pub fn jne(dst: u8, imm: i32, off: i16) -> Op {
    branch(Cond::Ne, dst, Src::Imm(imm), off)
}

pub fn ja(off: i32) -> Op {
    Op::Jump { off, long: false }
}

pub fn call(helper: u32) -> Op {
    Op::Call(Callee::Helper(helper))
}

pub fn local(function: u32) -> Op {
    Op::Call(Callee::Function(FuncRef::from_u32(function)))
}

pub fn exit() -> Op {
    Op::Exit
}

/// Code from pieces of one or two slots.
pub fn code(pieces: &[&[Op]]) -> Vec<Op> {
    pieces.concat()
}

/// An object with these functions (`f0`, `f1` ...); the first one is a program.
pub fn object(kind: ProgramKind, functions: Vec<Vec<Op>>) -> Object {
    let mut object = Object::default();
    for (number, ops) in functions.into_iter().enumerate() {
        object.functions.push(Function {
            name: format!("f{number}"),
            section: ".text".into(),
            ops,
            refused: None,
        });
    }
    object.programs.push(Program {
        name: "prog".into(),
        function: FuncRef::from_u32(0),
        section: "test".into(),
        kind,
    });
    object
}

/// A map of this kind and these sizes, with 16 entries.
pub fn map(kind: MapKind, key_size: u32, value_size: u32) -> MapDef {
    MapDef {
        name: "m".into(),
        kind,
        key_size,
        value_size,
        max_entries: 16,
        flags: 0,
        initial: Vec::new(),
        slots: Vec::new(),
    }
}
