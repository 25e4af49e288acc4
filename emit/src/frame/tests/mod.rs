//! Sound frames of several shapes, and each way to break one.

mod broken;
mod sound;
mod weighed;

use cranelift_entity::EntityRef;

use super::*;
use crate::asm::{AluOp, Assembled, Assembler, Cc, Label, Mem, Width};
use crate::{MapRef, Poke, Symbol, Unwound};

const W: Width = Width::W64;

fn assemble(build: impl FnOnce(&mut Assembler)) -> Assembled {
    let mut asm = Assembler::new();
    build(&mut asm);
    asm.finish().unwrap()
}

fn decode(build: impl FnOnce(&mut Assembler)) -> Result<FrameFacts, DecodeError> {
    let done = assemble(build);
    let hints = FrameHints { relocs: &done.relocs, ..FrameHints::default() };
    decode_frame(&done.code, &hints)
}

/// Something that changes a register.
fn clobber(asm: &mut Assembler, reg: Gpr) {
    asm.mov_imm(reg, 7);
}

/// A function of ours: pushes, room, a body, two exits of which one is a tail call.
fn ours(asm: &mut Assembler) {
    asm.push(Gpr::RBX);
    asm.push(Gpr::R12);
    asm.alu_imm(AluOp::Sub, W, Gpr::RSP, 24);
    clobber(asm, Gpr::RBX);
    clobber(asm, Gpr::R12);
    asm.store(8, Mem::new(Gpr::RSP, 16), Gpr::RBX);
    asm.call_cell(Symbol::HelperCell(1));
    let out = asm.label();
    asm.test(W, Gpr::RAX, Gpr::RAX);
    asm.jcc(Cc::E, out);
    unwind(asm);
    asm.jmp_rm(Gpr::RAX);
    asm.bind(out);
    unwind(asm);
    asm.ret();
}

fn unwind(asm: &mut Assembler) {
    asm.alu_imm(AluOp::Add, W, Gpr::RSP, 24);
    asm.pop(Gpr::R12);
    asm.pop(Gpr::RBX);
}

/// How the kernel's JIT has begun functions since 6.12: the entry of a program
/// that may tail-call, or of a subprogram.
fn kernel_prologue(asm: &mut Assembler, main: bool) -> Label {
    asm.nop(5);
    if main {
        asm.alu(AluOp::Xor, W, Gpr::RAX, Gpr::RAX);
    } else {
        asm.nop(3);
    }
    asm.push(Gpr::RBP);
    asm.mov(W, Gpr::RBP, Gpr::RSP);
    let landing = asm.here();
    asm.alu_imm32(AluOp::Sub, W, Gpr::RSP, 16);
    if main {
        let by_pointer = asm.label();
        let done = asm.label();
        asm.cmp_imm(W, Gpr::RAX, 33);
        asm.jcc(Cc::A, by_pointer);
        asm.push(Gpr::RAX);
        asm.mov(W, Gpr::RAX, Gpr::RSP);
        asm.jmp(done);
        asm.bind(by_pointer);
        asm.push(Gpr::RAX);
        asm.bind(done);
        asm.push(Gpr::RAX);
    } else {
        asm.push(Gpr::RAX);
        asm.push(Gpr::RAX);
    }
    asm.push(Gpr::RBX);
    asm.push(Gpr::R13);
    clobber(asm, Gpr::RBX);
    clobber(asm, Gpr::R13);
    landing
}

fn kernel_unwind(asm: &mut Assembler) {
    asm.pop(Gpr::R13);
    asm.pop(Gpr::RBX);
    asm.pop(Gpr::RAX);
    asm.pop(Gpr::RAX);
    asm.alu_imm(AluOp::Add, W, Gpr::RSP, 16);
}

/// A division as the kernel's JIT has it, an indirect and a direct site, the exit.
fn kernel_body(asm: &mut Assembler) -> [Label; 5] {
    asm.push(Gpr::RDX);
    asm.zero(Gpr::RDX);
    asm.div(W, Gpr::RBX);
    asm.pop(Gpr::RDX);
    let out = asm.label();
    let counter = Mem::new(Gpr::RBP, -32);
    asm.load(W, Gpr::RAX, counter);
    asm.cmp_imm(W, Mem::new(Gpr::RAX, 0), 33);
    asm.jcc(Cc::Ae, out);
    kernel_unwind(asm);
    asm.load(W, Gpr::RCX, Mem::new(Gpr::RCX, 48));
    asm.alu_imm(AluOp::Add, W, Gpr::RCX, 12);
    let first_exit = asm.here();
    asm.jmp_rm(Gpr::RCX);
    asm.bind(out);
    let behind = asm.label();
    asm.load(W, Gpr::RAX, counter);
    let bypass = asm.here();
    asm.jmp_long(behind);
    asm.alu_imm(AluOp::Add, W, Mem::new(Gpr::RAX, 0), 1);
    kernel_unwind(asm);
    let target = asm.here();
    asm.nop(5);
    asm.bind(behind);
    asm.pop(Gpr::R13);
    asm.pop(Gpr::RBX);
    asm.leave();
    asm.ret();
    [first_exit, first_exit, bypass, target, behind]
}

fn kernel_function(main: bool) -> (Assembled, u32, Vec<TailSite>) {
    let mut asm = Assembler::new();
    let landing = kernel_prologue(&mut asm, main);
    let labels = kernel_body(&mut asm);
    let done = asm.finish().unwrap();
    let [offset, exit, bypass, target, out] = labels.map(|label| done.offset(label));
    let unwinds = Unwound { registers: [Gpr::RBX, Gpr::R13].into_iter().collect(), bytes: 48 };
    let indirect = TailSite { offset, exit, direct: None, poke: None, unwinds: unwinds.clone() };
    let direct = TailSite {
        offset: bypass,
        exit: target,
        direct: Some((MapRef::new(0), 1)),
        poke: Some(Poke { bypass, target, out }),
        unwinds,
    };
    let landing = done.offset(landing);
    (done, landing, vec![indirect, direct])
}
