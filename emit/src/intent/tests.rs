//! Every machine instruction with all registers and addresses, and code that
//! was changed after it was emitted.

use cranelift_entity::EntityRef;
use tailor_lower::x64::inst::{AluOp, Base, Extend, Mem, Rhs, ShiftOp, Site, Width};
use tailor_lower::{AtomicOp, FuncRef, MapRef};

use super::*;
use crate::Symbol;
use crate::x64::tests::{At, At::R, At::S, Build};

const WIDTHS: [Width; 2] = [Width::W32, Width::W64];
const ALU: [AluOp; 5] = [AluOp::Add, AluOp::Sub, AluOp::And, AluOp::Or, AluOp::Xor];
/// At the edges of immediates and displacements of one byte, and far beyond.
const NUMBERS: [i32; 9] = [0, 1, -1, 127, 128, -128, -129, 0x1234_5678, i32::MIN];
const EXTENDS: [Extend; 9] = [
    Extend::Zero8,
    Extend::Zero16,
    Extend::Zero32,
    Extend::None64,
    Extend::Sign8To32,
    Extend::Sign16To32,
    Extend::Sign8,
    Extend::Sign16,
    Extend::Sign32,
];
const ATOMICS: [AtomicOp; 4] = [AtomicOp::Add, AtomicOp::And, AtomicOp::Or, AtomicOp::Xor];

/// All but rsp, which holds no value.
fn regs() -> impl Iterator<Item = Gpr> {
    (0..16).map(Gpr::from_enc).filter(|&reg| reg != Gpr::RSP)
}

/// Another register, a different one for each.
fn other(reg: Gpr, by: u8) -> Gpr {
    let next = Gpr::from_enc((reg.enc() + by) % 16);
    if next == Gpr::RSP { Gpr::RDI } else { next }
}

/// Memory operands with the registers that they take: every base, with an
/// index of every register and scale, displacements of every size, and the frame.
fn mems() -> Vec<(Mem, Vec<At>)> {
    let mut mems = Vec::new();
    for (n, base) in regs().enumerate() {
        for disp in NUMBERS {
            mems.push((Mem { base: Base::Reg, index: None, disp }, vec![R(base)]));
        }
        for (m, index) in regs().enumerate() {
            let disp = NUMBERS[(n + m) % NUMBERS.len()];
            let mem = Mem { base: Base::Reg, index: Some((n + m) as u8 % 4), disp };
            mems.push((mem, vec![R(base), R(index)]));
        }
    }
    let slot = Base::Slot(tailor_lower::StackSlot::new(0));
    for disp in [0, 80, 4000] {
        mems.push((Mem { base: slot, index: None, disp }, vec![]));
        mems.push((Mem { base: slot, index: Some(3), disp }, vec![R(Gpr::R12)]));
    }
    mems
}

/// A few of them, of every shape.
fn some_mems() -> Vec<(Mem, Vec<At>)> {
    mems().into_iter().step_by(11).collect()
}

/// Instructions in one block, in a frame with a slot and spill slots. In debug
/// builds emission itself compares the bytes.
#[derive(Default)]
struct Table(Vec<(MInst, Vec<At>)>);

impl Table {
    fn add(&mut self, inst: MInst, places: impl IntoIterator<Item = At>) {
        self.0.push((inst, places.into_iter().collect()));
    }

    fn with_mem(&mut self, inst: MInst, first: &[At], registers: &[At]) {
        self.add(inst, first.iter().chain(registers).copied());
    }

    /// The function, with all callee-saved registers saved.
    fn build(self) -> Build {
        let mut build = Build::new().frame(&Gpr::CALLEE_SAVED, 4096 + 8);
        build.allocated.frame.spills = (0..32).map(|slot| 16 + 8 * slot).collect();
        build.slot(40);
        for (inst, places) in self.0 {
            build = build.inst(inst, &places);
        }
        build.inst(MInst::Ret, &[R(Gpr::RAX)]).block(&[])
    }
}

/// Compares the code of a function of one block with what it is made from.
fn again(build: &Build, compiled: &CompiledFunction) -> Result<(), IntentError> {
    // The code of the prologue ends where the one block begins.
    let mut prologue = Build::new();
    prologue.allocated.frame = build.allocated.frame.clone();
    let empty = prologue.inst(MInst::Trap, &[]).block(&[]).emit().unwrap();
    let first = empty.code.len() as u32 - 2;
    check(&build.function, &build.allocated, compiled, &[first])
}

