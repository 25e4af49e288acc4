//! Printing operations.

use std::fmt::{self, Display, Formatter};

use crate::insn::{Callee, Imm64, Op, Reg, Size, Src, Width};
use crate::table::{self, SizeRow};

/// Lines of operations, indented, jumps with relative targets.
pub fn print_ops(ops: &[Op]) -> String {
    ops.iter().filter(|op| **op != Op::LoadImmHi).map(|op| format!("  {op}\n")).collect()
}

/// A register as an operation of a width names it.
fn reg(w: Width, reg: Reg) -> impl Display {
    let prefix = match w {
        Width::W32 => 'w',
        Width::W64 => 'r',
    };
    fmt::from_fn(move |f| write!(f, "{prefix}{}", reg.index()))
}

fn operand(w: Width, src: Src) -> impl Display {
    fmt::from_fn(move |f| match src {
        Src::Reg(r) => reg(w, r).fmt(f),
        Src::Imm(imm) => imm.fmt(f),
    })
}

/// `r1 + 4`.
fn address(base: Reg, off: i32) -> impl Display {
    let sign = if off < 0 { '-' } else { '+' };
    fmt::from_fn(move |f| write!(f, "{base} {sign} {}", off.unsigned_abs()))
}

/// `*(u8 *)(r1 + 4)`, without the star.
fn access(size: Size, signed: bool, base: Reg, off: i16) -> impl Display {
    let name = SizeRow::of(size).name(signed);
    let address = address(base, off.into());
    fmt::from_fn(move |f| write!(f, "({name} *)({address})"))
}

fn memory_size(w: Width) -> Size {
    match w {
        Width::W32 => Size::W,
        Width::W64 => Size::D,
    }
}

/// The width of the register that an ordered access names.
pub(super) fn register_width(size: Size) -> Width {
    if size == Size::D { Width::W64 } else { Width::W32 }
}

/// What follows `xchg` and `cmpxchg` in a name.
pub(super) fn exchange_suffix(w: Width) -> &'static str {
    match w {
        Width::W32 => "32_32",
        Width::W64 => "_64",
    }
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Op::Alu { op, w, dst, src } => {
                let row = table::ALU.iter().find(|row| row.op == op);
                let sign = row.map_or("?=", |row| row.text);
                write!(f, "{} {sign} {}", reg(w, dst), operand(w, src))
            }
            Op::Mov { w, dst, src } => write!(f, "{} = {}", reg(w, dst), operand(w, src)),
            Op::MovSx { w, from, dst, src } => {
                let from = SizeRow::of(from).signed;
                write!(f, "{} = ({from}){}", reg(w, dst), reg(w, src))
            }
            Op::Neg { w, dst } => write!(f, "{} = -{}", reg(w, dst), reg(w, dst)),
            Op::End { kind, size, dst } => {
                let row = table::END.iter().find(|row| row.0 == kind);
                let name = row.map_or("?", |row| row.1);
                write!(f, "{dst} = {name}{} {dst}", size.bits())
            }
            Op::LoadImm { dst, value } => write!(f, "{dst} = {value} ll"),
            Op::LoadImmHi => f.write_str("# second slot"),
            Op::Jump { off, long } => {
                write!(f, "goto{} {off:+}", if long { "l" } else { "" })
            }
            Op::Branch { cond, w, dst, src, off } => {
                let row = table::COND.iter().find(|row| row.cond == cond);
                let sign = row.map_or("?", |row| row.text);
                let (dst, src) = (reg(w, dst), operand(w, src));
                write!(f, "if {dst} {sign} {src} goto {off:+}")
            }
            Op::MayGoto { off } => write!(f, "may_goto {off:+}"),
            Op::IndirectJump { target } => write!(f, "gotox {target}"),
            Op::Call(Callee::Register(r)) => write!(f, "callx {r}"),
            Op::Call(callee) => write!(f, "call {callee}"),
            Op::Exit => f.write_str("exit"),
            Op::Load { .. }
            | Op::Store { .. }
            | Op::Atomic { .. }
            | Op::CmpXchg { .. }
            | Op::LoadAcquire { .. }
            | Op::StoreRelease { .. }
            | Op::LoadPacket { .. } => access_op(self, f),
        }
    }
}

fn access_op(op: &Op, f: &mut Formatter<'_>) -> fmt::Result {
    match *op {
        Op::Load { size, signed, dst, base, off } => {
            write!(f, "{dst} = *{}", access(size, signed, base, off))
        }
        Op::Store { size, base, off, src } => {
            let src = operand(Width::W64, src);
            write!(f, "*{} = {src}", access(size, false, base, off))
        }
        Op::Atomic { op, w, fetch, base, off, src } => {
            let src = reg(w, src);
            let access = access(memory_size(w), false, base, off);
            match table::ATOMIC.iter().find(|row| row.op == op) {
                Some(row) if fetch => write!(f, "{src} = {}({access}, {src})", row.fetch),
                Some(row) => write!(f, "lock *{access} {} {src}", row.text),
                None => {
                    let address = address(base, off.into());
                    write!(f, "{src} = xchg{}({address}, {src})", exchange_suffix(w))
                }
            }
        }
        Op::CmpXchg { w, base, off, src } => {
            let (r0, src) = (reg(w, Reg::R0), reg(w, src));
            let (suffix, address) = (exchange_suffix(w), address(base, off.into()));
            write!(f, "{r0} = cmpxchg{suffix}({address}, {r0}, {src})")
        }
        Op::LoadAcquire { size, dst, base, off } => {
            let dst = reg(register_width(size), dst);
            write!(f, "{dst} = load_acquire({})", access(size, false, base, off))
        }
        Op::StoreRelease { size, base, off, src } => {
            let src = reg(register_width(size), src);
            write!(f, "store_release({}, {src})", access(size, false, base, off))
        }
        Op::LoadPacket { size, index, off } => {
            let size = SizeRow::of(size).unsigned;
            match index {
                Some(index) if off == 0 => write!(f, "r0 = *({size} *)skb[{index}]"),
                Some(index) => write!(f, "r0 = *({size} *)skb[{}]", address(index, off)),
                None => write!(f, "r0 = *({size} *)skb[{off}]"),
            }
        }
        _ => Ok(()),
    }
}

impl Display for Imm64 {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Imm64::Const(value) => write!(f, "{value:#x}"),
            Imm64::Map(map) => write!(f, "{map}"),
            Imm64::MapValue(map, off) => write!(f, "{map}[{off}]"),
            Imm64::Function(function) => write!(f, "{function}"),
            Imm64::Pseudo(src, lo, hi) => write!(f, "pseudo({src}, {lo}, {hi})"),
        }
    }
}

impl Display for Callee {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Callee::Helper(number) => write!(f, "{number}"),
            Callee::Relative(off) => write!(f, "{off:+}"),
            Callee::Function(function) => write!(f, "{function}"),
            Callee::Register(reg) => write!(f, "{reg}"),
            Callee::Kfunc(id) => write!(f, "kfunc {id}"),
        }
    }
}
