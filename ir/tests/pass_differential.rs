//! Every pass keeps what programs do: generated modules give the same result,
//! the same buffer and the same calls before and after each.
//! `TAILOR_SEEDS=from..to` chooses others than the usual ones.

mod pass_differential {
    pub mod generate;
    pub mod host;
    pub mod random;
}
use pass_differential::{generate, host};

use host::{BUFFER, World};
use tailor_ir::interp::run;
use tailor_ir::passes::{self, Context, PASSES, run_named};
use tailor_ir::{FuncRef, Module};

/// What a module does, as far as anyone can see.
#[derive(PartialEq, Debug)]
struct Outcome {
    result: Result<u64, String>,
    buffer: Vec<u8>,
    log: Vec<u64>,
}

fn outcome(module: &Module) -> Outcome {
    let mut world = World::new();
    let args = [4, 0x8765_4321_0fed_cba9, BUFFER];
    let result = run(module, FuncRef::from_u32(0), &args, &mut world, 1_000_000);
    Outcome {
        result: result.map_err(|error| error.cause.to_string()),
        buffer: world.buffer,
        log: world.log,
    }
}

/// Checks one module. Counts the rewrites of each row; tells whether it ran.
fn check(seed: u64, rewrites: &mut [u64]) -> bool {
    let original = generate::module(seed);
    let expected = outcome(&original);
    if expected.result.is_err() {
        return false;
    }
    let mut module = original.clone();
    for (row, pass) in PASSES.iter().enumerate() {
        let before = module.clone();
        for function in module.functions.values_mut() {
            let constants = Some(&World::constant as &passes::ReadConstant);
            let mut context = Context { verify: true, constants, ..Context::default() };
            if let Some(Err(broken)) = run_named(pass.name, function, &mut context) {
                panic!("seed {seed}: {broken}\n{}\nbefore:\n{before}", broken.listing);
            }
            rewrites[row] += context.rewrites;
        }
        let actual = outcome(&module);
        assert!(
            actual == expected,
            "seed {seed}, row {row}, pass {}:\n{before}\nbecame\n{module}\n{expected:x?}\n{actual:x?}",
            pass.name
        );
    }
    bisected(seed, &original, &expected);
    true
}

/// Stopped after any number of rewrites, the passes have done no harm.
fn bisected(seed: u64, original: &Module, expected: &Outcome) {
    let mut module = original.clone();
    let limit = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    let mut context = Context { verify: true, bisect: Some(limit), ..Context::default() };
    for function in module.functions.values_mut() {
        if let Err(broken) = passes::run(function, &mut context) {
            panic!("seed {seed}, {limit} rewrites: {broken}\n{}", broken.listing);
        }
    }
    assert!(context.rewrites <= limit);
    let actual = outcome(&module);
    assert!(actual == *expected, "seed {seed}, {limit} rewrites:\n{original}\nbecame\n{module}");
}

#[test]
fn passes_keep_what_programs_do() {
    let text = std::env::var("TAILOR_SEEDS").unwrap_or("0..3000".into());
    let (from, to) = text.split_once("..").expect("TAILOR_SEEDS is from..to");
    let seeds = from.parse().unwrap()..to.parse().unwrap();
    let total = seeds.end - seeds.start;
    let mut rewrites = [0; PASSES.len()];
    let ran = seeds.filter(|&seed| check(seed, &mut rewrites)).count() as u64;
    assert!(ran * 10 > total * 9, "only {ran} of {total} programs ran");
    // The programs give every pass something to do.
    for pass in PASSES {
        let rows = PASSES.iter().zip(rewrites).filter(|(row, _)| row.name == pass.name);
        let sum: u64 = rows.map(|(_, rewrites)| rewrites).sum();
        assert!(sum * 10 > total, "{}: only {sum} rewrites", pass.name);
    }
}
