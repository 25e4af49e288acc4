//! Many generated programs, in all engines, on all processors.
//!
//! Each seed is one program. Workers are processes of their own: a miscompiled
//! program may crash or never end. What fails is shrunk, again with each trial
//! in a process of its own, bisected, and printed as a file for
//! tests/cases/run. At the end the totals say what the programs exercised.

mod options {
    /// What the command line says.
    #[derive(Clone, Debug)]
    pub struct Options {
        pub programs: u64,
        pub seed: u64,
        pub jobs: u64,
        /// A worker's part: the seeds from `seed` on, the current one in a file.
        pub worker: Option<String>,
        /// One program after these edits.
        pub trail: Option<Vec<usize>>,
    }

    pub const USAGE: &str = "usage: differential [--programs N] [--seed S] [--jobs J]
N programs (100,000), of the seeds S (0) to S + N - 1, in J processes (one a processor).
A run that was stopped goes on with the seed of its last line.";

    impl Options {
        pub fn parse(mut args: impl Iterator<Item = String>) -> Option<Options> {
            let jobs = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
            let mut options =
                Options { programs: 100_000, seed: 0, jobs, worker: None, trail: None };
            while let Some(arg) = args.next() {
                let value = args.next()?;
                let number = || value.replace('_', "").parse().ok();
                match arg.as_str() {
                    "--programs" => options.programs = number()?,
                    "--seed" => options.seed = number()?,
                    "--jobs" => options.jobs = number().filter(|jobs| *jobs > 0)?,
                    "--worker" => options.worker = Some(value),
                    "--trail" => {
                        let numbers = value.split(',').filter(|part| !part.is_empty());
                        options.trail = numbers.map(|part| part.parse().ok()).collect();
                        options.trail.as_ref()?;
                    }
                    _ => return None,
                }
            }
            Some(options)
        }
    }
}

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use options::{Options, USAGE};
use tailor_fuzz::compare::{Agreed, Difference, compare, compilers};
use tailor_fuzz::features::features;
use tailor_fuzz::program::Case;
use tailor_fuzz::report::report;
use tailor_fuzz::seeded;
use tailor_fuzz::shrink::{follow, shrink};

/// Programs that a worker is given at a time.
const CHUNK: u64 = 5000;
/// A program that takes longer does not end.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for a trial of shrinking, which are many.
const TRIAL: Duration = Duration::from_secs(5);
const TRIALS: usize = 5000;

/// Counts by name.
type Counts = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match (&options.worker, &options.trail) {
        (Some(at), _) => worker(&options, at),
        (None, Some(trail)) => trial(options.seed, trail),
        (None, None) => run(&options),
    }
}

fn case_of(seed: u64) -> Case {
    seeded(seed, tailor_fuzz::generate::Options::default())
}

/// Runs a part of the seeds and prints counts; the first seed that fails ends it.
fn worker(options: &Options, at: &str) -> ExitCode {
    let subjects = compilers();
    let mut counts = Counts::new();
    let mut code = ExitCode::SUCCESS;
    let file = std::fs::File::create(at).expect("the parent's directory is writable");
    for seed in options.seed..options.seed + options.programs {
        file.write_all_at(&seed.to_le_bytes(), 0).expect("the file is writable");
        let case = case_of(seed);
        let mut count = |name: &str, by: u64| *counts.entry(name.into()).or_default() += by;
        match compare(&case, &subjects) {
            Ok(Agreed::Same(_, engines)) => count("comparisons", engines as u64),
            Ok(Agreed::TooLong) => count("given up: too long", 1),
            Err(difference) => {
                println!("difference {difference}");
                code = ExitCode::FAILURE;
                break;
            }
        }
        count("programs", 1);
        for feature in features(&case) {
            count(feature, 1);
        }
    }
    for (name, count) in counts {
        println!("count {count} {name}");
    }
    code
}

