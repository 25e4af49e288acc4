//! Random modules of the IR, from lowering to bytes that run: the processor and the
//! IR's interpreter must agree on the result, on memory, and on the calls made.
//! `TAILOR_SEEDS=FROM..TO` runs others than the usual ones.
//!
//! The modules are those that test lowering (lower/tests/generate). Between lowering
//! and bytes each stage has tests and checks of its own; what only shows in the whole
//! (flags, blocks that share code, frames, tail calls) shows here. The module is put
//! into memory by hand, so that the runtime is not needed.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "random_ir/compile.rs"]
mod compile;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "../lower/tests/generate/mod.rs"]
mod generate;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "random_ir/native.rs"]
mod native;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "../lower/tests/world/mod.rs"]
mod world;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod run {
    use tailor_ir::{FuncRef, interp};

    use super::generate::{self, Random};
    use super::native::Native;
    use super::{compile, world};

    fn run_seed(native: &mut Native, seed: u64) -> Result<(), String> {
        let mut random = Random::new(seed);
        let size = if seed % 100 == 99 { 600 } else { 4 + seed as usize % 90 };
        let module = generate::module(&mut random, size, false);
        if let Err(errors) = tailor_ir::verifier::verify_module(&module) {
            return Err(format!("the generator is wrong: {errors}\n{module}"));
        }
        let compiled = compile::compile(&module, seed)?;
        native.load(&compiled);
        for _ in 0..3 {
            let mut expected = world::World::at(native.memory(), native.maps(), seed);
            let args = [expected.buffer(), random.next(), random.next() >> 40];
            native.reset(&expected);
            let result =
                interp::run(&module, FuncRef::from_u32(0), &args, &mut expected, 2_000_000)
                    .map_err(|error| format!("{error}\n{module}"))?;
            let actual = native.run(args);
            let what = match (actual == result, native.differs(&expected)) {
                (true, None) => continue,
                (false, _) => format!("{actual:#x} for {result:#x} of {args:x?}"),
                (_, Some(what)) => what,
            };
            return Err(format!("{what}\n{module}\n{}", compiled.listing()));
        }
        Ok(())
    }

    #[test]
    fn the_processor_agrees_with_the_interpreter() {
        let seeds = std::env::var("TAILOR_SEEDS").unwrap_or_else(|_| "0..400".into());
        let (from, to) = seeds.split_once("..").expect("FROM..TO");
        let (from, to): (u64, u64) = (from.parse().expect("a number"), to.parse().expect("one"));
        let mut native = Native::new();
        for seed in from..to {
            if let Err(error) = run_seed(&mut native, seed) {
                panic!("seed {seed}: {error}");
            }
        }
    }
}
