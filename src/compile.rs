//! The pipeline as one straight list.
//!
//! [`Unit::new`] is the front half, shared by all engines: what is wrong with
//! the object, and the facts that every engine must agree on. [`compile`] is
//! the back half: `Compilation::function` takes one function through the
//! stages of the optimizing pipeline, or through a baseline.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cranelift_entity::{EntitySet, SecondaryMap};
use tailor_bpf::facts::Facts;
use tailor_bpf::lift::lift;
use tailor_bpf::{Error, FuncRef, Function, Object, ProgId, chains};
use tailor_emit::{CompiledCode, CompiledFunction, Convention, FunctionKind};
use tailor_lower::MachFunction;
use tailor_naive::Variant;
use tailor_regalloc::{Algorithm, Allocated};
use tailor_runtime::helpers::Table;

use crate::engine::{Engine, Family};
use crate::trace::{Stage, Trace};

/// Above this many machine instructions the linear-time allocator is used.
pub const ION_LIMIT: usize = 2_000_000;

/// An object with what analysis found out about it.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The object; functions that cannot be compiled are marked as refused.
    pub object: Arc<Object>,
    /// Facts about the others.
    pub facts: Arc<Facts>,
    /// Everything that is wrong, in the order of functions and instructions.
    pub errors: Arc<[Error]>,
    /// Programs whose chains of tail calls could pile up too much stack.
    chains: Arc<BTreeMap<ProgId, Error>>,
}

impl Unit {
    /// Validates and analyses an object. What is wrong with a function concerns
    /// only the programs that reach it, so nothing fails here.
    pub fn new(mut object: Object) -> Unit {
        let mut errors = tailor_bpf::validate::validate(&object);
        drop_dangling(&mut object);
        refuse(&mut object, &errors);
        let (mut facts, mut found) = tailor_bpf::analyze(&object);
        if tailor_bpf::separate_entries(&mut object, &facts) {
            (facts, found) = tailor_bpf::analyze(&object);
        }
        if tailor_bpf::specialise(&mut object, &found) {
            (facts, found) = tailor_bpf::analyze(&object);
        }
        refuse(&mut object, &found);
        errors.extend(found);
        let chains = object.programs.keys();
        let chains = chains.filter_map(|id| Some((id, chains::check(&object, &facts, id)?)));
        let chains: BTreeMap<ProgId, Error> = chains.collect();
        errors.extend(chains.values().cloned());
        let errors = in_order(&object, errors).into();
        Unit { object: Arc::new(object), facts: Arc::new(facts), errors, chains: chains.into() }
    }

    /// The same for programs that are to call helpers of this table: its own
    /// take five arguments and may do anything.
    pub fn with_helpers(mut object: Object, helpers: &Table) -> Unit {
        object.own_helpers.extend(helpers.own());
        Unit::new(object)
    }

    /// The functions that a program consists of, its entry first; an error if
    /// one of them cannot be compiled, or if its chains take too much stack.
    pub fn reachable(&self, program: ProgId) -> Result<Vec<FuncRef>, Error> {
        if let Some(error) = self.chains.get(&program) {
            return Err(error.clone());
        }
        let program = &self.object.programs[program];
        let mut functions = vec![program.function];
        let mut seen = EntitySet::new();
        seen.insert(program.function);
        let mut next = 0;
        while let Some(&func) = functions.get(next) {
            let Some(function) = self.object.functions.get(func) else {
                let what = format!("there is no {func}");
                return Err(Error::new(what).in_program(&program.name));
            };
            if let Some(error) = &function.refused {
                return Err(error.clone().in_program(&program.name));
            }
            functions.extend(function.callees().filter(|&callee| seen.insert(callee)));
            next += 1;
        }
        Ok(functions)
    }
}

/// Takes what names nothing out of an object that was validated: slots and inner maps
/// go, and a program without a function gets one that is refused.
fn drop_dangling(object: &mut Object) {
    let (maps, programs) = (object.maps.len(), object.programs.len());
    for map in object.maps.values_mut() {
        map.slots.retain(|(_, program)| program.as_u32() < programs as u32);
        map.inner_maps.retain(|(_, inner)| inner.as_u32() < maps as u32);
    }
    for program in object.programs.values_mut() {
        if object.functions.is_valid(program.function) {
            continue;
        }
        let what = format!("there is no {}", program.function);
        program.function = object.functions.push(Function {
            // No function's own name, so that errors of others are not taken for its.
            name: format!("{} ({})", program.name, program.function),
            section: program.section.clone(),
            ops: Vec::new(),
            refused: Some(Error::new(what)),
            further: Vec::new(),
            lines: Default::default(),
        });
    }
}

