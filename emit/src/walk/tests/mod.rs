//! Samples of functions, and what the walk makes of them.

mod alignment;
mod broken;
mod sound;

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
