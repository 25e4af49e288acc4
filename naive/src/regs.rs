//! Where eBPF's registers live, and which of them a function names.

use smallvec::SmallVec;
use tailor_bpf::{Callee, Op, Reg, Src};
use tailor_emit::Gpr;

/// R0 to R10.
const MAPPING: [Gpr; 11] = [
    Gpr::RAX,
    Gpr::RDI,
    Gpr::RSI,
    Gpr::RDX,
    Gpr::RCX,
    Gpr::R8,
    Gpr::RBX,
    Gpr::R13,
    Gpr::R14,
    Gpr::R15,
    Gpr::RBP,
];

/// The verifier's scratch register (`BPF_REG_AX`).
pub(crate) const AX: Gpr = Gpr::R10;
/// The JIT's own scratch register.
pub(crate) const AUX: Gpr = Gpr::R11;

/// The machine register of an eBPF register.
pub(crate) fn gpr(reg: Reg) -> Gpr {
    MAPPING[reg.index()]
}

/// The registers that an instruction names, whether it reads or writes them.
fn named(op: &Op) -> SmallVec<[Reg; 2]> {
    let with = |reg: Reg, src: Src| match src {
        Src::Reg(src) => SmallVec::from_slice(&[reg, src]),
        Src::Imm(_) => SmallVec::from_slice(&[reg]),
    };
    match op.plain() {
        Op::Alu { dst, src, .. } | Op::Mov { dst, src, .. } | Op::Branch { dst, src, .. } => {
            with(dst, src)
        }
        Op::Store { base, src, .. } => with(base, src),
        Op::MovSx { dst, src, .. } => SmallVec::from_slice(&[dst, src]),
        Op::Load { dst, base, .. } => SmallVec::from_slice(&[dst, base]),
        Op::Atomic { base, src, .. } | Op::CmpXchg { base, src, .. } => {
            SmallVec::from_slice(&[base, src])
        }
        Op::Neg { dst, .. } | Op::End { dst, .. } | Op::LoadImm { dst, .. } => {
            SmallVec::from_slice(&[dst])
        }
        Op::Call(Callee::Register(reg)) => SmallVec::from_slice(&[reg]),
        // Rewritten, it takes the context from R6.
        Op::LoadPacket { index, .. } => index.into_iter().chain([Reg::R6]).collect(),
        Op::IndirectJump { target } => SmallVec::from_slice(&[target]),
        Op::LoadImmHi | Op::Jump { .. } | Op::MayGoto { .. } | Op::Call(_) | Op::Exit => {
            SmallVec::new()
        }
        // They are plain here.
        Op::LoadAcquire { .. } | Op::StoreRelease { .. } => SmallVec::new(),
    }
}

/// Of R6 to R9 those that are named at all, dead code or not: the kernel looks
/// at nothing else to decide what to push.
pub(crate) fn callee_saved<'a>(ops: impl Iterator<Item = &'a Op>) -> SmallVec<[Gpr; 6]> {
    let mut seen = [false; 11];
    for reg in ops.flat_map(named) {
        seen[reg.index()] = true;
    }
    Reg::all()
        .filter(|reg| (Reg::R6..=Reg::R9).contains(reg) && seen[reg.index()])
        .map(gpr)
        .collect()
}
