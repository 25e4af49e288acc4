//! Structured random programs.
//!
//! A program is plain bytecode over [`MEMORY`] bytes of memory. Registers and
//! the stack window are initialised first, so no uninitialised byte is ever
//! observed; loops count down in stack slots of their own, so every program
//! ends; R9 keeps the memory's address. At the end all registers and the stack
//! window are mixed into R0.

use proptest::collection::vec;
use proptest::prelude::*;
use tailor::bpf::{AluOp, AtomicOp, Cond, EndKind, Imm64, Op, Reg, Size, Src, Width};

/// Bytes of memory that a program gets.
pub const MEMORY: usize = 64;
/// Bytes of stack that statements may touch, just below R10.
const WINDOW: i16 = 64;
/// Nested loops at most; loop `d` counts in the slot below the window's end.
const MAX_DEPTH: i16 = 3;
/// Data registers: all but R9 (memory) and R10.
const DATA: [u8; 9] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
const BASE: Reg = Reg::R9;

/// A statement.
#[derive(Clone, Debug)]
pub enum Stmt {
    /// One instruction (two slots if it is a 64-bit immediate).
    Op(Op),
    /// `if (condition) then else other`.
    If(Cond, Width, Reg, Src, Vec<Stmt>, Vec<Stmt>),
    /// The body, this many times.
    Loop(u8, Vec<Stmt>),
}

/// The bytecode of a program whose data registers start with `initial`.
pub fn bytecode(initial: &[u64], body: &[Stmt]) -> Vec<Op> {
    let mut ops = vec![Op::Mov { w: Width::W64, dst: BASE, src: Src::Reg(Reg::R1) }];
    for (register, &value) in DATA.into_iter().zip(initial) {
        let dst = reg(register);
        // Half of them are unknown to the compiler.
        if register % 2 == 0 {
            ops.push(Op::Load {
                size: Size::D,
                signed: false,
                dst,
                base: BASE,
                off: i16::from(register),
            });
        } else {
            ops.extend([Op::LoadImm { dst, value: Imm64::Const(value) }, Op::LoadImmHi]);
        }
    }
    for (slot, &register) in (1..=WINDOW / 8).zip(DATA.iter().cycle()) {
        ops.push(Op::Store {
            size: Size::D,
            base: Reg::FP,
            off: -8 * slot,
            src: Src::Reg(reg(register)),
        });
    }
    block(body, 0, &mut ops);
    mix(&mut ops);
    ops.push(Op::Exit);
    ops
}

fn reg(number: u8) -> Reg {
    Reg::new(number).expect("a register number")
}

/// R0 = R0 * 31 + each register and window slot in turn.
fn mix(ops: &mut Vec<Op>) {
    let r0 = Reg::R0;
    let add = |ops: &mut Vec<Op>, src| {
        ops.push(Op::Alu { op: AluOp::Mul, w: Width::W64, dst: r0, src: Src::Imm(31) });
        ops.push(Op::Alu { op: AluOp::Add, w: Width::W64, dst: r0, src: Src::Reg(src) });
    };
    for &register in &DATA[1..] {
        add(ops, reg(register));
    }
    for slot in 1..=WINDOW / 8 {
        ops.push(Op::Load {
            size: Size::D,
            signed: false,
            dst: Reg::R1,
            base: Reg::FP,
            off: -8 * slot,
        });
        add(ops, Reg::R1);
    }
}

fn block(body: &[Stmt], depth: i16, ops: &mut Vec<Op>) {
    for stmt in body {
        match stmt {
            Stmt::Op(op) => {
                ops.push(*op);
                if op.slots() == 2 {
                    ops.push(Op::LoadImmHi);
                }
            }
            Stmt::If(cond, w, dst, src, then, other) => {
                let (mut taken, mut not) = (Vec::new(), Vec::new());
                block(then, depth, &mut taken);
                block(other, depth, &mut not);
                ops.push(Op::Branch {
                    cond: *cond,
                    w: *w,
                    dst: *dst,
                    src: *src,
                    off: not.len() as i16 + 1,
                });
                ops.append(&mut not);
                ops.push(Op::Jump { off: taken.len() as i32, long: false });
                ops.append(&mut taken);
            }
            Stmt::Loop(count, body) if depth < MAX_DEPTH => {
                let (base, off, counter) = (Reg::FP, -WINDOW - 8 * (depth + 1), Reg::R5);
                ops.push(Op::Store { size: Size::D, base, off, src: Src::Imm(i32::from(*count)) });
                let start = ops.len();
                block(body, depth + 1, ops);
                ops.push(Op::Load { size: Size::D, signed: false, dst: counter, base, off });
                ops.push(Op::Alu { op: AluOp::Sub, w: Width::W64, dst: counter, src: Src::Imm(1) });
                ops.push(Op::Store { size: Size::D, base, off, src: Src::Reg(counter) });
                let back = start as i64 - ops.len() as i64 - 1;
                let (cond, w, src) = (Cond::Ne, Width::W64, Src::Imm(0));
                ops.push(Op::Branch { cond, w, dst: counter, src, off: back as i16 });
            }
            Stmt::Loop(_, body) => block(body, depth, ops),
        }
    }
}

