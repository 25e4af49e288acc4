//! Addresses of accesses, and loads of constants.

use super::super::context::ReadConstant;
use super::super::edit::{Editor, Rewrite};
use crate::eval::eval_load;
use crate::{InstData, Opcode, Payload, Region, Value};

/// Simplifies an instruction that touches memory.
pub(super) fn simplify(
    editor: &mut Editor,
    data: &InstData,
    constants: Option<&ReadConstant>,
) -> Rewrite {
    let Some(parts) = Parts::of(data.payload) else {
        return Rewrite::Keep;
    };
    offset(editor, data, parts)
        .or(|| region(editor, data, parts))
        .or(|| constants.map_or(Rewrite::Keep, |read| constant(editor, data, read)))
}

/// What all accesses have.
#[derive(Clone, Copy)]
struct Parts {
    offset: i32,
    region: Region,
}

impl Parts {
    fn of(payload: Payload) -> Option<Parts> {
        match payload {
            Payload::Mem { offset, region, .. } | Payload::Atomic { offset, region, .. } => {
                Some(Parts { offset, region })
            }
            _ => None,
        }
    }

    /// The instruction with these parts, at that address.
    fn put(self, data: &InstData, address: Value) -> Rewrite {
        let mut new = data.clone();
        new.args[0] = address;
        if let Payload::Mem { offset, region, .. } | Payload::Atomic { offset, region, .. } =
            &mut new.payload
        {
            (*offset, *region) = (self.offset, self.region);
        }
        Rewrite::Inst(new)
    }
}

/// A constant added to the address becomes part of the offset.
fn offset(editor: &Editor, data: &InstData, parts: Parts) -> Rewrite {
    let Some((base, constant)) = editor.binary_const(Opcode::Iadd, data.args[0]) else {
        return Rewrite::Keep;
    };
    // Both wrap at 64 bits, so that the sum need only be one of 32.
    let sum = (constant as i64).checked_add(parts.offset.into());
    match sum.map(i32::try_from) {
        Some(Ok(offset)) => Parts { offset, ..parts }.put(data, base),
        _ => Rewrite::Keep,
    }
}

/// What an address says of the memory there, where the access does not say it.
fn region(editor: &Editor, data: &InstData, parts: Parts) -> Rewrite {
    if parts.region != Region::Any {
        return Rewrite::Keep;
    }
    let region = match editor.def(data.args[0]).map(|address| address.payload) {
        Some(Payload::Slot { slot, .. }) => Region::Stack(slot),
        Some(Payload::MapValue { map, .. }) => Region::Map(map),
        _ => return Rewrite::Keep,
    };
    Parts { region, ..parts }.put(data, data.args[0])
}

/// A load from a map whose contents never change.
fn constant(editor: &Editor, data: &InstData, read: &ReadConstant) -> Rewrite {
    let (Opcode::Load | Opcode::Sload, Payload::Mem { offset, size, .. }) = (data.op, data.payload)
    else {
        return Rewrite::Keep;
    };
    let Some(Payload::MapValue { map, offset: base }) =
        editor.def(data.args[0]).map(|address| address.payload)
    else {
        return Rewrite::Keep;
    };
    let at = u32::try_from(i64::from(base) + i64::from(offset)).ok();
    match at.and_then(|at| read(map, at, size)) {
        Some(bits) => Rewrite::constant(data.ty, eval_load(data.op, data.ty, size, bits)),
        None => Rewrite::Keep,
    }
}
