//! The instructions that statements are made of, as tables: one row for each
//! form, so that a new instruction is a new row.

use tailor_bpf::{AluOp, AtomicOp, Cond, EndKind, Imm64, Op, Reg, Size, Src, Width};

use crate::program::DATA;
use crate::source::Source;

/// What an instruction may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Only what the kernel's verifier takes: no shifts by constants out of
    /// range, no division by a constant zero.
    pub strict: bool,
}

/// Bytes that a memory operation may touch.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// How many, from offset 0.
    pub bytes: i16,
    /// Every access is at a multiple of its size (atomic ones always are).
    pub aligned: bool,
    /// Whether atomic operations work there.
    pub atomics: bool,
}

/// A form of an instruction: how often, and how one is made.
struct Row<Extra: Copy> {
    weight: usize,
    make: fn(&mut Source, Extra) -> Op,
}

const fn row<Extra: Copy>(weight: usize, make: fn(&mut Source, Extra) -> Op) -> Row<Extra> {
    Row { weight, make }
}

fn choose<Extra: Copy>(rows: &[Row<Extra>], s: &mut Source, extra: Extra) -> Op {
    let mut left = s.below(rows.iter().map(|row| row.weight).sum());
    let row = rows.iter().find(|row| {
        let found = left < row.weight;
        left = left.wrapping_sub(row.weight);
        found
    });
    (row.unwrap_or(&rows[0]).make)(s, extra)
}

/// An operation on data registers.
pub fn on_registers(s: &mut Source, limits: Limits) -> Op {
    choose(REGISTERS, s, limits)
}

/// An operation on memory, its base still to be set.
pub fn on_memory(s: &mut Source, extent: Extent) -> Op {
    let rows = if extent.atomics { MEMORY } else { &MEMORY[..PLAIN] };
    choose(rows, s, extent)
}

static REGISTERS: &[Row<Limits>] = &[
    row(10, alu),
    row(2, |s, _| Op::Mov { w: width(s), dst: data(s), src: src(s) }),
    row(2, sign_extending_move),
    row(1, |s, _| Op::Neg { w: width(s), dst: data(s) }),
    row(2, byte_order),
    row(2, |s, _| Op::LoadImm { dst: data(s), value: Imm64::Const(s.extreme()) }),
];

/// The rows of [`MEMORY`] that are not atomic.
const PLAIN: usize = 3;

static MEMORY: &[Row<Extent>] = &[
    row(3, |s, extent| {
        let (size, off) = place(s, extent);
        let signed = size != Size::D && s.one_in(2);
        Op::Load { size, signed, dst: data(s), base: Reg::R0, off }
    }),
    row(2, |s, extent| {
        let (size, off) = place(s, extent);
        Op::Store { size, base: Reg::R0, off, src: Src::Reg(data(s)) }
    }),
    row(1, |s, extent| {
        let (size, off) = place(s, extent);
        Op::Store { size, base: Reg::R0, off, src: Src::Imm(s.immediate()) }
    }),
    row(2, |s, extent| {
        use AtomicOp::*;
        let (w, off) = word(s, extent);
        let op = s.pick(&[Add, Or, And, Xor, Xchg]);
        let fetch = op == Xchg || s.one_in(2);
        Op::Atomic { op, w, fetch, base: Reg::R0, off, src: data(s) }
    }),
    row(1, |s, extent| {
        let (w, off) = word(s, extent);
        Op::CmpXchg { w, base: Reg::R0, off, src: data(s) }
    }),
    row(1, |s, extent| {
        let (size, off) = place(s, Extent { aligned: true, ..extent });
        Op::LoadAcquire { size, dst: data(s), base: Reg::R0, off }
    }),
    row(1, |s, extent| {
        let (size, off) = place(s, Extent { aligned: true, ..extent });
        Op::StoreRelease { size, base: Reg::R0, off, src: data(s) }
    }),
];

fn alu(s: &mut Source, limits: Limits) -> Op {
    use AluOp::*;
    let op = s.pick(&[Add, Sub, Mul, Div, Sdiv, Mod, Smod, Or, And, Xor, Lsh, Rsh, Arsh]);
    let (w, dst) = (width(s), data(s));
    let src = match src(s) {
        Src::Imm(imm) if matches!(op, Lsh | Rsh | Arsh) => {
            let bits = if w == Width::W32 { 32 } else { 64 };
            Src::Imm(match s.below(4) {
                _ if limits.strict => imm & (bits - 1),
                0 => imm,
                1 => s.pick(&[0, bits - 1, bits, bits + 1]),
                _ => imm & (bits - 1),
            })
        }
        Src::Imm(0) if limits.strict && matches!(op, Div | Sdiv | Mod | Smod) => Src::Imm(-1),
        src => src,
    };
    Op::Alu { op, w, dst, src }
}

