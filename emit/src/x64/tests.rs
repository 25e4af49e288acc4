//! Machine functions with hand-made locations, as listings.

use cranelift_entity::EntityRef;
use regalloc2::{
    Allocation, Block, Edit, Inst, Operand, PRegSet, ProgPoint, RegClass, SpillSlot, VReg,
};
use smallvec::{SmallVec, smallvec};
use tailor_lower::mach::InstInfo;
use tailor_lower::x64::inst::Site;
use tailor_lower::x64::inst::{Base, Mem, Rhs};
use tailor_lower::{AtomicOp, Convention, MachBlock, Role, StackSlot, StackSlotData};
use tailor_regalloc::FrameLayout;

use super::*;
use crate::asm::{AluOp, Cc, Extend, ShiftOp};
use crate::{FuncRef, Symbol};

const W32: Width = Width::W32;
const W64: Width = Width::W64;

/// A location by name: a register, or a spill slot.
#[derive(Clone, Copy)]
pub(crate) enum At {
    R(Gpr),
    S(usize),
}
use At::{R, S};

impl At {
    pub(crate) fn allocation(self) -> Allocation {
        match self {
            R(reg) => Allocation::reg(reg.preg()),
            S(slot) => Allocation::stack(SpillSlot::new(slot)),
        }
    }
}

const RAX: At = R(Gpr::RAX);
const RCX: At = R(Gpr::RCX);
const RDX: At = R(Gpr::RDX);
const RBX: At = R(Gpr::RBX);
const RSI: At = R(Gpr::RSI);
const RDI: At = R(Gpr::RDI);
const R8: At = R(Gpr::R8);
const R9: At = R(Gpr::R9);

/// A function under construction.
pub(crate) struct Build {
    pub(crate) function: MachFunction,
    pub(crate) allocated: Allocated,
}

impl Build {
    pub(crate) fn new() -> Build {
        Build {
            function: MachFunction {
                id: FuncRef::new(0),
                name: "test".to_string(),
                insts: Vec::new(),
                info: Vec::new(),
                operands: Vec::new(),
                blocks: Vec::new(),
                vreg_bytes: vec![8],
                stack_slots: Default::default(),
                reaches_tail_call: false,
                convention: Convention::Saving,
            },
            allocated: Allocated {
                saves: Default::default(),
                cost: 0.0,
                locations: Vec::new(),
                placed: Vec::new(),
                edits: Vec::new(),
                narrow: Vec::new(),
                algorithm: tailor_regalloc::Algorithm::Ion,
                frame: FrameLayout { spills: vec![0, 8, 16, 24], ..FrameLayout::default() },
            },
        }
    }

    /// Pushes, room, and the lowest byte of the spill slots.
    pub(crate) fn frame(mut self, saved: &[Gpr], adjust: u32) -> Build {
        self.allocated.frame.saved = saved.iter().copied().collect();
        self.allocated.frame.adjust = adjust;
        self
    }

    /// A stack object at a distance from rsp.
    pub(crate) fn slot(&mut self, offset: i32) -> StackSlot {
        let slot =
            self.function.stack_slots.push(StackSlotData { size: 8, align: 8, escapes: false });
        self.allocated.frame.slots[slot] = offset;
        slot
    }

    pub(crate) fn inst(mut self, inst: MInst, locations: &[At]) -> Build {
        let vreg = VReg::new(0, RegClass::Int);
        self.function.info.push(InstInfo {
            first: self.function.operands.len() as u32,
            count: locations.len() as u16,
            role: Role::Plain,
            clobbers: PRegSet::empty(),
            origin: self.function.insts.len() as u32,
            recomputed: false,
        });
        self.function.insts.push(inst);
        for at in locations {
            self.function.operands.push(Operand::any_use(vreg));
            self.allocated.locations.push(at.allocation());
        }
        self
    }

    /// A move before the next instruction.
    pub(crate) fn edit(mut self, from: At, to: At) -> Build {
        let next = Inst::new(self.function.insts.len());
        let (from, to) = (from.allocation(), to.allocation());
        let edit = Edit::Move { from, to };
        self.allocated.edits.push((ProgPoint::before(next), edit));
        self
    }

    /// Ends a block.
    pub(crate) fn block(mut self, succs: &[usize]) -> Build {
        let start = self.function.blocks.last().map_or(0, |block| block.end);
        self.function.blocks.push(MachBlock {
            start,
            end: self.function.insts.len() as u32,
            succs: succs.iter().map(|&succ| Block::new(succ)).collect(),
            frequency: 1.0,
            ..MachBlock::default()
        });
        self
    }

