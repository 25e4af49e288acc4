//! Helpers that call functions back. Compiled code passes the address of a
//! function that is called as a C function; the interpreter calls it itself, so
//! what a helper does is written once for both.

use super::{Args, Outcome, Row, rows};
use crate::errno::{E2BIG, EINVAL};
use crate::map::Map;

/// Most rounds of a loop.
const MAX_ROUNDS: u64 = 1 << 23;

/// Calls the function with R1 to R5, and returns R0.
type Call<'a, E> = &'a mut dyn FnMut(Args) -> Result<u64, E>;

/// What a helper does, until a call fails.
type Helper<E> = unsafe fn(Args, Call<'_, E>) -> Result<Outcome, E>;

/// The helper of this number, if it is one that calls back.
pub(crate) fn find<E>(number: u32) -> Option<Helper<E>> {
    match number {
        164 => Some(for_each_map_elem),
        181 => Some(repeat),
        _ => None,
    }
}

/// `bpf_loop`: until the function returns something, and returns the rounds.
unsafe fn repeat<E>(args: Args, call: Call<'_, E>) -> Result<Outcome, E> {
    let [rounds, _, passed, flags, _] = args;
    let rounds = u64::from(rounds as u32);
    if flags != 0 {
        return Ok(Err(EINVAL));
    }
    if rounds > MAX_ROUNDS {
        return Ok(Err(E2BIG));
    }
    for round in 0..rounds {
        if call([round, passed, 0, 0, 0])? != 0 {
            return Ok(Ok(round + 1));
        }
    }
    Ok(Ok(rounds))
}

/// Until the function returns something, in ascending order of keys, and returns
/// how many elements it got. (The kernel's order of a hash is that of its
/// buckets.) Elements that the function removes are not visited any more.
///
/// # Safety
/// The first argument must be a map.
unsafe fn for_each_map_elem<E>(args: Args, call: Call<'_, E>) -> Result<Outcome, E> {
    let [map_address, _, passed, flags, _] = args;
    // SAFETY: as above.
    let map = unsafe { Map::from_address(map_address) };
    if flags != 0 {
        return Ok(Err(EINVAL));
    }
    let mut visited = 0;
    for key in map.keys() {
        let Some(value) = map.visit(&key) else {
            continue;
        };
        visited += 1;
        if call([map_address, key.as_ptr() as u64, value, passed, 0])? != 0 {
            break;
        }
    }
    Ok(Ok(visited))
}

/// Runs a helper on compiled code.
///
/// # Safety
/// The second argument must be the address of a function compiled for what the
/// helper passes, and the rest what a verified program passes.
unsafe fn run(helper: Helper<std::convert::Infallible>, args: Args) -> Outcome {
    // SAFETY: as above; a function of a program takes up to five numbers and
    // returns one, and keeps the registers that a C function keeps.
    let function = unsafe { std::mem::transmute::<u64, super::Helper>(args[1]) };
    // SAFETY: as above.
    let result = unsafe { helper(args, &mut |[a, b, c, d, e]: Args| Ok(function(a, b, c, d, e))) };
    match result {
        Ok(outcome) => outcome,
        Err(never) => match never {},
    }
}

unsafe fn run_loop(args: Args) -> Outcome {
    // SAFETY: a verified program passes a function.
    unsafe { run(repeat, args) }
}

unsafe fn run_for_each(args: Args) -> Outcome {
    // SAFETY: a verified program passes a map and a function.
    unsafe { run(for_each_map_elem, args) }
}

pub(super) static ROWS: &[Row] = rows! {
    164 ANY run_for_each; // for_each_map_elem
    181 ANY run_loop; // loop
};
