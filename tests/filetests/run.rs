//! Run cases: a program's result, packet and map contents in every engine.

use std::path::Path;

use libtest_mimic::Failed;
use tailor::bpf::ProgramKind;
use tailor::emit::Poking;
use tailor::engine::Family;
use tailor::runtime::ctx::Skb;
use tailor::runtime::{Context, Xdp};
use tailor::{Engine, Instance, Object, Trace, Unit, pass_check};

use super::case::Case;

/// A `.case` file that names an object.
pub fn example(path: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(path)?;
    let case = Case::parse(text.lines())?;
    let file = crate::root().join(case.object.as_ref().ok_or("no object")?);
    let object = Object::parse(&file.to_string_lossy(), &std::fs::read(&file)?)?;
    every_engine(&case, object)
}

/// A `.bpf` file: an object in text form with the directives in `;` comments.
pub fn inline(path: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(path)?;
    let directives = text.lines().filter_map(|line| line.strip_prefix("; "));
    let case = Case::parse(directives.filter(|line| is_directive(line)))?;
    let object = tailor::bpf::text::parse_object(&text)?;
    every_engine(&case, object)
}

/// A line `key: value`; other comments are prose.
fn is_directive(line: &str) -> bool {
    let key = line.split_once(": ").map_or("", |(key, _)| key);
    !key.is_empty() && !key.contains(' ')
}

fn every_engine(case: &Case, object: Object) -> Result<(), Failed> {
    let unit = Unit::new(object);
    let names = case.engines.iter().map(|name| name.parse());
    let mut engines: Vec<Engine> = names.collect::<Result<_, String>>()?;
    if engines.is_empty() {
        engines.extend(Engine::ALL);
    }
    // The interpreter comes first, then what can name a pass that is at fault.
    engines.sort_by_key(|engine| *engine != Engine::Interp);
    let mut passes_run = case.error.is_some();
    for &engine in &engines {
        if matches!(engine.family(), Family::Optimizing(_)) && !passes_run {
            passes(case, &unit)?;
            passes_run = true;
        }
        run(case, &unit, engine, None).map_err(|what| format!("{engine}: {what}"))?;
        if let Family::Optimizing(_) = engine.family() {
            let other = match engine.poking() {
                Poking::Data => Poking::Patch,
                Poking::Patch => Poking::Data,
            };
            run(case, &unit, engine, Some(other))
                .map_err(|what| format!("{engine}, {other:?}: {what}"))?;
        }
    }
    Ok(())
}

fn text(error: tailor::Error) -> String {
    error.to_string()
}

/// An instance as the case describes it.
fn instance(
    case: &Case,
    unit: &Unit,
    engine: Engine,
    poking: Option<Poking>,
) -> Result<Instance, String> {
    let mut trace = Trace::checked();
    trace.poking = poking;
    trace.levers = trace.levers.and_without(&case.off);
    let mut instance = Instance::new(unit, engine, &mut trace).map_err(text)?;
    *instance.environment() = case.environment();
    for (map, key, value) in &case.maps {
        let status = instance.map(map).map_err(text)?.update(key, value, 0);
        if status != 0 {
            return Err(format!("setting up map {map}: error {status}"));
        }
    }
    for (array, index, program) in &case.slots {
        instance.set_slot(array, *index, program.as_deref()).map_err(text)?;
    }
    Ok(instance)
}

/// The name of the program that the case runs.
fn program<'a>(case: &'a Case, unit: &'a Unit) -> Result<&'a str, String> {
    let first = unit.object.programs.values().next().map(|program| program.name.as_str());
    Ok(case.program.as_deref().or(first).ok_or("no program")?)
}

/// Bytes of a map that are compared at most.
const MAX_COMPARED: u64 = 1 << 20;

