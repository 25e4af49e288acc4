//! Objects that are cut off or have a bit flipped: reading, checking and
//! compiling them never panics and always ends, and errors say where.
//!
//! `TAILOR_MUTANTS` is the number of each kind (500), `TAILOR_SEED` the seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tailor::{Engine, Error, Object, Trace, Unit, compile};

/// No mutant of an example may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of a symbol in a 64-bit ELF file.
const SYMBOL_BYTES: usize = 24;

/// The generator splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Names and bytes of the committed examples.
fn examples() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/objects");
    let entries = std::fs::read_dir(folder).expect("the examples");
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| std::fs::read(path).expect("an example");
    paths.iter().map(|path| (path.display().to_string(), read(path))).collect()
}

/// Takes bytes through everything that does not run them: reading, checking and
/// compiling. Every error says where.
fn process(bytes: &[u8]) -> Result<(), String> {
    let object = match Object::parse("mutant", bytes) {
        Ok(object) => object,
        Err(error) => return says_where(&error, is_in_file(&error, bytes)),
    };
    for function in object.functions.values() {
        (0..function.ops.len()).for_each(|slot| drop(function.lines.at(slot as u32)));
    }
    let unit = Unit::new(object);
    for error in unit.errors.iter() {
        says_where(error, is_in_object(&unit.object, error) || is_map(&unit.object, error))?;
    }
    for engine in [Engine::Naive612, Engine::TailorKernel, Engine::Tailor] {
        let compiled = compile(&unit, engine, None, &mut Trace::default());
        for (id, error) in &compiled.errors {
            let program = error.program.as_ref() == Some(&unit.object.programs[*id].name);
            says_where(error, program && is_in_object(&unit.object, error))?;
        }
    }
    Ok(())
}

/// Fails if an error does not say where or what, or is one of ours.
fn says_where(error: &Error, place_exists: bool) -> Result<(), String> {
    if error.what.starts_with("internal error") {
        return Err(error.to_string());
    }
    match place_exists && !error.what.is_empty() {
        true => Ok(()),
        false => Err(format!("an error that does not say where: {error:?}")),
    }
}

/// Whether an error of a file that is no object names a part of it: a table, a
/// section or a symbol by its number, or a section by its name.
fn is_in_file(error: &Error, bytes: &[u8]) -> bool {
    let Some(place) = error.program.as_deref() else {
        return false;
    };
    let number = |prefix| place.strip_prefix(prefix).and_then(|rest| rest.parse::<usize>().ok());
    let field = |at: std::ops::Range<usize>| {
        let bytes = bytes.get(at).unwrap_or(&[]);
        bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let is_name = |name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    if let Some(at) = number("section headers at byte ") {
        return at == field(40..48);
    }
    if let Some(index) = number("section ") {
        return index < field(60..62);
    }
    if let Some(index) = number("symbol ") {
        return index < bytes.len() / SYMBOL_BYTES;
    }
    match place {
        "ELF header" | "symbol table" => true,
        ".BTF" | ".BTF.ext" => is_name(place),
        _ => false,
    }
}

/// Whether an error names a function, and an instruction of it if any, and the
/// program, if any, that reaches it.
fn is_in_object(object: &Object, error: &Error) -> bool {
    let named = |name: &str| object.functions.iter().find(|(_, f)| f.name == name);
    let Some((id, function)) = error.function.as_deref().and_then(named) else {
        return false;
    };
    let reaches = |name: &String| {
        let mut programs = object.programs.values().filter(|program| program.name == *name);
        programs.any(|program| object.reachable(program.function).contains(&id))
    };
    // Code that ends within a slot is wrong behind the last whole one.
    let slots = function.ops.len() as u32;
    error.insn.is_none_or(|insn| insn <= slots) && error.program.as_ref().is_none_or(reaches)
}

/// Whether an error names a map.
fn is_map(object: &Object, error: &Error) -> bool {
    let name = error.program.as_deref().and_then(|place| place.strip_prefix("map "));
    error.function.is_none() && name.is_some_and(|name| object.map(name).is_some())
}

/// Makes mutants of the examples in turn and takes each through everything, on a
/// thread of its own: one that finds no end is a failure like others, the last.
fn mutants(kind: &str, mutate: impl Fn(&mut Random, &mut Vec<u8>) -> String + Send + 'static) {
    let (to, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let examples = examples();
        let seed = number("TAILOR_SEED", 1);
        for mutant in 0..number("TAILOR_MUTANTS", 500) {
            let (name, bytes) = &examples[mutant as usize % examples.len()];
            let mut random = Random(seed.wrapping_mul(0x1_0000_0001).wrapping_add(mutant));
            let mut bytes = bytes.clone();
            let how = mutate(&mut random, &mut bytes);
            let told = to.send((format!("{name} {how}"), None));
            let result = catch_unwind(AssertUnwindSafe(|| process(&bytes)));
            let result = result.unwrap_or_else(|_| Err("panicked".into()));
            if told.and(to.send((String::new(), Some(result)))).is_err() {
                return; // Nobody waits any more.
            }
        }
    });
    let mut failures = Vec::new();
    let mut current = String::new();
    loop {
        match heard.recv_timeout(PATIENCE) {
            Ok((name, None)) => current = name,
            Ok((_, Some(Ok(())))) => {}
            Ok((_, Some(Err(what)))) => failures.push(format!("{current}: {what}")),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                failures.push(format!("{current}: no end after {} s", PATIENCE.as_secs()));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{} {kind}: {failures:#?}", failures.len());
}

#[test]
fn truncated() {
    mutants("truncated", |random, bytes| {
        let length = random.below(bytes.len());
        bytes.truncate(length);
        format!("cut to {length} bytes")
    });
}

#[test]
fn bit_flipped() {
    mutants("bit-flipped", |random, bytes| {
        let (at, bit) = (random.below(bytes.len()), random.below(8));
        bytes[at] ^= 1 << bit;
        format!("byte {at} bit {bit}")
    });
}
