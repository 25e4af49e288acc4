//! What calls do with the pointers that they are given.

use smallvec::SmallVec;

use super::Env;
use super::range::Range;
use super::state::State;
use super::summary::ParamUse;
use super::value::Val;
use crate::FuncRef;
use crate::helpers::{Access, Arg, Extent, Helper};
use crate::insn::Callee;

/// An argument of a call and what becomes of it.
pub(super) struct Passed {
    pub value: Val,
    pub usage: ParamUse,
    pub taker: Taker,
}

/// Who gets an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taker {
    /// A helper: it may follow pointers that are stored behind the argument, but
    /// hands them to nobody.
    Helper,
    /// This parameter of this function.
    Function(FuncRef, u8),
    /// Other bytecode.
    Bytecode,
}

/// The arguments of a call.
pub(super) fn passed(env: &Env, state: &State, callee: Callee) -> SmallVec<[Passed; 5]> {
    let args = state.args();
    match callee {
        Callee::Helper(id) => {
            let row = env.object.helper(id);
            let passed = |(index, &value): (usize, &Val)| {
                let (usage, taker) = usage(env, row, &args, index);
                Passed { value, usage, taker }
            };
            args.iter().enumerate().take(row.args.len()).map(passed).collect()
        }
        Callee::Function(function) => {
            let uses = env.summary(function).params;
            let passed = |(index, &value): (usize, &Val)| {
                let taker = Taker::Function(function, index as u8);
                Passed { value, usage: uses[index].with(&args), taker }
            };
            args.iter().enumerate().take(env.arity(function)).map(passed).collect()
        }
        Callee::Register(_) | Callee::Kfunc(_) | Callee::Relative(_) => {
            let (usage, taker) = (ParamUse::KEPT, Taker::Helper);
            args.iter().map(|&value| Passed { value, usage, taker }).collect()
        }
    }
}

/// The callback that a helper's arguments name, and the index of the parameter
/// in which it gets the passed pointer.
pub(super) fn callback(row: &Helper, args: &[Val; 5]) -> Option<(FuncRef, usize)> {
    row.args.iter().zip(args).find_map(|pair| match pair {
        (Arg::Callback { passed }, Val::Function(function)) => {
            Some((*function, usize::from(*passed).checked_sub(1)?))
        }
        _ => None,
    })
}

/// What a helper does with one argument, and who gets it.
fn usage(env: &Env, row: &Helper, args: &[Val; 5], index: usize) -> (ParamUse, Taker) {
    let mut usage = ParamUse::default();
    match row.args[index] {
        Arg::Number | Arg::Size { .. } | Arg::Map | Arg::Callback { .. } => {}
        Arg::Context | Arg::Object | Arg::Kept => usage = ParamUse::KEPT,
        Arg::Memory { access, extent } => {
            let writes = access != Access::Read;
            match extent {
                Extent::Argument(number) => {
                    usage.touch_sized(args[usize::from(number) - 1], writes);
                }
                _ => {
                    if let Some(bytes) = extent_of(env, row, args, extent) {
                        usage.touch(bytes, writes);
                    }
                }
            }
        }
        Arg::CallbackArg => {
            return match callback(row, args) {
                Some((function, param)) => {
                    let taker = Taker::Function(function, param as u8);
                    // What else it gets is not known.
                    let usage = env.summary(function).params[param].with(&[Val::ANY; 5]);
                    (usage, taker)
                }
                None => (ParamUse::KEPT, Taker::Bytecode),
            };
        }
    }
    (usage, Taker::Helper)
}

/// The bytes from the pointer upwards that a helper accesses.
fn extent_of(env: &Env, row: &Helper, args: &[Val; 5], extent: Extent) -> Option<Range> {
    let map = row.map_arg().map(|index| args[index]);
    let map_size = |of: fn(&crate::MapDef) -> u32| match map {
        Some(Val::Map(map)) => env.object.maps.get(map).map(of).filter(|&size| size > 0),
        _ => None,
    };
    let size = match extent {
        Extent::Key => map_size(|map| map.key_size).map(i64::from),
        Extent::Value => map_size(|map| map.value_size).map(i64::from),
        Extent::Bytes(bytes) => Some(i64::from(bytes)),
        Extent::Argument(_) | Extent::Unknown => None,
    };
    let bytes = Range::new(0, size.unwrap_or(i64::MAX));
    (bytes.hi > 0).then_some(bytes)
}
