//! Printing, which must work for functions that are broken too: the verifier
//! and panics show them.

use std::fmt::{self, Display, Formatter};

use crate::{
    Block, BlockCall, Function, Inst, InstData, Module, Payload, TAIL_CALL_SUCCEEDS, Terminator,
    Type, Value,
};

impl Display for Module {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, function) in self.functions.values().enumerate() {
            let gap = if index > 0 { "\n" } else { "" };
            write!(f, "{gap}{function}")?;
        }
        Ok(())
    }
}

/// Lines of the printed form before the first block's.
pub fn header_lines(function: &Function) -> usize {
    1 + function.stack_slots.len() + function.externs.len()
}

impl Display for Function {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "function {} {:?}", self.id, self.name)?;
        flag(f, "reaches_tail_call", self.reaches_tail_call)?;
        f.write_str(" {\n")?;
        for (slot, data) in self.stack_slots.iter() {
            write!(f, "    {slot} = slot {} align {}", data.size, data.align)?;
            f.write_str(if data.escapes { " escapes\n" } else { "\n" })?;
        }
        for (ext, data) in self.externs.iter() {
            write!(f, "    {ext} = helper {} {:?}", data.helper, data.name)?;
            write!(f, " arity {}", data.arity)?;
            flag(f, "reads", data.reads)?;
            flag(f, "writes", data.writes)?;
            f.write_str("\n")?;
        }
        for &block in &self.layout {
            write_block(f, self, block)?;
        }
        f.write_str("}\n")
    }
}

fn flag(f: &mut Formatter<'_>, name: &str, set: bool) -> fmt::Result {
    if set { write!(f, " {name}") } else { Ok(()) }
}

fn write_block(f: &mut Formatter<'_>, function: &Function, block: Block) -> fmt::Result {
    write!(f, "{block}")?;
    let Some(data) = function.blocks.get(block) else {
        return f.write_str(": ; does not exist\n");
    };
    if !data.params.is_empty() {
        let params = data.params.iter().map(|&value| Param { function, value });
        write!(f, "({})", commas(params))?;
    }
    if data.frequency != 1.0 {
        write!(f, " freq {:?}", data.frequency)?;
    }
    f.write_str(":\n")?;
    for &inst in &data.insts {
        writeln!(f, "    {}", function.display_inst(inst))?;
    }
    writeln!(f, "    {}", data.term)
}

impl Function {
    /// An instruction as its line shows it.
    pub fn display_inst(&self, inst: Inst) -> impl Display + '_ {
        DisplayInst { function: self, inst }
    }
}

struct Param<'a> {
    function: &'a Function,
    value: Value,
}

impl Display for Param<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.function.values.get(self.value) {
            Some(data) => write!(f, "{}: {}", self.value, data.ty),
            None => write!(f, "{}: ?", self.value),
        }
    }
}

struct DisplayInst<'a> {
    function: &'a Function,
    inst: Inst,
}

impl Display for DisplayInst<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(data) = self.function.insts.get(self.inst) else {
            return write!(f, "; {} does not exist", self.inst);
        };
        if let Some(result) = self.function.result(self.inst) {
            write!(f, "{result} = ")?;
        }
        write!(f, "{data}")
    }
}

/// An instruction without its result.
impl Display for InstData {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let info = self.op.info();
        f.write_str(info.name)?;
        if info.typed() {
            write!(f, ".{}", self.ty)?;
        }
        write_payload(f, self)?;
        let (offset, region) = match self.payload {
            Payload::Mem { offset, region, .. } | Payload::Atomic { offset, region, .. } => {
                (offset, Some(region))
            }
            _ => (0, None),
        };
        if info.args.is_none() {
            write!(f, "({})", commas(self.args.iter()))?;
        } else if let [address, rest @ ..] = &self.args[..] {
            write!(f, " {address}{}", Offset(offset.into()))?;
            rest.iter().try_for_each(|arg| write!(f, ", {arg}"))?;
        }
        if let Some(region) = region {
            write!(f, " {region}")?;
        }
        if self.origin != 0 {
            write!(f, " @{}", self.origin)?;
        }
        Ok(())
    }
}

fn write_payload(f: &mut Formatter<'_>, data: &InstData) -> fmt::Result {
    match data.payload {
        Payload::None => Ok(()),
        Payload::Imm(imm) => write!(f, " {}", Imm(data.ty, imm)),
        Payload::Mem { size, .. } => write!(f, " {}", size.name()),
        Payload::Atomic { op, .. } => write!(f, " {}", op.name()),
        Payload::Slot { slot, offset } => write!(f, " {slot}{}", Offset(offset.into())),
        Payload::Map(map) => write!(f, " {map}"),
        Payload::MapValue { map, offset } => write!(f, " {map}{}", Offset(offset.into())),
        Payload::Func(func) => write!(f, " {func}"),
        Payload::Ext(ext) => write!(f, " {ext}"),
        Payload::Ctx { kind, field } => write!(f, " {kind}.{field}"),
    }
}

/// A constant: small ones in decimal with the sign that the type gives them.
struct Imm(Type, u64);

impl Display for Imm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let signed = match self.0 {
            Type::I32 if self.1 <= u32::MAX.into() => i64::from(self.1 as u32 as i32),
            _ => self.1 as i64,
        };
        if (-0xffff..=0xffff).contains(&signed) {
            write!(f, "{signed}")
        } else {
            write!(f, "{:#x}", self.1)
        }
    }
}

/// What is added to an address: nothing, `+n` or `-n`.
struct Offset(i64);

impl Display for Offset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, "{:+}", self.0) }
    }
}

impl Display for BlockCall {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.block)?;
        if self.args.is_empty() {
            return Ok(());
        }
        write!(f, "({})", commas(self.args.iter()))
    }
}

impl Display for Terminator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Terminator::None => f.write_str("unterminated"),
            Terminator::Jump(target) => write!(f, "jump {target}"),
            Terminator::Branch { cond, ty, lhs, rhs, then, other } => {
                write!(f, "branch {}.{ty} {lhs}, {rhs}, {then}, {other}", cond.name())
            }
            Terminator::Return(value) => write!(f, "return {value}"),
            Terminator::TailCall { ctx, array, index, direct, fail, succeeds } => {
                write!(f, "tail_call {ctx}, {array}, {index}, ")?;
                if let Some((map, key)) = direct {
                    write!(f, "direct {map}[{key}], ")?;
                }
                write!(f, "{fail}")?;
                if *succeeds != TAIL_CALL_SUCCEEDS {
                    write!(f, " succeeds {succeeds:?}")?;
                }
                Ok(())
            }
            Terminator::Trap => f.write_str("trap"),
        }
    }
}

/// The items with `, ` between them.
fn commas<T: Display>(items: impl Iterator<Item = T> + Clone) -> impl Display {
    struct Commas<I>(I);
    impl<T: Display, I: Iterator<Item = T> + Clone> Display for Commas<I> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            for (index, item) in self.0.clone().enumerate() {
                let gap = if index > 0 { ", " } else { "" };
                write!(f, "{gap}{item}")?;
            }
            Ok(())
        }
    }
    Commas(items)
}
