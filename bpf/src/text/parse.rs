//! Parsing operations.

use std::collections::HashMap;

use super::lex::{Cursor, Result, Token, entity};
use super::print::{exchange_suffix, register_width};
use crate::insn::{AtomicOp, Callee, Cond, FuncRef, Imm64, MapRef, Op, Reg, Size, Src, Width};
use crate::table;
use crate::{EndKind, Error};

/// Parses the operations of one function; labels are allowed.
pub fn parse_ops(text: &str) -> std::result::Result<Vec<Op>, Error> {
    let mut cursor = Cursor::new(text)?;
    let ops = body(&mut cursor)?;
    match cursor.peek() {
        Token::End => Ok(ops),
        _ => cursor.expected("an operation"),
    }
}

/// The words that start a line of an object and end a function's body.
pub(super) static KEYWORDS: &[&str] = &["object", "map", "program", "function"];

/// A jump to a label that is patched when the function's labels are known.
struct Fixup<'a> {
    slot: usize,
    label: &'a str,
    error: Error,
}

/// Operations up to the end or a line that is none.
pub(super) fn body(c: &mut Cursor<'_>) -> Result<Vec<Op>> {
    let mut ops = Vec::new();
    let mut labels = HashMap::new();
    let mut fixups = Vec::new();
    loop {
        c.slot = ops.len();
        c.skip_newlines();
        if *c.peek() == Token::End || c.word().is_some_and(|word| KEYWORDS.contains(&word)) {
            break;
        }
        if let (Token::Word(label), Token::Sym(":")) = (c.peek(), c.peek_second()) {
            let label = *label;
            if labels.insert(label, ops.len()).is_some() {
                return Err(c.error(format!("label `{label}` is defined twice")));
            }
            c.advance();
            c.advance();
            continue;
        }
        let op = op(c, ops.len(), &mut fixups)?;
        ops.push(op);
        if op.slots() == 2 {
            ops.push(Op::LoadImmHi);
        }
        c.end_of_line()?;
    }
    for fixup in fixups {
        patch(&mut ops, fixup, &labels)?;
    }
    Ok(ops)
}

fn patch(ops: &mut [Op], fixup: Fixup<'_>, labels: &HashMap<&str, usize>) -> Result<()> {
    let because = |what: &str| Error {
        what: format!("{}: {what} `{}`", fixup.error.what, fixup.label),
        ..fixup.error.clone()
    };
    let target = labels.get(fixup.label);
    let target = *target.ok_or_else(|| because("there is no label"))? as i64;
    let distance = target - fixup.slot as i64 - 1;
    match &mut ops[fixup.slot] {
        Op::Jump { off, long: true } => *off = distance as i32,
        Op::Jump { off, .. } if i16::try_from(distance).is_ok() => *off = distance as i32,
        Op::Branch { off, .. } | Op::MayGoto { off } if i16::try_from(distance).is_ok() => {
            *off = distance as i16
        }
        _ => return Err(because("too far from label")),
    }
    Ok(())
}

fn op<'a>(c: &mut Cursor<'a>, slot: usize, fixups: &mut Vec<Fixup<'a>>) -> Result<Op> {
    let Some(word) = c.word() else {
        return match c.peek() {
            Token::Sym("*") => store(c),
            _ => c.expected("an operation"),
        };
    };
    if let Some((w, dst)) = register(word) {
        c.advance();
        return assignment(c, w, dst);
    }
    match word {
        "exit" | "call" | "callx" | "goto" | "gotol" | "if" | "lock" | "may_goto" | "gotox"
        | "store_release" => c.advance(),
        _ => return c.expected("an operation"),
    }
    Ok(match word {
        "exit" => Op::Exit,
        "call" => Op::Call(callee(c)?),
        "callx" => Op::Call(Callee::Register(reg(c, Width::W64)?)),
        "lock" => return lock(c),
        "store_release" => return store_release(c),
        "gotox" => Op::IndirectJump { target: reg(c, Width::W64)? },
        "may_goto" => Op::MayGoto { off: target(c, slot, i16::MAX.into(), fixups)? as i16 },
        "if" => {
            let (w, dst) = any_reg(c)?;
            let cond = condition(c)?;
            let src = operand(c, w)?;
            c.expect_word("goto")?;
            let off = target(c, slot, i16::MAX.into(), fixups)? as i16;
            Op::Branch { cond, w, dst, src, off }
        }
        _ => {
            let long = word == "gotol";
            let max = if long { i32::MAX } else { i16::MAX.into() };
            let off = target(c, slot, max, fixups)?;
            Op::Jump { off, long }
        }
    })
}

