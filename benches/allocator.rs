//! What the allocator costs: its time on every function of the examples and, if
//! it is there, the corpus, against one plain run of Ion with all registers on
//! the same function; with all levers, with each of them off, and with none.
//!
//! The ways take turns on each function in every round, so that noise of the
//! machine falls on all of them alike. A function's time is the median over
//! rounds, and a figure is the sum over functions; ratios are to the plain runs.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tailor::compile::{ION_LIMIT, machine};
use tailor::{Engine, Lever, Levers, Object, Trace, Unit};
use tailor_lower::MachFunction;
use tailor_regalloc::{Options, plain, prepare};

const ROUNDS: usize = 9;

/// A way to give a function registers, and its name.
struct Way {
    name: String,
    /// The levers in use; `None` for a plain run.
    levers: Option<Levers>,
}

fn ways() -> Vec<Way> {
    let way = |name: String, levers| Way { name, levers };
    let mut ways =
        vec![way("plain Ion".into(), None), way("all levers".into(), Some(Levers::default()))];
    ways.extend(
        Lever::ALL
            .map(|lever| way(format!("without {}", lever.name()), Some(Levers::without(&[lever])))),
    );
    ways.push(way("no lever".into(), Some(Levers::without(&Lever::ALL))));
    ways
}

/// The functions of an object that have machine code, with the object.
struct Lowered {
    unit: Unit,
    functions: Vec<MachFunction>,
}

fn lowered(path: &Path) -> Option<Lowered> {
    let unit = Unit::new(Object::open(path).ok()?);
    let mut trace = Trace::default();
    let all = unit.object.functions.keys();
    let functions = all.filter(|&func| unit.object.functions[func].refused.is_none());
    let functions =
        functions.filter_map(|func| machine(&unit, Engine::Tailor, func, &mut trace).ok());
    let functions = functions.filter(|function| function.insts.len() <= ION_LIMIT).collect();
    Some(Lowered { unit, functions })
}

/// Nanoseconds that a way takes.
fn time(way: &Way, unit: &Unit, function: &MachFunction) -> f64 {
    // A copy for whoever rewrites it.
    let own = function.clone();
    let start = Instant::now();
    match &way.levers {
        None => drop(std::hint::black_box(plain(function).expect("a plain run"))),
        Some(levers) => {
            let options = Options {
                check: false,
                ion_limit: ION_LIMIT,
                relies_on_alignment: &|_| true,
                keeps_addresses: &|helper| unit.object.helper(helper).keeps_addresses(),
                levers: levers.clone(),
            };
            let prepared = prepare(own, &options);
            let allocated = prepared.allocate(&options).expect("an allocation");
            drop(std::hint::black_box(allocated));
        }
    }
    start.elapsed().as_nanos() as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Sums of medians over the functions of some objects, by way.
fn measure(objects: &[Lowered], ways: &[Way], rounds: usize) -> Vec<f64> {
    let mut sums = vec![0.0; ways.len()];
    let functions = objects.iter().flat_map(|o| o.functions.iter().map(move |f| (&o.unit, f)));
    for (unit, function) in functions {
        let mut times = vec![Vec::with_capacity(rounds); ways.len()];
        for round in 0..rounds {
            // Whoever comes first finds cold caches: not always the same one.
            for turn in 0..ways.len() {
                let at = (turn + round) % ways.len();
                times[at].push(time(&ways[at], unit, function));
            }
        }
        sums.iter_mut().zip(&mut times).for_each(|(sum, times)| *sum += median(times));
    }
    sums
}

/// The sets of objects: names and paths. Folders of the corpus that are not
/// there have none.
fn sets() -> Vec<(String, Vec<PathBuf>)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let mut files: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|path| path.extension().is_some_and(|ext| ext == "o" || ext == "elf"));
        files.sort();
        files
    };
    let mut sets = vec![("examples".to_string(), files(root.join("examples/objects")))];
    let folders = std::fs::read_dir(root.join("corpus")).into_iter().flatten();
    let mut folders: Vec<PathBuf> = folders.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        sets.push((name, files(folder)));
    }
    sets.retain(|(_, files)| !files.is_empty());
    sets
}

fn main() {
    // `cargo test` runs benches too: one round tells that they work.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    let ways = ways();
    let mut totals = vec![0.0; ways.len()];
    let mut count = 0;
    for (name, paths) in sets() {
        if rounds == 1 && name != "examples" {
            continue;
        }
        let objects: Vec<Lowered> = paths.iter().filter_map(|path| lowered(path)).collect();
        let functions: usize = objects.iter().map(|object| object.functions.len()).sum();
        let sums = measure(&objects, &ways, rounds);
        println!("{name}: {functions} functions, all levers {:.2} x plain Ion", sums[1] / sums[0]);
        totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        count += functions;
    }
    println!("\nin total, {count} functions:");
    for (way, total) in ways.iter().zip(&totals) {
        println!("  {:20} {:9.2} ms {:6.2}", way.name, total / 1e6, total / totals[0]);
    }
}