/// Marks the functions that errors name.
fn refuse(object: &mut Object, errors: &[Error]) {
    let mut by_function = BTreeMap::new();
    for (function, error) in errors.iter().filter_map(|e| Some((e.function.as_deref()?, e))) {
        by_function.entry(function).or_insert(error);
    }
    for function in object.functions.values_mut() {
        let own = by_function.get(&*function.name);
        if let (Some(error), None) = (own, &function.refused) {
            // Whichever program it is that needs the function.
            function.refused = Some(Error { program: None, ..(*error).clone() });
        }
    }
}

/// Sorts errors by place, those of the object as a whole first, and names in
/// each the first program that it concerns.
fn in_order(object: &Object, mut errors: Vec<Error>) -> Vec<Error> {
    if errors.is_empty() {
        return errors;
    }
    let names = object.functions.iter().map(|(func, function)| (&*function.name, func));
    let order: HashMap<&str, FuncRef> = names.collect();
    let mut users: SecondaryMap<FuncRef, Option<&str>> = SecondaryMap::new();
    for program in object.programs.values() {
        for func in object.reachable(program.function) {
            users[func].get_or_insert(&program.name);
        }
    }
    let place = |error: &Error| error.function.as_ref().and_then(|name| order.get(&**name));
    errors.sort_by_key(|error| (place(error).copied(), error.insn));
    errors.dedup();
    let named = errors.into_iter().map(|error| match place(&error).and_then(|at| users[*at]) {
        Some(program) => error.in_program(program),
        None => error,
    });
    named.collect()
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
    /// What gave each function its registers; the baselines allocate none.
    pub allocators: BTreeMap<FuncRef, Algorithm>,
}

/// Compiles the given programs of an object (all of them if `None`) with one engine.
pub fn compile(unit: &Unit, engine: Engine, only: Option<ProgId>, trace: &mut Trace) -> Compiled {
    let mut compilation = Compilation::new(unit, engine, trace);
    let mut errors = BTreeMap::new();
    for id in unit.object.programs.keys().filter(|&id| only.is_none_or(|only| only == id)) {
        if let Err(error) = compilation.program(id, trace) {
            errors.insert(id, error.in_program(&unit.object.programs[id].name));
        }
    }
    if trace.check
        && let Err(error) = tailor_emit::walk::check_module(&compilation.code)
    {
        let error = Error::new(bug(error.to_string(), String::new));
        unit.object.programs.keys().for_each(|id| {
            errors.entry(id).or_insert(error.clone());
        });
    }
    let Compilation { code, times, allocators, .. } = compilation;
    Compiled { code, errors, times, allocators }
}

/// Why an engine by its nature does not take a program, which is not the
/// program's fault.
pub fn beyond(unit: &Unit, engine: Engine, program: ProgId) -> Option<Error> {
    let Family::Naive(variant) = engine.family() else {
        return None;
    };
    let functions = unit.reachable(program).ok()?;
    variant.admit(&unit.object, &unit.facts, &functions).err()
}

/// For each function: it, or something it calls, calls C code or can tail-call.
fn relies_on_alignment(unit: &Unit) -> SecondaryMap<FuncRef, bool> {
    let Unit { object, facts, .. } = unit;
    let mut relies = SecondaryMap::new();
    for func in facts.calls.callees_first(object.functions.keys()) {
        relies[func] = object.functions[func].calls_helper()
            || facts.functions[func].reaches_tail_call
            || object.functions[func].callees().any(|callee| relies[callee]);
    }
    relies
}

/// A broken invariant of this compiler: stops debug builds with the stage's
/// listing, and is the text of an error in release builds.
fn bug(what: String, listing: impl FnOnce() -> String) -> String {
    if cfg!(debug_assertions) {
        panic!("{what}\n{}", listing());
    }
    format!("internal error: {what}")
}

