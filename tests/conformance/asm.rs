//! The assembly of the conformance suite's cases, into operations.
//!
//! One instruction a line, `op operand, operand`, with labels; an implicit
//! label `exit` stands at the first exit.

use std::collections::HashMap;

use tailor::bpf::{
    AluOp, AtomicOp, Callee, Cond, EndKind, Imm64, Op, Reg, Size, Src, Width, encode,
};

/// Assembles a program into bytecode.
pub fn assemble(text: &str) -> Result<Vec<u8>, String> {
    let mut lines = Vec::new();
    let mut labels: HashMap<&str, i64> = HashMap::new();
    let mut slot = 0;
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        if let Some(label) = line.strip_suffix(':') {
            labels.insert(label, slot);
        } else if !line.is_empty() {
            if line == "exit" {
                labels.entry("exit").or_insert(slot);
            }
            lines.push((slot, line));
            slot += if line.starts_with("lddw") { 2 } else { 1 };
        }
    }
    let mut ops = Vec::new();
    for (slot, line) in lines {
        let op = Line { labels: &labels, slot }
            .op(line)
            .ok_or_else(|| format!("cannot assemble {line:?}"))?;
        ops.push(op);
        if op.slots() == 2 {
            ops.push(Op::LoadImmHi);
        }
    }
    encode::encode("case", &ops).map_err(|error| error.to_string())
}

struct Line<'a> {
    labels: &'a HashMap<&'a str, i64>,
    slot: i64,
}

impl Line<'_> {
    fn op(&self, line: &str) -> Option<Op> {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let args: Vec<&str> =
            rest.split(',').map(str::trim).filter(|arg| !arg.is_empty()).collect();
        match name {
            "exit" => Some(Op::Exit),
            "call" => self.call(rest),
            "lock" => atomic(rest),
            "lddw" => Some(Op::LoadImm {
                dst: reg(args[0])?,
                value: Imm64::Const(number(args[1])? as u64),
            }),
            _ => self
                .jump(name, &args)
                .or_else(|| load_store(name, &args))
                .or_else(|| byte_order(name, &args))
                .or_else(|| arithmetic(name, &args)),
        }
    }

    /// The distance from the next slot to a label or number.
    fn target(&self, text: &str) -> Option<i64> {
        match self.labels.get(text) {
            Some(label) => Some(label - self.slot - 1),
            None => number(text).map(|n| n as i64),
        }
    }

    fn call(&self, rest: &str) -> Option<Op> {
        let callee = match rest.split_once(' ') {
            Some(("local", label)) => Callee::Relative(self.target(label.trim())? as i32),
            _ => match reg(rest) {
                Some(reg) => Callee::Register(reg),
                None => Callee::Helper(number(rest)? as u32),
            },
        };
        Some(Op::Call(callee))
    }

    fn jump(&self, name: &str, args: &[&str]) -> Option<Op> {
        let off = args.last().and_then(|target| self.target(target));
        match name {
            "ja" => {
                return Some(Op::Jump { off: off? as i32, long: false });
            }
            "ja32" => {
                return Some(Op::Jump { off: off? as i32, long: true });
            }
            _ => {}
        }
        let (name, w) = width(name);
        let cond = match name {
            "jeq" => Cond::Eq,
            "jne" => Cond::Ne,
            "jgt" => Cond::Ugt,
            "jge" => Cond::Uge,
            "jlt" => Cond::Ult,
            "jle" => Cond::Ule,
            "jsgt" => Cond::Sgt,
            "jsge" => Cond::Sge,
            "jslt" => Cond::Slt,
            "jsle" => Cond::Sle,
            "jset" => Cond::Set,
            _ => return None,
        };
        Some(Op::Branch { cond, w, dst: reg(args[0])?, src: src(args[1])?, off: off? as i16 })
    }
}

fn width(name: &str) -> (&str, Width) {
    match name.strip_suffix("32") {
        Some(name) => (name, Width::W32),
        None => (name, Width::W64),
    }
}

