//! Whether time grows about linearly with the size of a function, whatever its
//! shape, stage by stage. Fails where a shape takes much more than its share.
//!
//! No test does this: on a busy machine a time says nothing.

mod building;
mod compiling;
mod lifting;
mod lowering;
mod passes;

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A stage's work on a function whose making is not measured.
type Work = Box<dyn FnOnce()>;

/// Functions of all sizes that look alike.
struct Shape {
    stage: &'static str,
    name: &'static str,
    /// The work on one of about so many instructions.
    work: Box<dyn Fn(usize) -> Work>,
}

const SMALL: usize = 5_000;
/// How much larger the large ones are.
const GROWTH: usize = 16;
/// How much longer they may take: quadratic would be 256; caches excuse some.
const MOST: f64 = 40.0;
/// The best of so many is taken, as the machine may be busy.
const ROUNDS: usize = 5;

fn time(shape: &Shape, size: usize, rounds: usize) -> Duration {
    let run = |_| {
        let work = (shape.work)(size);
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..rounds).map(run).min().expect("at least one round")
}

fn main() -> ExitCode {
    // `cargo test` runs benches too: one small round tells that they work.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let mut is_linear = true;
    let stages =
        [building::shapes, lifting::shapes, passes::shapes, lowering::shapes, compiling::shapes];
    for shape in stages.into_iter().flat_map(|shapes| shapes()) {
        if !measures {
            time(&shape, SMALL, 1);
            continue;
        }
        let small = time(&shape, SMALL, ROUNDS);
        let large = time(&shape, SMALL * GROWTH, ROUNDS);
        let ratio = large.as_secs_f64() / small.as_secs_f64();
        let verdict = if ratio < MOST { "" } else { "  TOO LONG" };
        println!(
            "{:9} {:10} {:9.2} ms {:9.2} ms {ratio:6.1} times for {GROWTH} times the size{verdict}",
            shape.stage,
            shape.name,
            small.as_secs_f64() * 1e3,
            large.as_secs_f64() * 1e3,
        );
        is_linear &= ratio < MOST;
    }
    if is_linear { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