/// A relative target, or a label to patch later.
fn target<'a>(
    c: &mut Cursor<'a>,
    slot: usize,
    max: i32,
    fixups: &mut Vec<Fixup<'a>>,
) -> Result<i32> {
    let Some(label) = c.word() else {
        return Ok(c.signed(-i64::from(max) - 1, max.into())? as i32);
    };
    if label.starts_with(|first: char| first.is_ascii_digit()) {
        return c.expected("`+N`, `-N` or a label");
    }
    let error = c.error("cannot jump");
    fixups.push(Fixup { slot, label, error });
    c.advance();
    Ok(0)
}

fn condition(c: &mut Cursor<'_>) -> Result<Cond> {
    let Token::Sym(sym) = c.peek() else {
        return c.expected("a comparison");
    };
    let Some(row) = table::COND.iter().find(|row| row.text == *sym) else {
        return c.expected("a comparison");
    };
    c.advance();
    Ok(row.cond)
}

fn callee(c: &mut Cursor<'_>) -> Result<Callee> {
    if matches!(c.peek(), Token::Sym("+" | "-")) {
        let off = c.signed(i32::MIN.into(), i32::MAX.into())?;
        return Ok(Callee::Relative(off as i32));
    }
    if c.eat_word("kfunc") {
        let id = c.signed(i32::MIN.into(), i32::MAX.into())?;
        return Ok(Callee::Kfunc(id as i32));
    }
    if c.word().is_some_and(|word| word.starts_with('f')) {
        return Ok(Callee::Function(FuncRef::from_u32(c.entity("f")?)));
    }
    Ok(Callee::Helper(c.u32()?))
}

/// The width and register that a name like `w3` means.
fn register(word: &str) -> Option<(Width, Reg)> {
    let (w, index) = match entity(word, "r") {
        Some(index) => (Width::W64, index),
        None => (Width::W32, entity(word, "w")?),
    };
    Some((w, Reg::new(u8::try_from(index).ok()?)?))
}

fn any_reg(c: &mut Cursor<'_>) -> Result<(Width, Reg)> {
    let Some(found) = c.word().and_then(register) else {
        return c.expected("a register");
    };
    c.advance();
    Ok(found)
}

/// A register named for an operation of this width.
fn reg(c: &mut Cursor<'_>, w: Width) -> Result<Reg> {
    match c.word().and_then(register) {
        Some((found, reg)) if found == w => {
            c.advance();
            Ok(reg)
        }
        _ if w == Width::W32 => c.expected("a 32-bit register"),
        _ => c.expected("a 64-bit register"),
    }
}

/// The very register, as it must be repeated in some forms.
fn same_reg(c: &mut Cursor<'_>, w: Width, wanted: Reg) -> Result<()> {
    if c.word().and_then(register) != Some((w, wanted)) {
        return c.expected("the same register again");
    }
    c.advance();
    Ok(())
}

fn operand(c: &mut Cursor<'_>, w: Width) -> Result<Src> {
    if c.word().and_then(register).is_some() {
        return Ok(Src::Reg(reg(c, w)?));
    }
    Ok(Src::Imm(imm(c, w == Width::W32)?))
}

/// An immediate; where only its low half counts it may also be written unsigned.
fn imm(c: &mut Cursor<'_>, narrow: bool) -> Result<i32> {
    let max = if narrow { u32::MAX.into() } else { i32::MAX.into() };
    Ok(c.signed(i32::MIN.into(), max)? as i32)
}

/// What follows a destination register.
fn assignment(c: &mut Cursor<'_>, w: Width, dst: Reg) -> Result<Op> {
    if c.eat("=") {
        return value(c, w, dst);
    }
    let Token::Sym(sym) = c.peek() else {
        return c.expected("`=` or an operator");
    };
    let Some(row) = table::ALU.iter().find(|row| row.text == *sym) else {
        return c.expected("`=` or an operator");
    };
    c.advance();
    let (op, src) = (row.op, operand(c, w)?);
    Ok(Op::Alu { op, w, dst, src })
}