fn arithmetic() -> Table {
    let mut table = Table::default();
    for w in WIDTHS {
        for a in regs() {
            for b in regs() {
                table.add(MInst::Mov(w), [R(a), R(b)]);
                table.add(MInst::Cmp(w, Rhs::Reg), [R(a), R(b)]);
                table.add(MInst::Test(w, Rhs::Reg), [R(a), R(b)]);
                table.add(MInst::Imul(w, Rhs::Reg), [R(a), R(a), R(b)]);
                table.add(MInst::ImulImm(w, NUMBERS[b.enc() as usize % 9]), [R(a), R(b)]);
                for op in ALU {
                    table.add(MInst::Alu(op, w, Rhs::Reg), [R(a), R(a), R(b)]);
                }
                for op in [ShiftOp::Shl, ShiftOp::Shr, ShiftOp::Sar] {
                    table.add(MInst::ShiftX(op, w), [R(a), R(b), R(other(b, 5))]);
                    table.add(MInst::ShiftX(op, w), [R(a), S(1), R(b)]);
                }
            }
            table.add(MInst::Mov(w), [R(a), S(1)]);
            if w == Width::W64 {
                table.add(MInst::Mov(w), [S(1), R(a)]);
            }
            for imm in NUMBERS {
                for op in ALU {
                    table.add(MInst::Alu(op, w, Rhs::Imm(imm)), [R(a), R(a)]);
                }
                table.add(MInst::Cmp(w, Rhs::Imm(imm)), [R(a)]);
                table.add(MInst::Test(w, Rhs::Imm(imm)), [R(a)]);
            }
            for op in [ShiftOp::Shl, ShiftOp::Shr, ShiftOp::Sar, ShiftOp::Rol, ShiftOp::Ror] {
                for count in [1, 2, 31] {
                    table.add(MInst::ShiftImm(op, w, count), [R(a), R(a)]);
                }
                table.add(MInst::ShiftCl(op, w), [R(a), R(a), R(Gpr::RCX)]);
            }
            table.add(MInst::Neg(w), [R(a), R(a)]);
            table.add(MInst::Bswap(w), [R(a), R(a)]);
            for op in ALU {
                table.add(MInst::Alu(op, w, Rhs::Reg), [R(a), R(a), S(2)]);
            }
            table.add(MInst::Cmp(w, Rhs::Reg), [R(a), S(20)]);
            table.add(MInst::Test(w, Rhs::Reg), [R(a), S(20)]);
            table.add(MInst::ImulImm(w, 1000), [R(a), S(0)]);
            table.add(MInst::Imul(w, Rhs::Reg), [R(a), R(a), S(0)]);
            if a != Gpr::RDX {
                let places = [R(Gpr::RAX), R(Gpr::RDX), R(Gpr::RAX), R(a)];
                for (signed, nonzero) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    table.add(MInst::Div { signed, w, nonzero }, places);
                    table.add(MInst::Rem { signed, w, nonzero }, places);
                }
            }
        }
    }
    for a in regs() {
        table.add(MInst::Bswap16, [R(a), R(a)]);
        table.add(MInst::Swap16, [R(a), R(a)]);
        table.add(MInst::Addr(Symbol::Map(MapRef::new(3))), [R(a)]);
        for extend in EXTENDS {
            table.add(MInst::Ext(extend), [R(a), S(3)]);
            regs().for_each(|b| table.add(MInst::Ext(extend), [R(a), R(b)]));
        }
        let numbers = [0, 1, 0x7fff_ffff, 0xffff_ffff, 1 << 32, u64::MAX, (-129i64) as u64];
        numbers.iter().for_each(|&number| table.add(MInst::Imm(number), [R(a)]));
    }
    table
}