/// The optimizing pipeline up to machine instructions over virtual registers.
pub fn machine(
    unit: &Unit,
    engine: Engine,
    func: FuncRef,
    trace: &mut Trace,
) -> Result<MachFunction, Error> {
    let Unit { object, facts, .. } = unit;
    let name = &object.functions[func].name;
    let fail = |what: String| Error { function: Some(name.clone()), ..Error::new(what) };

    let mut ir = lift(object, facts, func)?;
    trace.show(Stage::Lift, name, || ir.to_string());

    trace.optimise(&mut ir).map_err(|broken| {
        let what = format!("after pass {}: {}", broken.pass, broken.errors);
        fail(bug(what, || broken.listing.clone()))
    })?;
    trace.show(Stage::Opt, name, || ir.to_string());

    let mach = lower(unit, engine, &ir, trace).map_err(|error| fail(error.to_string()))?;
    trace.show(Stage::Lower, name, || mach.to_string());
    Ok(mach)
}

/// Machine instructions of a function's IR.
pub(crate) fn lower(
    unit: &Unit,
    engine: Engine,
    ir: &tailor_ir::Function,
    trace: &Trace,
) -> Result<MachFunction, tailor_lower::Error> {
    let options = tailor_lower::Options {
        features: trace.features,
        convention: engine.convention(),
        poking: trace.poking.unwrap_or(engine.poking()),
        wants_record: &|callee| unit.facts.functions[callee].reaches_tail_call,
        ctx_field: &crate::engine::ctx_field,
    };
    tailor_lower::lower(ir, &options)
}

/// A function at the end of the optimizing pipeline.
pub(crate) struct Finished {
    /// What registers were allocated for.
    pub mach: MachFunction,
    /// Them, and the frame.
    pub allocated: Allocated,
    /// The bytes.
    pub compiled: CompiledFunction,
}

pub(crate) struct Compilation<'a> {
    unit: &'a Unit,
    engine: Engine,
    /// By function: it, or something it calls, calls C code or can tail-call,
    /// so that it relies on the stack's alignment at its entry.
    relies_on_alignment: SecondaryMap<FuncRef, bool>,
    /// The programs' entries.
    entries: EntitySet<FuncRef>,
    /// Functions whose address is taken.
    callbacks: EntitySet<FuncRef>,
    code: CompiledCode,
    times: BTreeMap<FuncRef, Duration>,
    allocators: BTreeMap<FuncRef, Algorithm>,
}

