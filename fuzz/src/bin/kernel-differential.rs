//! Generated programs in the running kernel as well: `kernel-differential
//! [PROGRAMS [SEED]]`. Needs root. What the verifier refuses is counted by its
//! reason; what it accepts must give the kernel's result, packet, and map
//! contents in every engine.

use std::process::ExitCode;

use tailor::{Engine, Unit};
use tailor_fuzz::compare::{Agreed, Subject, compare, compilers};
use tailor_fuzz::generate::Options;
use tailor_fuzz::kernel::{Kernel, Ran, Reasons, extended, reason, run};
use tailor_fuzz::program::Case;
use tailor_fuzz::report::report;
use tailor_fuzz::shrink::shrink;
use tailor_fuzz::{assemble, seeded};

/// Differences after which there is no use in going on.
const ENOUGH: u64 = 20;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.replace('_', "").parse::<u64>());
    let (Ok(programs), Ok(first)) =
        (numbers.next().unwrap_or(Ok(2000)), numbers.next().unwrap_or(Ok(0)))
    else {
        eprintln!("usage: kernel-differential [PROGRAMS [SEED]]");
        return ExitCode::from(2);
    };
    if let Some(why) = tailor::runtime::kernel::unavailable() {
        println!("SKIPPED: {why}");
        return ExitCode::SUCCESS;
    }
    let mut refused = Reasons::new();
    let (mut accepted, mut too_long, mut differences, mut unextended) = (0, 0, 0, 0);
    for seed in first..first + programs {
        let case = seeded(seed, Options { kernel: true });
        match one(&case) {
            Verdict::Equal => accepted += 1,
            Verdict::TooLong => too_long += 1,
            Verdict::Refused(why) => *refused.entry(reason(&why)).or_default() += 1,
            Verdict::Differs(_) if matches!(one(&extended(&case)), Verdict::Equal) => {
                accepted += 1;
                unextended += 1;
            }
            Verdict::Differs(what) => {
                accepted += 1;
                differences += 1;
                println!("seed {seed}: {what}\n{}", shrunk(&case));
                if differences == ENOUGH {
                    break;
                }
            }
        }
    }
    let mut reasons: Vec<_> = refused.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (reason, count) in reasons {
        println!("{count:9}  refused: {reason}");
    }
    if unextended > 0 {
        println!("{unextended:9}  the kernel did not zero-extend R0 after a 32-bit cmpxchg");
    }
    let refusals: u64 = refused.values().sum();
    println!(
        "{programs} programs from seed {first}: the verifier refused {refusals}, {too_long} took \
         too long, {accepted} ran in the kernel, {differences} differences of ours"
    );
    if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

enum Verdict {
    Equal,
    TooLong,
    Refused(String),
    Differs(String),
}

fn one(case: &Case) -> Verdict {
    let unit = Unit::new(assemble::object(case));
    match run(case, &unit) {
        Ok(Ran::Refused(why)) => return Verdict::Refused(why),
        Ok(Ran::To(_)) => {}
        Err(what) => return Verdict::Differs(format!("kernel: {what}")),
    }
    match compare(case, &subjects()) {
        Ok(Agreed::Same(..)) => Verdict::Equal,
        Ok(Agreed::TooLong) => Verdict::TooLong,
        Err(difference) => Verdict::Differs(difference.to_string()),
    }
}

fn subjects() -> Vec<&'static dyn Subject> {
    let mut subjects = compilers();
    subjects.insert(0, &Kernel);
    subjects
}

fn shrunk(case: &Case) -> String {
    let (small, _) = shrink(case, 3000, &mut |case, _| matches!(one(case), Verdict::Differs(_)));
    match compare(&small, &subjects()) {
        Err(difference) => report(&small, &difference),
        Ok(_) => format!("only sometimes: {}", Engine::Interp),
    }
}
