//! Why a function of the kernel is another than ours: classes, each with the
//! evidence that puts a difference into it. What has none is unexplained.

use tailor::bpf::cfg::is_tail_call;
use tailor::bpf::{AluOp, Callee, Op, Reg, Src};
use tailor::emit::Gpr;
use tailor::emit::frame::FrameFacts;

use super::image;

/// `bpf_loop`
const LOOP: u32 = 181;

/// Saved registers, frame_bytes, pop_sites and tail-call sites.
pub type Frame = (Vec<Gpr>, u32, u32, u32);

/// The figures that are compared.
pub fn figures(facts: &FrameFacts) -> Frame {
    let mut saved = facts.saved.to_vec();
    saved.sort();
    (saved, facts.frame_bytes, facts.pop_sites, facts.tail_call_sites)
}

/// What is known of a function that differs from its bytecode.
pub struct Pair<'a> {
    pub ours: &'a FrameFacts,
    pub kernel: &'a FrameFacts,
    pub bytecode: &'a [Op],
    pub translated: &'a [Op],
    pub private_stack: bool,
    /// The verifier's stack depth, and ours.
    pub depths: (Option<u32>, u32),
}

/// Equal, or what made the kernel's frame another than that of the bytecode.
pub fn of_frame(pair: &Pair) -> Result<(), &'static str> {
    let (ours, kernel) = (figures(pair.ours), figures(pair.kernel));
    let only_in = |a: &[Gpr], b: &[Gpr]| -> Vec<Gpr> {
        a.iter().copied().filter(|reg| !b.contains(reg)).collect()
    };
    let (added, lost) = (only_in(&kernel.0, &ours.0), only_in(&ours.0, &kernel.0));
    let loops = |ops: &[Op]| calls(ops, LOOP);
    Err(if ours == kernel {
        return Ok(());
    } else if pair.private_stack {
        "the eBPF stack is private"
    } else if loops(pair.bytecode) > loops(pair.translated) {
        "an inlined bpf_loop keeps its state in registers and on the stack"
    } else if added == [Gpr::RBX] && pulls_packet(pair.translated) {
        "an inserted prologue that makes the packet writable uses R6"
    } else if !added.is_empty() {
        match added.iter().all(|&reg| is_borrowed(pair.translated, reg)) {
            true => "a rewritten context access borrows a register",
            false => "unexplained",
        }
    } else if !lost.is_empty() || kernel.2 != ours.2 || kernel.3 != ours.3 {
        match branches(pair.translated) < branches(pair.bytecode) {
            true => "the verifier removed code that no path reaches",
            false => "unexplained",
        }
    } else {
        match pair.depths {
            (Some(theirs), ours) if theirs < ours => {
                "the verifier walks every path with exact values: it counts less stack"
            }
            (Some(theirs), ours) if theirs > ours && hands_over(pair.bytecode, theirs) => {
                "a pointer to the stack that is handed over with length 0 counts"
            }
            _ => "unexplained",
        }
    })
}

/// Whether a pointer this far down the stack is made.
fn hands_over(ops: &[Op], depth: u32) -> bool {
    let down = Src::Imm(-(depth as i32));
    ops.iter().any(|op| matches!(op, Op::Alu { op: AluOp::Add, src, .. } if *src == down))
}

fn calls(ops: &[Op], helper: u32) -> usize {
    ops.iter()
        .filter(|op| matches!(op, Op::Call(Callee::Helper(number)) if *number == helper))
        .count()
}

fn branches(ops: &[Op]) -> usize {
    ops.iter().filter(|op| matches!(op, Op::Branch { .. })).count()
}

/// Whether a register is saved to memory before anything writes it, and the
/// last that is written to it comes from the same place.
fn is_borrowed(ops: &[Op], reg: Gpr) -> bool {
    let saved = Reg::all().skip_while(|&reg| reg < Reg::R6);
    let names = [Gpr::RBX, Gpr::R13, Gpr::R14, Gpr::R15].into_iter().zip(saved);
    let Some((_, reg)) = names.into_iter().find(|&(machine, _)| machine == reg) else {
        return false;
    };
    let written = || (0..ops.len()).filter(|&pc| ops[pc].def() == Some(reg));
    let (Some(first), Some(last)) = (written().next(), written().next_back()) else {
        return false;
    };
    let Op::Load { base, off, .. } = ops[last] else {
        return false;
    };
    ops[..first].iter().any(|op| {
        matches!(*op, Op::Store { src: Src::Reg(src), base: to, off: at, .. }
            if src == reg && to == base && at == off)
    })
}

/// Whether a function begins with the test of a bit of the context in R6.
fn pulls_packet(ops: &[Op]) -> bool {
    let (Some(Op::Load { dst: Reg::R6, base: Reg::R1, .. }), Some(Op::Alu { op, dst, .. })) =
        (ops.first(), ops.get(1))
    else {
        return false;
    };
    (*op, *dst) == (AluOp::And, Reg::R6)
}

/// Why the code differs from that of the same instructions, whose first
/// difference is `at` and some of which were replaced as `note` says.
pub fn of_code(ops: &[Op], code: &[u8], note: Option<&'static str>, at: &str) -> &'static str {
    if let Some(note) = note {
        return note;
    }
    // A guarded load compares the address with the limit of user space:
    // `movabs r10 or r11` right before `cmp`.
    let all = image::instructions(code);
    let guard = |pair: &[iced_x86::Instruction]| {
        pair[0].code() == iced_x86::Code::Mov_r64_imm64
            && matches!(pair[0].op0_register(), iced_x86::Register::R10 | iced_x86::Register::R11)
    };
    let exchanges = ops.iter().any(|op| matches!(op, Op::CmpXchg { .. }));
    match all.windows(2).any(guard) {
        true => "loads guarded against faults",
        false if exchanges && at.contains("mov eax,eax") => {
            "a zero extension that the verifier found unneeded"
        }
        false => "unexplained",
    }
}

/// Whether the code of a function calls nothing outside the program.
pub fn is_helper_free(ops: &[Op]) -> bool {
    let calls =
        |op: &Op| matches!(op, Op::Call(Callee::Helper(_) | Callee::Kfunc(_))) && !is_tail_call(op);
    !ops.iter().any(calls)
}
