//! What is read of sound frames.

use smallvec::smallvec;

use super::*;
use crate::FuncRef;

#[test]
fn a_function_of_ours() {
    let facts = decode(ours).unwrap();
    let expected = FrameFacts {
        weighted: None,
        saved: smallvec![Gpr::RBX, Gpr::R12],
        frame_pointer: false,
        push_sites: 2,
        pop_sites: 4,
        tail_call_sites: 1,
        frame_bytes: 40,
        body_push_bytes: 0,
        padding_bytes: 0,
        code_bytes: assemble(ours).code.len() as u32,
        unwinds: Vec::new(),
    };
    assert_eq!(facts, expected);
}

/// rbp as an ordinary register is saved and restored like the others.
#[test]
fn rbp_is_not_always_a_frame_pointer() {
    let facts = decode(|asm| {
        asm.push(Gpr::RBP);
        asm.alu_imm(AluOp::Sub, W, Gpr::RSP, 16);
        asm.lea(W, Gpr::RBP, Mem::new(Gpr::RSP, 8));
        asm.alu_imm(AluOp::Add, W, Gpr::RSP, 16);
        asm.pop(Gpr::RBP);
        asm.ret();
    });
    let facts = facts.unwrap();
    assert_eq!(facts.saved[..], [Gpr::RBP]);
    assert!(!facts.frame_pointer);
    assert_eq!((facts.push_sites, facts.pop_sites), (1, 1));
    assert_eq!(facts.frame_bytes, 24);
}

/// An empty stack object's address is that of whatever lies lowest.
#[test]
fn rbp_may_hold_the_address_of_its_own_slot() {
    let facts = decode(|asm| {
        asm.push(Gpr::RBX);
        asm.push(Gpr::RBP);
        asm.mov(W, Gpr::RBP, Gpr::RSP);
        clobber(asm, Gpr::RBX);
        asm.pop(Gpr::RBP);
        asm.pop(Gpr::RBX);
        asm.ret();
    });
    let facts = facts.unwrap();
    assert_eq!(facts.saved[..], [Gpr::RBX, Gpr::RBP]);
    assert!(!facts.frame_pointer);
    assert_eq!((facts.push_sites, facts.pop_sites, facts.frame_bytes), (2, 2, 16));
}

#[test]
fn stores_and_loads_save_and_restore_too() {
    let facts = decode(|asm| {
        asm.alu_imm(AluOp::Sub, W, Gpr::RSP, 16);
        asm.store(8, Mem::new(Gpr::RSP, 8), Gpr::R15);
        clobber(asm, Gpr::R15);
        asm.load(W, Gpr::R15, Mem::new(Gpr::RSP, 8));
        asm.alu_imm(AluOp::Add, W, Gpr::RSP, 16);
        asm.ret();
    });
    let facts = facts.unwrap();
    assert_eq!(facts.saved[..], [Gpr::R15]);
    assert_eq!((facts.push_sites, facts.pop_sites), (1, 1));
    assert_eq!(facts.frame_bytes, 16);
}

#[test]
fn red_zones_count() {
    let leaf = assemble(|asm| {
        asm.store(8, Mem::new(Gpr::RSP, -8), Gpr::RDI);
        asm.lea(W, Gpr::RSI, Mem::new(Gpr::RSP, -24));
        asm.ret();
    });
    let facts = decode_frame(&leaf.code, &FrameHints::default()).unwrap();
    assert_eq!(facts.frame_bytes, 24);
    assert_eq!(facts.push_sites, 0);
    // What is declared counts although nothing touches its lowest bytes.
    let hints = FrameHints { red_zone: 32, ..FrameHints::default() };
    assert_eq!(decode_frame(&leaf.code, &hints).unwrap().frame_bytes, 32);
}

#[test]
fn kernel_functions() {
    for main in [true, false] {
        let (done, landing, sites) = kernel_function(main);
        assert_eq!(landing, 12);
        let hints = FrameHints { sites: &sites, landing, ..FrameHints::default() };
        let facts = decode_frame(&done.code, &hints).unwrap();
        assert_eq!(facts.saved[..], [Gpr::RBX, Gpr::R13]);
        assert!(facts.frame_pointer);
        assert_eq!((facts.push_sites, facts.pop_sites), (2, 6));
        assert_eq!(facts.tail_call_sites, 2);
        // rbp, the stack, two counter slots, two registers.
        assert_eq!(facts.frame_bytes, 8 + 16 + 16 + 16);
        assert_eq!(facts.body_push_bytes, 8);
        assert_eq!(facts.unwinds[1], sites[1].unwinds);
    }
}

