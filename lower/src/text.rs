//! The listing of a machine function.
//!
//! ```text
//! function f0 "main" reaches_tail_call {
//!     ss0 = slot 16 align 8
//! b0: -> b1 b2                        successors; predecessors after `<-`
//!     %0:rdi, %1:r9 = args            `:reg` where a register is fixed
//!     %2 = load.zx16 [%0+12]
//!     %3 = add.64 %2, [ss0+%0*8+4]    the result takes the first use's register
//!     %4:rax, %5:rdx! = udiv.64 %3:rax, %2     `!` written before all uses are read
//!     cmp.8 [%0], 6
//!     je b1, b2
//! b1(%6): freq 0.5 <- b0              parameters; frequency unless 1
//!     jmp b3(%4)
//! b2: freq 0.5 leaves 0.25 <- b0          chance that its tail call leaves, unless 0
//!     ret %0:rax
//!     narrow %2                       registers of which only the low half is meaningful
//! }
//! ```

use std::fmt;

use regalloc2::{Block, Operand, OperandConstraint, OperandKind, OperandPos, VReg};
use tailor_ir::{AtomicOp, CALL_BY_NUMBER};

use crate::mach::{MachBlock, MachFunction};
use crate::options::Convention;
use crate::x64::inst::{AluOp, Base, Cc, Extend, MInst, Mem, Rhs, ShiftOp, Site, Symbol, Width};
use crate::x64::regs::Gpr;

impl fmt::Display for MachFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "function {} {:?}", self.id, self.name)?;
        if self.reaches_tail_call {
            f.write_str(" reaches_tail_call")?;
        }
        if let Convention::Kernel { landing } = self.convention {
            write!(f, " lands {landing}")?;
        }
        f.write_str(" {\n")?;
        for (slot, data) in &self.stack_slots {
            write!(f, "    {slot} = slot {} align {}", data.size, data.align)?;
            f.write_str(if data.escapes { " escapes\n" } else { "\n" })?;
        }
        for (index, block) in self.blocks.iter().enumerate() {
            self.fmt_block(f, index, block)?;
        }
        let narrow = |&vreg: &usize| self.vreg_bytes[vreg] != 8;
        let mut narrow = (0..self.vreg_bytes.len()).filter(narrow).peekable();
        if narrow.peek().is_some() {
            f.write_str("    narrow")?;
            narrow.try_for_each(|vreg| write!(f, " %{vreg}"))?;
            f.write_str("\n")?;
        }
        f.write_str("}\n")
    }
}

/// One instruction as the listing shows it.
struct InstText<'a>(&'a MachFunction, usize, &'a MachBlock);

impl fmt::Display for InstText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_inst(f, self.1, self.2)
    }
}

impl MachFunction {
    /// Instruction `inst` of `block` as the listing shows it.
    pub fn display_inst<'a>(&'a self, inst: usize, block: &'a MachBlock) -> impl fmt::Display + 'a {
        InstText(self, inst, block)
    }

    fn fmt_block(
        &self,
        f: &mut fmt::Formatter<'_>,
        index: usize,
        block: &MachBlock,
    ) -> fmt::Result {
        write!(f, "b{index}{}:", Vregs(&block.params))?;
        if block.frequency != 1.0 {
            write!(f, " freq {}", block.frequency)?;
        }
        if block.leaves != 0.0 {
            write!(f, " leaves {}", block.leaves)?;
        }
        for (arrow, list) in [("<-", &block.preds), ("->", &block.succs)] {
            if !list.is_empty() {
                write!(f, " {arrow}")?;
                list.iter().try_for_each(|b| write!(f, " {}", name(*b)))?;
            }
        }
        f.write_str("\n")?;
        for inst in block.start as usize..block.end as usize {
            f.write_str("    ")?;
            self.fmt_inst(f, inst, block)?;
            f.write_str("\n")?;
        }
        Ok(())
    }

    fn fmt_inst(&self, f: &mut fmt::Formatter<'_>, inst: usize, block: &MachBlock) -> fmt::Result {
        let operands = self.inst_operands(inst);
        let defs = operands.iter().take_while(|op| op.kind() == OperandKind::Def);
        let defs = defs.count();
        let (defs, uses) = operands.split_at(defs);
        for (index, &def) in defs.iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{}", Op(def))?;
        }
        if !defs.is_empty() {
            f.write_str(" = ")?;
        }
        let form = form(self.insts[inst]);
        f.write_str(&form.name)?;
        let mem_regs = form.mem.map_or(0, |mem| mem.regs()).min(uses.len());
        let (uses, mem_uses) = uses.split_at(uses.len() - mem_regs);
        let mut separator = " ";
        let mut item = |f: &mut fmt::Formatter<'_>, text: &dyn fmt::Display| {
            write!(f, "{separator}{text}")?;
            separator = ", ";
            Ok(())
        };
        if form.mem_first
            && let Some(mem) = form.mem
        {
            item(f, &MemText(mem, mem_uses))?;
        }
        for &op in uses {
            item(f, &Op(op))?;
        }
        if !form.mem_first
            && let Some(mem) = form.mem
        {
            item(f, &MemText(mem, mem_uses))?;
        }
        if let Some(last) = &form.last {
            item(f, last)?;
        }
        if let MInst::Jcc(_) | MInst::Jmp = self.insts[inst] {
            for &succ in &block.succs {
                item(f, &format_args!("{}{}", name(succ), Vregs(&block.args)))?;
            }
        }
        Ok(())
    }
}

