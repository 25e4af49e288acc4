//! Random modules of the IR, from lowering (half of them from the passes) to bytes that
//! run: the processor and the IR's interpreter must agree on the result, on memory, and
//! on the calls made.
//! `TAILOR_SEEDS=FROM..TO` runs others than the usual ones.
//!
//! The modules are those that test lowering (lower/tests/generate). Between lowering
//! and bytes each stage has tests and checks of its own; what only shows in the whole
//! (flags, blocks that share code, frames, tail calls) shows here. The module is put
//! into memory by hand, so that the runtime is not needed.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use tailor_ir::{FuncRef, interp};

use generate::Random;
use native::Native;
use world::World;

#[path = "random_ir/compile.rs"]
mod compile;
#[path = "../lower/tests/generate/mod.rs"]
mod generate;
#[path = "random_ir/native.rs"]
mod native;
#[path = "../lower/tests/world/mod.rs"]
mod world;

/// Compiles and runs the module of a seed.
fn run_seed(native: Native, seed: u64) -> Result<Native, String> {
    let mut random = Random::new(seed);
    let size = if seed % 100 == 99 { 600 } else { 4 + seed as usize % 90 };
    let module = generate::module(&mut random, size, false);
    if let Err(errors) = tailor_ir::verifier::verify_module(&module) {
        return Err(format!("the generator is wrong: {errors}\n{module}"));
    }
    let mut lowered = module.clone();
    if seed % 8 >= 4 {
        let mut context = tailor_ir::passes::Context { verify: true, ..Default::default() };
        for function in lowered.functions.values_mut() {
            let passed = tailor_ir::passes::run(function, &mut context);
            passed.map_err(|error| format!("{error:?}\n{module}"))?;
        }
    }
    let compiled = compile::compile(&lowered, seed)?;
    let mut native = native.load(&compiled);
    for _ in 0..3 {
        let mut expected = World::at(native.memory(), native.maps(), seed);
        let args = [expected.buffer(), random.next(), random.next() >> 40];
        native.reset(&expected);
        let result = interp::run(&module, FuncRef::from_u32(0), &args, &mut expected, 2_000_000)
            .map_err(|error| format!("{error}\n{module}"))?;
        let actual = native.run(args);
        let what = match (actual == result, native.differs(&expected)) {
            (true, None) => continue,
            (true, Some(what)) => what,
            (false, _) => format!("{actual:#x} for {result:#x} of {args:x?}"),
        };
        return Err(format!("{what}\n{module}\n{}", compiled.listing()));
    }
    Ok(native)
}

#[test]
fn the_processor_agrees_with_the_interpreter() {
    let seeds = std::env::var("TAILOR_SEEDS").unwrap_or_else(|_| "0..400".into());
    let (from, to) = seeds.split_once("..").expect("FROM..TO");
    let (from, to): (u64, u64) = (from.parse().expect("a number"), to.parse().expect("a number"));
    let mut native = Native::new();
    for seed in from..to {
        native = match run_seed(native, seed) {
            Ok(native) => native,
            Err(error) => panic!("seed {seed}: {error}"),
        };
    }
}