/// The site's second instruction is a jump once its slot is set, and the first a nop.
#[test]
fn kernel_sites_decode_in_both_states() {
    let (mut done, landing, sites) = kernel_function(true);
    let hints = FrameHints { sites: &sites, landing, ..FrameHints::default() };
    let empty = decode_frame(&done.code, &hints).unwrap();
    let poke = sites[1].poke.unwrap();
    let nop = assemble(|asm| asm.nop(5)).code;
    done.code[poke.bypass as usize..][..5].copy_from_slice(&nop);
    done.code[poke.target as usize..][..5].copy_from_slice(&[0xe9, 0, 0x10, 0, 0]);
    assert_eq!(decode_frame(&done.code, &hints).unwrap(), empty);
}

/// Up to 5.9: everything is pushed, sites pop nothing and land behind the prologue.
#[test]
fn fixed_prologue() {
    let saved = [Gpr::RBX, Gpr::R13, Gpr::R14, Gpr::R15];
    let mut asm = Assembler::new();
    asm.push(Gpr::RBP);
    asm.mov(W, Gpr::RBP, Gpr::RSP);
    asm.alu_imm32(AluOp::Sub, W, Gpr::RSP, 512);
    saved.iter().for_each(|&reg| asm.push(reg));
    asm.push_imm(0);
    let landing = asm.here();
    clobber(&mut asm, Gpr::RBX);
    let exit = asm.label();
    let out = asm.label();
    asm.jcc(Cc::E, out);
    asm.bind(exit);
    asm.jmp_rm(Gpr::RCX);
    asm.bind(out);
    asm.alu_imm(AluOp::Add, W, Gpr::RSP, 8);
    saved.into_iter().rev().for_each(|reg| asm.pop(reg));
    asm.leave();
    asm.ret();
    let done = asm.finish().unwrap();
    let hints = FrameHints { landing: done.offset(landing), ..FrameHints::default() };
    let facts = decode_frame(&done.code, &hints).unwrap();
    assert_eq!(facts.saved[..], saved);
    assert!(facts.frame_pointer);
    assert_eq!((facts.push_sites, facts.pop_sites), (4, 4));
    assert_eq!(facts.frame_bytes, 8 + 512 + 32 + 8);
    assert_eq!(facts.tail_call_sites, 1);
    assert_eq!(facts.body_push_bytes, 0);
}

/// A return through a thunk and a sibling call are exits like `ret`.
#[test]
fn jumps_out_must_have_unwound() {
    let exit = |unwinds: bool| {
        decode(|asm| {
            asm.push(Gpr::RBX);
            clobber(asm, Gpr::RBX);
            if unwinds {
                asm.pop(Gpr::RBX);
            }
            asm.jmp_symbol(Symbol::Function(FuncRef::new(1)));
        })
    };
    let facts = exit(true).unwrap();
    assert_eq!((facts.tail_call_sites, facts.pop_sites), (0, 1));
    assert!(matches!(exit(false), Err(DecodeError::Depth { found: -8, expected: 0, .. })));
}

/// So is a conditional jump out, which may also fall through.
#[test]
fn conditional_jumps_out_must_have_unwound() {
    let exit = |pushes: bool| {
        let done = assemble(|asm| {
            if pushes {
                asm.push(Gpr::RBX);
            }
            // je rel32, to be relocated
            asm.bytes(&[0x0f, 0x84, 0, 0, 0, 0]);
            if pushes {
                asm.pop(Gpr::RBX);
            }
            asm.ret();
        });
        let reloc = Reloc {
            offset: 2 + u32::from(pushes),
            kind: crate::RelocKind::Rel32,
            target: Symbol::Function(FuncRef::new(1)),
        };
        let hints = FrameHints { relocs: &[reloc], ..FrameHints::default() };
        decode_frame(&done.code, &hints)
    };
    assert_eq!(exit(false).unwrap().frame_bytes, 0);
    assert!(matches!(exit(true), Err(DecodeError::Depth { found: -8, .. })));
}

/// A pointer that a program keeps in memory and stores through: where it leads
/// is a verifier's business, though the sum of the offsets is on the saved rbp.
#[test]
fn a_store_through_a_reloaded_pointer() {
    let code = |asm: &mut Assembler| {
        asm.push(Gpr::RBP);
        asm.mov(W, Gpr::RBP, Gpr::RSP);
        asm.alu_imm32(AluOp::Sub, W, Gpr::RSP, 16);
        asm.lea(W, Gpr::RSI, Mem::new(Gpr::RBP, -8));
        asm.store(8, Mem::new(Gpr::RBP, -16), Gpr::RSI);
        asm.load(W, Gpr::RDX, Mem::new(Gpr::RBP, -16));
        asm.store(8, Mem::new(Gpr::RDX, 8), Gpr::RDI);
        asm.leave();
        asm.ret();
    };
    assert_eq!(decode(code).unwrap().frame_bytes, 24);
}