fn name(block: Block) -> impl fmt::Display {
    struct Name(usize);
    impl fmt::Display for Name {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "b{}", self.0)
        }
    }
    Name(block.index())
}

/// A list of registers in parentheses, if there are any.
struct Vregs<'a>(&'a [VReg]);

impl fmt::Display for Vregs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, vreg) in self.0.iter().enumerate() {
            let separator = if index > 0 { ", " } else { "(" };
            write!(f, "{separator}%{}", vreg.vreg())?;
        }
        f.write_str(if self.0.is_empty() { "" } else { ")" })
    }
}

/// An operand with what the allocator is told of it.
struct Op(Operand);

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0.vreg().vreg())?;
        if let OperandConstraint::FixedReg(preg) = self.0.constraint() {
            write!(f, ":{}", Gpr::from_preg(preg))?;
        }
        let early_def = self.0.kind() == OperandKind::Def && self.0.pos() == OperandPos::Early;
        f.write_str(if early_def { "!" } else { "" })
    }
}

impl Mem {
    /// How many registers it has.
    fn regs(self) -> usize {
        usize::from(self.base == Base::Reg) + usize::from(self.index.is_some())
    }
}

/// A memory operand with its registers.
struct MemText<'a>(Mem, &'a [Operand]);

impl fmt::Display for MemText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemText(mem, regs) = *self;
        let mut regs = regs.iter();
        f.write_str("[")?;
        match mem.base {
            Base::Slot(slot) => write!(f, "{slot}")?,
            Base::Reg => {
                if let Some(&op) = regs.next() {
                    write!(f, "{}", Op(op))?;
                }
            }
        }
        if let (Some(shift), Some(&op)) = (mem.index, regs.next()) {
            write!(f, "+{}", Op(op))?;
            if shift > 0 {
                write!(f, "*{}", 1 << shift)?;
            }
        }
        if mem.disp != 0 {
            write!(f, "{:+}", mem.disp)?;
        }
        f.write_str("]")
    }
}

/// How an instruction is written: name, register uses, memory, the rest.
#[derive(Default)]
struct Form {
    name: String,
    mem: Option<Mem>,
    /// Memory stands before the register uses.
    mem_first: bool,
    last: Option<String>,
}

impl Form {
    fn new(name: impl Into<String>) -> Form {
        Form { name: name.into(), ..Form::default() }
    }

    fn mem(self, mem: Mem) -> Form {
        Form { mem: Some(mem), ..self }
    }

    fn first(self, mem: Mem) -> Form {
        Form { mem: Some(mem), mem_first: true, ..self }
    }

    fn last(self, text: impl fmt::Display) -> Form {
        Form { last: Some(text.to_string()), ..self }
    }

    fn rhs(self, rhs: Rhs) -> Form {
        match rhs {
            Rhs::Reg => self,
            Rhs::Imm(imm) => self.last(imm),
            Rhs::Mem(mem) => self.mem(mem),
        }
    }
}

