//! Runs a case in the engines and compares what comes out.
//!
//! The interpreter is the reference: it checks every access, so it runs first,
//! and it gives up what takes too long. An engine takes part in a case if it
//! defines the result: kernels up to 6.11 count tail calls differently, so
//! naive-fixed and naive-5.10 are left out where their count decides.

use std::fmt;

use tailor::emit::Poking;
use tailor::ir::Module;
use tailor::runtime::{Clock, Context, Environment, ctx};
use tailor::{Engine, Instance, Trace, Unit, pass_check};
use tailor_bpf::{Object, ProgramKind};

use crate::assemble;
use crate::program::{Case, Index, Role, Stmt};

/// Instructions after which the interpreter gives a case up. Budgets keep
/// generated programs far below; fuzzers of bytes find loops without end.
const STEPS: u64 = 2_000_000;

/// Keys and values of a map, ascending.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// What can be seen of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// R0; a packet program's verdict has 32 bits.
    pub retval: u64,
    /// The packet or memory.
    pub data: Vec<u8>,
    /// The entries of each map, by name.
    pub maps: Vec<(String, Entries)>,
    /// Fields of a socket buffer that programs write.
    pub fields: Vec<u64>,
}

/// The fields of a socket buffer that programs write.
pub const SKB_FIELDS: [&str; 7] = ["mark", "priority", "cb[0]", "cb[1]", "cb[2]", "cb[3]", "cb[4]"];

/// Something that runs cases.
pub trait Subject {
    /// For messages.
    fn name(&self) -> String;

    /// Whether it defines the case's result.
    fn takes(&self, _case: &Case, _unit: &Unit) -> bool {
        true
    }

    /// Runs the first program.
    fn run(&self, case: &Case, unit: &Unit) -> Result<Outcome, String>;
}

/// An engine that does something else than the interpreter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Which one.
    pub engine: String,
    /// What differs, or its error.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.engine, self.what)
    }
}

/// What came of a case on which all engines agree.
#[derive(Clone, Debug)]
pub enum Agreed {
    /// The outcome, and how many engines were compared with the interpreter.
    Same(Outcome, usize),
    /// It takes too long.
    TooLong,
}

impl Subject for Engine {
    fn name(&self) -> String {
        Engine::name(*self).into()
    }

    fn takes(&self, case: &Case, unit: &Unit) -> bool {
        let mut programs = unit.object.programs.keys();
        let refused = programs.any(|id| tailor::compile::beyond(unit, *self, id).is_some());
        let counts_alike = !matches!(self, Engine::NaiveFixed | Engine::Naive510);
        !refused && (counts_alike || !count_decides(case))
    }

    fn run(&self, case: &Case, unit: &Unit) -> Result<Outcome, String> {
        run(case, unit, *self, Trace::checked())
    }
}

/// `tailor` with tail-call sites that are patched, instead of slots that are
/// loaded: another engine where a slot is known.
pub struct Patched;

impl Patched {
    /// Its name.
    pub const NAME: &str = "tailor, patched";

    /// How it compiles.
    pub fn trace() -> Trace {
        let mut trace = Trace::checked();
        trace.poking = Some(Poking::Patch);
        trace
    }
}

impl Subject for Patched {
    fn name(&self) -> String {
        Patched::NAME.into()
    }

    fn takes(&self, case: &Case, _unit: &Unit) -> bool {
        let constant = |stmt: &&Stmt| matches!(stmt, Stmt::TailCall(Index::Constant(_), _));
        case.functions.iter().any(|f| f.statements().iter().any(constant))
    }

    fn run(&self, case: &Case, unit: &Unit) -> Result<Outcome, String> {
        run(case, unit, Engine::Tailor, Patched::trace())
    }
}

/// The IR, as lifted and as every pass of the optimiser leaves it, executed by
/// the IR's interpreter: names the pass that is at fault.
pub struct Passes;

impl Subject for Passes {
    fn name(&self) -> String {
        "passes".into()
    }

    fn run(&self, case: &Case, unit: &Unit) -> Result<Outcome, String> {
        let main = unit.object.programs.keys().next().ok_or("no program")?;
        let expected = Engine::Interp.run(case, unit)?;
        pass_check::check(unit, main, &expected, &mut |ir| {
            execute(case, unit, Engine::Interp, Trace::checked(), Some(ir))
                .map_err(tailor::Error::new)
        })?;
        Ok(expected)
    }
}

/// Whether the tail-call counts of kernels up to 6.11 may show in the result:
/// they count calls through empty slots, and subprograms count for themselves.
fn count_decides(case: &Case) -> bool {
    let tail_calls = |role: Role| {
        let mut functions = case.functions.iter().filter(move |function| function.role == role);
        functions.any(|f| f.statements().iter().any(|stmt| matches!(stmt, Stmt::TailCall(..))))
    };
    let empty = case.slots.iter().any(Option::is_none);
    tail_calls(Role::Subprogram) || tail_calls(Role::Program) && empty
}

