//! What fuzzers call, and ordinary tests with a few hundred inputs: whatever the
//! bytes are, nothing panics and everything ends.

use tailor::runtime::ctx;
use tailor::{Engine, Instance, Levers, Object, Trace, Unit};
use tailor_bpf::ProgramKind;
use tailor_ir::{Function, Module, Payload, Type, Value, passes};
use tailor_lower::{Convention, CtxField, Features, Poking};

use crate::compare::{Agreed, compare, compilers, environment};
use crate::generate::{self, Options};
use crate::levers;
use crate::report::report;
use crate::source::Source;

/// Instructions of bytecode that nobody vouches for that are interpreted.
const STEPS: u64 = 10_000;
/// The longest input that is taken: passes are near-linear, but fuzzers are
/// better at short inputs.
const LONGEST: usize = 1 << 16;

/// Kinds of programs that bytecode is tried as.
const KINDS: [ProgramKind; 4] =
    [ProgramKind::Raw, ProgramKind::Xdp, ProgramKind::SchedCls, ProgramKind::Opaque];

/// Instructions: decoding, checking, every engine, and running in the
/// interpreter, which checks every access. The first byte says of what kind.
pub fn bytecode(data: &[u8]) {
    let Some((&kind, code)) = data.split_first().filter(|(_, code)| code.len() <= LONGEST) else {
        return;
    };
    let Ok(mut object) = Object::raw("fuzzed", code) else {
        return;
    };
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    object.programs.values_mut().for_each(|program| program.kind = kind);
    let unit = Unit::new(object);
    compile(&unit, some_levers(data));
    if !unit.errors.is_empty() {
        return;
    }
    let Ok(mut instance) = Instance::new(&unit, Engine::Interp, &mut Trace::default()) else {
        return;
    };
    *instance.environment() = environment();
    instance.limit_steps(STEPS);
    let Ok(program) = instance.program("fuzzed") else {
        return;
    };
    let mut memory = [0x5a; 64];
    // SAFETY: the interpreter checks every access; its errors are no failures.
    let _ = unsafe { program.run(&mut *ctx::for_program(kind, &mut memory)) };
}

fn some_levers(data: &[u8]) -> Levers {
    Levers::without(&levers::off(data.iter().copied()))
}

/// Every engine that compiles, with every check.
fn compile(unit: &Unit, levers: Levers) {
    for engine in Engine::ALL {
        let mut trace = Trace::checked();
        trace.levers = levers.clone();
        let compiled = tailor::compile(unit, engine, None, &mut trace);
        for error in compiled.errors.values() {
            assert!(!error.what.starts_with("internal error"), "{engine}: {error}");
        }
    }
}

/// An object file: parsing, checking, every engine.
pub fn elf(data: &[u8]) {
    if data.len() > LONGEST {
        return;
    }
    if let Ok(object) = Object::parse("fuzzed", data) {
        compile(&Unit::new(object), some_levers(data));
    }
}

/// The IR's text form: what is well-formed goes through the rest of the
/// pipeline.
pub fn ir(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(mut module) = tailor_ir::text::parse_module(text) else {
        return;
    };
    if data.len() > LONGEST || tailor_ir::verifier::verify_module(&module).is_err() {
        return;
    }
    let again = tailor_ir::text::parse_module(&module.to_string()).expect("what was printed");
    assert_eq!(again.to_string(), module.to_string());
    let mut context = passes::Context { verify: true, ..passes::Context::default() };
    for function in module.functions.values_mut() {
        if let Err(broken) = passes::run(function, &mut context) {
            panic!("{broken}\n{}", broken.listing);
        }
    }
    for func in module.functions.keys().filter(|&func| keeps_to_slots(&module.functions[func])) {
        let levers = some_levers(data);
        emit(&module, func, Convention::Saving, Poking::Data, &levers);
        emit(&module, func, Convention::Kernel { landing: 12 }, Poking::Patch, &levers);
    }
}