    pub(crate) fn emit(&self) -> Result<CompiledFunction, EmitError> {
        emit(&self.function, &self.allocated, FunctionKind::Program, 0)
    }

    /// The instructions, a line each, without offsets.
    fn lines(self) -> Vec<String> {
        let text = listing(&self.emit().unwrap());
        let line = |line: &str| line.get(8..).unwrap_or(line).trim().to_string();
        text.lines().skip(1).map(line).collect()
    }

    /// The same, of a function of one block that ends with `ret`.
    fn ret(self) -> Vec<String> {
        let mut lines = self.inst(MInst::Ret, &[RAX]).block(&[]).lines();
        assert_eq!(lines.pop().unwrap(), "ret");
        lines
    }
}

fn one(inst: MInst, locations: &[At]) -> Vec<String> {
    Build::new().inst(inst, locations).ret()
}

fn mem(disp: i32) -> Mem {
    Mem { base: Base::Reg, index: None, disp }
}

#[test]
fn frames() {
    let lines = Build::new()
        .frame(&[Gpr::RBX, Gpr::R12], 24)
        .inst(MInst::Imm(1), &[RBX])
        .inst(MInst::Mov(W64), &[RAX, RBX])
        .ret();
    let expected = [
        "push rbx",
        "push r12",
        "sub rsp, 0x18",
        "mov ebx, 1",
        "mov rax, rbx",
        "add rsp, 0x18",
        "pop r12",
        "pop rbx",
    ];
    assert_eq!(lines, expected);
    let lines = Build::new().frame(&[], 128).ret();
    assert_eq!(lines, ["add rsp, -0x80", "sub rsp, -0x80"]);
}

#[test]
fn moves() {
    assert!(one(MInst::Mov(W64), &[RAX, RAX]).is_empty());
    assert_eq!(one(MInst::Mov(W32), &[RAX, RAX]), ["mov eax, eax"]);
    let mut narrow = Build::new();
    narrow.function.vreg_bytes = vec![4];
    assert!(narrow.inst(MInst::Mov(W32), &[RAX, RAX]).ret().is_empty());
    let in_frame = |width, locations: &[At]| {
        Build::new().frame(&[], 32).inst(MInst::Mov(width), locations).ret()[1].clone()
    };
    assert_eq!(in_frame(W64, &[RAX, S(1)]), "mov rax, [rsp+8]");
    assert_eq!(in_frame(W32, &[RAX, S(1)]), "mov eax, [rsp+8]");
    assert_eq!(in_frame(W64, &[S(1), RAX]), "mov [rsp+8], rax");
    let mut narrow = Build::new().frame(&[], 32);
    narrow.function.vreg_bytes = vec![4];
    assert_eq!(narrow.inst(MInst::Mov(W64), &[S(1), RAX]).ret()[1], "mov [rsp+8], eax");
    assert_eq!(one(MInst::Imm(0), &[RAX]), ["xor eax, eax"]);
    let map = Symbol::Map(tailor_lower::MapRef::new(2));
    assert_eq!(one(MInst::Addr(map), &[RSI]), ["mov rsi, map2"]);
    let lines = one(MInst::Ext(Extend::Sign16), &[RAX, S(1)]);
    assert_eq!(lines, ["movsx rax, word ptr [rsp+8]"]);
    assert!(one(MInst::Ext(Extend::None64), &[RAX, RAX]).is_empty());
    assert_eq!(one(MInst::Ext(Extend::Zero32), &[RAX, RAX]), ["mov eax, eax"]);
}

