//! Entry stubs.

use tailor_lower::{Convention, FuncRef, Gpr, Symbol};

use super::control;
use crate::asm::{AluOp, AsmError, Assembled, Assembler, Width};
use crate::kernel;
use crate::layout::{MAX_TAIL_CALLS, RECORD_BYTES};
use crate::{CompiledFunction, EmitError, FrameBelief, FunctionKind, Weights};

/// Makes a function in reach of a tail call an outermost entry, callable as
/// `extern "C" fn(r1, r2, r3, r4, r5) -> r0`: a program that takes an invocation
/// record, or a callback. (A program under a kernel's convention counts from its
/// own start.)
///
/// The record is the stub's frame, with all tail calls left. It is entered like
/// any C function, so those 8 bytes make rsp what a function of ours expects
/// after the call: 8 mod 16. Under a kernel's convention the frame is the
/// counter.
pub fn entry_stub(
    convention: Convention,
    target: FuncRef,
    name: &str,
) -> Result<CompiledFunction, EmitError> {
    let assembled = assemble(convention, target)?;
    let compiled = CompiledFunction {
        name: name.to_string(),
        kind: FunctionKind::Stub,
        code: assembled.code,
        relocs: assembled.relocs,
        landing: 0,
        tail_sites: Vec::new(),
        insns: 0,
        weights: Weights { stretches: vec![(0, 1.0)], ..Weights::default() },
        frame: FrameBelief { frame_bytes: RECORD_BYTES, ..FrameBelief::default() },
    };
    super::check(&compiled);
    Ok(compiled)
}

fn assemble(convention: Convention, target: FuncRef) -> Result<Assembled, AsmError> {
    let mut asm = Assembler::new();
    match convention {
        Convention::Saving => {
            // The record has one field.
            asm.push_imm(MAX_TAIL_CALLS);
            asm.mov(Width::W64, Gpr::RECORD, Gpr::RSP);
        }
        Convention::Kernel { landing } => {
            asm.push_imm(0);
            match landing {
                kernel::LANDING => asm.mov(Width::W64, Gpr::COUNTER, Gpr::RSP),
                // Before 6.12 the count itself is handed on.
                _ => asm.alu(AluOp::Xor, Width::W32, Gpr::COUNTER, Gpr::COUNTER),
            }
        }
    }
    asm.call_symbol(Symbol::Function(target));
    control::raise_stack(&mut asm, RECORD_BYTES);
    asm.ret();
    asm.finish()
}
