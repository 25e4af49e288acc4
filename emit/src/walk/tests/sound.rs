//! Sound functions of every shape.

use super::*;

#[test]
fn pushes_room_and_two_exits() {
    let walked = sound(|asm, marks| {
        asm.push(Gpr::RBX);
        asm.push(Gpr::R12);
        room(asm, AluOp::Sub, 24);
        clobber(asm, Gpr::RBX);
        clobber(asm, Gpr::R12);
        asm.call_cell(Symbol::HelperCell(1));
        let out = asm.label();
        branch(asm, out);
        for leaves in [false, true] {
            room(asm, AluOp::Add, 24);
            asm.pop(Gpr::R12);
            asm.pop(Gpr::RBX);
            if leaves {
                asm.ret();
            } else {
                marks.exits.push(asm.here());
                asm.jmp_rm(Gpr::RAX);
                asm.bind(out);
            }
        }
    });
    assert!(walked.wants_alignment);
}

/// One register is stored at the entry, another one where it is needed.
#[test]
fn saves_where_they_are_needed() {
    sound(|asm, _| {
        room(asm, AluOp::Sub, 24);
        asm.store(8, stack(16), Gpr::RBX);
        clobber(asm, Gpr::RBX);
        let (cold, out) = (asm.label(), asm.label());
        branch(asm, cold);
        asm.bind(out);
        asm.load(W, Gpr::RBX, stack(16));
        room(asm, AluOp::Add, 24);
        asm.ret();
        asm.bind(cold);
        asm.store(8, stack(8), Gpr::R13);
        clobber(asm, Gpr::R13);
        asm.call_symbol(Symbol::Function(FuncRef::new(1)));
        asm.load(W, Gpr::R13, stack(8));
        asm.jmp(out);
    });
}

/// Two regions for one register, the second with a tail call before it and one
/// inside that restores.
#[test]
fn regions_with_tail_calls() {
    sound(|asm, marks| {
        room(asm, AluOp::Sub, 8);
        for inside in [false, true] {
            let (on, next) = (asm.label(), asm.label());
            branch(asm, next);
            if !inside {
                room(asm, AluOp::Add, 8);
                marks.exits.push(asm.here());
                asm.jmp_rm(Gpr::RAX);
                asm.bind(next);
            }
            asm.store(8, stack(0), Gpr::RBX);
            clobber(asm, Gpr::RBX);
            asm.call_symbol(Symbol::Function(FuncRef::new(1)));
            if inside {
                branch(asm, on);
                asm.load(W, Gpr::RBX, stack(0));
                room(asm, AluOp::Add, 8);
                marks.exits.push(asm.here());
                asm.jmp_rm(Gpr::RAX);
                asm.bind(on);
            }
            asm.load(W, Gpr::RBX, stack(0));
            if inside {
                asm.bind(next);
            }
        }
        room(asm, AluOp::Add, 8);
        asm.ret();
    });
}

/// A path without any frame, and one with pushes of its own in a loop.
#[test]
fn a_frame_on_one_path_alone() {
    sound(|asm, _| {
        let quick = asm.label();
        branch(asm, quick);
        asm.push(Gpr::R15);
        let again = asm.here();
        clobber(asm, Gpr::R15);
        asm.push(Gpr::R15);
        asm.pop(Gpr::RCX);
        branch(asm, again);
        asm.pop(Gpr::R15);
        asm.bind(quick);
        asm.ret();
    });
}

/// As kernels have it: rbp as frame pointer, tail calls behind the prologue,
/// a patched site.
#[test]
fn a_frame_pointer_and_a_patched_site() {
    sound(|asm, marks| {
        asm.push(Gpr::RBP);
        asm.mov(W, Gpr::RBP, Gpr::RSP);
        marks.landing = Some(asm.here());
        room(asm, AluOp::Sub, 16);
        asm.push(Gpr::RBX);
        clobber(asm, Gpr::RBX);
        asm.store(8, Mem::new(Gpr::RBP, -8), Gpr::RBX);
        let out = asm.label();
        let bypass = asm.here();
        asm.jmp_long(out);
        asm.pop(Gpr::RBX);
        room(asm, AluOp::Add, 16);
        let target = asm.here();
        asm.nop(5);
        asm.bind(out);
        marks.patched.push([bypass, target, out]);
        asm.pop(Gpr::RBX);
        asm.leave();
        asm.ret();
    });
}

#[test]
fn leaves_that_use_the_red_zone_or_jump_on() {
    sound(|asm, _| {
        asm.store(8, stack(-128), Gpr::RDI);
        asm.load(W, Gpr::RAX, stack(-128));
        asm.ret();
    });
    sound(|asm, _| asm.jmp_symbol(Symbol::Function(FuncRef::new(1))));
    sound(|asm, _| asm.jmp_cell(Symbol::HelperCell(1)));
    sound(|asm, _| asm.ud2());
}

/// What is written after a call may be read below rsp again.
#[test]
fn a_push_after_a_call() {
    sound(|asm, _| {
        room(asm, AluOp::Sub, 8);
        asm.call_cell(Symbol::HelperCell(1));
        asm.push(Gpr::RAX);
        asm.pop(Gpr::RDX);
        room(asm, AluOp::Add, 8);
        asm.ret();
    });
}