fn form(inst: MInst) -> Form {
    let sized = |name: &str, w: Width| Form::new(format!("{name}.{}", w.bytes() * 8));
    let bytes = |name: &str, bytes: u8| Form::new(format!("{name}.{}", u32::from(bytes) * 8));
    let nonzero = |form: Form, nonzero: bool| if nonzero { form.last("nonzero") } else { form };
    let signed = |signed: bool, name: &str| format!("{}{name}", if signed { 's' } else { 'u' });
    match inst {
        MInst::Args => Form::new("args"),
        MInst::Mov(w) => sized("mov", w),
        MInst::Imm(number) => Form::new("imm").last(number as i64),
        MInst::Addr(symbol) => Form::new("addr").last(symbol_text(symbol)),
        MInst::Lea(w, mem) => sized("lea", w).mem(mem),
        MInst::Alu(op, w, rhs) => sized(alu_name(op), w).rhs(rhs),
        MInst::Imul(w, rhs) => sized("imul", w).rhs(rhs),
        MInst::ImulImm(w, imm) => sized("imul", w).last(imm),
        MInst::Neg(w) => sized("neg", w),
        MInst::ShiftImm(op, w, count) => sized(shift_name(op), w).last(count),
        MInst::ShiftCl(op, w) => sized(shift_name(op), w),
        MInst::ShiftX(op, w) => sized(&format!("{}x", shift_name(op)), w),
        MInst::Bswap(w) => sized("bswap", w),
        MInst::Bswap16 => Form::new("bswap.16"),
        MInst::Swap16 => Form::new("swap.16"),
        MInst::Ext(extend) => Form::new(extend_name(extend)),
        MInst::Load(extend, mem) => Form::new(format!("load.{}", extend_name(extend))).mem(mem),
        MInst::Store(n, mem) => bytes("store", n).first(mem),
        MInst::AluMem(op, w, None, mem) => sized(alu_name(op), w).first(mem),
        MInst::AluMem(op, w, Some(imm), mem) => sized(alu_name(op), w).first(mem).last(imm),
        MInst::StoreImm(n, imm, mem) => bytes("store", n).first(mem).last(imm),
        MInst::Div { signed: s, w, nonzero: n } => nonzero(sized(&signed(s, "div"), w), n),
        MInst::Rem { signed: s, w, nonzero: n } => nonzero(sized(&signed(s, "rem"), w), n),
        MInst::Cmp(w, rhs) => sized("cmp", w).rhs(rhs),
        MInst::CmpMemImm(n, imm, mem) => bytes("cmp", n).first(mem).last(imm),
        MInst::Test(w, rhs) => sized("test", w).rhs(rhs),
        MInst::TestMemImm(n, imm, mem) => bytes("test", n).first(mem).last(imm),
        MInst::Jcc(cc) => Form::new(format!("j{}", cc_name(cc))),
        MInst::Jmp => Form::new("jmp"),
        MInst::Atomic(op, w, mem) => sized(&atomic_name("lock", op), w).first(mem),
        MInst::AtomicImm(op, w, imm, mem) => {
            sized(&atomic_name("lock", op), w).first(mem).last(imm)
        }
        MInst::AtomicFetch(op, w, mem) => sized(&atomic_name("fetch", op), w).first(mem),
        MInst::AtomicLoop(op, w, mem) => sized(&atomic_name("loop", op), w).first(mem),
        MInst::CmpXchg(w, mem) => sized("cmpxchg", w).first(mem),
        MInst::CallHelper(CALL_BY_NUMBER) => Form::new("call helper_by_number"),
        MInst::CallHelper(helper) => Form::new(format!("call helper{helper}")),
        MInst::CallLocal(callee) => Form::new(format!("call {callee}")),
        MInst::Counter => Form::new("counter"),
        MInst::TailCall(site) => {
            let form = Form::new("tail_call");
            match site {
                Site::Array => form,
                Site::Slot(map, key) => form.last(format_args!("{map}[{key}]")),
                Site::Patched(map, key) => form.last(format_args!("{map}[{key}] patched")),
            }
        }
        MInst::Ret => Form::new("ret"),
        MInst::Trap => Form::new("trap"),
    }
}

fn symbol_text(symbol: Symbol) -> String {
    match symbol {
        Symbol::Map(map) => map.to_string(),
        Symbol::MapValue(map, offset) => format!("{map}+{offset}"),
        Symbol::MapSlot(map, key) => format!("{map}[{key}]"),
        Symbol::Function(func) => func.to_string(),
        Symbol::Entry(func) => format!("{func}.entry"),
        Symbol::Helper(number) => format!("helper{number}"),
        Symbol::HelperCell(number) => format!("helper_cell{number}"),
    }
}

fn alu_name(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "add",
        AluOp::Sub => "sub",
        AluOp::And => "and",
        AluOp::Or => "or",
        AluOp::Xor => "xor",
    }
}

fn shift_name(op: ShiftOp) -> &'static str {
    match op {
        ShiftOp::Shl => "shl",
        ShiftOp::Shr => "shr",
        ShiftOp::Sar => "sar",
        ShiftOp::Rol => "rol",
        ShiftOp::Ror => "ror",
    }
}

fn extend_name(extend: Extend) -> &'static str {
    match extend {
        Extend::Zero8 => "zx8",
        Extend::Zero16 => "zx16",
        Extend::Zero32 => "zx32",
        Extend::None64 => "64",
        Extend::Sign8To32 => "sx8to32",
        Extend::Sign16To32 => "sx16to32",
        Extend::Sign8 => "sx8",
        Extend::Sign16 => "sx16",
        Extend::Sign32 => "sx32",
    }
}

fn cc_name(cc: Cc) -> &'static str {
    match cc {
        Cc::B => "b",
        Cc::Ae => "ae",
        Cc::E => "e",
        Cc::Ne => "ne",
        Cc::Be => "be",
        Cc::A => "a",
        Cc::L => "l",
        Cc::Ge => "ge",
        Cc::Le => "le",
        Cc::G => "g",
    }
}

fn atomic_name(form: &str, op: AtomicOp) -> String {
    format!("{form}_{}", op.name())
}
