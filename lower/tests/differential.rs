//! Random modules: the IR's interpreter and the lowered functions must agree on
//! the result, on memory, and on the calls made. `TAILOR_SEEDS=FROM..TO` runs
//! others than the usual ones.

use tailor_ir::interp;
use tailor_ir::verifier::verify_module;
use tailor_ir::{FuncRef, Module};
use tailor_lower::{Convention, CtxField, Features, MachFunction, Options, Poking, lower};

mod check;
mod generate;
mod sim;
mod world;

use generate::Random;
use sim::Sim;
use world::{World, ctx_place};

/// Where memory starts.
const MEMORY: u64 = 0x7f00_0000_1000;
/// Addresses of maps; nothing is read there.
const MAPS: u64 = 0x7e00_0000_0000;

fn lower_all(module: &Module, seed: u64) -> Result<Vec<MachFunction>, String> {
    let wants_record = |callee: FuncRef| module.functions[callee].reaches_tail_call;
    let ctx_field = |_, field| {
        let (offset, size) = ctx_place(field);
        CtxField { offset: offset as i32, size }
    };
    let options = Options {
        features: Features { bmi2: seed.is_multiple_of(2) },
        convention: match seed.is_multiple_of(3) {
            true => Convention::Kernel { landing: 12 },
            false => Convention::Saving,
        },
        poking: if seed.is_multiple_of(5) { Poking::Patch } else { Poking::Data },
        wants_record: &wants_record,
        ctx_field: &ctx_field,
    };
    module
        .functions
        .values()
        .map(|function| {
            let mach = lower(function, &options).map_err(|error| error.to_string())?;
            check::check(&mach)?;
            Ok(mach)
        })
        .collect()
}

fn run_seed(seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let size = 4 + seed as usize % 60;
    let module = generate::module(&mut random, size, true);
    if let Err(errors) = verify_module(&module) {
        return Err(format!("the generator is wrong: {errors}\n{module}"));
    }
    let functions = lower_all(&module, seed)?;
    let entry = FuncRef::from_u32(0);
    for _ in 0..4 {
        let mut expected = World::at(MEMORY, MAPS, seed);
        let args = [expected.buffer(), random.next(), random.next() >> 40];
        let result = interp::run(&module, entry, &args, &mut expected, 1_000_000);
        let mut world = World::at(MEMORY, MAPS, seed);
        let mut sim =
            Sim { functions: &functions, world: &mut world, steps: 2_000_000, tail_calls: 0 };
        let actual = sim.run(entry, &args);
        let result = result.map_err(|error| format!("{error}\n{module}"))?;
        if actual.as_ref() != Ok(&result) {
            let listing: String = functions.iter().map(|f| f.to_string()).collect();
            return Err(format!("{actual:x?} for {result:#x} of {args:x?}\n{module}\n{listing}"));
        }
        // Another processor may write in between, so nothing is loaded twice.
        let loads = [std::mem::take(&mut world.loads), std::mem::take(&mut expected.loads)];
        if loads[0] > loads[1] {
            let listing: String = functions.iter().map(|f| f.to_string()).collect();
            return Err(format!("{} loads for {}\n{module}\n{listing}", loads[0], loads[1]));
        }
        if world != expected {
            let listing: String = functions.iter().map(|f| f.to_string()).collect();
            return Err(format!("memory or calls differ\n{module}\n{listing}"));
        }
    }
    Ok(())
}

#[test]
fn agrees_with_the_interpreter() {
    let seeds = std::env::var("TAILOR_SEEDS").unwrap_or_else(|_| "0..1500".into());
    let (from, to) = seeds.split_once("..").expect("FROM..TO");
    let (from, to): (u64, u64) = (from.parse().expect("a number"), to.parse().expect("a number"));
    for seed in from..to {
        if let Err(error) = run_seed(seed) {
            panic!("seed {seed}: {error}");
        }
    }
}