fn memory() -> Table {
    let mut table = Table::default();
    for (mem, places) in mems() {
        for reg in [Gpr::RAX, Gpr::RSI, Gpr::R9] {
            table.with_mem(MInst::Load(Extend::None64, mem), &[R(reg)], &places);
            table.with_mem(MInst::Store(1, mem), &[R(reg)], &places);
            table.with_mem(MInst::Lea(Width::W64, mem), &[R(reg)], &places);
        }
    }
    for (n, (mem, places)) in some_mems().into_iter().enumerate() {
        let imm = NUMBERS[n % NUMBERS.len()];
        for reg in regs() {
            for extend in EXTENDS {
                table.with_mem(MInst::Load(extend, mem), &[R(reg)], &places);
            }
            for bytes in [1, 2, 4, 8] {
                table.with_mem(MInst::Store(bytes, mem), &[R(reg)], &places);
            }
            for w in WIDTHS {
                table.with_mem(MInst::Lea(w, mem), &[R(reg)], &places);
                for op in ALU {
                    table.with_mem(MInst::AluMem(op, w, None, mem), &[R(reg)], &places);
                    let inst = MInst::Alu(op, w, Rhs::Mem(mem));
                    table.with_mem(inst, &[R(reg), R(reg)], &places);
                }
                table.with_mem(MInst::Imul(w, Rhs::Mem(mem)), &[R(reg), R(reg)], &places);
                table.with_mem(MInst::Cmp(w, Rhs::Mem(mem)), &[R(reg)], &places);
                table.with_mem(MInst::Test(w, Rhs::Mem(mem)), &[R(reg)], &places);
                atomics(&mut table, w, mem, reg, &places);
            }
        }
        for bytes in [1, 2, 4, 8] {
            let narrow = match bytes {
                1 => i32::from(imm as i8),
                2 => i32::from(imm as i16),
                _ => imm,
            };
            table.with_mem(MInst::StoreImm(bytes, narrow, mem), &[], &places);
            table.with_mem(MInst::CmpMemImm(bytes, narrow, mem), &[], &places);
            if bytes != 2 {
                table.with_mem(MInst::TestMemImm(bytes, narrow, mem), &[], &places);
            }
        }
        for w in WIDTHS {
            for op in ALU {
                table.with_mem(MInst::AluMem(op, w, Some(imm), mem), &[], &places);
            }
            for op in ATOMICS {
                table.with_mem(MInst::AtomicImm(op, w, imm, mem), &[], &places);
            }
        }
    }
    table
}

fn atomics(table: &mut Table, w: Width, mem: Mem, reg: Gpr, places: &[At]) {
    for op in ATOMICS {
        table.with_mem(MInst::Atomic(op, w, mem), &[R(reg)], places);
    }
    for op in [AtomicOp::Add, AtomicOp::Xchg] {
        table.with_mem(MInst::AtomicFetch(op, w, mem), &[R(reg), R(reg)], places);
    }
    let rax = R(Gpr::RAX);
    table.with_mem(MInst::CmpXchg(w, mem), &[rax, rax, R(reg)], places);
    let is = |at: &At, reg: Gpr| matches!(at, R(other) if *other == reg);
    let new = R(Gpr::R10);
    let used = places.iter().any(|at| is(at, Gpr::RAX) || is(at, Gpr::R10));
    if !used && !matches!(reg, Gpr::RAX | Gpr::R10) {
        for op in [AtomicOp::And, AtomicOp::Or, AtomicOp::Xor] {
            table.with_mem(MInst::AtomicLoop(op, w, mem), &[rax, new, R(reg)], places);
        }
    }
}

/// Everything of one kind, once, with calls.
fn one_of_each() -> Table {
    let mut table = Table::default();
    let of = |every: Table| every.0.into_iter();
    let mut seen = std::collections::HashSet::new();
    for (inst, places) in of(arithmetic()).chain(of(memory())) {
        if seen.insert(std::mem::discriminant(&inst)) {
            table.add(inst, places);
        }
    }
    table.add(MInst::CallHelper(7), []);
    table.add(MInst::CallLocal(FuncRef::new(2)), []);
    let record = [R(Gpr::RAX), R(Gpr::RDI), R(Gpr::R9)];
    table.add(MInst::TailCall(Site::Slot(MapRef::new(1), 5)), record);
    table.add(MInst::TailCall(Site::Array), record.into_iter().chain([R(Gpr::RSI), R(Gpr::RDX)]));
    table.add(MInst::TailCall(Site::Patched(MapRef::new(2), 6)), [R(Gpr::RDI), R(Gpr::R9)]);
    table
}

#[test]
fn every_instruction_is_what_it_means() {
    for table in [arithmetic(), memory(), one_of_each()] {
        let build = table.build();
        let compiled = build.emit().unwrap();
        again(&build, &compiled).unwrap();
    }
}

