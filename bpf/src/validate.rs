//! What is wrong with an object, all of it.
//!
//! Later stages rely on these rules:
//!
//! - A function has code, and was not refused by the linker.
//! - Jumps stay within the function and lead to no second slot. An indirect one
//!   has a table, all of whose entries do the same.
//! - No path runs off the end. (Unreachable code may do so.)
//! - Every two-slot load is followed by its second slot, and only those are.
//! - Nothing is left unlinked; maps, places in maps and functions exist.
//! - R10 is never written, and every operation has an encoding.
//! - Calls do not recurse, and no more than [`MAX_FRAMES`] frames
//!   ([`MAX_RAW_FRAMES`] for plain bytecode) nest.
//! - Programs have functions, slots of program arrays have programs, and maps
//!   of maps have maps that hold none themselves. What is wrong with a map
//!   concerns the functions that refer to it.
//!
//! What the kernel's verifier proves about values is not looked at.

use std::collections::BTreeSet;

use cranelift_entity::{PrimaryMap, SecondaryMap};

use crate::encode::slot;
use crate::insn::{Callee, Imm64, Op, Reg};
use crate::object::{Function, MapDef, Object, ProgId, Program, ProgramKind};
use crate::{Error, FuncRef, MapRef};

/// The most frames that calls may nest, as in the kernel.
pub const MAX_FRAMES: u32 = 8;

/// The same for plain bytecode, which the kernel never sees.
pub const MAX_RAW_FRAMES: u32 = 64;

/// Everything that is wrong with an object; every function is looked at once,
/// whether a program reaches it or not. Errors in a function name the program
/// that reaches it, if it is the only one.
pub fn validate(object: &Object) -> Vec<Error> {
    let owners = owners(object);
    let in_owner = |function: FuncRef, error: Error| match owners[function] {
        Owner::One(program) => error.in_program(&object.programs[program].name),
        _ => error,
    };
    let mut errors = map_errors(object);
    // Looking at a map with many slots takes a while, and many instructions may need it.
    let wrong: WrongMaps = object.maps.values().map(|map| wrong_in(object, map).next()).collect();
    for (id, function) in &object.functions {
        let found = function_errors(object, &wrong, function);
        errors.extend(found.into_iter().map(|error| in_owner(id, error)));
    }
    let mut calls = Calls::new(object);
    for program in object.programs.values() {
        errors.extend(frame_error(object, program, &mut calls));
    }
    for id in object.functions.keys() {
        calls.visit(id);
    }
    let cycles = calls.cycles.into_iter();
    errors.extend(cycles.map(|(function, error)| in_owner(function, error)));
    errors
}

/// The programs that reach a function.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Owner {
    #[default]
    Nobody,
    One(ProgId),
    Many,
}

/// Passes programs on from callers to callees; a function changes twice at most.
fn owners(object: &Object) -> SecondaryMap<FuncRef, Owner> {
    let mut owners = SecondaryMap::new();
    let entries = object.programs.iter().map(|(id, program)| (program.function, Owner::One(id)));
    let mut left: Vec<(FuncRef, Owner)> = entries.collect();
    while let Some((id, owner)) = left.pop() {
        let Some(function) = object.functions.get(id) else {
            continue;
        };
        let joined = match owners[id] {
            Owner::Nobody => owner,
            before if before == owner => before,
            _ => Owner::Many,
        };
        if joined != owners[id] {
            owners[id] = joined;
            left.extend(function.callees().map(|callee| (callee, joined)));
        }
    }
    owners
}

/// What is wrong with the entry of a program.
fn frame_error(object: &Object, program: &Program, calls: &mut Calls<'_>) -> Option<Error> {
    let error = |what: String| Error::new(what).in_program(&program.name);
    let Some(function) = object.functions.get(program.function) else {
        return Some(error("the program's function does not exist".into()));
    };
    let frames = calls.visit(program.function);
    let max = match program.kind {
        ProgramKind::Raw => MAX_RAW_FRAMES,
        _ => MAX_FRAMES,
    };
    (frames > max).then(|| Error {
        function: Some(function.name.clone()),
        ..error(format!("calls nest {frames} frames, at most {max} are allowed"))
    })
}

