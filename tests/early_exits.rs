//! Early exits of the examples save nothing: on no path from the entry to an
//! exit or a tail call without a call on it does the emitted code name a
//! callee-saved register.
//!
//! Read off the bytes. Until something is saved no callee-saved register may be
//! changed and none holds anything of the program's, so code that names none has
//! neither saved nor restored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use iced_x86::Register;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory};
use tailor::emit::CompiledFunction;
use tailor::{Engine, Object, Trace, Unit};

/// An instruction, where it may go on, and whether it leaves the function.
struct Step {
    instruction: Instruction,
    next: Vec<u32>,
    returns: bool,
    tail_calls: bool,
}

/// The instructions that can be reached without a call, by offset.
fn before_calls(function: &CompiledFunction) -> BTreeMap<u32, Step> {
    let mut steps = BTreeMap::new();
    let mut pending = vec![0];
    while let Some(at) = pending.pop() {
        if steps.contains_key(&at) {
            continue;
        }
        let step = step(function, at);
        pending.extend(&step.next);
        steps.insert(at, step);
    }
    steps
}

fn step(function: &CompiledFunction, at: u32) -> Step {
    let code = &function.code[at as usize..];
    let mut decoder = Decoder::with_ip(64, code, u64::from(at), DecoderOptions::NONE);
    let instruction = decoder.decode();
    let behind = instruction.next_ip() as u32;
    let target = || instruction.near_branch64() as u32;
    let pokes = || function.tail_sites.iter().filter_map(|site| site.poke);
    // What a patched site's two instructions are at the moment is of no account.
    let bypass = pokes().find(|poke| poke.bypass == at);
    let tail_calls = function.tail_sites.iter().any(|site| site.exit == at)
        || pokes().any(|poke| poke.target == at);
    let next = match instruction.flow_control() {
        _ if bypass.is_some() => bypass.into_iter().flat_map(|poke| [behind, poke.out]).collect(),
        _ if tail_calls => vec![],
        FlowControl::Next => vec![behind],
        FlowControl::ConditionalBranch => vec![behind, target()],
        FlowControl::UnconditionalBranch => vec![target()],
        // Calls, exits, and what stops.
        _ => vec![],
    };
    let returns = instruction.flow_control() == FlowControl::Return;
    Step { instruction, next, returns, tail_calls }
}

/// The offsets on call-free paths from the entry to where the function leaves.
fn early(steps: &BTreeMap<u32, Step>) -> BTreeSet<u32> {
    let leaves = steps.iter().filter(|(_, step)| step.returns || step.tail_calls);
    let mut early: BTreeSet<u32> = leaves.map(|(at, _)| *at).collect();
    let mut grown = true;
    while grown {
        let leads = |(at, step): (&u32, &Step)| {
            (!early.contains(at) && step.next.iter().any(|next| early.contains(next)))
                .then_some(*at)
        };
        let more: Vec<u32> = steps.iter().filter_map(leads).collect();
        grown = !more.is_empty();
        early.extend(more);
    }
    early
}

const CALLEE_SAVED: [Register; 6] =
    [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// Whether an instruction reads or writes a callee-saved register or part of it.
fn names_callee_saved(instruction: &Instruction) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(instruction).used_registers();
    used.iter().any(|used| CALLEE_SAVED.contains(&used.register().full_register()))
}

/// What was found in a program's function.
struct Found {
    returns: usize,
    tail_calls: usize,
    /// Early instructions that name a callee-saved register.
    saves: Vec<String>,
}

fn find(example: &str, program: &str, engine: Engine) -> Found {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join(format!("examples/objects/{example}.o"));
    let unit = Unit::new(Object::open(path).expect("an object"));
    let compiled = tailor::compile(&unit, engine, None, &mut Trace::checked());
    let id = unit.object.program(program).expect("a program");
    let func = unit.object.programs[id].function;
    let function = compiled.code.functions[func].as_ref().expect("it compiles");
    let steps = before_calls(function);
    let early = early(&steps);
    let early: Vec<&Step> = early.iter().map(|at| &steps[at]).collect();
    let saves = early.iter().map(|step| &step.instruction).filter(|i| names_callee_saved(i));
    Found {
        returns: early.iter().filter(|step| step.returns).count(),
        tail_calls: early.iter().filter(|step| step.tail_calls).count(),
        saves: saves.map(|i| format!("{:#x}: {i}", i.ip())).collect(),
    }
}

#[test]
fn early_drops_save_nothing() {
    let found = find("earlydrop", "xdp_earlydrop", Engine::Tailor);
    assert!(found.returns > 0);
    assert_eq!(found.saves, Vec::<String>::new());
}

#[test]
fn early_tail_calls_save_nothing() {
    let found = find("dissector", "xdp_dissect", Engine::Tailor);
    assert!(found.tail_calls > 0);
    assert_eq!(found.saves, Vec::<String>::new());
}

/// The baseline saves at its entry, so this test sees saves where there are some.
#[test]
fn the_baseline_saves_on_the_same_paths() {
    for (example, program) in [("earlydrop", "xdp_earlydrop"), ("dissector", "xdp_dissect")] {
        let found = find(example, program, Engine::Naive612);
        assert!(found.returns + found.tail_calls > 0, "{program}");
        assert!(found.saves.iter().any(|line| line.contains("push rbx")), "{:?}", found.saves);
    }
}