/// A program: initial values and body.
pub fn program() -> impl Strategy<Value = (Vec<u64>, Vec<Stmt>)> {
    (vec(extreme(), DATA.len()), vec(stmt(), 1..24))
}

fn stmt() -> impl Strategy<Value = Stmt> {
    op().prop_map(Stmt::Op).prop_recursive(3, 24, 6, |inner| {
        let body = || vec(inner.clone(), 0..6);
        prop_oneof![
            3 => op().prop_map(Stmt::Op),
            2 => (cond(), width(), data(), src(), body(), body())
                .prop_map(|(cond, w, dst, src, then, other)| Stmt::If(cond, w, dst, src, then, other)),
            1 => (1u8..5, body()).prop_map(|(count, body)| Stmt::Loop(count, body)),
        ]
    })
}

/// Values at which operations change their behaviour.
fn extreme() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(i64::MIN as u64),
        Just(i64::MAX as u64),
        Just(0x8000_0000),
        Just(0xffff_ffff),
        Just(0x1_0000_0000),
        Just(0xffff_ffff_8000_0000),
        (0u32..64).prop_map(|bit| 1 << bit),
        any::<u64>(),
        any::<u32>().prop_map(u64::from),
    ]
}

fn immediate() -> impl Strategy<Value = i32> {
    prop_oneof![
        2 => extreme().prop_map(|value| value as i32),
        1 => -130i32..130,
    ]
}

fn data() -> impl Strategy<Value = Reg> {
    prop::sample::select(&DATA[..]).prop_map(reg)
}

fn src() -> impl Strategy<Value = Src> {
    prop_oneof![data().prop_map(Src::Reg), immediate().prop_map(Src::Imm)]
}

fn width() -> impl Strategy<Value = Width> {
    prop::sample::select(&[Width::W32, Width::W64][..])
}

fn size() -> impl Strategy<Value = Size> {
    prop::sample::select(&[Size::B, Size::H, Size::W, Size::D][..])
}

fn cond() -> impl Strategy<Value = Cond> {
    use Cond::*;
    prop::sample::select(&[Eq, Ne, Ult, Ule, Ugt, Uge, Slt, Sle, Sgt, Sge, Set][..])
}

/// A place of a size: in the window or in memory.
fn place(size: Size, align: bool) -> impl Strategy<Value = (Reg, i16)> {
    let bytes = size.bytes() as i16;
    let step = if align { bytes } else { 1 };
    prop_oneof![
        (0..=(WINDOW - bytes) / step).prop_map(move |n| (Reg::FP, n * step - WINDOW)),
        (0..=(MEMORY as i16 - bytes) / step).prop_map(move |n| (BASE, n * step)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![8 => arithmetic(), 4 => moves(), 5 => memory(), 2 => atomics()]
}

fn arithmetic() -> impl Strategy<Value = Op> {
    use AluOp::*;
    let ops = [Add, Sub, Mul, Div, Sdiv, Mod, Smod, Or, And, Xor, Lsh, Rsh, Arsh];
    (prop::sample::select(ops.to_vec()), width(), data(), src())
        .prop_map(|(op, w, dst, src)| Op::Alu { op, w, dst, src })
}

fn moves() -> impl Strategy<Value = Op> {
    let kinds = prop::sample::select(&[EndKind::Le, EndKind::Be, EndKind::Swap][..]);
    let sizes = || prop::sample::select(&[Size::H, Size::W, Size::D][..]);
    prop_oneof![
        (width(), data(), src()).prop_map(|(w, dst, src)| Op::Mov { w, dst, src }),
        (width(), data()).prop_map(|(w, dst)| Op::Neg { w, dst }),
        (kinds, sizes(), data()).prop_map(|(kind, size, dst)| Op::End { kind, size, dst }),
        (data(), extreme())
            .prop_map(|(dst, value)| Op::LoadImm { dst, value: Imm64::Const(value) }),
        (width(), size(), data(), data()).prop_map(|(w, from, dst, src)| match (w, from) {
            (Width::W32, Size::W) | (_, Size::D) =>
                Op::MovSx { w: Width::W64, from: Size::W, dst, src },
            _ => Op::MovSx { w, from, dst, src },
        }),
    ]
}

fn memory() -> impl Strategy<Value = Op> {
    let load = size().prop_flat_map(|size| {
        (place(size, false), any::<bool>(), data()).prop_map(move |((base, off), signed, dst)| {
            Op::Load { size, signed: signed && size != Size::D, dst, base, off }
        })
    });
    let store = size().prop_flat_map(|size| {
        (place(size, false), src()).prop_map(move |((base, off), src)| Op::Store {
            size,
            base,
            off,
            src,
        })
    });
    prop_oneof![load, store]
}

fn atomics() -> impl Strategy<Value = Op> {
    use AtomicOp::*;
    let kind =
        prop::sample::select(&[None, Some(Add), Some(Or), Some(And), Some(Xor), Some(Xchg)][..]);
    (kind, width(), any::<bool>(), data()).prop_flat_map(|(op, w, fetch, src)| {
        let size = if w == Width::W32 { Size::W } else { Size::D };
        place(size, true).prop_map(move |(base, off)| match op {
            None => Op::CmpXchg { w, base, off, src },
            Some(op) => Op::Atomic { op, w, fetch: fetch || op == Xchg, base, off, src },
        })
    })
}
