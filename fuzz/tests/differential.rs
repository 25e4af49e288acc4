//! Generated programs must do the same in every engine.
//!
//! `TAILOR_PROGRAMS=n` sets how many (2,000 unless set), `TAILOR_SEED` where
//! they start. What fails is shrunk, bisected and printed as a file for
//! tests/cases/run. `cargo run --release -p tailor-fuzz --bin differential` does
//! more of it.

use tailor_fuzz::compare::{Agreed, Passes, compare, compilers};
use tailor_fuzz::generate::Options;
use tailor_fuzz::report::report;
use tailor_fuzz::shrink::shrink;
use tailor_fuzz::{features, seeded};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn programs(first: u64, count: u64) {
    // First what can name a pass that is at fault.
    let mut subjects = compilers();
    subjects.insert(0, &Passes);
    for seed in first..first + count {
        let case = seeded(seed, Options::default());
        let Err(difference) = compare(&case, &subjects) else {
            continue;
        };
        let same = |found: &tailor_fuzz::compare::Difference| found.engine == difference.engine;
        let (small, _) = shrink(&case, 20_000, &mut |case, _| {
            compare(case, &subjects).is_err_and(|found| same(&found))
        });
        let difference = compare(&small, &subjects).expect_err("it fails");
        panic!("seed {seed}\n{}", report(&small, &difference));
    }
}

// Two tests, so that two threads share the work.

#[test]
fn engines_agree() {
    programs(setting("TAILOR_SEED", 0), setting("TAILOR_PROGRAMS", 2000) / 2);
}

#[test]
fn engines_agree_too() {
    let half = setting("TAILOR_PROGRAMS", 2000) / 2;
    programs(setting("TAILOR_SEED", 0) + half, setting("TAILOR_PROGRAMS", 2000) - half);
}

/// Every feature is exercised by many programs, and few take too long.
#[test]
fn programs_are_of_all_kinds() {
    let mut counts = std::collections::BTreeMap::new();
    let (mut programs, mut too_long) = (0, 0);
    for seed in 0..1000 {
        let case = seeded(seed, Options::default());
        programs += 1;
        for feature in features::features(&case) {
            *counts.entry(feature).or_insert(0) += 1;
        }
        if let Ok(Agreed::TooLong) = compare(&case, &[]) {
            too_long += 1;
        }
    }
    assert!(too_long * 100 < programs, "{too_long} of {programs} take too long");
    assert!(counts.len() >= 45, "{counts:?}");
    let rare: Vec<_> = counts.iter().filter(|(_, count)| **count < 10).collect();
    assert!(rare.is_empty(), "{rare:?} of {programs}");
}
