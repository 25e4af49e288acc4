//! The acceptance items that are figures of frames and costs: a line each, with
//! PASS or FAIL, and what each is without the two families of objects that
//! outweigh all others.

use tailor::report::Report;

use crate::figures::{Pairs, cost};

/// Bounds above which an item fails; from the issue that set them.
const COST_MEAN: f64 = 0.75;
const COST_SUM: f64 = 0.85;
const FRAME_SUM: f64 = 0.78;
const FRAME_MEAN: f64 = 0.72;
const BOUND_RATIO: f64 = 1.10;
/// Bounds below which one fails.
const AT_BOUND: f64 = 0.75;
const FRAMELESS: f64 = 0.95;
const TAIL_CALL_RESTORES: f64 = 0.40;

/// Prints items 1 to 4; whether all passed.
pub fn print(report: &Report) -> bool {
    let pairs = Pairs::new(report);
    println!(
        "{} functions and {} programs that naive-6.12 and tailor compile; there is no inlining \
         yet, so all figures are with inlining off",
        pairs.functions.len(),
        pairs.programs.len()
    );
    let items = [costs, frames, against_bounds, restores];
    let all: Vec<(String, bool)> = items.iter().map(|item| item(&pairs)).collect();
    let details = details(&pairs);
    let rest = Pairs::new(report).without_large();
    for (number, ((figures, passed), item)) in all.iter().zip(items).enumerate() {
        let number = number + 1;
        println!("{number}. {figures}: {}", if *passed { "PASS" } else { "FAIL" });
        println!("   without pyperf* and strobemeta*: {}", item(&rest).0);
        details.iter().filter(|(of, _)| *of == number).for_each(|(_, line)| println!("   {line}"));
    }
    all.iter().all(|(_, passed)| *passed)
}

fn ratio([naive, tailor]: [f64; 2]) -> f64 {
    tailor / naive
}

fn costs(pairs: &Pairs) -> (String, bool) {
    let (mean, count) = pairs.cost_mean();
    let (others, costly) = pairs.costly_others();
    let sums = pairs.cost_sums();
    let passed = mean <= COST_MEAN && costly.is_empty() && ratio(sums) <= COST_SUM;
    let figures = format!(
        "weighted cost: mean {mean:.3} (<= {COST_MEAN}) of {count} programs; {} of {others} others \
         cost something (0); sum {:.1}/{:.1} = {:.3} (<= {COST_SUM})",
        costly.len(),
        sums[1],
        sums[0],
        ratio(sums)
    );
    (figures, passed)
}

fn frames(pairs: &Pairs) -> (String, bool) {
    let (sums, mean) = (pairs.frame_sums(), pairs.frame_mean());
    let figures = format!(
        "frame bytes: sum {}/{} = {:.3} (<= {FRAME_SUM}), mean {mean:.3} (<= {FRAME_MEAN})",
        sums[1],
        sums[0],
        ratio(sums)
    );
    (figures, ratio(sums) <= FRAME_SUM && mean <= FRAME_MEAN)
}

fn against_bounds(pairs: &Pairs) -> (String, bool) {
    let against = pairs.bounds();
    let total = against.content / against.bounds;
    let at_bound = against.at_bound as f64 / against.bounded as f64;
    let frameless = 1.0 - against.needless.len() as f64 / against.without as f64;
    let figures = format!(
        "frames less padding to lower bounds: {}/{} = {total:.3} (<= {BOUND_RATIO}); at the bound \
         {} of {} = {at_bound:.3} (>= {AT_BOUND}); no frame where the bound is 0: {} of {} = \
         {frameless:.3} (>= {FRAMELESS})",
        against.content,
        against.bounds,
        against.at_bound,
        against.bounded,
        against.without - against.needless.len(),
        against.without
    );
    (figures, total <= BOUND_RATIO && at_bound >= AT_BOUND && frameless >= FRAMELESS)
}

fn restores(pairs: &Pairs) -> (String, bool) {
    let restores = pairs.tail_call_restores();
    let figures = format!(
        "restores at tail-call sites, weighted: {:.1}/{:.1} = {:.3} (<= {TAIL_CALL_RESTORES})",
        restores[1],
        restores[0],
        ratio(restores)
    );
    (figures, ratio(restores) <= TAIL_CALL_RESTORES)
}

/// What items list by name: number and line.
fn details(pairs: &Pairs) -> Vec<(usize, String)> {
    let (_, costly) = pairs.costly_others();
    let costly = costly.into_iter().map(|row| {
        (1, format!("should cost nothing: {}: {}: {:.3}", row.object, row.program, cost(row)))
    });
    let needless = pairs.bounds().needless.into_iter().map(|row| {
        let bytes = row.frame_bytes - row.padding_bytes;
        (3, format!("should have no frame: {}: {}: {bytes} bytes", row.object, row.function))
    });
    costly.chain(needless).collect()
}
