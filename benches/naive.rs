//! Time per run of the examples' cases in the engines, as ratios to the
//! baseline.
//!
//! Engines take turns in every round, so that noise of the machine falls on
//! all of them alike; a figure is the median over rounds of a batch's mean.
//! Batches of one engine are long enough (about a millisecond) that the clock
//! does not matter. Maps keep their state from run to run.

#[path = "../tests/filetests/case.rs"]
#[allow(dead_code)] // expectations are the tests' business
mod case;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use case::Case;
use tailor::runtime::Xdp;
use tailor::{Engine, Instance, Object, Trace, Unit};

const ENGINES: [Engine; 6] = [
    Engine::Naive612,
    Engine::NaiveFixed,
    Engine::Naive510,
    Engine::TailorKernel,
    Engine::Tailor,
    Engine::Interp,
];
const ROUNDS: usize = 15;
const BATCH: Duration = Duration::from_millis(1);

fn main() {
    // `cargo test --benches` passes --test: build and show that it runs.
    let rounds = if std::env::args().any(|arg| arg == "--test") { 1 } else { ROUNDS };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut ratios: Vec<Vec<f64>> = vec![Vec::new(); ENGINES.len()];
    let names = ENGINES.map(|engine| format!("{engine:>14}")).join("");
    println!("{:44}{names}   ns per run, then ratios", "case");
    for path in cases(&root.join("examples/cases")) {
        let name =
            path.strip_prefix(root.join("examples/cases")).unwrap_or(&path).display().to_string();
        let times = match measure(&root, &path, rounds) {
            Ok(times) => times,
            Err(what) => {
                println!("{name:44} skipped: {what}");
                continue;
            }
        };
        for (engine, time) in times.iter().enumerate() {
            ratios[engine].push(time / times[0]);
        }
        let ratios = times[1..].iter().map(|time| format!("{:14.2}", time / times[0]));
        println!("{name:44}{:14.1}{}", times[0], ratios.collect::<String>());
    }
    let mean =
        |ratios: &[f64]| (ratios.iter().map(|r| r.ln()).sum::<f64>() / ratios.len() as f64).exp();
    // Cases that an engine does not take (NaN in the table) are in no mean of its.
    let means = ratios.iter().map(|ratios| {
        let known: Vec<f64> = ratios.iter().copied().filter(|ratio| ratio.is_finite()).collect();
        format!("{:14.2}", mean(&known))
    });
    println!("{:44}{}", "geometric mean", means.collect::<String>());
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => cases(&path),
            path => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "case"))
        .collect();
    found.sort();
    found
}

/// Nanoseconds per run in each engine.
fn measure(root: &Path, path: &Path, rounds: usize) -> Result<Vec<f64>, String> {
    let text = |error: std::io::Error| error.to_string();
    let case = Case::parse(std::fs::read_to_string(path).map_err(text)?.lines())?;
    let file = root.join(case.object.as_ref().ok_or("no object")?);
    let bytes = std::fs::read(&file).map_err(text)?;
    let object =
        Object::parse(&file.to_string_lossy(), &bytes).map_err(|error| error.to_string())?;
    let unit = Unit::new(object);
    let program = case.program.as_ref().ok_or("no program")?;
    let mut runners = Vec::new();
    for engine in ENGINES {
        let id = unit.object.program(program).ok_or("no such program")?;
        if tailor::compile::beyond(&unit, engine, id).is_some() {
            runners.push(None);
            continue;
        }
        let mut runner = Runner {
            instance: prepare(&case, &unit, engine)?,
            packet: case.packet.clone().unwrap_or_default(),
        };
        let once = runner.batch(program, 100)? / 100;
        let runs = (BATCH.as_nanos() / once.as_nanos().max(1)).clamp(1, 1_000_000) as u32;
        runners.push(Some((runner, runs, Vec::new())));
    }
    for _ in 0..rounds {
        for (runner, runs, times) in runners.iter_mut().flatten() {
            times.push(runner.batch(program, *runs)?.as_nanos() as f64 / f64::from(*runs));
        }
    }
    let time = |(_, _, times): (_, _, Vec<f64>)| median(times);
    Ok(runners.into_iter().map(|runner| runner.map_or(f64::NAN, time)).collect())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn prepare(case: &Case, unit: &Unit, engine: Engine) -> Result<Instance, String> {
    let text = |error: tailor::Error| error.to_string();
    let mut instance = Instance::new(unit, engine, &mut Trace::default()).map_err(text)?;
    *instance.environment() = case.environment();
    for (map, key, value) in &case.maps {
        instance.map(map).map_err(text)?.update(key, value, 0);
    }
    for (array, index, program) in &case.slots {
        instance.set_slot(array, *index, program.as_deref()).map_err(text)?;
    }
    Ok(instance)
}

struct Runner {
    instance: Instance,
    packet: Vec<u8>,
}

impl Runner {
    /// The time that `runs` runs take, each on the packet that the last one left.
    fn batch(&mut self, program: &str, runs: u32) -> Result<Duration, String> {
        let mut context = Xdp::new(&mut self.packet);
        let program = self.instance.program(program).map_err(|error| error.to_string())?;
        let start = Instant::now();
        for _ in 0..runs {
            // SAFETY: the examples' programs are accepted by the kernel's verifier.
            unsafe { program.run(&mut context) }.map_err(|error| error.to_string())?;
        }
        Ok(start.elapsed())
    }
}
