//! The pipeline as one straight list.
//!
//! [`Unit::new`] is the front half, shared by all engines: what is wrong with
//! the object, and the facts that every engine must agree on. [`compile`] is
//! the back half: [`Compilation::function`] takes one function through the
//! stages of the optimizing pipeline, or through a baseline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tailor_bpf::facts::Facts;
use tailor_bpf::{Error, FuncRef, Object, ProgId};
use tailor_emit::{CompiledCode, CompiledFunction, Convention, FunctionKind};

use crate::engine::{Engine, Family};
use crate::trace::{Stage, Trace};

/// Above this many machine instructions the linear-time allocator is used.
const ION_LIMIT: usize = 250_000;

/// An object with what analysis found out about it.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The object; functions that cannot be compiled are marked as refused.
    pub object: Arc<Object>,
    /// Facts about the others.
    pub facts: Arc<Facts>,
}

impl Unit {
    /// Validates and analyses an object. What is wrong with a function concerns
    /// only the programs that reach it, so nothing fails here.
    pub fn new(mut object: Object) -> Unit {
        for error in tailor_bpf::validate::validate(&object) {
            refuse(&mut object, error);
        }
        let (facts, errors) = tailor_bpf::analyze(&object);
        for error in errors {
            refuse(&mut object, error);
        }
        Unit {
            object: Arc::new(object),
            facts: Arc::new(facts),
        }
    }

    /// The functions that a program consists of, its entry first; an error if
    /// one of them cannot be compiled.
    pub fn reachable(&self, program: ProgId) -> Result<Vec<FuncRef>, Error> {
        let program = &self.object.programs[program];
        let mut functions = vec![program.function];
        let mut next = 0;
        while let Some(&func) = functions.get(next) {
            let function = &self.object.functions[func];
            if let Some(error) = &function.refused {
                return Err(error.clone().in_program(&program.name));
            }
            for callee in function.callees() {
                if !functions.contains(&callee) {
                    functions.push(callee);
                }
            }
            next += 1;
        }
        Ok(functions)
    }
}

/// Marks the function that an error names; an error that names none concerns all.
fn refuse(object: &mut Object, error: Error) {
    for function in object.functions.values_mut() {
        if error
            .function
            .as_ref()
            .is_none_or(|name| *name == function.name)
        {
            function.refused.get_or_insert_with(|| error.clone());
        }
    }
}

/// What compilation of an object came to.
#[derive(Debug)]
pub struct Compiled {
    /// The code of every program that compiled.
    pub code: CompiledCode,
    /// The programs that did not, and why.
    pub errors: BTreeMap<ProgId, Error>,
    /// Time that each function took.
    pub times: BTreeMap<FuncRef, Duration>,
}

/// Compiles the given programs of an object (all of them if `None`) with one engine.
pub fn compile(unit: &Unit, engine: Engine, only: Option<ProgId>, trace: &mut Trace) -> Compiled {
    let mut compilation = Compilation::new(unit, engine);
    let mut errors = BTreeMap::new();
    for id in unit
        .object
        .programs
        .keys()
        .filter(|&id| only.is_none_or(|only| only == id))
    {
        if let Err(error) = compilation.program(id, trace) {
            errors.insert(id, error.in_program(&unit.object.programs[id].name));
        }
    }
    Compiled {
        code: compilation.code,
        errors,
        times: compilation.times,
    }
}

struct Compilation<'a> {
    unit: &'a Unit,
    engine: Engine,
    /// By function: it, or something it calls, calls C code or can tail-call,
    /// so that it relies on the stack's alignment at its entry.
    relies_on_alignment: Vec<bool>,
    code: CompiledCode,
    times: BTreeMap<FuncRef, Duration>,
}

