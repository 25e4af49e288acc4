//! Each way to break a frame is noticed.

use super::*;

/// Runs a variant of a frame with one thing wrong.
fn broken(build: impl FnOnce(&mut Assembler)) -> DecodeError {
    decode(build).expect_err("the frame is broken")
}

#[test]
fn a_missing_pop() {
    let error = broken(|asm| {
        asm.push(Gpr::RBX);
        asm.push(Gpr::R12);
        clobber(asm, Gpr::RBX);
        asm.pop(Gpr::R12);
        asm.ret();
    });
    assert!(matches!(error, DecodeError::Depth { found: -8, .. }), "{error}");
}

#[test]
fn a_missing_restore_of_the_right_size() {
    let error = broken(|asm| {
        asm.push(Gpr::RBX);
        clobber(asm, Gpr::RBX);
        asm.alu_imm(AluOp::Add, W, Gpr::RSP, 8);
        asm.ret();
    });
    assert!(matches!(error, DecodeError::Unrestored { reg: Gpr::RBX, .. }), "{error}");
}

#[test]
fn pops_in_the_wrong_order() {
    let error = broken(|asm| {
        asm.push(Gpr::RBX);
        asm.push(Gpr::R12);
        asm.pop(Gpr::RBX);
        asm.pop(Gpr::R12);
        asm.ret();
    });
    assert!(matches!(error, DecodeError::Unrestored { .. }), "{error}");
}