/// What is wrong with maps, each error naming its map.
fn map_errors(object: &Object) -> Vec<Error> {
    let named = |map: &MapDef, what| Error::in_object(format!("map {}", map.name), what);
    let maps = object.maps.values();
    maps.flat_map(|map| wrong_in(object, map).map(|what| named(map, what))).collect()
}

/// The first thing that is wrong with each map.
type WrongMaps = PrimaryMap<MapRef, Option<String>>;

/// What is wrong with a map.
fn wrong_in<'a>(object: &'a Object, map: &'a MapDef) -> impl Iterator<Item = String> + 'a {
    let slots = map.slots.iter().filter_map(|(slot, program)| {
        // A loader is still to set a number of entries that is 0.
        let entries = map.max_entries;
        let outside = entries != 0 && *slot >= entries;
        (outside || !object.programs.is_valid(*program))
            .then(|| format!("slot {slot} of {entries} cannot hold {program}"))
    });
    let inner = map.inner_maps.iter().filter_map(|(key, inner)| {
        let inner = object.maps.get(*inner);
        inner
            .is_none_or(|inner| inner.kind.holds_maps())
            .then(|| format!("key {key} cannot hold what is no map or holds maps itself"))
    });
    map.refused.iter().cloned().chain(slots).chain(inner)
}

/// The most edges that indirect jumps of a function may have in all.
const MAX_TABLE_EDGES: usize = 1 << 20;

/// Everything that is wrong with a function by itself.
fn function_errors(object: &Object, wrong: &WrongMaps, function: &Function) -> Vec<Error> {
    let linking = function.refused.iter().chain(&function.further);
    let mut errors: Vec<Error> = linking.cloned().collect();
    let name = &function.name;
    let ops = &function.ops;
    if ops.is_empty() {
        if function.refused.is_some() {
            return errors;
        }
        return vec![Error {
            function: Some(name.clone()),
            ..Error::new("the function has no code")
        }];
    }
    let refused: BTreeSet<Option<u32>> = errors.iter().map(|error| error.insn).collect();
    let mut table = object.jump_targets(function);
    let jumps = ops.iter().filter(|op| matches!(op, Op::IndirectJump { .. })).count();
    if jumps.saturating_mul(table.len()) > MAX_TABLE_EDGES {
        let what = format!("{jumps} indirect jumps with {} targets are too many", table.len());
        let error = Error::new(what);
        errors.push(Error { function: Some(name.clone()), ..error });
        table.truncate(1);
    }
    for (pc, op) in ops.iter().enumerate().filter(|(pc, _)| !refused.contains(&Some(*pc as u32))) {
        let indirect = matches!(op, Op::IndirectJump { .. });
        let checked = check_op(object, wrong, ops, pc, *op);
        if let Err(what) = checked.and_then(|()| check_table(ops, indirect, &table)) {
            errors.push(Error::at(name, pc, what));
        }
    }
    if let Some(last) = falls_off(ops, &table) {
        errors.push(Error::at(name, last, "the code runs off its end"));
    }
    errors
}

/// The rules for a single operation.
fn check_op(
    object: &Object,
    wrong: &WrongMaps,
    ops: &[Op],
    pc: usize,
    op: Op,
) -> Result<(), String> {
    let before = pc.checked_sub(1).map(|before| ops[before]);
    let is_second = before.is_some_and(|op| op.slots() == 2);
    if is_second != (op == Op::LoadImmHi) {
        return Err(match op {
            Op::LoadImmHi => "a second slot without a first".into(),
            _ => "the second slot of a 64-bit immediate is missing".into(),
        });
    }
    if op.slots() == 2 && pc + 1 == ops.len() {
        return Err("the code ends within a 64-bit immediate".into());
    }
    if op.def() == Some(Reg::FP) {
        return Err("r10 cannot be written".into());
    }
    if let Some(target) = op.jump_target(pc) {
        check_target(ops, target)?;
    }
    match op {
        Op::LoadImmHi => Ok(()),
        Op::LoadImm { value, .. } => check_value(object, wrong, value),
        Op::Call(Callee::Function(function)) => check_function(object, function),
        Op::Call(Callee::Relative(_)) => Err("a call that is not linked".into()),
        Op::Call(Callee::Kfunc(id)) => Err(format!("calls the kernel's function {id}")),
        _ => Ok(slot(&op).map(drop)?),
    }
}

