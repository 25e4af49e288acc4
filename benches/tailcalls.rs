//! What tail calls cost: a hop in chains of several kinds, a change of a slot
//! while others run, and the marks that readers leave.
//!
//! Engines take turns in every round, so that noise of the machine falls on all
//! of them alike; a figure is the median over rounds. A hop is what a run takes
//! longer when the slots are filled than when they are empty, divided by the 33
//! tail calls, so what the program does that is entered counts. From a
//! subprogram it is a 33rd of the run, and the subprogram's call counts too.
//! Ratios are to the baseline in the same round.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tailor::bpf::text::parse_object;
use tailor::runtime::readers;
use tailor::{Engine, Instance, Poking, Setup, Trace, Unit, Xdp};

/// The first is the baseline.
const ENGINES: [(&str, Engine, Poking); 5] = [
    ("naive-6.12 patch", Engine::Naive612, Poking::Patch),
    ("naive-6.12 data", Engine::Naive612, Poking::Data),
    ("tailor-kernel patch", Engine::TailorKernel, Poking::Patch),
    ("tailor patch", Engine::Tailor, Poking::Patch),
    ("tailor data", Engine::Tailor, Poking::Data),
];
const HOPS: usize = 33;
const ROUNDS: usize = 25;
/// Runs in a row.
const BATCH: u32 = 400;
/// Time for which a slot is changed: long enough that the scheduler has spread
/// the running threads over the processors.
const CHANGING: Duration = Duration::from_millis(500);

/// `bpf_tail_call(r1, jmp, key)`
fn tail_call(key: impl std::fmt::Display) -> String {
    format!("r2 = map0 ll\nr3 = {key}\ncall 12\n")
}

fn prog_array(slots: usize) -> String {
    format!("map map0 \"jmp\" prog_array key 4 value 4 entries {slots}\n")
}

/// One program that tail-calls itself.
fn own() -> String {
    format!("{}program f0 \"p0\" xdp\n{}r0 = 2\nexit\n", prog_array(1), tail_call(0))
}

/// Programs that keep three values over a call, each of which tail-calls the next.
fn distinct(variable: bool) -> String {
    let mut text = prog_array(HOPS + 1);
    for n in 0..=HOPS {
        // R8 is the same in all, and not known.
        let key = if variable { format!("r8\nr3 += {n}\nr3 += 1") } else { (n + 1).to_string() };
        let call = tail_call(key);
        text += &format!(
            "program f{n} \"p{n}\" xdp
            r6 = r1
            r7 = *(u32 *)(r1 + 12)
            r8 = *(u32 *)(r1 + 16)
            call f{callee}
            r7 += r0
            r1 = r6
            {call}
            r0 = r7
            exit\n",
            callee = HOPS + 1
        );
    }
    text + &format!("function f{} \"leaf\"\nr0 = 1\nexit\n", HOPS + 1)
}

/// A subprogram with two values of its own that tail-calls a leaf, 33 times.
fn subprogram() -> String {
    format!(
        "{}program f0 \"p0\" xdp
          r6 = r1
          r7 = 33
        more:
          r1 = r6
          call f2
          r7 -= 1
          if r7 != 0 goto more
          r0 = 2
          exit
        program f1 \"p1\" xdp
          r0 = 1
          exit
        function f2 \"sub\"
          r6 = r1
          r7 = *(u32 *)(r1 + 12)
          call f3
          r7 += r0
          r1 = r6
          {}r0 = r7
          exit
        function f3 \"leaf\"
          r0 = 1
          exit\n",
        prog_array(2),
        tail_call(1)
    )
}

fn load(text: &str, engine: Engine, poking: Poking) -> Instance {
    let unit = Unit::new(parse_object(text).expect("the text is right"));
    assert!(unit.errors.is_empty(), "{:?}", unit.errors);
    let setup = Setup { poking: Some(poking), ..Setup::default() };
    Instance::with(&unit, engine, &mut Trace::default(), setup).expect("it loads")
}

/// Fills or empties all slots.
fn fill(instance: &Instance, filled: bool) {
    for index in 0..instance.map("jmp").expect("it has one").max_entries() {
        let name = format!("p{index}");
        instance.set_slot("jmp", index, filled.then_some(&*name)).expect("it fits");
    }
}

/// Nanoseconds per run of the first program.
fn time(instance: &Instance, runs: u32) -> f64 {
    let mut packet = [0; 64];
    let mut context = Xdp::new(&mut packet);
    let program = instance.program("p0").expect("it compiles");
    let start = Instant::now();
    for _ in 0..runs {
        // SAFETY: it reads fields of its context that may be read.
        let result = unsafe { program.run(&mut context) };
        std::hint::black_box(result.expect("native code does not fail"));
    }
    start.elapsed().as_nanos() as f64 / f64::from(runs)
}

