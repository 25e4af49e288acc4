//! Entry stubs.

use tailor_lower::{FuncRef, Gpr, Symbol};

use super::control;
use crate::asm::{AsmError, Assembled, Assembler, Width};
use crate::layout::{MAX_TAIL_CALLS, RECORD_BYTES};
use crate::{CompiledFunction, EmitError, FrameBelief, FunctionKind, Weights};

/// Makes a program that takes an invocation record callable as
/// `extern "C" fn(r1, r2) -> r0`.
///
/// The record is the stub's frame, with all tail calls left. It is entered like
/// any C function, so those 8 bytes make rsp what a function of ours expects
/// after the call: 8 mod 16.
pub fn entry_stub(target: FuncRef, name: &str) -> Result<CompiledFunction, EmitError> {
    let assembled = assemble(target)?;
    let compiled = CompiledFunction {
        name: name.to_string(),
        kind: FunctionKind::Stub,
        code: assembled.code,
        relocs: assembled.relocs,
        landing: 0,
        tail_sites: Vec::new(),
        insns: 0,
        weights: Weights { stretches: vec![(0, 1.0)], objects: Vec::new() },
        frame: FrameBelief { frame_bytes: RECORD_BYTES, ..FrameBelief::default() },
    };
    super::check(&compiled);
    Ok(compiled)
}

fn assemble(target: FuncRef) -> Result<Assembled, AsmError> {
    let mut asm = Assembler::new();
    // The record has one field.
    asm.push_imm(MAX_TAIL_CALLS);
    asm.mov(Width::W64, Gpr::RECORD, Gpr::RSP);
    asm.call_symbol(Symbol::Function(target));
    control::raise_stack(&mut asm, RECORD_BYTES);
    asm.ret();
    asm.finish()
}
