//! Costs of frames, against figures added up by hand.

use super::*;
use crate::WeightLabels;

/// Code with weights: each part with its frequency, and whether it accesses an object.
type Part<'a> = (f64, bool, &'a dyn Fn(&mut Assembler));

fn weighed(parts: &[Part<'_>]) -> Weighted {
    let mut labels = WeightLabels::default();
    let mut asm = Assembler::new();
    for (frequency, object, build) in parts {
        let start = asm.here();
        labels.from(start, *frequency);
        build(&mut asm);
        if *object {
            let end = asm.here();
            labels.object(start, end);
        }
    }
    let done = asm.finish().unwrap();
    let weights = labels.place(&done);
    let relocs = &done.relocs;
    let hints = FrameHints { relocs, weights: Some(&weights), ..FrameHints::default() };
    decode_frame(&done.code, &hints).unwrap().weighted.unwrap()
}

const SLOT: Mem = Mem { base: Gpr::RSP, index: None, disp: 8 };

#[test]
fn saves_restores_and_slots() {
    let enter = |asm: &mut Assembler| {
        asm.push(Gpr::RBX);
        clobber(asm, Gpr::RBX);
        asm.alu_imm(AluOp::Sub, W, Gpr::RSP, 24);
    };
    // One store and, changed in place, a load and a store.
    let spill = |asm: &mut Assembler| {
        asm.store(8, SLOT, Gpr::RBX);
        asm.alu_imm(AluOp::Add, W, SLOT, 1);
        asm.call_cell(Symbol::HelperCell(1));
        asm.lea(W, Gpr::RDI, SLOT);
    };
    let leave = |asm: &mut Assembler| {
        asm.alu_imm(AluOp::Add, W, Gpr::RSP, 24);
        asm.pop(Gpr::RBX);
        asm.ret();
    };
    let weighted = weighed(&[(1.0, false, &enter), (0.25, false, &spill), (1.0, false, &leave)]);
    assert_eq!(weighted, Weighted { cost: 2.75, saves: 2.0, ..Weighted::default() });
    let object = weighed(&[(1.0, false, &enter), (0.25, true, &spill), (1.0, false, &leave)]);
    assert_eq!(object, Weighted { cost: 2.0, saves: 2.0, ..Weighted::default() });
}

#[test]
fn frame_pointer_and_pushes_in_the_body() {
    let all = |asm: &mut Assembler| {
        asm.push(Gpr::RBP);
        asm.mov(W, Gpr::RBP, Gpr::RSP);
        asm.alu_imm32(AluOp::Sub, W, Gpr::RSP, 16);
        asm.push(Gpr::R13);
        clobber(asm, Gpr::R13);
        asm.push(Gpr::RDX);
        asm.pop(Gpr::RDX);
        asm.load(W, Gpr::RAX, Mem::new(Gpr::RBP, -8));
        asm.load(W, Gpr::RAX, Mem::new(Gpr::RAX, -8));
        asm.pop(Gpr::R13);
        asm.leave();
        asm.ret();
    };
    let weighted = weighed(&[(1.0, false, &all)]);
    // rbp twice, r13 twice, one load; no scratch pushes, no memory elsewhere.
    let expected = Weighted { cost: 5.0, saves: 2.0, tail_call_restores: 0.0, frame_pointer: 2.0 };
    assert_eq!(weighted, expected);
}

#[test]
fn restores_before_a_tail_call() {
    let enter = |asm: &mut Assembler| {
        asm.push(Gpr::RBP);
        asm.mov(W, Gpr::RBP, Gpr::RSP);
        asm.push(Gpr::RAX);
        asm.push(Gpr::RBX);
        asm.push(Gpr::R12);
        clobber(asm, Gpr::RBX);
        clobber(asm, Gpr::R12);
        asm.test(W, Gpr::RAX, Gpr::RAX);
    };
    let out = std::cell::Cell::new(None);
    let leave = |asm: &mut Assembler| {
        let label = asm.label();
        out.set(Some(label));
        asm.jcc(Cc::E, label);
        asm.pop(Gpr::R12);
        asm.pop(Gpr::RBX);
        asm.pop(Gpr::RAX);
        asm.pop(Gpr::RBP);
        asm.jmp_rm(Gpr::RAX);
    };
    let exit = |asm: &mut Assembler| {
        asm.bind(out.get().unwrap());
        asm.pop(Gpr::R12);
        asm.pop(Gpr::RBX);
        asm.leave();
        asm.ret();
    };
    let weighted = weighed(&[(1.0, false, &enter), (0.5, false, &leave), (0.5, false, &exit)]);
    // rbp, two registers, and a counter that only the tail call pops.
    let expected = Weighted { cost: 7.5, saves: 4.0, tail_call_restores: 1.0, frame_pointer: 2.0 };
    assert_eq!(weighted, expected);
}

/// A quarter for each instruction, beside what it reads of the frame.
#[test]
fn computed_again() {
    let mut labels = WeightLabels::default();
    let mut asm = Assembler::new();
    let start = asm.here();
    labels.from(start, 1.0);
    asm.alu_imm(AluOp::Sub, W, Gpr::RSP, 24);
    asm.store(8, SLOT, Gpr::RDI);
    asm.mov_imm(Gpr::RSI, 1);
    let hot = asm.here();
    labels.from(hot, 3.0);
    asm.lea(W, Gpr::RDI, Mem::new(Gpr::RSI, 4));
    asm.alu(AluOp::Add, W, Gpr::RDI, SLOT);
    let end = asm.here();
    labels.recomputed(hot, end);
    labels.from(end, 1.0);
    asm.alu_imm(AluOp::Add, W, Gpr::RSP, 24);
    asm.ret();
    let done = asm.finish().unwrap();
    let weights = labels.place(&done);
    let hints = FrameHints { weights: Some(&weights), ..FrameHints::default() };
    let weighted = decode_frame(&done.code, &hints).unwrap().weighted.unwrap();
    // A store, and thrice: two instructions, one of which loads.
    assert_eq!(weighted.cost, 1.0 + 3.0 * (0.25 + 0.25 + 1.0));
}

#[test]
fn no_weights_no_cost() {
    let done = assemble(|asm| asm.ret());
    assert_eq!(decode_frame(&done.code, &FrameHints::default()).unwrap().weighted, None);
}