/// Whether addresses in the stack are used for accesses within their objects,
/// or given away, and nothing else. Others may reach what the frame saves, and
/// the check of the emitted frame rightly finds that registers are lost.
fn keeps_to_slots(function: &Function) -> bool {
    let slot = |value: Value| match function.def(value)?.payload {
        Payload::Slot { slot, offset } => Some((slot, i64::from(offset))),
        _ => None,
    };
    let within = |address: Value, offset: i32, bytes: u32| {
        slot(address).is_none_or(|(slot, at)| {
            let at = at + i64::from(offset);
            at >= 0 && at + i64::from(bytes) <= i64::from(function.stack_slots[slot].size)
        })
    };
    function.layout.iter().all(|&block| {
        let data = &function.blocks[block];
        let mut kept = true;
        data.term.for_each_use(|value| kept &= slot(value).is_none());
        kept && data.insts.iter().all(|&inst| {
            let inst = &function.insts[inst];
            match inst.payload {
                Payload::Mem { offset, size, .. } => within(inst.args[0], offset, size.bytes()),
                Payload::Atomic { offset, .. } => {
                    within(inst.args[0], offset, if inst.ty == Type::I32 { 4 } else { 8 })
                }
                Payload::Ext(_) | Payload::Func(_) => true,
                _ => inst.args.iter().all(|value| slot(*value).is_none()),
            }
        })
    })
}

fn emit(
    module: &Module,
    func: tailor_ir::FuncRef,
    convention: Convention,
    poking: Poking,
    levers: &Levers,
) {
    let wants_record = |callee| module.functions.get(callee).is_some_and(|f| f.reaches_tail_call);
    let options = tailor_lower::Options {
        features: Features { bmi2: true },
        convention,
        poking,
        wants_record: &wants_record,
        ctx_field: &field,
    };
    let Ok(mach) = tailor_lower::lower(&module.functions[func], &options) else {
        return;
    };
    let options = tailor_regalloc::Options {
        check: true,
        ion_limit: 250_000,
        relies_on_alignment: &|_| true,
        keeps_addresses: &|_| true,
        levers: levers.clone(),
    };
    let prepared = tailor_regalloc::prepare(mach, &options);
    let (other, allocated) = prepared.allocate(&options).expect("the checker accepts it");
    let mach = other.unwrap_or(prepared.function);
    let kind = tailor_emit::FunctionKind::Program;
    if let Ok(compiled) = tailor_emit::emit(&mach, &allocated, kind, 1) {
        tailor_emit::frame::check(&compiled).expect("the frame is as believed");
    }
}

/// The native place of a field; the IR's text can name some that do not exist.
fn field(kind: u8, field: u8) -> CtxField {
    let kind = tailor_bpf::ctx::KINDS.get(usize::from(kind));
    match kind.and_then(|kind| kind.fields.get(usize::from(field))) {
        Some(field) => CtxField { offset: i32::from(field.native_offset), size: field.native_size },
        None => CtxField { offset: 0, size: tailor_ir::Size::W },
    }
}

/// A generated program: every engine agrees.
pub fn programs(data: &[u8]) {
    let case = generate::case(&mut Source::new(data), Options::default());
    match compare(&case, &compilers()) {
        Ok(Agreed::Same(..) | Agreed::TooLong) => {}
        Err(difference) => panic!("{}", report(&case, &difference)),
    }
}

/// Inputs to start from, by target: what the generator makes of seeds, in the
/// form that the target takes. (Objects are those of the examples.)
pub fn starts(target: &str, seed: u64) -> Option<Vec<u8>> {
    let case = crate::seeded(seed, Options::default());
    let object = crate::assemble::object(&case);
    match target {
        "bytecode" => {
            let function = object.functions.values().last()?;
            let kind = KINDS.iter().position(|kind| *kind == case.kind)?;
            let code = tailor_bpf::encode::encode("start", &function.ops).ok()?;
            Some([vec![kind as u8], code].concat())
        }
        "ir" => {
            let unit = Unit::new(object);
            let (mut trace, listings) = Trace::collecting(tailor::trace::Stage::Lift);
            tailor::compile(&unit, Engine::Tailor, None, &mut trace);
            Some(listings.take().into_bytes())
        }
        "programs" => Some(crate::source::seed_bytes(seed)),
        _ => None,
    }
}
