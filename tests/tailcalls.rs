//! Tail calls: the bugs that others had, updates that must change nothing, and
//! updates while programs run. What a tail call does is in tests/cases/run.

mod tailcalls {
    pub mod bugs;
    pub mod limits;
    pub mod stress;
    pub mod updates;
}

use std::sync::Arc;

use tailor::bpf::text::parse_object;
use tailor::runtime::Runtime;
use tailor::{Engine, Instance, Poking, Setup, Trace, Unit, Xdp};

/// The engines in which the counter is shared by all functions of an invocation.
const ENGINES: [Engine; 4] =
    [Engine::Interp, Engine::Naive612, Engine::TailorKernel, Engine::Tailor];
/// Those of them that make code.
const NATIVE: [Engine; 3] = [Engine::Naive612, Engine::TailorKernel, Engine::Tailor];
/// The ways in which sites are changed.
const BACK_ENDS: [Poking; 2] = [Poking::Patch, Poking::Data];

fn unit(text: &str) -> Unit {
    let unit = Unit::new(parse_object(text).unwrap_or_else(|error| panic!("{error}\n{text}")));
    assert!(unit.errors.is_empty(), "{:?}", unit.errors);
    unit
}

/// An instance on its own.
fn load(text: &str, engine: Engine, poking: Poking) -> Instance {
    load_with(text, engine, Setup { poking: Some(poking), ..Setup::default() })
}

fn load_with(text: &str, engine: Engine, setup: Setup) -> Instance {
    Instance::with(&unit(text), engine, &mut Trace::checked(), setup).unwrap()
}

/// In a runtime, and with a program array of another instance if there is one.
fn load_beside(
    text: &str,
    engine: Engine,
    poking: Poking,
    runtime: &Arc<Runtime>,
    array_of: Option<&Instance>,
) -> Instance {
    let shared = array_of.map(|other| other.map("jmp").unwrap()).into_iter().collect();
    let runtime = Some(runtime.clone());
    load_with(text, engine, Setup { runtime, poking: Some(poking), shared, ..Setup::default() })
}

/// Runs a program on a packet of zeros.
fn run(instance: &Instance, program: &str) -> u64 {
    run_on(instance, program, &mut [0; 64])
}

fn run_on(instance: &Instance, program: &str, packet: &mut [u8]) -> u64 {
    let program = instance.program(program).unwrap();
    // SAFETY: the tests' programs are such as a verifier accepts; the
    // interpreter, which checks every access, runs most of them first.
    unsafe { program.run(&mut Xdp::new(packet)) }.unwrap()
}

/// The number in a map of one.
fn count(instance: &Instance, map: &str) -> u64 {
    let value = instance.map(map).unwrap().get(&[0; 4]).unwrap();
    u64::from_le_bytes(value.try_into().unwrap())
}

/// `body` in every engine, with either back end where code is made.
fn everywhere(text: &str, body: impl Fn(&Instance)) {
    for engine in ENGINES {
        for poking in BACK_ENDS {
            println!("{engine}, {poking:?}");
            body(&load(text, engine, poking));
        }
    }
}