/// What follows `dst =`.
fn value(c: &mut Cursor<'_>, w: Width, dst: Reg) -> Result<Op> {
    if let (Token::Sym("-"), Token::Word(word)) = (c.peek(), c.peek_second())
        && register(word).is_some()
    {
        c.advance();
        same_reg(c, w, dst)?;
        return Ok(Op::Neg { w, dst });
    }
    if c.eat("*") {
        return load(c, w, dst);
    }
    if c.eat("(") {
        let (from, signed) = size(c)?;
        c.expect(")")?;
        if !signed || from == Size::D || (w, from) == (Width::W32, Size::W) {
            return Err(c.error("this is no sign extension to the destination's width"));
        }
        let src = reg(c, w)?;
        return Ok(Op::MovSx { w, from, dst, src });
    }
    if let Some(word) = c.word() {
        if let Some((kind, size)) = byte_order(word) {
            c.advance();
            same_reg(c, Width::W64, dst)?;
            return Ok(Op::End { kind, size, dst });
        }
        if word == "load_acquire" {
            return load_acquire(c, w, dst);
        }
        if word.starts_with("atomic_") || word.starts_with("xchg") || word.starts_with("cmpxchg") {
            return fetching(c, word, w, dst);
        }
        if w == Width::W64
            && let Some(value) = imm64(c)?
        {
            return Ok(Op::LoadImm { dst, value });
        }
    }
    let src = operand(c, w)?;
    Ok(Op::Mov { w, dst, src })
}

fn byte_order(word: &str) -> Option<(EndKind, Size)> {
    table::END.iter().find_map(|(kind, name)| {
        let size = match word.strip_prefix(name)? {
            "16" => Size::H,
            "32" => Size::W,
            "64" => Size::D,
            _ => return None,
        };
        Some((*kind, size))
    })
}

/// A value of two slots, if one is next.
fn imm64(c: &mut Cursor<'_>) -> Result<Option<Imm64>> {
    let Some(word) = c.word() else {
        return Ok(None);
    };
    let value = if entity(word, "map").is_some() {
        let map = MapRef::from_u32(c.entity("map")?);
        if c.eat("[") {
            let off = c.u32()?;
            c.expect("]")?;
            Imm64::MapValue(map, off)
        } else {
            Imm64::Map(map)
        }
    } else if entity(word, "f").is_some() {
        Imm64::Function(FuncRef::from_u32(c.entity("f")?))
    } else if c.eat_word("pseudo") {
        c.expect("(")?;
        let src = c.signed(1, 15)? as u8;
        c.expect(",")?;
        let lo = imm(c, true)?;
        c.expect(",")?;
        let hi = imm(c, true)?;
        c.expect(")")?;
        Imm64::Pseudo(src, lo, hi)
    } else if *c.peek_second() == Token::Word("ll") {
        Imm64::Const(c.number()?)
    } else {
        return Ok(None);
    };
    c.expect_word("ll")?;
    Ok(Some(value))
}

fn size(c: &mut Cursor<'_>) -> Result<(Size, bool)> {
    let rows = table::SIZE.iter();
    let mut names = rows.flat_map(|row| [(row, false), (row, true)]);
    let word = c.word();
    let found = names.find(|(row, signed)| word == Some(row.name(*signed)));
    let Some((row, signed)) = found else {
        return c.expected("a type like `u32`");
    };
    c.advance();
    Ok((row.size, signed))
}

/// `(u8 *)`.
fn pointer(c: &mut Cursor<'_>) -> Result<(Size, bool)> {
    c.expect("(")?;
    let found = size(c)?;
    c.expect("*")?;
    c.expect(")")?;
    Ok(found)
}

/// `r1 + 4`.
fn base_offset(c: &mut Cursor<'_>) -> Result<(Reg, i16)> {
    let base = reg(c, Width::W64)?;
    let off = c.signed(i16::MIN.into(), i16::MAX.into())?;
    Ok((base, off as i16))
}

/// `(u8 *)(r1 + 4)`.
fn access(c: &mut Cursor<'_>) -> Result<(Size, bool, Reg, i16)> {
    let (size, signed) = pointer(c)?;
    c.expect("(")?;
    let (base, off) = base_offset(c)?;
    c.expect(")")?;
    Ok((size, signed, base, off))
}

/// A load after `dst = *`; a zero-extending one may name a 32-bit register.
fn load(c: &mut Cursor<'_>, w: Width, dst: Reg) -> Result<Op> {
    let (size, signed) = pointer(c)?;
    if c.eat_word("skb") {
        if dst != Reg::R0 || signed || size == Size::D {
            return Err(c.error("a packet load is of u8, u16 or u32 into r0"));
        }
        c.expect("[")?;
        let index = match c.word().and_then(register) {
            Some(_) => Some(reg(c, Width::W64)?),
            None => None,
        };
        let off = match c.peek() {
            Token::Sym("]") if index.is_some() => 0,
            _ => imm(c, false)?,
        };
        c.expect("]")?;
        return Ok(Op::LoadPacket { size, index, off });
    }
    c.expect("(")?;
    let (base, off) = base_offset(c)?;
    c.expect(")")?;
    if size == Size::D && signed || w == Width::W32 && (signed || size == Size::D) {
        return Err(c.error("there is no such load"));
    }
    Ok(Op::Load { size, signed, dst, base, off })
}

