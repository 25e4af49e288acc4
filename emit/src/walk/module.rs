//! Alignment from function to function.
//!
//! A function relies on being entered with an aligned stack if it calls C code,
//! may leave for a program that does, or calls a function that relies on it.
//! Each call of such a function has to have the stack aligned.

use std::collections::HashMap;

use super::{WalkError, Walked, check};
use crate::{CompiledCode, CompiledFunction, Convention, FuncRef};

/// A call between functions that is wrong, or a function that is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongCall {
    /// The function itself is wrong.
    #[error("{function}: {error}")]
    Function {
        /// Its name.
        function: String,
        /// What is wrong.
        error: WalkError,
    },
    /// A callee relies on alignment that a call does not give it.
    #[error("{function}: {at:#x}: calls {callee}, which relies on an aligned stack")]
    Misaligned {
        /// Name of the caller.
        function: String,
        /// Offset of the call in it.
        at: u32,
        /// Who is called.
        callee: FuncRef,
    },
}

/// Walks over all functions of an object, and checks the calls between them.
pub fn check_module(code: &CompiledCode) -> Result<(), WrongCall> {
    let bodies = code.functions.iter().filter_map(|(func, body)| Some((func, body.as_ref()?)));
    let mut walked: HashMap<FuncRef, (&CompiledFunction, Walked)> = HashMap::new();
    for (func, function) in bodies {
        walked.insert(func, (function, walk(function)?));
    }
    let stubs = code.stubs.values().flatten();
    let stubs = stubs.map(|stub| Ok((stub, walk(stub)?))).collect::<Result<Vec<_>, _>>()?;
    if !matches!(code.convention, Convention::Saving) {
        // The kernel's code keeps the stack aligned to 8.
        return Ok(());
    }
    let relies = relies_on_alignment(&walked);
    for (function, facts) in walked.values().chain(&stubs) {
        let mut calls = facts.calls.iter();
        if let Some(&(at, callee, _)) = calls.find(|call| !call.2 && relies.contains(&call.1)) {
            return Err(WrongCall::Misaligned { function: function.name.clone(), at, callee });
        }
    }
    Ok(())
}

fn walk(function: &CompiledFunction) -> Result<Walked, WrongCall> {
    check(function).map_err(|error| WrongCall::Function { function: function.name.clone(), error })
}

/// Follows calls backwards from those that call C code.
fn relies_on_alignment(
    walked: &HashMap<FuncRef, (&CompiledFunction, Walked)>,
) -> std::collections::HashSet<FuncRef> {
    let mut callers: HashMap<FuncRef, Vec<FuncRef>> = HashMap::new();
    for (&func, (_, facts)) in walked {
        facts.calls.iter().for_each(|call| callers.entry(call.1).or_default().push(func));
    }
    let wants = walked.iter().filter(|(_, (_, facts))| facts.wants_alignment);
    let mut relies: std::collections::HashSet<FuncRef> = wants.map(|(&func, _)| func).collect();
    let mut work: Vec<FuncRef> = relies.iter().copied().collect();
    while let Some(func) = work.pop() {
        for &caller in callers.get(&func).into_iter().flatten() {
            if relies.insert(caller) {
                work.push(caller);
            }
        }
    }
    relies
}
