//! Each way to break a frame.

use super::*;

type Build = fn(&mut Assembler, &mut Marks);

/// How to break a frame, and what is said of it.
const BROKEN: &[(&str, Build, Wrong)] = &[
    (
        "a pop is missing on one exit",
        |asm, _| {
            asm.push(Gpr::RBX);
            clobber(asm, Gpr::RBX);
            let out = asm.label();
            branch(asm, out);
            asm.pop(Gpr::RBX);
            asm.ret();
            asm.bind(out);
            asm.ret();
        },
        Wrong::Depth { found: -8, expected: 0 },
    ),
    (
        "pops in the wrong order",
        |asm, _| {
            asm.push(Gpr::RBX);
            asm.push(Gpr::R12);
            asm.pop(Gpr::RBX);
            asm.pop(Gpr::R12);
            asm.ret();
        },
        Wrong::Unrestored(Gpr::RBX),
    ),
    (
        "a pop into another register",
        |asm, _| {
            asm.push(Gpr::RBX);
            clobber(asm, Gpr::RBX);
            asm.pop(Gpr::RCX);
            asm.ret();
        },
        Wrong::Unrestored(Gpr::RBX),
    ),
    (
        "rsp raised by too little",
        |asm, _| {
            room(asm, AluOp::Sub, 24);
            room(asm, AluOp::Add, 16);
            asm.ret();
        },
        Wrong::Depth { found: -8, expected: 0 },
    ),
    (
        "rsp raised by too much",
        |asm, _| {
            room(asm, AluOp::Sub, 24);
            room(asm, AluOp::Add, 32);
            asm.ret();
        },
        Wrong::AboveFrame,
    ),
    (
        "a register changed before it is saved",
        |asm, _| {
            clobber(asm, Gpr::RBX);
            asm.push(Gpr::RBX);
            asm.pop(Gpr::RBX);
            asm.ret();
        },
        Wrong::Lost(Gpr::RBX),
    ),
    (
        "half a register changed before it is saved",
        |asm, _| {
            asm.push(Gpr::RBX);
            asm.mov(Width::W32, Gpr::R12, Gpr::R12);
            asm.pop(Gpr::RBX);
            asm.ret();
        },
        Wrong::Lost(Gpr::R12),
    ),
    (
        "half of what was saved is restored",
        |asm, _| {
            room(asm, AluOp::Sub, 8);
            asm.store(8, stack(0), Gpr::RBX);
            clobber(asm, Gpr::RBX);
            asm.load(Width::W32, Gpr::RBX, stack(0));
            room(asm, AluOp::Add, 8);
            asm.ret();
        },
        Wrong::Unrestored(Gpr::RBX),
    ),
    (
        "a region that one of its edges leaves without a restore",
        |asm, _| {
            room(asm, AluOp::Sub, 8);
            let out = asm.label();
            branch(asm, out);
            asm.store(8, stack(0), Gpr::RBX);
            clobber(asm, Gpr::RBX);
            branch(asm, out);
            asm.load(W, Gpr::RBX, stack(0));
            asm.bind(out);
            room(asm, AluOp::Add, 8);
            asm.ret();
        },
        Wrong::Unrestored(Gpr::RBX),
    ),
    (
        "a region that one of its edges enters without a save",
        |asm, _| {
            room(asm, AluOp::Sub, 8);
            let inside = asm.label();
            branch(asm, inside);
            asm.store(8, stack(0), Gpr::RBX);
            asm.bind(inside);
            clobber(asm, Gpr::RBX);
            asm.load(W, Gpr::RBX, stack(0));
            room(asm, AluOp::Add, 8);
            asm.ret();
        },
        Wrong::Lost(Gpr::RBX),
    ),
    (
        "a save behind a move that changes the register",
        |asm, _| {
            room(asm, AluOp::Sub, 8);
            let out = asm.label();
            branch(asm, out);
            asm.mov(W, Gpr::RBX, Gpr::RDI);
            asm.store(8, stack(0), Gpr::RBX);
            asm.load(W, Gpr::RBX, stack(0));
            asm.bind(out);
            room(asm, AluOp::Add, 8);
            asm.ret();
        },
        Wrong::Lost(Gpr::RBX),
    ),
    (
        "a slot that is used for something else inside of the region",
        |asm, _| {
            room(asm, AluOp::Sub, 8);
            let out = asm.label();
            branch(asm, out);
            asm.store(8, stack(0), Gpr::RBX);
            clobber(asm, Gpr::RBX);
            asm.store(8, stack(0), Gpr::RDI);
            asm.load(W, Gpr::RBX, stack(0));
            asm.bind(out);
            room(asm, AluOp::Add, 8);
            asm.ret();
        },
        Wrong::Lost(Gpr::RBX),
    ),
    (
        "a tail call inside of a region that restores nothing",
        |asm, marks| {
            room(asm, AluOp::Sub, 8);
            let (on, out) = (asm.label(), asm.label());
            branch(asm, out);
            asm.store(8, stack(0), Gpr::RBX);
            clobber(asm, Gpr::RBX);
            branch(asm, on);
            room(asm, AluOp::Add, 8);
            marks.exits.push(asm.here());
            asm.jmp_rm(Gpr::RAX);
            asm.bind(on);
            asm.load(W, Gpr::RBX, stack(0));
            asm.bind(out);
            room(asm, AluOp::Add, 8);
            asm.ret();
        },
        Wrong::Unrestored(Gpr::RBX),
    ),
    (
        "a push in a loop",
        |asm, _| {
            let again = asm.here();
            asm.push(Gpr::RDI);
            branch(asm, again);
            asm.ret();
        },
        Wrong::Unbalanced(0, -8),
    ),
    (
        "a save in a loop, of what the loop has changed",
        |asm, _| {
            room(asm, AluOp::Sub, 8);
            let again = asm.here();
            asm.store(8, stack(0), Gpr::RBX);
            clobber(asm, Gpr::RBX);
            branch(asm, again);
            asm.load(W, Gpr::RBX, stack(0));
            room(asm, AluOp::Add, 8);
            asm.ret();
        },
        Wrong::Unrestored(Gpr::RBX),
    ),
    (
        "a tail call that leaves the frame where it is",
        |asm, marks| {
            room(asm, AluOp::Sub, 8);
            marks.exits.push(asm.here());
            asm.jmp_rm(Gpr::RAX);
        },
        Wrong::Depth { found: -8, expected: 0 },
    ),
    (
        "a tail call that restores one of two registers",
        |asm, marks| {
            asm.push(Gpr::RBX);
            asm.push(Gpr::R12);
            clobber(asm, Gpr::R12);
            clobber(asm, Gpr::RBX);
            asm.pop(Gpr::R12);
            asm.pop(Gpr::RCX);
            marks.exits.push(asm.here());
            asm.jmp_rm(Gpr::RAX);
        },
        Wrong::Unrestored(Gpr::RBX),
    ),
    (
        "a tail call behind a prologue that drops the frame pointer",
        |asm, marks| {
            asm.push(Gpr::RBP);
            asm.mov(W, Gpr::RBP, Gpr::RSP);
            marks.landing = Some(asm.here());
            clobber(asm, Gpr::RBP);
            marks.exits.push(asm.here());
            asm.jmp_rm(Gpr::RAX);
        },
        Wrong::Unrestored(Gpr::RBP),
    ),
    (
        "a patched site whose target does not find the frame dropped",
        |asm, marks| {
            room(asm, AluOp::Sub, 8);
            let out = asm.label();
            let bypass = asm.here();
            asm.jmp_long(out);
            let target = asm.here();
            asm.nop(5);
            asm.bind(out);
            marks.patched.push([bypass, target, out]);
            room(asm, AluOp::Add, 8);
            asm.ret();
        },
        Wrong::Depth { found: -8, expected: 0 },
    ),
    (
        "paths that meet with and without a push",
        |asm, _| {
            let join = asm.label();
            branch(asm, join);
            asm.push(Gpr::RDI);
            asm.bind(join);
            asm.ret();
        },
        Wrong::Unbalanced(0, -8),
    ),
    (
        "paths that meet, of which one has saved and changed a register",
        |asm, _| {
            room(asm, AluOp::Sub, 8);
            let join = asm.label();
            branch(asm, join);
            asm.store(8, stack(0), Gpr::RBX);
            clobber(asm, Gpr::RBX);
            asm.bind(join);
            asm.load(W, Gpr::RBX, stack(0));
            room(asm, AluOp::Add, 8);
            asm.ret();
        },
        Wrong::Unrestored(Gpr::RBX),
    ),
    (
        "a restore from a slot that was overwritten",
        |asm, _| {
            room(asm, AluOp::Sub, 16);
            asm.store(8, stack(8), Gpr::RBX);
            asm.store(1, stack(11), Gpr::RDI);
            asm.load(W, Gpr::RBX, stack(8));
            room(asm, AluOp::Add, 16);
            asm.ret();
        },
        Wrong::Lost(Gpr::RBX),
    ),
    (
        "the only copy is overwritten",
        |asm, _| {
            asm.push(Gpr::RBX);
            clobber(asm, Gpr::RBX);
            asm.store(8, stack(0), Gpr::RDI);
            asm.pop(Gpr::RBX);
            asm.ret();
        },
        Wrong::Lost(Gpr::RBX),
    ),
    (
        "a save below rsp, overwritten by a callee",
        |asm, _| {
            asm.store(8, stack(-16), Gpr::RBX);
            clobber(asm, Gpr::RBX);
            asm.call_symbol(Symbol::Function(FuncRef::new(1)));
            asm.load(W, Gpr::RBX, stack(-16));
            asm.ret();
        },
        Wrong::Lost(Gpr::RBX),
    ),
    (
        "data below rsp, overwritten by a callee on one path",
        |asm, _| {
            asm.store(8, stack(-16), Gpr::RDI);
            let join = asm.label();
            branch(asm, join);
            asm.call_symbol(Symbol::Function(FuncRef::new(1)));
            asm.bind(join);
            asm.load(W, Gpr::RAX, stack(-16));
            asm.ret();
        },
        Wrong::Overwritten,
    ),
    (
        "below the red zone",
        |asm, _| {
            asm.store(8, stack(-136), Gpr::RDI);
            asm.ret();
        },
        Wrong::BelowRedZone,
    ),
    (
        "the return address is written",
        |asm, _| {
            asm.store(4, stack(-3), Gpr::RDI);
            asm.ret();
        },
        Wrong::AboveFrame,
    ),
    (
        "rsp becomes any value",
        |asm, _| {
            asm.mov(W, Gpr::RSP, Gpr::RDI);
            asm.ret();
        },
        Wrong::UnknownStack,
    ),
    (
        "rsp is masked",
        |asm, _| {
            asm.alu_imm(AluOp::And, W, Gpr::RSP, -16);
            asm.ret();
        },
        Wrong::UnknownStack,
    ),
    (
        "C code with a misaligned stack",
        |asm, _| {
            asm.call_cell(Symbol::HelperCell(1));
            asm.ret();
        },
        Wrong::Misaligned,
    ),
    ("a path runs over the end", |asm, _| asm.nop(1), Wrong::LeavesCode),
    (
        "a branch out of the code",
        |asm, _| {
            asm.bytes(&[0xeb, 0x20]);
            asm.ret();
        },
        Wrong::LeavesCode,
    ),
    ("a jump to anywhere", |asm, _| asm.jmp_rm(Gpr::RAX), Wrong::UnknownTarget),
    ("a return that pops arguments", |asm, _| asm.bytes(&[0xc2, 8, 0]), Wrong::UnknownTarget),
    (
        "a jump into an instruction",
        |asm, _| {
            // jz over the first byte of `mov eax, 0xc3c3c3c3`
            asm.bytes(&[0x74, 0x01, 0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3]);
        },
        Wrong::Overlaps,
    ),
    ("no instruction", |asm, _| asm.bytes(&[0x06]), Wrong::NoInstruction),
    (
        "a tail call is recorded where none is",
        |asm, marks| {
            marks.exits.push(asm.here());
            asm.ret();
        },
        Wrong::NoTailCall,
    ),
    (
        "tail calls enter where no path leads",
        |asm, marks| {
            marks.exits.push(asm.here());
            asm.jmp_rm(Gpr::RAX);
            marks.landing = Some(asm.here());
            asm.ret();
        },
        Wrong::NoLanding,
    ),
];

#[test]
fn every_broken_frame_is_refused() {
    for &(name, build, wrong) in BROKEN {
        let found = check(&sample(build)).map_err(|error| error.wrong);
        assert_eq!(found, Err(wrong), "{name}");
    }
}