fn check_target(ops: &[Op], target: i64) -> Result<(), String> {
    let op = usize::try_from(target).ok().and_then(|to| ops.get(to));
    match op {
        Some(Op::LoadImmHi) => Err(format!("jumps into the 64-bit immediate before {target}")),
        Some(_) => Ok(()),
        None => Err(format!("jumps to {target}, outside the function")),
    }
}

/// Where an indirect jump may lead.
fn check_table(ops: &[Op], indirect: bool, table: &[u32]) -> Result<(), String> {
    if !indirect {
        return Ok(());
    }
    if table.is_empty() {
        return Err("jumps through a table, but the function names none".into());
    }
    table.iter().try_for_each(|&slot| check_target(ops, slot.into()))
}

fn check_value(object: &Object, wrong: &WrongMaps, value: Imm64) -> Result<(), String> {
    let exists = |map| match object.maps.get(map) {
        Some(def) => match &wrong[map] {
            Some(wrong) => Err(format!("needs map {}: {wrong}", def.name)),
            None => Ok(def),
        },
        None => Err(format!("there is no {map}")),
    };
    match value {
        Imm64::Const(_) => Ok(()),
        Imm64::Map(map) => exists(map).map(drop),
        Imm64::MapValue(map, off) => {
            let def = exists(map)?;
            if off >= def.addressed_bytes() {
                return Err(format!("{map} ({}) has no first value with byte {off}", def.name));
            }
            Ok(())
        }
        Imm64::Function(function) => check_function(object, function),
        Imm64::Pseudo(kind, ..) => Err(format!("an address of kind {kind} that is not linked")),
    }
}

fn check_function(object: &Object, function: FuncRef) -> Result<(), String> {
    match object.functions.is_valid(function) {
        true => Ok(()),
        false => Err(format!("there is no {function}")),
    }
}

/// The first reachable instruction, if any, that the end of the code follows.
fn falls_off(ops: &[Op], table: &[u32]) -> Option<usize> {
    let mut seen = vec![false; ops.len()];
    let mut left = vec![0];
    let mut off = None;
    while let Some(pc) = left.pop() {
        let Some(op) = ops.get(pc).filter(|_| !seen[pc]) else {
            continue;
        };
        seen[pc] = true;
        let target = op.jump_target(pc);
        left.extend(target.and_then(|target| usize::try_from(target).ok()));
        if matches!(op, Op::IndirectJump { .. }) {
            left.extend(table.iter().map(|slot| *slot as usize));
        }
        if matches!(op, Op::Exit | Op::Jump { .. } | Op::IndirectJump { .. }) {
            continue;
        }
        let next = pc + op.slots();
        if next >= ops.len() {
            off = Some(off.map_or(pc, |first: usize| first.min(pc)));
        }
        left.push(next);
    }
    off
}

/// Functions of a cycle that its error names.
const MAX_TOLD: usize = 16;

/// The call graph as far as it has been walked.
struct Calls<'a> {
    object: &'a Object,
    state: SecondaryMap<FuncRef, State>,
    /// The recursions that were met, by a function in them.
    cycles: Vec<(FuncRef, Error)>,
}

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    New,
    /// On the path that is being walked, at this index.
    Open(usize),
    /// Done: the most frames that nest from here, this one included.
    Done(u32),
}

/// A function on the path that is being walked.
struct Step {
    function: FuncRef,
    /// Callees that are still to be walked.
    callees: Vec<FuncRef>,
    /// The most frames that nest in callees so far.
    frames: u32,
}

