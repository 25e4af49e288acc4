//! Sound samples of every shape, and each way to break one.

use cranelift_entity::EntityRef;

use super::*;
use crate::asm::{AluOp, Assembler, Cc, Label, Mem, Width};
use crate::{FrameBelief, FunctionKind, Gpr, Poke, TailSite};

const W: Width = Width::W64;

/// The tail-call sites of a sample, and where tail calls enter it.
#[derive(Default)]
struct Marks {
    /// Indirect jumps that leave.
    exits: Vec<Label>,
    /// Bypass, target and where an empty slot goes on.
    patched: Vec<[Label; 3]>,
    landing: Option<Label>,
}

fn sample(build: impl FnOnce(&mut Assembler, &mut Marks)) -> CompiledFunction {
    let (mut asm, mut marks) = (Assembler::new(), Marks::default());
    build(&mut asm, &mut marks);
    let done = asm.finish().unwrap();
    let site = |exit: u32, poke: Option<Poke>| TailSite {
        offset: exit,
        exit,
        direct: None,
        poke,
        unwinds: Default::default(),
    };
    let mut tail_sites: Vec<TailSite> =
        marks.exits.iter().map(|&exit| site(done.offset(exit), None)).collect();
    for labels in marks.patched {
        let [bypass, target, out] = labels.map(|label| done.offset(label));
        tail_sites.push(site(target, Some(Poke { bypass, target, out })));
    }
    CompiledFunction {
        name: "sample".into(),
        kind: FunctionKind::Program,
        landing: marks.landing.map_or(0, |label| done.offset(label)),
        code: done.code,
        relocs: done.relocs,
        tail_sites,
        insns: 0,
        frame: FrameBelief::default(),
        weights: Default::default(),
    }
}

fn sound(build: impl FnOnce(&mut Assembler, &mut Marks)) -> Walked {
    check(&sample(build)).unwrap()
}

fn room(asm: &mut Assembler, op: AluOp, bytes: i32) {
    asm.alu_imm(op, W, Gpr::RSP, bytes);
}

/// Something that changes a register.
fn clobber(asm: &mut Assembler, reg: Gpr) {
    asm.mov_imm(reg, 7);
}

fn stack(disp: i32) -> Mem {
    Mem::new(Gpr::RSP, disp)
}

/// `cmp rdi, 0; je label`
fn branch(asm: &mut Assembler, to: Label) {
    asm.test(W, Gpr::RDI, Gpr::RDI);
    asm.jcc(Cc::E, to);
}

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

#[test]
fn alignment_is_reported() {
    let one = FuncRef::new(1);
    let call = |asm: &mut Assembler| asm.call_symbol(Symbol::Function(one));
    let walked = sound(|asm, _| {
        call(asm);
        room(asm, AluOp::Sub, 8);
        call(asm);
        room(asm, AluOp::Add, 8);
        asm.ret();
    });
    assert_eq!(walked.calls, [(0, one, false), (9, one, true)]);
    assert!(!walked.wants_alignment);
}

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

/// A caller that does not align the stack for one that needs it, through a
/// function that does not care.
#[test]
fn alignment_goes_through_calls() {
    let function = |callee: Option<usize>, bytes: i32| {
        sample(|asm, _| {
            room(asm, AluOp::Sub, bytes);
            match callee {
                Some(callee) => asm.call_symbol(Symbol::Function(FuncRef::new(callee))),
                None => asm.call_cell(Symbol::HelperCell(1)),
            }
            room(asm, AluOp::Add, bytes);
            asm.ret();
        })
    };
    let module = |bodies: [CompiledFunction; 3]| crate::CompiledCode {
        architecture: crate::ARCHITECTURE,
        convention: crate::Convention::Saving,
        poking: crate::Poking::Data,
        functions: bodies.into_iter().map(Some).collect(),
        stubs: Default::default(),
    };
    let aligned = module([function(Some(1), 8), function(Some(2), 8), function(None, 8)]);
    assert_eq!(check_module(&aligned), Ok(()));
    let wrong = module([function(Some(1), 16), function(Some(2), 8), function(None, 8)]);
    let callee = FuncRef::new(1);
    let error = WrongCall::Misaligned { function: "sample".into(), at: 4, callee };
    assert_eq!(check_module(&wrong), Err(error));
}