/// All that can be told apart by its text, decoded instruction by instruction.
fn text(code: &[u8]) -> Vec<String> {
    let decoder = iced_x86::Decoder::with_ip(64, code, 0, iced_x86::DecoderOptions::NONE);
    let text = |instruction: iced_x86::Instruction| match instruction.mnemonic() {
        // Its operand is nothing but length.
        iced_x86::Mnemonic::Nop => format!("nop of {}", instruction.len()),
        _ => instruction.to_string(),
    };
    decoder.into_iter().map(text).collect()
}

/// Any bit of the code may be wrong: what reads differently is refused.
#[test]
fn every_changed_bit_is_noticed() {
    let build = one_of_each().build();
    let compiled = build.emit().unwrap();
    let whole = text(&compiled.code);
    let (mut refused, mut equal) = (0, 0);
    for bit in 0..8 * compiled.code.len() {
        let mut changed = compiled.clone();
        changed.code[bit / 8] ^= 1 << (bit % 8);
        match again(&build, &changed) {
            Err(_) => refused += 1,
            Ok(()) => {
                // Bits that an instruction does not use, and forms of the same size.
                assert_eq!(text(&changed.code), whole, "bit {bit}");
                equal += 1;
            }
        }
    }
    assert!(refused > 10 * equal, "{refused} refused, {equal} equal");
}

/// Three blocks of which the last two are the same, so that they share code.
fn branching() -> Build {
    let mut build = Build::new().inst(MInst::Imm(3), &[R(Gpr::RSI)]);
    build = build
        .inst(MInst::Alu(AluOp::Add, Width::W64, Rhs::Imm(1)), &[R(Gpr::RDI), R(Gpr::RDI)])
        .inst(MInst::Test(Width::W64, Rhs::Reg), &[R(Gpr::RDI), R(Gpr::RDI)])
        .inst(MInst::Jcc(Cc::E), &[])
        .block(&[1, 2]);
    for _ in 0..2 {
        build = build.inst(MInst::Imm(4), &[R(Gpr::RAX)]).inst(MInst::Ret, &[R(Gpr::RAX)]);
        build = build.block(&[]);
    }
    build
}

/// The code of a build, checked as that of another function.
fn as_if(build: &Build, change: impl FnOnce(&mut Build), blocks: &[u32]) -> bool {
    let compiled = build.emit().unwrap();
    let mut meant = Build { function: build.function.clone(), allocated: build.allocated.clone() };
    change(&mut meant);
    check(&meant.function, &meant.allocated, &compiled, blocks).is_ok()
}

#[test]
fn flags_must_be_those_of_the_comparison() {
    // mov esi, 3; add rdi, 1; then both successors are one: mov eax, 4; ret
    let build = branching();
    let code = text(&build.emit().unwrap().code);
    assert_eq!(code, ["mov esi,3", "add rdi,1", "mov eax,4", "ret"]);
    assert!(as_if(&build, |_| {}, &[0, 9, 9]));
    // Not if one of the two blocks is another one,
    let block = |inst| move |meant: &mut Build| meant.function.insts[inst] = MInst::Imm(5);
    assert!(!as_if(&build, block(4), &[0, 9, 9]));
    assert!(!as_if(&build, block(6), &[0, 9, 9]));
    // nor if it lies elsewhere.
    assert!(!as_if(&build, |_| {}, &[0, 9, 14]));
}

/// A branch whose comparison is left out, on the flags of an addition.
fn left_out(op: AluOp, w: Width, compared: Width, cc: Cc) -> Build {
    let mut build = Build::new()
        .inst(MInst::Alu(op, w, Rhs::Imm(1)), &[R(Gpr::RDI), R(Gpr::RDI)])
        .inst(MInst::Cmp(compared, Rhs::Imm(0)), &[R(Gpr::RDI)])
        .inst(MInst::Jcc(cc), &[])
        .block(&[1, 2]);
    for number in [4, 5] {
        build = build.inst(MInst::Imm(number), &[R(Gpr::RAX)]).inst(MInst::Ret, &[R(Gpr::RAX)]);
        build = build.block(&[]);
    }
    build
}

