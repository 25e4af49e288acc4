//! Every method against an independent decoder.

use super::*;
use tailor_lower::Gpr;

#[test]
fn a_few_known_encodings() {
    let mut asm = Assembler::new();
    let out = asm.label();
    asm.push(Gpr::RBP);
    asm.mov(Width::W64, Gpr::RBP, Gpr::RSP);
    asm.alu_imm32(AluOp::Sub, Width::W64, Gpr::RSP, 16);
    asm.cmp_imm(Width::W64, Gpr::RAX, 33);
    asm.jcc(Cc::A, out);
    asm.push(Gpr::RAX);
    asm.bind(out);
    asm.nop(5);
    let code = asm.finish().unwrap().code;
    let expected = [
        0x55, 0x48, 0x89, 0xe5, 0x48, 0x81, 0xec, 16, 0, 0, 0, 0x48, 0x83, 0xf8, 33, 0x77, 1, 0x50,
        0x0f, 0x1f, 0x44, 0, 0,
    ];
    assert_eq!(code, expected);
}