#[test]
fn room_of_another_size() {
    for (back, underflows) in [(16, false), (32, true)] {
        let error = broken(|asm| {
            asm.alu_imm(AluOp::Sub, W, Gpr::RSP, 24);
            asm.alu_imm(AluOp::Add, W, Gpr::RSP, back);
            asm.ret();
        });
        match error {
            DecodeError::Depth { found, .. } => assert_eq!((found, underflows), (-8, false)),
            DecodeError::Underflow { .. } => assert!(underflows),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn an_extra_push_on_one_path() {
    let error = broken(|asm| {
        let join = asm.label();
        asm.test(W, Gpr::RDI, Gpr::RDI);
        asm.jcc(Cc::E, join);
        asm.push(Gpr::RDI);
        asm.bind(join);
        asm.ret();
    });
    assert!(matches!(error, DecodeError::Unbalanced { .. }), "{error}");
}

#[test]
fn a_push_in_a_loop() {
    let error = broken(|asm| {
        let again = asm.here();
        asm.push(Gpr::RDI);
        asm.jmp(again);
    });
    assert!(matches!(error, DecodeError::Unbalanced { .. }), "{error}");
}

#[test]
fn a_register_changed_without_a_save() {
    let error = broken(|asm| {
        clobber(asm, Gpr::R14);
        asm.ret();
    });
    assert!(matches!(error, DecodeError::Unrestored { reg: Gpr::R14, .. }), "{error}");
}

/// On one path only: the join forgets that the register is untouched.
#[test]
fn a_register_changed_on_one_path() {
    let error = broken(|asm| {
        let join = asm.label();
        asm.jcc(Cc::E, join);
        clobber(asm, Gpr::RBP);
        asm.bind(join);
        asm.ret();
    });
    assert!(matches!(error, DecodeError::Unrestored { reg: Gpr::RBP, .. }), "{error}");
}

#[test]
fn a_saved_value_overwritten() {
    let error = broken(|asm| {
        asm.push(Gpr::RBX);
        clobber(asm, Gpr::RBX);
        asm.store(4, Mem::new(Gpr::RSP, 4), Gpr::RDI);
        asm.pop(Gpr::RBX);
        asm.ret();
    });
    assert!(matches!(error, DecodeError::Unrestored { reg: Gpr::RBX, .. }), "{error}");
}

/// What a callee may overwrite is not saved.
#[test]
fn a_value_saved_below_rsp_across_a_call() {
    let error = broken(|asm| {
        asm.store(8, Mem::new(Gpr::RSP, -8), Gpr::RBX);
        clobber(asm, Gpr::RBX);
        asm.call_cell(Symbol::HelperCell(1));
        asm.load(W, Gpr::RBX, Mem::new(Gpr::RSP, -8));
        asm.ret();
    });
    assert!(matches!(error, DecodeError::Unrestored { reg: Gpr::RBX, .. }), "{error}");
}

#[test]
fn a_tail_call_that_forgets_to_unwind() {
    let site = |pops: &[Gpr], add: i32| {
        broken(|asm| {
            asm.push(Gpr::RBX);
            asm.push(Gpr::R12);
            asm.alu_imm(AluOp::Sub, W, Gpr::RSP, 24);
            clobber(asm, Gpr::RBX);
            let out = asm.label();
            asm.jcc(Cc::E, out);
            asm.alu_imm(AluOp::Add, W, Gpr::RSP, add);
            pops.iter().for_each(|&reg| asm.pop(reg));
            asm.jmp_rm(Gpr::RAX);
            asm.bind(out);
            unwind(asm);
            asm.ret();
        })
    };
    let found = site(&[Gpr::R12], 24);
    assert!(matches!(found, DecodeError::Depth { found: -8, .. }), "{found}");
    let found = site(&[Gpr::R12, Gpr::RBX], 16);
    assert!(matches!(found, DecodeError::Depth { found: -8, .. }), "{found}");
    let found = site(&[Gpr::RBX, Gpr::R12], 24);
    assert!(matches!(found, DecodeError::Unrestored { .. }), "{found}");
}

/// The kernel's sites leave rbp and its frame pointer to the target, nothing else.
#[test]
fn a_kernel_site_that_pops_the_frame_pointer() {
    let (mut done, landing, sites) = kernel_function(true);
    let hints = FrameHints { sites: &sites, landing: 0, ..FrameHints::default() };
    let error = decode_frame(&done.code, &hints).unwrap_err();
    assert!(matches!(error, DecodeError::Depth { found: -8, expected: 0, .. }), "{error}");
    // The counter's pop becomes one of rbp.
    let before_jump = sites[1].exit as usize - 5;
    assert_eq!(done.code[before_jump], 0x58);
    done.code[before_jump] = 0x5d;
    let hints = FrameHints { landing, ..hints };
    let error = decode_frame(&done.code, &hints).unwrap_err();
    assert!(matches!(error, DecodeError::Unrestored { reg: Gpr::RBP, .. }), "{error}");
}

#[test]
fn code_that_is_not_code() {
    assert_eq!(decode_frame(&[], &FrameHints::default()), Err(DecodeError::RunsOver { at: 0 }));
    assert_eq!(decode_frame(&[0x90], &FrameHints::default()), Err(DecodeError::RunsOver { at: 0 }));
    assert_eq!(
        decode_frame(&[0x90, 0x06], &FrameHints::default()),
        Err(DecodeError::Invalid { at: 1 })
    );
    assert_eq!(
        decode_frame(&[0x48, 0xb8, 1], &FrameHints::default()),
        Err(DecodeError::Invalid { at: 0 })
    );
    // `jmp -1` lands in its own displacement.
    let error = decode_frame(&[0xeb, 0xff, 0xc0, 0xc3], &FrameHints::default());
    assert_eq!(error, Err(DecodeError::Overlap { at: 1 }));
    let unknown = broken(|asm| {
        asm.mov(W, Gpr::RSP, Gpr::RDI);
        asm.ret();
    });
    assert_eq!(unknown, DecodeError::UnknownStack { at: 0 });
}

#[test]
fn sites_must_be_exits() {
    let done = assemble(ours);
    let site =
        TailSite { offset: 0, exit: 0, direct: None, poke: None, unwinds: Unwound::default() };
    let hints = FrameHints { sites: &[site], ..FrameHints::default() };
    let error = decode_frame(&done.code, &hints);
    assert_eq!(error, Err(DecodeError::NoSite { at: 0 }));
}