/// Runs one case, for the exit status and the difference on a line.
fn trial(seed: u64, trail: &[usize]) -> ExitCode {
    let Some(case) = follow(&case_of(seed), trail) else {
        return ExitCode::from(2);
    };
    match compare(&case, &compilers()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(difference) => {
            println!("{}\t{}", difference.engine, difference.what.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

/// The state that the threads which look after workers share.
struct Shared {
    next: AtomicU64,
    done: AtomicU64,
    counts: Mutex<Counts>,
    failures: Mutex<Vec<(u64, String)>>,
}

fn run(options: &Options) -> ExitCode {
    let directory = std::env::temp_dir().join(format!("differential-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the temporary directory is writable");
    let shared = Shared {
        next: options.seed.into(),
        done: 0.into(),
        counts: Mutex::default(),
        failures: Mutex::default(),
    };
    let start = Instant::now();
    std::thread::scope(|scope| {
        let tend = |job: u64| {
            let (shared, at) = (&shared, directory.join(job.to_string()));
            scope.spawn(move || tend(options, shared, &at))
        };
        let jobs: Vec<_> = (0..options.jobs).map(tend).collect();
        let mut shown = Instant::now();
        while !jobs.iter().all(|job| job.is_finished()) {
            std::thread::sleep(Duration::from_millis(100));
            if shown.elapsed() > Duration::from_secs(10) {
                shown = Instant::now();
                progress(options, &shared, start);
            }
        }
    });
    let _ = std::fs::remove_dir_all(&directory);
    summary(options, &shared, start)
}

fn progress(options: &Options, shared: &Shared, start: Instant) {
    let done = shared.done.load(Ordering::Relaxed);
    let rate = done as f64 / start.elapsed().as_secs_f64();
    let failures = lock(&shared.failures).len();
    let next = shared.next.load(Ordering::Relaxed).saturating_sub(options.jobs * CHUNK);
    let next = next.max(options.seed);
    eprintln!(
        "{done} of {} programs, {rate:.0} a second, {failures} differences; go on with --seed {next}",
        options.programs
    );
}

fn summary(options: &Options, shared: &Shared, start: Instant) -> ExitCode {
    let failures = lock(&shared.failures);
    for (seed, report) in failures.iter() {
        println!("seed {seed}\n{report}");
    }
    let mut counts = lock(&shared.counts).clone();
    let programs = counts.remove("programs").unwrap_or(0);
    let comparisons = counts.remove("comparisons").unwrap_or(0);
    for (name, count) in &counts {
        println!("{count:9} {:5.1} %  {name}", 100.0 * *count as f64 / programs.max(1) as f64);
    }
    println!(
        "{programs} programs from seed {}, {comparisons} comparisons with the interpreter, \
         {} differences, {:.0} s",
        options.seed,
        failures.len(),
        start.elapsed().as_secs_f64()
    );
    if failures.is_empty() && programs == options.programs {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a worker one part after the other.
fn tend(options: &Options, shared: &Shared, at: &Path) {
    let end = options.seed + options.programs;
    loop {
        let mut first = shared.next.fetch_add(CHUNK, Ordering::Relaxed);
        let last = (first + CHUNK).min(end);
        if first >= end {
            return;
        }
        while first < last {
            let count = (last - first).to_string();
            let arguments = ["--programs", &count, "--worker", &at.display().to_string()];
            let (ended, output) = watched(first, &arguments, PATIENCE, Some(at));
            let mut what = None;
            for line in output.lines() {
                if let Some(difference) = line.strip_prefix("difference ") {
                    what = Some(difference.to_string());
                }
                let Some((count, name)) =
                    line.strip_prefix("count ").and_then(|rest| rest.split_once(' '))
                else {
                    continue;
                };
                *lock(&shared.counts).entry(name.into()).or_default() +=
                    count.parse::<u64>().unwrap_or(0);
            }
            let mut reached = last;
            if ended != Ended::Well {
                let seed = current(at).unwrap_or(first);
                let what = what.unwrap_or_else(|| ended.to_string());
                let failure = (seed, shrunk(seed, &what));
                eprintln!("seed {seed}: {what}");
                lock(&shared.failures).push(failure);
                *lock(&shared.counts).entry("programs".into()).or_default() += 1;
                reached = seed + 1;
            }
            shared.done.fetch_add(reached - first, Ordering::Relaxed);
            first = reached;
        }
    }
}

/// How a process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Ended {
    Well,
    Badly,
    Crashed(String),
    Late,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Well | Ended::Badly => f.write_str("failed"),
            Ended::Crashed(how) => write!(f, "the process ended with {how}"),
            Ended::Late => f.write_str("it does not end"),
        }
    }
}

/// Runs this program again, until it ends or makes no progress for so long:
/// the seed in `progress` does not change.
fn watched(
    seed: u64,
    arguments: &[&str],
    patience: Duration,
    progress: Option<&Path>,
) -> (Ended, String) {
    let own = std::env::current_exe().expect("this program's path");
    let mut child = Command::new(own)
        .args(["--seed", &seed.to_string()])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this program can be run");
    let mut since = Instant::now();
    let mut last = None;
    let ended = loop {
        match child.try_wait().expect("a child of this process") {
            Some(status) if status.success() => break Ended::Well,
            Some(status) if status.code() == Some(1) => break Ended::Badly,
            Some(status) => break Ended::Crashed(status.to_string()),
            None => {}
        }
        let now = progress.and_then(current);
        if now != last {
            (since, last) = (Instant::now(), now);
        }
        if since.elapsed() > patience {
            kill(&mut child);
            break Ended::Late;
        }
        std::thread::sleep(Duration::from_millis(if progress.is_some() { 20 } else { 1 }));
    };
    let mut output = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        let _ = std::io::Read::read_to_string(&mut pipe, &mut output);
    }
    (ended, output)
}

fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// The seed that a worker is at.
fn current(at: &Path) -> Option<u64> {
    let bytes = std::fs::read(at).ok()?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// Makes the case of a seed smaller and says what is wrong with it.
fn shrunk(seed: u64, what: &str) -> String {
    let try_it = |trail: &[usize]| {
        let trail: Vec<String> = trail.iter().map(usize::to_string).collect();
        watched(seed, &["--trail", &trail.join(",")], TRIAL, None)
    };
    // The engine, if it told which.
    let engine = |output: &str| output.split('\t').next().unwrap_or_default().to_string();
    let (ended, output) = try_it(&[]);
    let first = engine(&output);
    if ended == Ended::Well {
        return format!("{what}\nbut not when it is run again");
    }
    let case = case_of(seed);
    let mut last = (ended.clone(), output);
    let (small, _) = shrink(&case, TRIALS, &mut |_, trail| {
        let (found, output) = try_it(trail);
        let same = std::mem::discriminant(&found) == std::mem::discriminant(&ended)
            && engine(&output) == first;
        if same {
            last = (found, output);
        }
        same
    });
    let difference = match last {
        (Ended::Badly, output) => {
            let (engine, what) = output.trim_end().split_once('\t').unwrap_or(("?", &output));
            Difference { engine: engine.into(), what: what.into() }
        }
        // Running it here would end this process too.
        (ended, _) => {
            let object = tailor_fuzz::assemble::object(&small);
            return format!("{ended}\n{}", tailor_bpf::text::print_object(&object));
        }
    };
    report(&small, &difference)
}