impl<'a> Calls<'a> {
    fn new(object: &'a Object) -> Calls<'a> {
        Calls { object, state: SecondaryMap::new(), cycles: Vec::new() }
    }

    /// Walks what a function calls, if that is not done yet, and returns the
    /// most frames that nest. Callbacks are entered by helpers: they don't count.
    fn visit(&mut self, root: FuncRef) -> u32 {
        if !self.object.functions.is_valid(root) {
            return 0;
        }
        if let State::Done(frames) = self.state[root] {
            return frames;
        }
        let mut path = vec![self.open(root, 0)];
        while let Some(step) = path.last_mut() {
            let Some(callee) = step.callees.pop() else {
                let (function, frames) = (step.function, step.frames + 1);
                self.state[function] = State::Done(frames);
                path.pop();
                match path.last_mut() {
                    Some(caller) => caller.frames = caller.frames.max(frames),
                    None => return frames,
                }
                continue;
            };
            match self.state[callee] {
                State::New => {
                    let index = path.len();
                    path.push(self.open(callee, index));
                }
                State::Done(frames) => step.frames = step.frames.max(frames),
                State::Open(index) => {
                    self.cycles.push((callee, self.recursion(&path[index..], callee)));
                }
            }
        }
        0
    }

    fn open(&mut self, function: FuncRef, index: usize) -> Step {
        self.state[function] = State::Open(index);
        let ops = self.object.functions.get(function).map(|f| &f.ops[..]);
        let calls = ops.unwrap_or_default().iter().filter_map(|op| match op {
            Op::Call(Callee::Function(callee)) => Some(*callee),
            _ => None,
        });
        let exists = |callee: &FuncRef| self.object.functions.is_valid(*callee);
        let mut callees: Vec<FuncRef> = calls.filter(exists).collect();
        callees.sort_unstable();
        callees.dedup();
        callees.reverse();
        Step { function, callees, frames: 0 }
    }

    /// The error of a cycle of calls, which starts and ends with `callee`. A long
    /// one is not told in full, since there may be as many as there are calls.
    fn recursion(&self, cycle: &[Step], callee: FuncRef) -> Error {
        let name = |id: FuncRef| self.object.functions.get(id).map_or("?", |f| &f.name);
        let told = cycle.iter().take(MAX_TOLD).map(|step| name(step.function));
        let rest = (cycle.len() > MAX_TOLD).then_some("...");
        let names: Vec<&str> = told.chain(rest).chain([name(callee)]).collect();
        Error {
            function: Some(name(callee).into()),
            ..Error::new(format!("calls recurse: {}", names.join(" -> ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse_object;

    fn errors(text: &str) -> Vec<String> {
        let object = parse_object(text).unwrap();
        validate(&object).iter().map(Error::to_string).collect()
    }

    #[test]
    fn all_errors_of_a_function() {
        let text = "map map0 \"m\" array key 4 value 8 entries 1
            map map1 \"h\" hash key 4 value 8 entries 1
            program f0 \"main\" raw
              r1 = map0 ll
              r1 = map2 ll
              r1 = map0[7] ll
              r1 = map0[8] ll
              r1 = map1[0] ll
              if r1 == 0 goto +100
              if r1 == 0 goto -11
              if r1 == 0 goto -100
              r10 = 1
              call +3
              call kfunc 7
              call f9
              r1 = pseudo(1, 5, 0) ll
              if r1 == 0 goto out
              exit
            out:
              r0 = 1
            function f1 \"empty\"
            function f2 \"no\" refused 3 \"why\"
              exit
            function f3 \"fine\"
              goto +1
              r0 = 1
              callx r1
              w0 <<= 32
              exit
              r0 = 5";
        let expected = [
            "main: main+2: there is no map2",
            "main: main+6: map0 (m) has no first value with byte 8",
            "main: main+8: map1 (h) has no first value with byte 0",
            "main: main+10: jumps to 111, outside the function",
            "main: main+11: jumps into the 64-bit immediate before 1",
            "main: main+12: jumps to -87, outside the function",
            "main: main+13: r10 cannot be written",
            "main: main+14: a call that is not linked",
            "main: main+15: calls the kernel's function 7",
            "main: main+16: there is no f9",
            "main: main+17: an address of kind 1 that is not linked",
            "main: main+21: the code runs off its end",
            "empty: the function has no code",
            "no+3: why",
        ];
        assert_eq!(errors(text), expected);
    }

    #[test]
    fn indirect_jumps() {
        let with = |table: &str, code: &str| {
            errors(&format!(
                "map map0 \"t\" insn_array key 4 value 8 entries 9 {table}
                 program f0 \"p\" raw
                 {code}"
            ))
        };
        let code = "r1 = map0[8] ll\nr1 = *(u64 *)(r1 + 0)\ngotox r1\nr0 = 0\nexit";
        assert_eq!(with("{ 4, 5, 4 }", code), [""; 0]);
        let outside = with("{ 4, 6 }", code);
        assert_eq!(outside, ["p: p+3: jumps to 6, outside the function"]);
        let within = with("{ 4, 1 }", code);
        assert_eq!(within, ["p: p+3: jumps into the 64-bit immediate before 1"]);
        let none = with("{ 4 }", "gotox r1");
        assert_eq!(none, ["p: p+0: jumps through a table, but the function names none"]);
        let beyond = with("{ 4 }", "r1 = map0[8] ll\nexit");
        assert_eq!(beyond, ["p: p+0: map0 (t) has no first value with byte 8"]);
        // Code that only a table leads to may not fall off the end either.
        let jumps = "gotox r1\n".repeat(1025) + "r1 = map0[8] ll\n" + &"exit\n".repeat(1100);
        let many: Vec<String> = (1100..2124).map(|slot| slot.to_string()).collect();
        let many = with(&format!("{{ {} }}", many.join(", ")), &jumps);
        assert_eq!(many, ["p: p: 1025 indirect jumps with 1024 targets are too many"]);
        let off = with("{ 4, 4 }", "r1 = map0[8] ll\nr1 = *(u64 *)(r1 + 0)\ngotox r1\nr0 = 0");
        assert_eq!(off, ["p: p+4: the code runs off its end"]);
    }

    #[test]
    fn slots_of_a_pair() {
        let mut object = parse_object("program f0 \"p\" raw\nr1 = 1 ll\nexit").unwrap();
        let mut check = |ops: &[Op]| {
            object.functions[FuncRef::from_u32(0)].ops = ops.to_vec();
            let errors = validate(&object);
            errors.first().map(Error::to_string)
        };
        let value = Imm64::Const(1);
        let first = Op::LoadImm { dst: Reg::R0, value };
        assert_eq!(check(&[first, Op::LoadImmHi, Op::Exit]), None);
        let missing = "p: p+1: the second slot of a 64-bit immediate is missing";
        assert_eq!(check(&[first, Op::Exit]).as_deref(), Some(missing));
        let cut = "p: p+0: the code ends within a 64-bit immediate";
        assert_eq!(check(&[first]).as_deref(), Some(cut));
        let stray = "p: p+0: a second slot without a first";
        assert_eq!(check(&[Op::LoadImmHi, Op::Exit]).as_deref(), Some(stray));
    }

    #[test]
    fn recursion_names_the_cycle() {
        let text = "program f0 \"main\" xdp
              call f1
              call f2
              exit
            function f1 \"a\"
              call f2
              exit
            function f2 \"b\"
              r1 = f0 ll
              call f1
              exit";
        assert_eq!(errors(text), ["main: a: calls recurse: a -> b -> a"]);
        let itself = "program f0 \"main\" raw\ncall f0\nexit";
        let expected = ["main: main: calls recurse: main -> main"];
        assert_eq!(errors(itself), expected);
    }

    fn chain(kind: &str, length: u32) -> Vec<String> {
        let mut text = format!("program f0 \"p0\" {kind}\ncall f1\nexit\n");
        for function in 1..length {
            let next = function + 1;
            let call = if next < length { format!("call f{next}") } else { String::new() };
            text += &format!("function f{function} \"f\"\n{call}\nexit\n");
        }
        errors(&text)
    }

    #[test]
    fn frames_nest_so_deep() {
        assert_eq!(chain("xdp", 8), [""; 0]);
        let expected = ["p0: p0: calls nest 9 frames, at most 8 are allowed"];
        assert_eq!(chain("opaque", 9), expected);
        assert_eq!(chain("raw", 64), [""; 0]);
        assert_eq!(chain("raw", 100_000).len(), 1);
    }

    #[test]
    fn slots_of_program_arrays() {
        let text = "map map0 \"jmp\" prog_array key 4 value 4 entries 1 { 0 = \"p\", 1 = \"p\" }
            program f0 \"p\" xdp
              exit";
        assert_eq!(errors(text), ["map jmp: slot 1 of 1 cannot hold prog0"]);
    }

    #[test]
    fn what_does_not_exist_costs_nothing() {
        let text = "program f0 \"p\" xdp\ncall f4294967294\nr1 = f4294967293 ll\nexit";
        assert_eq!(errors(text).len(), 2);
    }
}
