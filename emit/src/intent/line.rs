//! Instructions as they are meant, and decoded ones in the same form.

use std::fmt;

use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use smallvec::SmallVec;
use tailor_lower::Gpr;

/// Where a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Reg(Gpr),
    Mem {
        base: Gpr,
        /// And how far it is shifted left.
        index: Option<(Gpr, u8)>,
        disp: i32,
    },
    Nowhere,
}

impl Place {
    /// So many bytes of it.
    pub(super) fn sized(self, bytes: u32) -> Op {
        match self {
            Place::Reg(reg) => Op::Reg(reg, bytes),
            Place::Mem { base, index, disp } => Op::Mem { base, index, disp, bytes },
            Place::Nowhere => Op::Nothing,
        }
    }
}

/// An operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    /// The low bytes of a register.
    Reg(Gpr, u32),
    /// Memory; of an address alone, 0 bytes.
    Mem { base: Gpr, index: Option<(Gpr, u8)>, disp: i32, bytes: u32 },
    /// A number, of which as many bits count as the operation has.
    Imm(i64),
    /// A place in the code.
    Code(u32),
    /// What the loader puts in: beside rip, or where the instruction has a number.
    Loaded,
    /// Nothing that is ever meant.
    Nothing,
}

impl Op {
    pub(super) fn r64(reg: Gpr) -> Op {
        Op::Reg(reg, 8)
    }
}

/// An instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// As iced-x86 names it, in small letters.
    name: &'static str,
    lock: bool,
    ops: SmallVec<[Op; 3]>,
}

impl Line {
    pub(super) fn of<const N: usize>(name: &'static str, ops: [Op; N]) -> Line {
        Line { name, lock: false, ops: ops.into_iter().collect() }
    }

    pub(super) fn locked<const N: usize>(name: &'static str, ops: [Op; N]) -> Line {
        Line { lock: true, ..Line::of(name, ops) }
    }

    /// Whether a decoded instruction is this one. `loaded` says that the loader
    /// fills a field of it.
    pub(super) fn is(&self, instruction: &Instruction, loaded: bool) -> bool {
        let count = instruction.op_count() as usize;
        // What the instruction's own operands imply is no operand of a line.
        name(instruction.mnemonic()) == self.name
            && instruction.has_lock_prefix() == self.lock
            && !instruction.has_rep_prefix()
            && !instruction.has_repne_prefix()
            && instruction.segment_prefix() == Register::None
            && count == self.ops.len()
            && (0..count as u32).all(|n| same(instruction, n, self.ops[n as usize], loaded))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lock = if self.lock { "lock " } else { "" };
        write!(f, "{lock}{} {:?}", self.name, self.ops)
    }
}

fn same(instruction: &Instruction, n: u32, meant: Op, loaded: bool) -> bool {
    match (meant, instruction.op_kind(n)) {
        (Op::Reg(reg, bytes), OpKind::Register) => {
            let register = instruction.op_register(n);
            // ah to bh have the numbers of spl to dil.
            let high = [Register::AH, Register::BH, Register::CH, Register::DH];
            !high.contains(&register) && is(register, reg) && register.size() == bytes as usize
        }
        (Op::Mem { base, index, disp, bytes }, OpKind::Memory) => {
            let scale = 1 << index.map_or(0, |(_, shift)| shift);
            let same_index = match index {
                Some((reg, _)) => is(instruction.memory_index(), reg),
                None => instruction.memory_index() == Register::None,
            };
            same_index
                && is(instruction.memory_base(), base)
                && instruction.memory_base().size() == 8
                && instruction.memory_index_scale() == scale
                && instruction.memory_displacement64() == i64::from(disp) as u64
                && instruction.memory_size().size() == bytes as usize
        }
        // Not a far call, whose operand has ten bytes.
        (Op::Loaded, OpKind::Memory) => {
            loaded
                && instruction.memory_base() == Register::RIP
                && instruction.memory_size().size() == 8
        }
        (Op::Loaded, OpKind::NearBranch64) => loaded,
        (Op::Loaded, OpKind::Immediate64) => loaded && instruction.immediate(n) == 0,
        (Op::Imm(number), _) => {
            let unused = 64 - 8 * width(instruction);
            let cut = |bits: u64| bits << unused;
            let found = instruction.try_immediate(n);
            !loaded && found.is_ok_and(|found| cut(found) == cut(number as u64))
        }
        (Op::Code(target), OpKind::NearBranch64) => {
            !loaded && instruction.near_branch_target() == u64::from(target)
        }
        _ => false,
    }
}

/// Bytes of the first operand.
fn width(instruction: &Instruction) -> u32 {
    match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size() as u32,
        OpKind::Memory => instruction.memory_size().size() as u32,
        _ => 8,
    }
}

fn is(register: Register, reg: Gpr) -> bool {
    register.is_gpr() && register.full_register().number() == usize::from(reg.enc())
}

/// The instructions that are ever meant.
fn name(mnemonic: Mnemonic) -> &'static str {
    use Mnemonic::*;
    match mnemonic {
        Mov => "mov",
        Movzx => "movzx",
        Movsx => "movsx",
        Movsxd => "movsxd",
        Lea => "lea",
        Add => "add",
        Sub => "sub",
        And => "and",
        Or => "or",
        Xor => "xor",
        Cmp => "cmp",
        Test => "test",
        Inc => "inc",
        Neg => "neg",
        Imul => "imul",
        Div => "div",
        Idiv => "idiv",
        Cdq => "cdq",
        Cqo => "cqo",
        Cmove => "cmove",
        Shl => "shl",
        Shr => "shr",
        Sar => "sar",
        Rol => "rol",
        Ror => "ror",
        Shlx => "shlx",
        Shrx => "shrx",
        Sarx => "sarx",
        Bswap => "bswap",
        Xadd => "xadd",
        Xchg => "xchg",
        Cmpxchg => "cmpxchg",
        Push => "push",
        Pop => "pop",
        Call => "call",
        Ret => "ret",
        Jmp => "jmp",
        Jb => "jb",
        Jae => "jae",
        Je => "je",
        Jne => "jne",
        Jbe => "jbe",
        Ja => "ja",
        Jl => "jl",
        Jge => "jge",
        Jle => "jle",
        Jg => "jg",
        Ud2 => "ud2",
        Leave => "leave",
        _ => "?",
    }
}
