//! Time per run of the examples' cases and of twenty programs that call no
//! helper, in the engines and in the running kernel, as ratios to the baseline.
//!
//! Engines take turns in every round, so that noise of the machine falls on
//! all of them alike; a figure is the median over rounds of a batch's mean,
//! less that of an empty program in the same engine. Batches of one engine are
//! long enough (about a millisecond) that the clock does not matter. Maps and
//! packets keep their state from run to run. The first run's result is checked.
//!
//! Helpers are not the kernel's, so only the ratios of the programs without
//! them compare code with code.

#[path = "../../tests/filetests/case.rs"]
#[allow(dead_code)] // most expectations are the tests' business
mod case;
#[cfg(feature = "kernel")]
mod kernel;

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
/// The kernel's two figures stand behind those of the engines.
const COLUMNS: usize = ENGINES.len() + 2;
const ROUNDS: usize = 15;
const BATCH: Duration = Duration::from_millis(1);
/// Below this many nanoseconds more than an empty program, a ratio says nothing.
const SHORTEST: f64 = 3.0;
/// The empty program.
const EMPTY: &str = "benches/programs/cases/empty.case";

/// Nanoseconds per run; NaN where there is no figure.
type Times = [f64; COLUMNS];

fn main() {
    // `cargo test --benches` passes --test: build and show that it runs.
    let rounds = if std::env::args().any(|arg| arg == "--test") { 1 } else { ROUNDS };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let floor = match measure(&root, &root.join(EMPTY), rounds) {
        Ok(times) => times,
        Err(what) => panic!("the empty program does not run: {what}"),
    };
    let names = ENGINES.map(|engine| format!("{:>14}", engine.to_string())).concat();
    println!("ns per run less the empty program's in the first column, then ratios to it");
    println!("{:44}{names}{:>14}{:>14}", "case", "kernel", "its least");
    println!("{:44}{} ns", "empty program", floor.map(|time| cell(time, 1)).concat());
    for (title, folder) in [
        ("geometric mean without helpers", "benches/programs/cases"),
        ("geometric mean of the examples", "examples/cases"),
    ] {
        let mut rows = Vec::new();
        for path in cases(&root.join(folder)).into_iter().filter(|path| !path.ends_with(EMPTY)) {
            rows.extend(row(&root, &path, rounds, &floor));
        }
        let means = (1..COLUMNS).map(|column| cell(mean(rows.iter().map(|row| row[column])), 2));
        println!("{title:44}{:14}{}", "", means.collect::<String>());
    }
    println!("{}", why_no_kernel());
}

/// Measures a case and prints its line; its ratios if they say something.
fn row(root: &Path, path: &Path, rounds: usize, floor: &Times) -> Option<Times> {
    let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
    let name = name.replace("cases/", "").replace("examples/", "").replace("benches/", "");
    let times = match measure(root, path, rounds) {
        Ok(times) => times,
        Err(what) => {
            println!("{name:44} skipped: {what}");
            return None;
        }
    };
    let net: Times = std::array::from_fn(|column| times[column] - floor[column]);
    if net[0] < SHORTEST {
        println!("{name:44}{:14.1} too short for ratios", net[0]);
        return None;
    }
    let ratios = net.map(|time| time / net[0]);
    let cells: String = ratios[1..].iter().map(|&ratio| cell(ratio, 2)).collect();
    println!("{name:44}{:14.1}{cells}", net[0]);
    Some(ratios)
}

/// A figure, or that there is none.
fn cell(figure: f64, digits: usize) -> String {
    if figure.is_finite() { format!("{figure:14.digits$}") } else { format!("{:>14}", "-") }
}

/// The geometric mean of the figures that there are. What the kernel does in no
/// whole nanosecond more than nothing has no logarithm.
fn mean(figures: impl Iterator<Item = f64>) -> f64 {
    let logs: Vec<f64> = figures.filter(|figure| *figure > 0.0).map(f64::ln).collect();
    (logs.iter().sum::<f64>() / logs.len() as f64).exp()
}

#[cfg(feature = "kernel")]
fn why_no_kernel() -> String {
    let why = tailor::runtime::kernel::unavailable();
    let because = why.map(|why| format!("no figures of the kernel: {why}"));
    because.unwrap_or_else(|| {
        "kernel: median and least of 8 loads, 10000 runs each, in whole nanoseconds; - where a \
         case sets the clock, random numbers or the processor, and behind the first case of a \
         program that the verifier takes long over"
            .into()
    })
}

