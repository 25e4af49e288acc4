//! Objects that are cut off or have a bit flipped: reading, checking and
//! compiling them never panics and always ends, and errors say where.
//!
//! `TAILOR_MUTANTS` is the number of each kind (500), `TAILOR_SEED` the seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use tailor::{Engine, Object, Trace, Unit, compile};

/// No mutant of an example may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// Takes bytes through everything that does not run them; whether they are an
/// object, and what is wrong in which program.
fn process(bytes: &[u8]) -> Result<(), String> {
    let Ok(object) = Object::parse("mutant", bytes) else {
        return Ok(()); // Errors of the file name the section if there is one.
    };
    let unit = Unit::new(object);
    for engine in [Engine::Naive612, Engine::TailorKernel, Engine::Tailor] {
        let compiled = compile(&unit, engine, None, &mut Trace::default());
        for error in compiled.errors.values() {
            if error.program.is_none() || error.what.is_empty() {
                return Err(format!("an error that does not say where: {error}"));
            }
            if error.what.starts_with("internal error") {
                return Err(error.to_string());
            }
        }
    }
    Ok(())
}

/// Makes mutants of the examples in turn and takes each through everything.
fn mutants(kind: &str, mutate: impl Fn(&mut Random, &mut Vec<u8>) -> String) {
    let examples = examples();
    let seed = number("TAILOR_SEED", 1);
    let mut failures = Vec::new();
    for mutant in 0..number("TAILOR_MUTANTS", 500) {
        let (name, bytes) = &examples[mutant as usize % examples.len()];
        let mut random = Random(seed.wrapping_mul(0x1_0000_0001).wrapping_add(mutant));
        let mut bytes = bytes.clone();
        let how = mutate(&mut random, &mut bytes);
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| process(&bytes)));
        let result = match result {
            Ok(result) => result,
            Err(_) => Err("panicked".into()),
        };
        let late = start.elapsed() > PATIENCE;
        if let Err(what) = result.and(if late { Err("took too long".into()) } else { Ok(()) }) {
            failures.push(format!("{name} {how}: {what}"));
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
