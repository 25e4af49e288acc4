//! The listing of an allocated function: each machine instruction followed by
//! the locations of its operands, and the inserted moves.
//!
//! ```text
//! function f0 "main": saves rbx; frame 16 (adjust 8, red zone 0, padding 8)
//! b0:
//!     %0:rdi = args                              ; rdi
//!     move rbx <- rdi
//!     %1:rax = call helper5                      ; rax
//! ```
//! A location is a register or `sN`, a spill slot.

use std::fmt::Write;

use regalloc2::{Allocation, AllocationKind};
use tailor_lower::{Gpr, MachBlock, MachFunction};

use crate::Allocated;
use crate::steps::{Located, Step};

/// The listing.
pub fn listing(function: &MachFunction, allocated: &Allocated) -> String {
    let mut out = String::new();
    let frame = &allocated.frame;
    let saved: Vec<&str> = frame.saved.iter().map(|reg| reg.name()).collect();
    let saved = if saved.is_empty() { "nothing".into() } else { saved.join(" ") };
    let _ = writeln!(
        out,
        "function {} {:?}: saves {saved}; frame {} (adjust {}, red zone {}, padding {}{})",
        function.id,
        function.name,
        frame.frame_bytes(),
        frame.adjust,
        frame.red_zone,
        frame.padding,
        match frame.frame_pointer {
            true => format!(", rbp, counter {}", frame.counter_bytes),
            false => String::new(),
        },
    );
    for placed in &allocated.placed {
        let _ = writeln!(out, "    {} is saved in {}", placed.reg.name(), location(placed.slot));
    }
    let located = allocated.located(function);
    for (number, block) in function.blocks.iter().enumerate() {
        let _ = writeln!(out, "b{number}:");
        for step in located.steps(number) {
            match step {
                Step::Move { from, to, .. } => {
                    let _ = writeln!(out, "    move {} <- {}", location(to), location(from));
                }
                Step::Inst(inst) => {
                    put_inst(&mut out, &located, inst, block);
                    for placed in allocated.restored_at(inst).rev() {
                        let (reg, slot) = (placed.reg.name(), location(placed.slot));
                        let _ = writeln!(out, "    move {reg} <- {slot} if it succeeds");
                    }
                }
            }
        }
    }
    out
}

fn put_inst(out: &mut String, located: &Located, inst: usize, block: &MachBlock) {
    let text = format!("    {}", located.function.display_inst(inst, block));
    let locations = located.operands(inst).map(|(_, at)| location(at));
    let locations: Vec<String> = locations.collect();
    let _ = match locations.is_empty() {
        true => writeln!(out, "{text}"),
        false => writeln!(out, "{text:44}; {}", locations.join(" ")),
    };
}

fn location(location: Allocation) -> String {
    match (location.kind(), location.as_reg(), location.as_stack()) {
        (AllocationKind::Reg, Some(preg), _) => Gpr::from_preg(preg).name().into(),
        (AllocationKind::Stack, _, Some(slot)) => format!("s{}", slot.index()),
        _ => "none".into(),
    }
}