/// Every pass leaves what the program does as it was.
fn passes(case: &Case, unit: &Unit) -> Result<(), String> {
    let program = program(case, unit)?;
    let id = unit.object.program(program).ok_or("no such program")?;
    let outcome = |ir: Option<&tailor::ir::Module>| {
        let instance = instance(case, unit, Engine::Interp, None).map_err(tailor::Error::new)?;
        let mut data = case.packet.as_ref().or(case.memory.as_ref()).cloned().unwrap_or_default();
        let run = |context: &mut dyn Context| match ir {
            Some(ir) => instance.run_ir(ir, program, context),
            // SAFETY: the interpreter checks every access.
            None => unsafe { instance.program(program)?.run(context) },
        };
        let result = on_data(case, unit.object.programs[id].kind, &mut data, run)?;
        // The verdict of a packet program is 32 bits wide.
        let result = if case.packet.is_some() { result & 0xffff_ffff } else { result };
        let mut maps = Vec::new();
        for def in unit.object.maps.values() {
            let entry = u64::from(def.key_size + def.value_size.max(8));
            if u64::from(def.max_entries) * entry <= MAX_COMPARED
                && let Ok(map) = instance.map(&def.name)
            {
                let mut entries = map.entries();
                entries.sort_unstable();
                maps.push(entries);
            }
        }
        Ok((result, data, maps))
    };
    let expected = outcome(None).map_err(text)?;
    pass_check::check(unit, id, &expected, &mut |ir| outcome(Some(ir)))?;
    Ok(())
}

/// Runs a program on a packet in the context that its kind has, or on plain
/// memory, which the run changes.
fn on_data(
    case: &Case,
    kind: ProgramKind,
    data: &mut Vec<u8>,
    run: impl Fn(&mut dyn Context) -> Result<u64, tailor::Error>,
) -> Result<u64, tailor::Error> {
    match kind {
        _ if case.packet.is_none() => run(&mut data.as_mut_slice()),
        kind if kind != ProgramKind::Xdp && kind.context().is_some() => {
            let mut context = Skb::new(kind, data);
            let result = run(&mut context);
            *data = context.data();
            result
        }
        _ => run(&mut Xdp::new(data)),
    }
}

fn run(case: &Case, unit: &Unit, engine: Engine, poking: Option<Poking>) -> Result<(), String> {
    let instance = instance(case, unit, engine, poking)?;
    let program = program(case, unit)?;
    let id = unit.object.program(program).ok_or("no such program")?;
    if let Some(limit) = tailor::compile::beyond(unit, engine, id) {
        return match instance.program(program) {
            Err(error) if error.to_string().ends_with(&limit.to_string()) => Ok(()),
            Err(error) => Err(format!("refused with {error}, expected {limit}")),
            Ok(_) => Err("it is not refused".into()),
        };
    }
    let program = instance.program(program).map_err(text)?;
    let input = case.packet.as_ref().or(case.memory.as_ref()).cloned().unwrap_or_default();
    let mut data = input.clone();
    // SAFETY: cases are written to be acceptable to a verifier, and the
    // interpreter, which checks every access, runs each of them first.
    let on = |context: &mut dyn Context| unsafe { program.run(context) };
    let result = on_data(case, unit.object.programs[id].kind, &mut data, on);
    if let Some(expected) = &case.error {
        return match result {
            Err(error) if error.to_string().contains(expected) => Ok(()),
            other => Err(format!("expected an error with {expected:?}, got {other:?}")),
        };
    }
    let expected = case.retval.ok_or("no retval")?;
    let result = result.map_err(text)?;
    // The verdict of a packet program is 32 bits wide.
    let same =
        if case.packet.is_some() { result as u32 == expected as u32 } else { result == expected };
    if !same {
        return Err(format!("returned {result:#x}, expected {expected:#x}"));
    }
    if &data != case.packet_out.as_ref().unwrap_or(&input) {
        return Err(format!("data afterwards: {data:02x?}"));
    }
    for (map, key, expected) in &case.maps_out {
        let found = instance.map(map).map_err(text)?.get(key);
        if &found != expected {
            return Err(format!("map {map}[{key:02x?}] is {found:02x?}, expected {expected:02x?}"));
        }
    }
    Ok(())
}