/// A store; one of at most 32 bits may name a 32-bit register.
fn store(c: &mut Cursor<'_>) -> Result<Op> {
    c.expect("*")?;
    let (size, signed, base, off) = access(c)?;
    if signed {
        return Err(c.error("a store has no sign"));
    }
    c.expect("=")?;
    let src = match c.word().and_then(register) {
        Some((Width::W32, _)) if size != Size::D => Src::Reg(reg(c, Width::W32)?),
        Some(_) => Src::Reg(reg(c, Width::W64)?),
        None => Src::Imm(imm(c, size != Size::D)?),
    };
    Ok(Op::Store { size, base, off, src })
}

/// `u32` and `u64` are the sizes of atomic operations.
fn atomic_access(c: &mut Cursor<'_>) -> Result<(Width, Reg, i16)> {
    let (size, signed, base, off) = access(c)?;
    let w = match size {
        Size::W if !signed => Width::W32,
        Size::D if !signed => Width::W64,
        _ => return Err(c.error("an atomic operation is on u32 or u64")),
    };
    Ok((w, base, off))
}

fn lock(c: &mut Cursor<'_>) -> Result<Op> {
    c.expect("*")?;
    let (w, base, off) = atomic_access(c)?;
    let Token::Sym(sym) = c.peek() else {
        return c.expected("an operator");
    };
    let Some(row) = table::ATOMIC.iter().find(|row| row.text == *sym) else {
        return c.expected("an atomic operator");
    };
    c.advance();
    Ok(Op::Atomic { op: row.op, w, fetch: false, base, off, src: reg(c, w)? })
}

/// The access of an ordered load or store; its register is 32 bits wide unless
/// all eight bytes are accessed.
fn ordered_access(c: &mut Cursor<'_>) -> Result<(Size, Reg, i16)> {
    c.expect("(")?;
    let (size, signed, base, off) = access(c)?;
    if signed {
        return Err(c.error("an ordered access has no sign"));
    }
    Ok((size, base, off))
}

fn load_acquire(c: &mut Cursor<'_>, w: Width, dst: Reg) -> Result<Op> {
    c.advance();
    let (size, base, off) = ordered_access(c)?;
    if register_width(size) != w {
        return Err(c.error("the register is not as wide as the access"));
    }
    c.expect(")")?;
    Ok(Op::LoadAcquire { size, dst, base, off })
}

fn store_release(c: &mut Cursor<'_>) -> Result<Op> {
    let (size, base, off) = ordered_access(c)?;
    c.expect(",")?;
    let src = reg(c, register_width(size))?;
    c.expect(")")?;
    Ok(Op::StoreRelease { size, base, off, src })
}

/// The fetching operations, which are written like calls.
fn fetching(c: &mut Cursor<'_>, name: &str, w: Width, dst: Reg) -> Result<Op> {
    c.advance();
    c.expect("(")?;
    if let Some(row) = table::ATOMIC.iter().find(|row| row.fetch == name) {
        let (size, base, off) = atomic_access(c)?;
        if size != w {
            return Err(c.error("the register is not as wide as the access"));
        }
        c.expect(",")?;
        return finish_fetch(c, row.op, w, dst, base, off);
    }
    let (base, off) = base_offset(c)?;
    c.expect(",")?;
    if name.strip_prefix("xchg") == Some(exchange_suffix(w)) {
        return finish_fetch(c, AtomicOp::Xchg, w, dst, base, off);
    }
    if name.strip_prefix("cmpxchg") != Some(exchange_suffix(w)) || dst != Reg::R0 {
        return Err(c.error(format!("there is no `{name}` into this register")));
    }
    same_reg(c, w, Reg::R0)?;
    c.expect(",")?;
    let src = reg(c, w)?;
    c.expect(")")?;
    Ok(Op::CmpXchg { w, base, off, src })
}

fn finish_fetch(
    c: &mut Cursor<'_>,
    op: AtomicOp,
    w: Width,
    src: Reg,
    base: Reg,
    off: i16,
) -> Result<Op> {
    same_reg(c, w, src)?;
    c.expect(")")?;
    Ok(Op::Atomic { op, w, fetch: true, base, off, src })
}
