//! Generated programs must do the same in every engine.
//!
//! `TAILOR_PROGRAMS=n` sets how many (2,000 unless set), `TAILOR_SEED` where
//! the generator starts. A failing program is shrunk and printed in text form.

mod differential {
    pub mod program;
}

use differential::program::{self, MEMORY};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tailor::bpf::{Op, encode, text};
use tailor::ir::Module;
use tailor::{Engine, Instance, Object, Trace, Unit, pass_check};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Bytes that a program reads: fixed, with high and low halves that differ.
fn memory() -> [u8; MEMORY] {
    std::array::from_fn(|i| (i as u8).wrapping_mul(0x9d) ^ 0x5a)
}

fn run(unit: &Unit, engine: Engine) -> Result<(u64, [u8; MEMORY]), String> {
    let mut trace = Trace::checked();
    let instance = Instance::new(unit, engine, &mut trace).map_err(|error| error.to_string())?;
    let mut memory = memory();
    let program = &unit.object.programs.values().next().ok_or("no program")?.name;
    let program = instance.program(program).map_err(|error| error.to_string())?;
    // SAFETY: generated programs stay in their memory and stack; the
    // interpreter, which checks every access, runs each of them first.
    let result = unsafe { program.run(&mut memory.as_mut_slice()) };
    Ok((result.map_err(|error| error.to_string())?, memory))
}

fn compare(ops: &[Op]) -> Result<(), String> {
    let text = |error: tailor::Error| error.to_string();
    let bytecode = encode::encode("generated", ops).map_err(text)?;
    let object = Object::raw("generated", &bytecode).map_err(text)?;
    let unit = Unit::new(object);
    let expected = run(&unit, Engine::Interp)?;
    // First, since it names what is at fault.
    let id = unit.object.programs.keys().next().ok_or("no program")?;
    pass_check::check(&unit, id, &expected, &mut |ir| run_ir(&unit, ir))?;
    for engine in Engine::ALL {
        let found = run(&unit, engine).map_err(|what| format!("{engine}: {what}"))?;
        if found != expected {
            let (value, bytes) = &expected;
            return Err(format!(
                "{engine} returned {:#x}, interp {value:#x}; memory {}",
                found.0,
                if &found.1 == bytes { "equal" } else { "differs" },
            ));
        }
    }
    Ok(())
}

/// The same program's IR, in the world of the interpreter.
fn run_ir(unit: &Unit, ir: &Module) -> Result<(u64, [u8; MEMORY]), tailor::Error> {
    let instance = Instance::new(unit, Engine::Interp, &mut Trace::checked())?;
    let mut memory = memory();
    let name = unit.object.programs.values().next().map_or("", |program| &program.name);
    let result = instance.run_ir(ir, name, &mut memory.as_mut_slice())?;
    Ok((result, memory))
}

#[test]
fn engines_agree() {
    let cases = setting("TAILOR_PROGRAMS", 2000) as u32;
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&setting("TAILOR_SEED", 1).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&program::program(), |(initial, body)| {
        let ops = program::bytecode(&initial, &body);
        compare(&ops).map_err(TestCaseError::fail)
    });
    if let Err(proptest::test_runner::TestError::Fail(why, (initial, body))) = &result {
        let listing = text::print_ops(&program::bytecode(initial, body));
        panic!("{why}\nprogram f0 \"main\" raw\n{listing}");
    }
    if let Err(error) = result {
        panic!("{error}");
    }
}