impl<'a> Compilation<'a> {
    fn new(unit: &'a Unit, engine: Engine) -> Compilation<'a> {
        let convention = match engine.family() {
            Family::Naive => Convention::Kernel,
            Family::Optimizing | Family::Interpreter => Convention::Saving,
        };
        let functions = unit.object.functions.keys().map(|_| None).collect();
        let code = CompiledCode {
            convention,
            functions,
            stubs: Default::default(),
        };
        let relies_on_alignment = crate::callgraph::closure(&unit.object, |func| {
            unit.object.functions[func].calls_helper()
                || unit.facts.functions[func].reaches_tail_call
        });
        Compilation {
            unit,
            engine,
            relies_on_alignment,
            code,
            times: BTreeMap::new(),
        }
    }

    /// Compiles what a program consists of and is not compiled yet.
    fn program(&mut self, id: ProgId, trace: &mut Trace) -> Result<(), Error> {
        let object = &self.unit.object;
        for func in self.unit.reachable(id)? {
            if self.code.functions[func].is_some() {
                continue;
            }
            let start = Instant::now();
            let compiled = self.function(func, trace)?;
            self.times.insert(func, start.elapsed());
            self.code.functions[func] = Some(compiled);
        }
        let entry = object.programs[id].function;
        if self.code.convention == Convention::Saving
            && self.unit.facts.functions[entry].reaches_tail_call
        {
            let stub = tailor_emit::entry_stub(entry, &object.programs[id].name)
                .map_err(|error| Error::new(error.to_string()))?;
            self.code.stubs[entry] = Some(stub);
        }
        Ok(())
    }

    fn function(&self, func: FuncRef, trace: &mut Trace) -> Result<CompiledFunction, Error> {
        match self.engine.family() {
            Family::Optimizing => self.optimizing(func, trace),
            Family::Naive => self.naive(func),
            Family::Interpreter => Err(Error::new("the interpreter compiles nothing")),
        }
    }

    /// The optimizing pipeline, stage by stage.
    fn optimizing(&self, func: FuncRef, trace: &mut Trace) -> Result<CompiledFunction, Error> {
        let Unit { object, facts } = self.unit;
        let source = &object.functions[func];
        let fail = |what: String| Error {
            function: Some(source.name.clone()),
            ..Error::new(what)
        };

        let mut ir = tailor_bpf::lift::lift(object, facts, func)?;
        trace.show(Stage::Lift, &source.name, || ir.to_string());

        trace.optimise(&mut ir);
        trace.show(Stage::Opt, &source.name, || ir.to_string());

        let options = tailor_lower::Options {
            features: trace.features,
            wants_record: &|callee| facts.functions[callee].reaches_tail_call,
            ctx_field: &crate::engine::ctx_field,
        };
        let mach = tailor_lower::lower(&ir, &options).map_err(|error| fail(error.to_string()))?;
        trace.show(Stage::Lower, &source.name, || mach.to_string());

        let options = tailor_regalloc::Options {
            check: trace.check,
            ion_limit: ION_LIMIT,
            relies_on_alignment: &|callee| self.relies_on_alignment[callee.as_u32() as usize],
        };
        let allocated =
            tailor_regalloc::allocate(&mach, &options).map_err(|error| fail(error.to_string()))?;
        trace.show(Stage::Regalloc, &source.name, || {
            tailor_regalloc::text::listing(&mach, &allocated)
        });

        let compiled =
            tailor_emit::emit(&mach, &allocated, self.kind(func), source.ops.len() as u32)
                .map_err(|error| fail(error.to_string()))?;
        trace.show(Stage::Emit, &source.name, || {
            tailor_emit::listing::listing(&compiled)
        });
        Ok(compiled)
    }

    fn naive(&self, func: FuncRef) -> Result<CompiledFunction, Error> {
        tailor_naive::compile(&self.unit.object, &self.unit.facts, func, self.kind(func))
    }

    fn kind(&self, func: FuncRef) -> FunctionKind {
        match self
            .unit
            .object
            .programs
            .values()
            .any(|program| program.function == func)
        {
            true => FunctionKind::Program,
            false => FunctionKind::Subprogram,
        }
    }
}