impl<'a> Compilation<'a> {
    pub(crate) fn new(unit: &'a Unit, engine: Engine, trace: &Trace) -> Compilation<'a> {
        let functions = unit.object.functions.keys().map(|_| None).collect();
        let poking = match engine.family() {
            Family::Optimizing(_) => trace.poking.unwrap_or(engine.poking()),
            Family::Naive(_) | Family::Interpreter => engine.poking(),
        };
        let code = CompiledCode {
            architecture: tailor_emit::ARCHITECTURE,
            convention: engine.convention(),
            poking,
            functions,
            stubs: Default::default(),
        };
        let relies_on_alignment = relies_on_alignment(unit);
        let mut entries = EntitySet::new();
        entries.extend(unit.object.programs.values().map(|program| program.function));
        let mut callbacks = EntitySet::new();
        callbacks.extend(unit.object.functions.values().flat_map(|f| f.callbacks()));
        let (times, allocators) = Default::default();
        Compilation {
            unit,
            engine,
            relies_on_alignment,
            entries,
            callbacks,
            code,
            times,
            allocators,
        }
    }

    /// Compiles what a program consists of and is not compiled yet.
    fn program(&mut self, id: ProgId, trace: &mut Trace) -> Result<(), Error> {
        let object = &self.unit.object;
        if let Some(limit) = beyond(self.unit, self.engine, id) {
            return Err(limit);
        }
        for func in self.unit.reachable(id)? {
            if self.code.functions[func].is_some() {
                continue;
            }
            let start = Instant::now();
            let compiled = self.function(func, trace)?;
            self.times.insert(func, start.elapsed());
            self.code.functions[func] = Some(compiled);
        }
        let frame = |func| {
            let compiled: Option<&CompiledFunction> = self.code.functions[func].as_ref();
            compiled.map_or(0, |compiled| compiled.frame.frame_bytes + 8)
        };
        if let Some(error) = chains::check_native(object, &self.unit.facts, id, &frame) {
            return Err(error);
        }
        let mut entered = self.unit.reachable(id)?;
        entered.retain(|&func| self.needs_stub(func));
        for func in entered {
            let name = &object.functions[func].name;
            let stub = tailor_emit::entry_stub(self.code.convention, func, name)
                .map_err(|error| Error::new(error.to_string()))?;
            self.code.stubs[func] = Some(stub);
        }
        Ok(())
    }

    /// Whether C code enters a function that must be given a counter.
    fn needs_stub(&self, func: FuncRef) -> bool {
        let counts_itself = match self.code.convention {
            Convention::Saving => false,
            Convention::Kernel { .. } => self.kind(func) == FunctionKind::Program,
        };
        let entered = self.kind(func) == FunctionKind::Program || self.callbacks.contains(func);
        entered && self.unit.facts.functions[func].reaches_tail_call && !counts_itself
    }

    fn function(&mut self, func: FuncRef, trace: &mut Trace) -> Result<CompiledFunction, Error> {
        match self.engine.family() {
            Family::Optimizing(_) => self.optimizing(func, trace),
            Family::Naive(variant) => self.naive(variant, func, trace),
            Family::Interpreter => Err(Error::new("the interpreter compiles nothing")),
        }
    }

    fn optimizing(&mut self, func: FuncRef, trace: &mut Trace) -> Result<CompiledFunction, Error> {
        let mach = machine(self.unit, self.engine, func, trace)?;
        let finished = self.finish(func, mach, trace)?;
        self.allocators.insert(func, finished.allocated.algorithm);
        Ok(finished.compiled)
    }

    /// The rest of the optimizing pipeline, stage by stage.
    pub(crate) fn finish(
        &self,
        func: FuncRef,
        mach: MachFunction,
        trace: &mut Trace,
    ) -> Result<Finished, Error> {
        let object = &self.unit.object;
        let source = &object.functions[func];
        let name = &source.name;
        let fail = |what: String| Error { function: Some(name.clone()), ..Error::new(what) };

        let options = tailor_regalloc::Options {
            check: trace.check,
            ion_limit: ION_LIMIT,
            relies_on_alignment: &|callee| self.relies_on_alignment[callee],
            keeps_addresses: &|helper| object.helper(helper).keeps_addresses(),
            levers: trace.levers.clone(),
        };
        let prepared = tailor_regalloc::prepare(mach, &options);
        trace.show(Stage::Prepare, name, || prepared.function.to_string());

        let (other, allocated) =
            prepared.allocate(&options).map_err(|error| match trace.levers.excludes_any() {
                // There may be too few registers then.
                true => fail(error.to_string()),
                false => fail(bug(error.to_string(), || prepared.function.to_string())),
            })?;
        let mach = other.unwrap_or(prepared.function);
        trace.show(Stage::Regalloc, name, || tailor_regalloc::text::listing(&mach, &allocated));

        let insns = source.ops.len() as u32;
        let compiled = tailor_emit::emit(&mach, &allocated, self.kind(func), insns)
            .map_err(|error| fail(error.to_string()))?;
        trace.show(Stage::Emit, name, || tailor_emit::listing::listing(&compiled));
        self.check_frame(&compiled, trace)?;
        Ok(Finished { mach, allocated, compiled })
    }

    /// Compares the frame that the compiler believes in with what the bytes say.
    fn check_frame(&self, compiled: &CompiledFunction, trace: &Trace) -> Result<(), Error> {
        if !trace.check {
            return Ok(());
        }
        let fail = |what| Error { function: Some(compiled.name.clone()), ..Error::new(what) };
        tailor_emit::frame::check(compiled).map(|_| ()).map_err(|error| {
            fail(bug(error.to_string(), || tailor_emit::listing::listing(compiled)))
        })
    }

    fn naive(
        &self,
        variant: Variant,
        func: FuncRef,
        trace: &Trace,
    ) -> Result<CompiledFunction, Error> {
        let Unit { object, facts, .. } = self.unit;
        let compiled = tailor_naive::compile(variant, object, facts, func, self.kind(func))?;
        self.check_frame(&compiled, trace)?;
        Ok(compiled)
    }

    fn kind(&self, func: FuncRef) -> FunctionKind {
        match self.entries.contains(func) {
            true => FunctionKind::Program,
            false => FunctionKind::Subprogram,
        }
    }
}
