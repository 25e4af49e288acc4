//! Rewrites what the target does not have.
//!
//! Context accesses become real loads and stores of the native structure, and
//! a branch with one and the same target on both sides becomes a jump, so that
//! no later step meets two equal edges.

use std::borrow::Cow;

use tailor_ir::{Function, InstData, Opcode, Payload, Region, Size, Terminator};

use crate::Options;

/// The function without context accesses and without two-way branches to one
/// target. It is copied only if it has any.
pub fn legalise<'f>(function: &'f Function, options: &Options) -> Cow<'f, Function> {
    let mut out = Cow::Borrowed(function);
    for &block in &function.layout {
        let data = &function.blocks[block];
        for &inst in &data.insts {
            if let Some(access) = native_access(&function.insts[inst], options) {
                out.to_mut().insts[inst] = access;
            }
        }
        if let Terminator::Branch { then, other, .. } = &data.term
            && then == other
        {
            out.to_mut().blocks[block].term = Terminator::Jump(then.clone());
        }
    }
    out
}

/// What a context access is in memory.
fn native_access(data: &InstData, options: &Options) -> Option<InstData> {
    let op = match data.op {
        Opcode::CtxLoad => Opcode::Load,
        Opcode::CtxStore => Opcode::Store,
        _ => return None,
    };
    let Payload::Ctx { kind, field } = data.payload else {
        return None;
    };
    let place = (options.ctx_field)(kind, field);
    Some(InstData {
        op,
        payload: Payload::Mem {
            offset: place.offset,
            size: place.size.min(Size::of(data.ty)),
            region: Region::Ctx,
        },
        ..data.clone()
    })
}