#[test]
fn a_comparison_is_left_out_only_where_flags_tell_as_much() {
    let build = left_out(AluOp::Add, Width::W64, Width::W64, Cc::E);
    let code = text(&build.emit().unwrap().code);
    assert_eq!(code[..2], ["add rdi,1", "jne short 000000000000000Ch"]);
    let blocks = [0, 6, 12];
    let cc = |cc| move |meant: &mut Build| meant.function.insts[2] = MInst::Jcc(cc);
    let compares =
        |w| move |meant: &mut Build| meant.function.insts[1] = MInst::Cmp(w, Rhs::Imm(0));
    assert!(as_if(&build, |_| {}, &blocks));
    // The order of the result and zero is another question than the carry's,
    assert!(!as_if(&build, cc(Cc::L), &blocks));
    // the opposite branch is another one,
    assert!(!as_if(&build, cc(Cc::Ne), &blocks));
    // the low half may be zero alone,
    assert!(!as_if(&build, compares(Width::W32), &blocks));
    // and 64 bits follow from 32 only where these clear the rest.
    let narrow = left_out(AluOp::Add, Width::W32, Width::W64, Cc::E);
    assert!(as_if(&narrow, |_| {}, &[0, 5, 11]));
    // Another register was compared.
    let other = |meant: &mut Build| {
        meant.allocated.locations[2] = regalloc2::Allocation::reg(Gpr::RSI.preg());
    };
    assert!(!as_if(&build, other, &blocks));
    // Each successor is the other one.
    let swapped = |meant: &mut Build| meant.function.blocks[0].succs.reverse();
    assert!(!as_if(&build, swapped, &blocks));
}

/// `xor` for a zero between a comparison and its branch would change the flags.
#[test]
fn flags_last_until_the_branch() {
    let build = || {
        let mut build = Build::new()
            .inst(MInst::Cmp(Width::W64, Rhs::Imm(7)), &[R(Gpr::RDI)])
            .inst(MInst::Imm(0), &[R(Gpr::RSI)])
            .inst(MInst::Jcc(Cc::L), &[])
            .block(&[1, 2]);
        for number in [4, 5] {
            build = build.inst(MInst::Imm(number), &[R(Gpr::RAX)]);
            build = build.inst(MInst::Ret, &[R(Gpr::RAX)]).block(&[]);
        }
        build
    };
    let sound = build();
    let mut compiled = sound.emit().unwrap();
    assert_eq!(text(&compiled.code)[1], "mov esi,0");
    let blocks = [0, 11, 17];
    let read = |compiled: &CompiledFunction| {
        check(&sound.function, &sound.allocated, compiled, &blocks).is_ok()
    };
    assert!(read(&compiled));
    // xor esi, esi and a nop of three bytes instead: the nop is nothing that was
    // meant, but without it the flags would be.
    compiled.code.splice(4..9, [0x31, 0xf6]);
    let shorter = [0, 8, 14];
    let error = check(&sound.function, &sound.allocated, &compiled, &shorter).unwrap_err();
    assert_eq!(error.wanted, "the flags of a comparison");
}

/// Whoever wants all of a value must not find half of it.
#[test]
fn halves_of_values() {
    let moved = |counts: u8, narrow: bool| {
        let mut build = Build::new().inst(MInst::Ret, &[R(Gpr::RAX)]).block(&[]);
        build.function.vreg_bytes = vec![counts];
        let [from, to] = [R(Gpr::RDI), R(Gpr::RAX)].map(|at| at.allocation());
        let point = ProgPoint::before(Inst::new(0));
        build.allocated.edits = vec![(point, Edit::Move { from, to })];
        build.allocated.narrow = vec![narrow];
        halves::check(&build.function, &build.allocated).is_ok()
    };
    assert!(moved(8, false) && moved(4, true));
    assert!(!moved(8, true));
}

/// Nothing is read beyond a slot of four bytes.
#[test]
fn halves_in_slots() {
    let read = |w: Width| {
        let places = [R(Gpr::RAX), R(Gpr::RAX), S(0)];
        let mut build = Build::new().inst(MInst::Alu(AluOp::Add, w, Rhs::Reg), &places);
        build.function.vreg_bytes = vec![4];
        build.allocated.frame.spill_bytes = vec![4; 4];
        let build = build.block(&[]);
        halves::check(&build.function, &build.allocated).is_ok()
    };
    assert!(read(Width::W32));
    assert!(!read(Width::W64));
}

/// Nor is anything written beyond it, whoever reads that.
#[test]
fn halves_written_into_slots() {
    let written = |bytes: u8| {
        let mut build = Build::new().inst(MInst::Mov(Width::W64), &[S(0), R(Gpr::RAX)]);
        build.function.vreg_bytes = vec![bytes];
        build.allocated.frame.spill_bytes = vec![4; 4];
        let build = build.block(&[]);
        halves::check(&build.function, &build.allocated).is_ok()
    };
    assert!(written(4));
    assert!(!written(8));
}