fn arithmetic(name: &str, args: &[&str]) -> Option<Op> {
    if let Some(part) = name.strip_prefix("movsx") {
        let (from, w) = match part {
            "832" => (Size::B, Width::W32),
            "1632" => (Size::H, Width::W32),
            "864" => (Size::B, Width::W64),
            "1664" => (Size::H, Width::W64),
            "3264" => (Size::W, Width::W64),
            _ => return None,
        };
        return Some(Op::MovSx { w, from, dst: reg(args[0])?, src: reg(args[1])? });
    }
    let (name, w) = width(name);
    let dst = reg(args.first()?)?;
    let op = match name {
        "neg" => return Some(Op::Neg { w, dst }),
        "mov" => {
            return Some(Op::Mov { w, dst, src: src(args[1])? });
        }
        "add" => AluOp::Add,
        "sub" => AluOp::Sub,
        "mul" => AluOp::Mul,
        "div" => AluOp::Div,
        "sdiv" => AluOp::Sdiv,
        "mod" => AluOp::Mod,
        "smod" => AluOp::Smod,
        "or" => AluOp::Or,
        "and" => AluOp::And,
        "xor" => AluOp::Xor,
        "lsh" => AluOp::Lsh,
        "rsh" => AluOp::Rsh,
        "arsh" => AluOp::Arsh,
        _ => return None,
    };
    Some(Op::Alu { op, w, dst, src: src(args[1])? })
}

fn byte_order(name: &str, args: &[&str]) -> Option<Op> {
    let digits = name.find(|c: char| c.is_ascii_digit())?;
    let kind = match &name[..digits] {
        "le" => EndKind::Le,
        "be" => EndKind::Be,
        "swap" | "bswap" => EndKind::Swap,
        _ => return None,
    };
    let size = match &name[digits..] {
        "16" => Size::H,
        "32" => Size::W,
        "64" => Size::D,
        _ => return None,
    };
    Some(Op::End { kind, size, dst: reg(args.first()?)? })
}

fn load_store(name: &str, args: &[&str]) -> Option<Op> {
    let (kind, size) = ["ldxs", "ldx", "stx", "st"]
        .into_iter()
        .find_map(|kind| Some((kind, size(name.strip_prefix(kind)?)?)))?;
    Some(match kind {
        "ldx" | "ldxs" => {
            let (base, off) = memory(args[1])?;
            Op::Load { size, signed: kind == "ldxs", dst: reg(args[0])?, base, off }
        }
        _ => {
            let (base, off) = memory(args[0])?;
            Op::Store { size, base, off, src: src(args[1])? }
        }
    })
}

fn atomic(rest: &str) -> Option<Op> {
    let (fetch, rest) = match rest.strip_prefix("fetch ") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let (name, args) = rest.trim().split_once(char::is_whitespace)?;
    let (place, source) = args.split_once(',')?;
    let (base, off) = memory(place.trim())?;
    let src = reg(source.trim())?;
    let (name, w) = width(name);
    let op = match name {
        "cmpxchg" => return Some(Op::CmpXchg { w, base, off, src }),
        "add" => AtomicOp::Add,
        "or" => AtomicOp::Or,
        "and" => AtomicOp::And,
        "xor" => AtomicOp::Xor,
        "xchg" => AtomicOp::Xchg,
        _ => return None,
    };
    Some(Op::Atomic { op, w, fetch: fetch || op == AtomicOp::Xchg, base, off, src })
}

fn size(name: &str) -> Option<Size> {
    Some(match name {
        "b" => Size::B,
        "h" => Size::H,
        "w" => Size::W,
        "dw" => Size::D,
        _ => return None,
    })
}

/// `[%r1+8]`
fn memory(text: &str) -> Option<(Reg, i16)> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let at = inner.find(['+', '-']).unwrap_or(inner.len());
    let off = inner[at..].trim();
    let off = if off.is_empty() { 0 } else { number(off.strip_prefix('+').unwrap_or(off))? as i16 };
    Some((reg(inner[..at].trim())?, off))
}

fn src(text: &str) -> Option<Src> {
    match reg(text) {
        Some(reg) => Some(Src::Reg(reg)),
        None => Some(Src::Imm(number(text)? as i32)),
    }
}

fn reg(text: &str) -> Option<Reg> {
    Reg::new(text.strip_prefix("%r")?.parse().ok()?)
}

/// A number, negative or hexadecimal.
pub fn number(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(sign * value)
}