#[cfg(not(feature = "kernel"))]
fn why_no_kernel() -> String {
    "no figures of the kernel: cargo bench --bench naive --features kernel, as root, has them"
        .into()
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

/// An engine with a case, the runs of a batch, and the times so far.
struct Timed {
    runner: Runner,
    runs: u32,
    times: Vec<f64>,
}

/// Nanoseconds per run in each engine.
fn measure(root: &Path, path: &Path, rounds: usize) -> Result<Times, String> {
    let text = |error: std::io::Error| error.to_string();
    let case = Case::parse(std::fs::read_to_string(path).map_err(text)?.lines())?;
    let file = root.join(case.object.as_ref().ok_or("no object")?);
    let bytes = std::fs::read(&file).map_err(text)?;
    let object =
        Object::parse(&file.to_string_lossy(), &bytes).map_err(|error| error.to_string())?;
    #[cfg(feature = "kernel")]
    let mut kernel = kernel::Kernel::new(object.clone(), &case);
    let unit = Unit::new(object);
    let program = case.program.as_ref().ok_or("no program")?;
    let mut engines = Vec::new();
    for engine in ENGINES {
        engines.push(timed(&case, &unit, engine, program)?);
    }
    for _round in 0..rounds {
        for Timed { runner, runs, times } in engines.iter_mut().flatten() {
            times.push(runner.batch(program, *runs)?.as_nanos() as f64 / f64::from(*runs));
        }
        #[cfg(feature = "kernel")]
        if _round < kernel::LOADS {
            kernel.load_and_run(&case)?;
        }
    }
    let mut figures = [f64::NAN; COLUMNS];
    for (figure, timed) in figures.iter_mut().zip(engines) {
        *figure = timed.map_or(f64::NAN, |timed| median(timed.times));
    }
    #[cfg(feature = "kernel")]
    if !kernel.times.is_empty() {
        let least = kernel.times.iter().copied().fold(f64::INFINITY, f64::min);
        figures[ENGINES.len()..].copy_from_slice(&[median(kernel.times), least]);
    }
    Ok(figures)
}

/// Prepares an engine and checks its first result; `None` if the case is not for it.
fn timed(case: &Case, unit: &Unit, engine: Engine, program: &str) -> Result<Option<Timed>, String> {
    let id = unit.object.program(program).ok_or("no such program")?;
    let elsewhere = !case.engines.is_empty() && !case.engines.contains(&engine.to_string());
    if elsewhere || tailor::compile::beyond(unit, engine, id).is_some() {
        return Ok(None);
    }
    let packet = case.packet.clone().unwrap_or_default();
    let mut runner = Runner { instance: prepare(case, unit, engine)?, packet };
    let result = runner.once(program)?;
    if case.retval.is_some_and(|expected| expected != result) {
        return Err(format!("{engine} returns {result}, not {:?}", case.retval));
    }
    let once = runner.batch(program, 100)? / 100;
    let runs = (BATCH.as_nanos() / once.as_nanos().max(1)).clamp(1, 1_000_000) as u32;
    Ok(Some(Timed { runner, runs, times: Vec::new() }))
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
    /// The result of a run.
    fn once(&mut self, program: &str) -> Result<u64, String> {
        let mut context = Xdp::new(&mut self.packet);
        let program = self.instance.program(program).map_err(|error| error.to_string())?;
        // SAFETY: the programs are accepted by the kernel's verifier.
        unsafe { program.run(&mut context) }.map_err(|error| error.to_string())
    }

    /// The time that `runs` runs take, each on the packet that the last one left.
    fn batch(&mut self, program: &str, runs: u32) -> Result<Duration, String> {
        let mut context = Xdp::new(&mut self.packet);
        let program = self.instance.program(program).map_err(|error| error.to_string())?;
        let start = Instant::now();
        for _ in 0..runs {
            // SAFETY: the programs are accepted by the kernel's verifier.
            unsafe { program.run(&mut context) }.map_err(|error| error.to_string())?;
        }
        Ok(start.elapsed())
    }
}