/// NaN of nothing: on a busy machine it may be that not all ran at once.
fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn hops(rounds: usize) {
    println!("ns per hop, ratio to the first, and instructions of sites in veneers");
    let heads = ENGINES.map(|(name, ..)| format!("{name:>26}"));
    println!("{:28}{}", "", heads.concat());
    let kinds = [
        ("itself", own(), true),
        ("33 others, constant keys", distinct(false), true),
        ("33 others, variable keys", distinct(true), true),
        ("from a subprogram", subprogram(), false),
    ];
    for (name, text, less_empty) in kinds {
        let instances = ENGINES.map(|(_, engine, poking)| load(&text, engine, poking));
        let mut hop: [Vec<f64>; ENGINES.len()] = Default::default();
        for round in 0..=rounds {
            let [empty, full] = [false, true].map(|filled| {
                instances.iter().for_each(|instance| fill(instance, filled));
                instances.each_ref().map(|instance| time(instance, BATCH))
            });
            // The first round warms up.
            for engine in (0..ENGINES.len()).filter(|_| round > 0) {
                let empty = if less_empty { empty[engine] } else { 0.0 };
                hop[engine].push((full[engine] - empty) / HOPS as f64);
            }
        }
        let cells = (0..ENGINES.len()).map(|engine| {
            let ratios = hop[engine].iter().zip(&hop[0]).map(|(own, base)| own / base);
            let veneers = instances[engine].module().map_or(0, |module| module.veneers());
            let ratio = median(ratios.collect());
            format!("{:13.2} {ratio:6.2} {veneers:5}", median(hop[engine].clone()))
        });
        println!("{name:28}{}", cells.collect::<String>());
    }
}

fn latencies(changing: Duration) {
    println!(
        "\nmicroseconds to change a slot with two sites, median, with so many running threads"
    );
    println!(
        "{:28}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "threads", "set", "replace", "clear", "of rounds"
    );
    let text = format!(
        "{}program f0 \"p0\" xdp\nr6 = r1\n{}r1 = r6\n{}r0 = 2\nexit\nprogram f1 \"p1\" xdp\nr0 = 1\nexit\n",
        prog_array(1),
        tail_call(0),
        tail_call(0)
    );
    for (name, engine, poking) in ENGINES {
        for threads in [0, 1, 3] {
            let instance = load(&text, engine, poking);
            let (over, running) = (AtomicBool::new(false), Barrier::new(threads + 1));
            let mut times: [Vec<f64>; 3] = Default::default();
            let runs = [const { AtomicU64::new(0) }; 3];
            thread::scope(|scope| {
                for runs in &runs[..threads] {
                    let (instance, over, running) = (&instance, &over, &running);
                    scope.spawn(move || {
                        running.wait();
                        while !over.load(Ordering::Relaxed) {
                            time(instance, 1);
                            runs.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
                running.wait();
                let count = |n: usize| runs[n].load(Ordering::Relaxed);
                let begin = Instant::now();
                while begin.elapsed() < changing {
                    let before = [0, 1, 2].map(count);
                    let mut took = [0.0; 3];
                    for (kind, program) in [Some("p0"), Some("p1"), None].into_iter().enumerate() {
                        let start = Instant::now();
                        instance.set_slot("jmp", 0, program).expect("it fits");
                        took[kind] = start.elapsed().as_nanos() as f64 / 1000.0;
                    }
                    // Only what happened while all of them were running counts.
                    if (0..threads).all(|n| count(n) != before[n]) {
                        times.iter_mut().zip(took).for_each(|(times, took)| times.push(took));
                    }
                }
                over.store(true, Ordering::Relaxed);
            });
            let rounds = times[0].len();
            let cells = times.map(|times| format!("{:10.1}", median(times)));
            println!("{name:28}{threads:10}{}{rounds:10}", cells.concat());
        }
    }
}

fn marks(rounds: usize) {
    println!("\nns per invocation of a program that returns at once");
    let text = format!("{}program f0 \"p0\" xdp\nr0 = 2\nexit\n", prog_array(1));
    for (name, engine, poking) in ENGINES {
        let instance = load(&text, engine, poking);
        let program = instance.program("p0").expect("it compiles");
        let entry = program.entry().expect("it is native");
        // SAFETY: it looks at nothing.
        let call = || unsafe { std::hint::black_box(entry(std::ptr::null_mut(), 0)) };
        let batch = |body: &dyn Fn()| {
            let start = Instant::now();
            body();
            start.elapsed().as_nanos() as f64 / 1e4
        };
        let mut times: [Vec<f64>; 4] = Default::default();
        for _ in 0..rounds {
            times[0].push(batch(&|| {
                (0..10_000).for_each(|_| {
                    call();
                });
            }));
            times[1].push(batch(&|| {
                (0..10_000).for_each(|_| {
                    let _reading = readers::enter();
                    call();
                });
            }));
            let outer = readers::enter();
            times[2].push(batch(&|| {
                (0..10_000).for_each(|_| {
                    let _reading = readers::enter();
                    call();
                });
            }));
            drop(outer);
            times[3].push(time(&instance, 10_000));
        }
        let [bare, marked, nested, run] = times.map(median);
        println!(
            "{name:28}{bare:6.2} without marks, {marked:.2} with them, {nested:.2} nested, \
             {run:.2} with context and environment"
        );
    }
}

fn main() {
    // `cargo test --benches` passes --test: build and show that it runs.
    let short = std::env::args().any(|arg| arg == "--test");
    hops(if short { 1 } else { ROUNDS });
    latencies(if short { Duration::from_millis(1) } else { CHANGING });
    marks(if short { 1 } else { ROUNDS });
}
