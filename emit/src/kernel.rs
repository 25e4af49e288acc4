//! What the kernel's JIT has in common with code of ours under its convention
//! (since 6.12).

use crate::asm::{Assembler, Cc, Width};
use crate::layout::MAX_TAIL_CALLS;
use crate::{Gpr, WeightLabels};

/// In a program array (`struct bpf_array`): its number of slots, four bytes.
pub const ARRAY_MAX_ENTRIES: i32 = 0x24;
/// In a program array: its slots, the addresses of programs' descriptors.
pub const ARRAY_SLOTS: i32 = 0x110;
/// In a program's descriptor (`struct bpf_prog`): its address.
pub const DESCRIPTOR_ENTRY: i32 = 0x30;
/// Bytes of the prologue that a tail call skips: what comes before the stack
/// is set up.
pub const LANDING: u32 = 12;

/// Pushes the counter and its address, 16 bytes either way.
///
/// In a program rax holds the counter where counting starts, or after a tail
/// call from where it started; else the address, which is larger than any
/// count. A subprogram always gets the address.
pub fn push_counter(asm: &mut Assembler, is_program: bool, weights: &mut WeightLabels) {
    if is_program {
        let (address, done) = (asm.label(), asm.label());
        asm.cmp_imm(Width::W64, Gpr::COUNTER, MAX_TAIL_CALLS);
        asm.jcc(Cc::A, address);
        asm.push(Gpr::COUNTER);
        asm.mov(Width::W64, Gpr::COUNTER, Gpr::RSP);
        asm.jmp(done);
        asm.bind(address);
        // Only where a subprogram of another program made the tail call.
        weights.from(address, 0.0);
        asm.push(Gpr::COUNTER);
        asm.bind(done);
        weights.from(done, 1.0);
    } else {
        asm.push(Gpr::COUNTER);
    }
    asm.push(Gpr::COUNTER);
}