/// Runs a case's first program in an engine.
pub fn run(case: &Case, unit: &Unit, engine: Engine, trace: Trace) -> Result<Outcome, String> {
    execute(case, unit, engine, trace, None)
}

/// The same, or in the interpreter's world a version of its IR.
fn execute(
    case: &Case,
    unit: &Unit,
    engine: Engine,
    mut trace: Trace,
    ir: Option<&Module>,
) -> Result<Outcome, String> {
    let text = |error: tailor::Error| error.to_string();
    trace.levers = trace.levers.and_without(&case.off);
    let mut instance = Instance::new(unit, engine, &mut trace).map_err(text)?;
    *instance.environment() = environment();
    instance.limit_steps(STEPS);
    let main = unit.object.programs.values().next().ok_or("no program")?;
    let mut data = case.data.clone();
    let mut skb = (main.kind == ProgramKind::SchedCls).then(|| tailor::Skb::new(main.kind, &data));
    let mut fields = Vec::new();
    let program = instance.program(&main.name).map_err(text)?;
    let run = |context: &mut dyn Context| match ir {
        Some(ir) => instance.run_ir(ir, &main.name, context),
        // SAFETY: generated programs stay within what they were given, and the
        // interpreter, which checks every access, runs each of them first.
        None => unsafe { program.run(context) },
    };
    let (retval, data) = match &mut skb {
        Some(skb) => {
            let retval = run(skb).map_err(text)?;
            fields.extend(SKB_FIELDS.iter().filter_map(|name| skb.get(name)));
            (retval, Context::data(skb))
        }
        None => {
            let mut context = ctx::for_program(main.kind, &mut data);
            let retval = run(&mut *context).map_err(text)?;
            (retval, context.data())
        }
    };
    let raw = main.kind == ProgramKind::Raw;
    let retval = if raw { retval } else { u64::from(retval as u32) };
    let names = unit.object.maps.values().map(|map| map.name.clone());
    let maps = names.map(|name| {
        let map = instance.map(&name).map_err(text)?;
        Ok((name, map.entries()))
    });
    Ok(Outcome { retval, data, maps: maps.collect::<Result<_, String>>()?, fields })
}

/// What helpers see: constants that are no small numbers.
pub fn environment() -> Environment {
    Environment::default().with_clock(Clock::Fixed(CLOCK)).with_random(RANDOM).with_cpu(0)
}

/// The time of every run.
pub const CLOCK: u64 = 0x1234_5678_9abc;
/// Every random number.
pub const RANDOM: u32 = 0xdead_beef;

/// Compares subjects with the interpreter.
pub fn compare(case: &Case, subjects: &[&dyn Subject]) -> Result<Agreed, Difference> {
    compare_object(case, assemble::object(case), subjects)
}

/// The same for an object that is already made.
pub fn compare_object(
    case: &Case,
    object: Object,
    subjects: &[&dyn Subject],
) -> Result<Agreed, Difference> {
    let unit = Unit::new(object);
    let interp = |what: String| Difference { engine: "interp".into(), what };
    if let Some(error) = unit.errors.first() {
        return Err(interp(format!("refused: {error}")));
    }
    let expected = match Engine::Interp.run(case, &unit) {
        Ok(outcome) => outcome,
        Err(what) if what.contains("still running after") => return Ok(Agreed::TooLong),
        Err(what) => return Err(interp(what)),
    };
    let mut compared = 0;
    for subject in subjects.iter().filter(|subject| subject.takes(case, &unit)) {
        let what = match subject.run(case, &unit) {
            Ok(found) => match found.difference(&expected) {
                None => {
                    compared += 1;
                    continue;
                }
                Some(what) => what,
            },
            Err(what) => what,
        };
        return Err(Difference { engine: subject.name(), what });
    }
    Ok(Agreed::Same(expected, compared))
}

/// The engines that compile.
pub fn compilers() -> Vec<&'static dyn Subject> {
    let all = const { &Engine::ALL }.iter().filter(|engine| **engine != Engine::Interp);
    all.map(|engine| engine as &dyn Subject).chain([&Patched as &dyn Subject]).collect()
}

impl Outcome {
    /// What differs from what was expected, if anything does.
    pub fn difference(&self, expected: &Outcome) -> Option<String> {
        if self.retval != expected.retval {
            return Some(format!("returned {:#x}, expected {:#x}", self.retval, expected.retval));
        }
        if self.data != expected.data {
            return Some(format!("data {:02x?}, expected {:02x?}", self.data, expected.data));
        }
        if self.fields != expected.fields {
            return Some(format!("fields {:x?}, expected {:x?}", self.fields, expected.fields));
        }
        let mut maps = self.maps.iter().zip(&expected.maps);
        let (found, wanted) = maps.find(|(found, wanted)| found != wanted)?;
        Some(format!("map {} {:02x?}, expected {:02x?}", found.0, found.1, wanted.1))
    }
}
