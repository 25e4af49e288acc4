//! Facts that spread from callees to callers.

use tailor_bpf::{FuncRef, Object};

/// For each function: whether `holds` for it or for anything that it calls.
pub fn closure(object: &Object, holds: impl Fn(FuncRef) -> bool) -> Vec<bool> {
    let mut result: Vec<bool> = object.functions.keys().map(&holds).collect();
    let mut callers: Vec<Vec<FuncRef>> = vec![Vec::new(); result.len()];
    for (caller, function) in &object.functions {
        for callee in function.callees() {
            callers[callee.as_u32() as usize].push(caller);
        }
    }
    let mut work: Vec<FuncRef> =
        object.functions.keys().filter(|func| result[func.as_u32() as usize]).collect();
    while let Some(callee) = work.pop() {
        for &caller in &callers[callee.as_u32() as usize] {
            if !std::mem::replace(&mut result[caller.as_u32() as usize], true) {
                work.push(caller);
            }
        }
    }
    result
}