#[test]
fn edits_and_spill_slots() {
    let mut build = Build::new().frame(&[], 32);
    build.allocated.frame.spills = vec![8, 16, 24, 32];
    let lines = build
        .edit(RDI, S(0))
        .edit(RDI, RSI)
        .edit(RSI, RSI)
        .inst(MInst::Alu(AluOp::Add, W64, Rhs::Reg), &[RSI, RSI, S(0)])
        .edit(S(2), RAX)
        .ret();
    let expected = [
        "sub rsp, 0x20",
        "mov [rsp+8], rdi",
        "mov rsi, rdi",
        "add rsi, [rsp+8]",
        "mov rax, [rsp+0x18]",
        "add rsp, 0x20",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn arithmetic() {
    let alu = |op, imm| one(MInst::Alu(op, W64, Rhs::Imm(imm)), &[RDI, RDI]);
    assert_eq!(alu(AluOp::Add, 128), ["sub rdi, -0x80"]);
    assert_eq!(alu(AluOp::Sub, 128), ["add rdi, -0x80"]);
    assert_eq!(alu(AluOp::Xor, 128), ["xor rdi, 0x80"]);
    let lines = one(MInst::Imul(W32, Rhs::Mem(mem(4))), &[RAX, RAX, RDI]);
    assert_eq!(lines, ["imul eax, [rdi+4]"]);
    let lines = one(MInst::ImulImm(W64, 10), &[RAX, S(0)]);
    assert_eq!(lines, ["imul rax, [rsp], 0xa"]);
    assert_eq!(one(MInst::Neg(W64), &[RAX, RAX]), ["neg rax"]);
    let lines = one(MInst::ShiftImm(ShiftOp::Sar, W32, 3), &[RAX, RAX]);
    assert_eq!(lines, ["sar eax, 3"]);
    let lines = one(MInst::ShiftCl(ShiftOp::Shl, W64), &[RAX, RAX, RCX]);
    assert_eq!(lines, ["shl rax, cl"]);
    let lines = one(MInst::ShiftX(ShiftOp::Shr, W64), &[RAX, S(0), RDX]);
    assert_eq!(lines, ["shrx rax, [rsp], rdx"]);
    assert_eq!(one(MInst::Bswap(W64), &[RAX, RAX]), ["bswap rax"]);
    let lines = one(MInst::Bswap16, &[RAX, RAX]);
    assert_eq!(lines, ["rol ax, 8", "movzx eax, ax"]);
    assert_eq!(one(MInst::Swap16, &[RAX, RAX]), ["rol ax, 8"]);
}

#[test]
fn comparisons() {
    let cmp = |rhs, at: &[At]| one(MInst::Cmp(W32, rhs), at);
    assert_eq!(cmp(Rhs::Imm(0), &[RDI]), ["test edi, edi"]);
    assert_eq!(cmp(Rhs::Imm(-1), &[RDI]), ["cmp edi, -1"]);
    assert_eq!(cmp(Rhs::Reg, &[RDI, S(1)]), ["cmp edi, [rsp+8]"]);
    assert_eq!(cmp(Rhs::Mem(mem(0)), &[RDI, RSI]), ["cmp edi, [rsi]"]);
    let lines = one(MInst::Test(W64, Rhs::Imm(16)), &[RDI]);
    assert_eq!(lines, ["test dil, 0x10"]);
    let lines = one(MInst::CmpMemImm(2, 0x800, mem(12)), &[RDI]);
    assert_eq!(lines, ["cmp word ptr [rdi+0xc], 0x800"]);
    let test = |bytes, imm| one(MInst::TestMemImm(bytes, imm, mem(12)), &[RDI]);
    assert_eq!(test(1, 0x12), ["test byte ptr [rdi+0xc], 0x12"]);
    assert_eq!(test(4, -2), ["test dword ptr [rdi+0xc], -2"]);
    assert_eq!(test(8, -2), ["test qword ptr [rdi+0xc], -2"]);
}

#[test]
fn memory() {
    let mut build = Build::new().frame(&[], 64);
    let slot = build.slot(24);
    let at = |disp, index| Mem { base: Base::Slot(slot), index, disp };
    let lines = build
        .inst(MInst::Store(1, at(4, None)), &[RDI])
        .inst(MInst::StoreImm(8, -1, at(0, None)), &[])
        .inst(MInst::Load(Extend::Zero16, at(2, Some(1))), &[RAX, RSI])
        .inst(MInst::Lea(W64, at(0, None)), &[RDX])
        .inst(MInst::Lea(W64, mem(0)), &[RDX, RDI])
        .ret();
    let expected = [
        "mov [rsp+0x1c], dil",
        "mov qword ptr [rsp+0x18], -1",
        "movzx eax, word ptr [rsp+rsi*2+0x1a]",
        "lea rdx, [rsp+0x18]",
        "mov rdx, rdi",
    ];
    assert_eq!(lines[1..6], expected);
}

#[test]
fn atomics() {
    let lines = one(MInst::Atomic(AtomicOp::Or, W32, mem(8)), &[RSI, RDI]);
    assert_eq!(lines, ["lock or [rdi+8], esi"]);
    let lines = one(MInst::AtomicImm(AtomicOp::Add, W64, 1, mem(8)), &[RDI]);
    assert_eq!(lines, ["lock add qword ptr [rdi+8], 1"]);
    let lines = one(MInst::AtomicFetch(AtomicOp::Add, W64, mem(8)), &[RSI, RSI, RDI]);
    assert_eq!(lines, ["lock xadd [rdi+8], rsi"]);
    let lines = one(MInst::AtomicFetch(AtomicOp::Xchg, W64, mem(0)), &[RSI, RSI, RDI]);
    assert_eq!(lines, ["xchg [rdi], rsi"]);
    let lines = one(MInst::CmpXchg(W32, mem(0)), &[RAX, RAX, RSI, RDI]);
    assert_eq!(lines, ["lock cmpxchg [rdi], esi", "mov eax, eax"]);
    let lines = one(MInst::CmpXchg(W64, mem(0)), &[RAX, RAX, RSI, RDI]);
    assert_eq!(lines, ["lock cmpxchg [rdi], rsi"]);
    let lines = one(MInst::AtomicLoop(AtomicOp::And, W64, mem(0)), &[RAX, RDX, RSI, RDI]);
    let expected = [
        "mov rax, [rdi]",
        "L0:",
        "mov rdx, rax",
        "and rdx, rsi",
        "lock cmpxchg [rdi], rdx",
        "jne L0",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn division() {
    let places = [RAX, RDX, RAX, RSI];
    let div = |signed, w, nonzero| one(MInst::Div { signed, w, nonzero }, &places);
    let rem = |signed, w, nonzero| one(MInst::Rem { signed, w, nonzero }, &places);
    assert_eq!(div(false, W32, true), ["xor edx, edx", "div esi"]);
    assert_eq!(rem(true, W64, true), ["cqo", "idiv rsi"]);
    let expected = ["xor edx, edx", "test rsi, rsi", "cmove rax, rdx", "je L0", "div rsi", "L0:"];
    assert_eq!(div(false, W64, false), expected);
    let expected = ["mov edx, eax", "test esi, esi", "je L0", "xor edx, edx", "div esi", "L0:"];
    assert_eq!(rem(false, W32, false), expected);
    let signed = |multiply| {
        [
            "lea edx, [rsi+1]",
            "cmp edx, 1",
            "ja L0",
            multiply,
            "jmp L1",
            "L0:",
            "cdq",
            "idiv esi",
            "L1:",
        ]
    };
    assert_eq!(div(true, W32, false), signed("imul eax, esi"));
    assert_eq!(rem(true, W32, false), signed("imul edx, eax"));
}

/// 0 to 1 or 2, both of which go to 3.
fn diamond(taken: usize, other: usize) -> Build {
    Build::new()
        .inst(MInst::Cmp(W64, Rhs::Imm(5)), &[RDI])
        .inst(MInst::Jcc(Cc::L), &[])
        .block(&[taken, other])
        .inst(MInst::Imm(1), &[RAX])
        .inst(MInst::Jmp, &[])
        .block(&[3])
        .inst(MInst::Jmp, &[])
        .block(&[3])
        .inst(MInst::Ret, &[RAX])
        .block(&[])
}

/// The block that only jumps has no code, so its branch goes on to the last.
#[test]
fn branches() {
    let body = ["mov eax, 1", "L0:", "ret"];
    for (taken, other, branch) in [(1, 2, "jge L0"), (2, 1, "jl L0")] {
        let lines = diamond(taken, other).lines();
        assert_eq!(lines[..2], ["cmp rdi, 5", branch]);
        assert_eq!(lines[2..], body);
    }
}

/// Each condition is taken where it holds, and its opposite where the code
/// continues with what it would go to.
#[test]
fn conditions_and_their_opposites() {
    let pairs = [
        (Cc::B, "jb", "jae"),
        (Cc::Ae, "jae", "jb"),
        (Cc::E, "je", "jne"),
        (Cc::Ne, "jne", "je"),
        (Cc::Be, "jbe", "ja"),
        (Cc::A, "ja", "jbe"),
        (Cc::L, "jl", "jge"),
        (Cc::Ge, "jge", "jl"),
        (Cc::Le, "jle", "jg"),
        (Cc::G, "jg", "jle"),
    ];
    for (cc, holds, fails) in pairs {
        for (taken, other, branch) in [(1, 2, fails), (2, 1, holds)] {
            let mut build = diamond(taken, other);
            build.function.insts[1] = MInst::Jcc(cc);
            assert_eq!(build.lines()[1], format!("{branch} L0"));
        }
    }
}

/// What an addition has left in the flags is no longer the register's value
/// once the allocator has moved another one there.
#[test]
fn a_move_ends_what_flags_tell() {
    let compare = |build: Build| {
        let lines = build
            .inst(MInst::Test(W64, Rhs::Reg), &[RDI, RDI])
            .inst(MInst::Jcc(Cc::E), &[])
            .block(&[1, 2])
            .inst(MInst::Ret, &[RAX])
            .block(&[])
            .inst(MInst::Trap, &[])
            .block(&[])
            .lines();
        lines[..lines.len() - 4].to_vec()
    };
    let add = || Build::new().inst(MInst::Alu(AluOp::Add, W64, Rhs::Imm(1)), &[RDI, RDI]);
    assert_eq!(compare(add()), ["add rdi, 1"]);
    let moved = compare(add().edit(RSI, RDI));
    assert_eq!(moved, ["add rdi, 1", "mov rdi, rsi", "test rdi, rdi"]);
}

/// With a move in it, it has.
#[test]
fn blocks_with_moves_keep_their_code() {
    let mut build = diamond(1, 2);
    let jump = ProgPoint::before(Inst::new(4));
    let (from, to) = (RDI.allocation(), RAX.allocation());
    build.allocated.edits.push((jump, Edit::Move { from, to }));
    let expected =
        ["cmp rdi, 5", "jge L0", "mov eax, 1", "jmp L1", "L0:", "mov rax, rdi", "L1:", "ret"];
    assert_eq!(build.lines(), expected);
}

#[test]
fn a_loop_of_jumps_stays_a_loop() {
    let lines = Build::new()
        .inst(MInst::Jmp, &[])
        .block(&[1])
        .inst(MInst::Jmp, &[])
        .block(&[2])
        .inst(MInst::Jmp, &[])
        .block(&[1])
        .lines();
    assert_eq!(lines, ["L0:", "jmp L0"]);
}

#[test]
fn calls() {
    let lines = Build::new()
        .frame(&[], 8)
        .inst(MInst::CallHelper(5), &[RAX, RDI])
        .inst(MInst::CallLocal(FuncRef::new(4)), &[RAX, RDI])
        .ret();
    assert_eq!(lines[1..3], ["call qword ptr [helper5.cell]", "call f4"]);
    let lines = Build::new().inst(MInst::Trap, &[]).block(&[]).lines();
    assert_eq!(lines, ["ud2"]);
}

fn with_site(site: Site, saved: &[Gpr]) -> CompiledFunction {
    let places: SmallVec<[At; 5]> = match site {
        Site::Array => smallvec![RAX, RDI, R9, RSI, RDX],
        Site::Slot(..) => smallvec![RAX, RDI, R9],
        Site::Patched(..) => smallvec![RDI, R9],
    };
    let build = Build::new()
        .frame(saved, 16)
        .inst(MInst::Imm(9), &[RBX])
        .inst(MInst::TailCall(site), &places)
        .inst(MInst::Imm(2), &[RAX])
        .inst(MInst::Ret, &[RAX])
        .block(&[]);
    build.emit().unwrap()
}

#[test]
fn tail_calls() {
    let indirect = "\
program test: 50 bytes, frame 24 (padding 0), saved [rbx]
     0  push rbx
     1  sub rsp, 0x10
     5  mov ebx, 9
; tail call 0
     a  mov eax, edx
     c  cmp eax, [rsi]
     e  jae L0
    10  mov rax, [rsi+rax*8+0x10]
    15  test rax, rax
    18  je L0
    1a  sub qword ptr [r9], 1
    1e  jl L0
    20  add rsp, 0x10
    24  pop rbx
    25  jmp rax
L0:
    27  mov eax, 2
    2c  add rsp, 0x10
    30  pop rbx
    31  ret
";
    let compiled = with_site(Site::Array, &[Gpr::RBX]);
    assert_eq!(listing(&compiled), indirect);
    let site = &compiled.tail_sites[0];
    assert_eq!((site.offset, site.exit), (0xa, 0x25));
    let unwinds = Unwound { registers: smallvec![Gpr::RBX], bytes: 24 };
    assert_eq!(site.unwinds, unwinds);

    let slot = Some((MapRef::new(1), 3));
    let compiled = with_site(Site::Slot(MapRef::new(1), 3), &[Gpr::RBX]);
    let text = listing(&compiled);
    let lines: Vec<&str> = text.lines().map(|line| &line[8.min(line.len())..]).collect();
    let expected = [
        "mov rax, map1.slot[3]",
        "mov rax, [rax]",
        "test rax, rax",
        "je L0",
        "sub qword ptr [r9], 1",
        "jl L0",
    ];
    assert_eq!(lines[5..11], expected);
    assert_eq!((compiled.tail_sites[0].direct, compiled.tail_sites[0].poke), (slot, None));
    let facts = frame::check(&compiled).unwrap();
    assert_eq!((facts.push_sites, facts.pop_sites, facts.tail_call_sites), (1, 2, 1));
}

/// The slot is empty at first. Each of the two sites lies in an aligned word of
/// eight bytes, for which the first is moved here.
#[test]
fn patched_tail_calls() {
    let patched = "\
program test: 52 bytes, frame 32 (padding 0), saved [rbx, r12]
     0  push rbx
     1  push r12
     3  sub rsp, 0x10
     7  mov ebx, 9
     c  nop [rax]
; tail call 0, map1[3]: bypass
    10  jmp L0
    15  sub qword ptr [r9], 1
    19  jl L0
    1b  add rsp, 0x10
    1f  pop r12
    21  pop rbx
; tail call 0: target
    22  nop [rax+rax]
L0:
    27  mov eax, 2
    2c  add rsp, 0x10
    30  pop r12
    32  pop rbx
    33  ret
";
    let mut compiled = with_site(Site::Patched(MapRef::new(1), 3), &[Gpr::RBX, Gpr::R12]);
    assert_eq!(listing(&compiled), patched);
    let site = &compiled.tail_sites[0];
    assert_eq!(site.direct, Some((MapRef::new(1), 3)));
    assert_eq!(site.poke, Some(Poke { bypass: 0x10, target: 0x22, out: 0x27 }));
    let facts = frame::check(&compiled).unwrap();
    assert_eq!((facts.push_sites, facts.pop_sites, facts.tail_call_sites), (2, 4, 1));
    // What is recorded of the unwinding is compared with the bytes.
    compiled.tail_sites[0].unwinds.registers.pop();
    assert!(frame::check(&compiled).is_err());
}

/// What lowering and allocation must not do is reported with the instruction.
#[test]
fn broken_contracts() {
    let div = MInst::Div { signed: false, w: W64, nonzero: false };
    let and = MInst::AtomicLoop(AtomicOp::And, W64, mem(0));
    let cases: [(MInst, &[At], &str); 10] = [
        (MInst::Imm(0), &[S(0)], "must be in a register"),
        (MInst::Mov(W64), &[RAX], "is missing"),
        (MInst::Mov(W64), &[S(1), S(2)], "a copy within memory"),
        (MInst::Neg(W64), &[RAX, RCX], "does not share"),
        (div, &[RAX, RDX, RAX, RDX], "the divisor is in rdx"),
        (div, &[RCX, RDX, RAX, RSI], "defines rax and rdx"),
        (and, &[RAX, RDX, RAX, RDI], "read in every round"),
        (and, &[RAX, RDX, RSI, RDX], "read in every round"),
        (MInst::ShiftCl(ShiftOp::Shl, W64), &[RAX, RAX, RDX], "fixed one"),
        (MInst::Atomic(AtomicOp::Xchg, W64, mem(0)), &[R8, RDI], "an AtomicFetch"),
    ];
    for (inst, locations, expected) in cases {
        let build = Build::new().inst(inst, locations).block(&[]);
        let error = build.emit().unwrap_err();
        assert!(matches!(error, EmitError::Broken { inst: 0, .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
    let build = Build::new().edit(S(0), S(1)).inst(MInst::Ret, &[RAX]);
    let error = build.block(&[]).emit().unwrap_err();
    assert!(error.to_string().contains("not to or from a register"), "{error}");
}

/// The belief is compared with the bytes whenever a function is emitted in a debug build.
#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "leaves without having restored rbx")]
fn a_wrong_frame_is_noticed() {
    let _ = Build::new().inst(MInst::Imm(0), &[RBX]).ret();
}