fn sign_extending_move(s: &mut Source, _: Limits) -> Op {
    use Size::*;
    let forms =
        [(Width::W32, B), (Width::W32, H), (Width::W64, B), (Width::W64, H), (Width::W64, W)];
    let (w, from) = s.pick(&forms);
    Op::MovSx { w, from, dst: data(s), src: data(s) }
}

fn byte_order(s: &mut Source, _: Limits) -> Op {
    let kind = s.pick(&[EndKind::Le, EndKind::Be, EndKind::Swap]);
    Op::End { kind, size: s.pick(&[Size::H, Size::W, Size::D]), dst: data(s) }
}

/// A branch; its offset is set when its arms are known.
pub fn branch(s: &mut Source) -> Op {
    use Cond::*;
    let cond = s.pick(&[Eq, Ne, Ult, Ule, Ugt, Uge, Slt, Sle, Sgt, Sge, Set]);
    Op::Branch { cond, w: width(s), dst: data(s), src: src(s), off: 0 }
}

/// A data register.
pub fn data(s: &mut Source) -> Reg {
    register(s.below(DATA))
}

/// The register of a number up to 10.
pub fn register(number: usize) -> Reg {
    Reg::new(number as u8).expect("registers up to 10")
}

/// A data register or an immediate.
pub fn src(s: &mut Source) -> Src {
    if s.one_in(2) { Src::Imm(s.immediate()) } else { Src::Reg(data(s)) }
}

fn width(s: &mut Source) -> Width {
    s.pick(&[Width::W32, Width::W64])
}

/// A size and an offset at which it fits.
fn place(s: &mut Source, extent: Extent) -> (Size, i16) {
    let size = s.pick(&[Size::B, Size::H, Size::W, Size::D]);
    let bytes = size.bytes() as i16;
    let step = if extent.aligned { bytes } else { 1 };
    let last = (extent.bytes - bytes) / step;
    (size, step * s.below(last as usize + 1) as i16)
}

/// The same for a word or a double word, aligned.
fn word(s: &mut Source, extent: Extent) -> (Width, i16) {
    let w = width(s);
    let bytes = if w == Width::W32 { 4 } else { 8 };
    let last = (extent.bytes - bytes) / bytes;
    (w, bytes * s.below(last as usize + 1) as i16)
}

/// The base register of a memory operation.
pub fn base(op: &Op) -> Option<Reg> {
    match *op {
        Op::Load { base, .. }
        | Op::Store { base, .. }
        | Op::Atomic { base, .. }
        | Op::CmpXchg { base, .. }
        | Op::LoadAcquire { base, .. }
        | Op::StoreRelease { base, .. } => Some(base),
        _ => None,
    }
}

/// A memory operation at another base, `by` bytes further on.
pub fn at(mut op: Op, to: Reg, by: i16) -> Op {
    match &mut op {
        Op::Load { base, off, .. }
        | Op::Store { base, off, .. }
        | Op::Atomic { base, off, .. }
        | Op::CmpXchg { base, off, .. }
        | Op::LoadAcquire { base, off, .. }
        | Op::StoreRelease { base, off, .. } => {
            *base = to;
            *off += by;
        }
        _ => {}
    }
    op
}

/// The registers that an operation names or implies, its base aside.
pub fn registers(op: &Op) -> Vec<Reg> {
    let of = |src: Src| match src {
        Src::Reg(reg) => vec![reg],
        Src::Imm(_) => Vec::new(),
    };
    match *op {
        Op::Alu { dst, src, .. } | Op::Mov { dst, src, .. } | Op::Branch { dst, src, .. } => {
            [vec![dst], of(src)].concat()
        }
        Op::MovSx { dst, src, .. } => vec![dst, src],
        Op::Neg { dst, .. } | Op::End { dst, .. } | Op::LoadImm { dst, .. } => vec![dst],
        Op::Load { dst, .. } | Op::LoadAcquire { dst, .. } => vec![dst],
        Op::Store { src, .. } => of(src),
        Op::Atomic { src, .. } | Op::StoreRelease { src, .. } => vec![src],
        Op::CmpXchg { src, .. } => vec![Reg::R0, src],
        // Whatever it is: all of them.
        _ => (0..DATA).map(register).collect(),
    }
}

/// Whether an operation writes memory.
pub fn writes_memory(op: &Op) -> bool {
    base(op).is_some() && !matches!(op, Op::Load { .. } | Op::LoadAcquire { .. })
}
