//! An object made ready to run in one engine: the interpreter or native code
//! behind the same few methods.

use std::collections::BTreeMap;
use std::sync::Arc;

use tailor_bpf::host::Host;
use tailor_bpf::interp::{Profile, run_profiled};
use tailor_bpf::{Error, FuncRef, MapRef, Object, ProgId};
use tailor_emit::{Convention, Poking};
use tailor_ir::Module;
use tailor_runtime::helpers::Table;
use tailor_runtime::module::{MapSet, make_maps, slot_layout};
use tailor_runtime::{Context, Environment, Interpreted, Map, Runtime};

use crate::compile::{Compiled, Unit, compile};
use crate::engine::{Engine, Family};
use crate::ir_world;
use crate::trace::Trace;

/// What an object is loaded into and with.
#[derive(Clone, Default)]
pub struct Setup {
    /// Helpers that programs can call; of no account with a runtime.
    pub helpers: Table,
    /// Where its code goes, so that programs can be put into program arrays of
    /// other objects there; a runtime of its own if none.
    pub runtime: Option<Arc<Runtime>>,
    /// Maps to take instead of making those of the same name. They must be as
    /// the object defines them.
    pub shared: Vec<Arc<Map>>,
    /// What becomes of tail calls whose slot is known; as the engine does it if
    /// none. In the baselines, whose code is given, `Data` makes their sites
    /// jump through cells.
    pub poking: Option<Poking>,
}

/// Puts shared maps in the place of an object's own.
fn share(object: &Object, maps: &mut MapSet, shared: &[Arc<Map>]) -> Result<(), Error> {
    for map in shared {
        let wrong = |what: &str| Error::new(format!("map {}: {what}", map.name()));
        let own = object.map(map.name()).ok_or_else(|| wrong("the object has none"))?;
        let def = &object.maps[own];
        let sizes = (def.key_size as usize, def.value_size as usize);
        let alike = (def.kind, sizes, def.max_entries, def.flags);
        if alike != (map.kind(), (map.key_size(), map.value_size()), map.max_entries(), map.flags())
        {
            return Err(wrong("the object defines it otherwise"));
        }
        maps[own.as_u32() as usize] = Ok(map.clone());
    }
    Ok(())
}

/// A loaded object with its maps. Programs of it can run on any number of
/// threads at once, while slots of its program arrays change.
pub struct Instance {
    unit: Unit,
    kind: Kind,
    /// Programs that cannot run in this engine, and why.
    refused: Refused,
}

type Refused = BTreeMap<ProgId, Error>;

enum Kind {
    Interpreted(Interpreted),
    Native(tailor_runtime::Module),
}

impl Instance {
    /// Compiles (unless the engine is the interpreter) and loads.
    pub fn new(unit: &Unit, engine: Engine, trace: &mut Trace) -> Result<Instance, Error> {
        Instance::with(unit, engine, trace, Setup::default())
    }

    /// The same with helpers of the caller's, with which the unit was made.
    pub fn with_helpers(
        unit: &Unit,
        engine: Engine,
        trace: &mut Trace,
        helpers: Table,
    ) -> Result<Instance, Error> {
        Instance::with(unit, engine, trace, Setup { helpers, ..Setup::default() })
    }

    /// The same into and with what the caller says.
    pub fn with(
        unit: &Unit,
        engine: Engine,
        trace: &mut Trace,
        setup: Setup,
    ) -> Result<Instance, Error> {
        let runtime = setup.runtime.as_ref();
        let helpers = runtime.map_or(&setup.helpers, |runtime| runtime.helpers());
        if let Some(id) = helpers.own().find(|id| !unit.object.own_helpers.contains(id)) {
            let what = format!("helper {id} is not the kernel's: use Unit::with_helpers");
            return Err(Error::new(what));
        }
        let made = match engine.family() {
            Family::Interpreter => Instance::interpreted(unit, setup),
            _ => Instance::native(unit, engine, trace, setup),
        };
        let (kind, refused) = made?;
        Ok(Instance { unit: unit.clone(), kind, refused })
    }

    fn interpreted(unit: &Unit, setup: Setup) -> Result<(Kind, Refused), Error> {
        let mut refused = Refused::new();
        for (id, program) in &unit.object.programs {
            if let Err(error) = unit.reachable(id) {
                refused.insert(id, error.in_program(&program.name));
            }
        }
        let mut maps = make_maps(&unit.object, slot_layout(Convention::Saving));
        share(&unit.object, &mut maps, &setup.shared)?;
        let (object, facts) = (unit.object.clone(), unit.facts.clone());
        Ok((Kind::Interpreted(Interpreted::new(object, facts, maps, setup.helpers)), refused))
    }

    fn native(
        unit: &Unit,
        engine: Engine,
        trace: &mut Trace,
        setup: Setup,
    ) -> Result<(Kind, Refused), Error> {
        let bmi2 = tailor_runtime::module::has_bmi2();
        if matches!(engine.family(), Family::Naive(_)) && !bmi2 {
            return Err(Error::new(format!("{engine} needs a processor with BMI2")));
        }
        trace.features.bmi2 &= bmi2;
        trace.poking = setup.poking.or(trace.poking);
        let poking = trace.poking.unwrap_or(engine.poking());
        let Compiled { code, errors, .. } = compile(unit, engine, None, trace);
        let mut maps = make_maps(&unit.object, slot_layout(code.convention));
        share(&unit.object, &mut maps, &setup.shared)?;
        let runtime = match setup.runtime {
            Some(runtime) => Ok(runtime),
            None => Runtime::with_helpers(setup.helpers),
        };
        let load = |rt: Arc<Runtime>| rt.load(&unit.object, &code, maps, poking);
        Ok((Kind::Native(runtime.and_then(load).map_err(runtime_error)?), errors))
    }

    fn maps(&self) -> &MapSet {
        match &self.kind {
            Kind::Interpreted(interpreted) => interpreted.maps(),
            Kind::Native(module) => module.maps(),
        }
    }

    /// A map by name.
    pub fn map(&self, name: &str) -> Result<Arc<Map>, Error> {
        let map = self.map_ref(name)?;
        self.maps()[map.as_u32() as usize].clone().map_err(runtime_error)
    }

    fn map_ref(&self, name: &str) -> Result<MapRef, Error> {
        self.unit.object.map(name).ok_or_else(|| Error::new(format!("no map {name:?}")))
    }

    /// What helpers see, to be changed before a run.
    pub fn environment(&mut self) -> &mut Environment {
        match &mut self.kind {
            Kind::Interpreted(interpreted) => &mut interpreted.environment,
            Kind::Native(module) => &mut module.environment,
        }
    }

    /// Gives runs in the interpreter up after so many instructions. Compiled
    /// code is not limited.
    pub fn limit_steps(&mut self, steps: u64) {
        if let Kind::Interpreted(interpreted) = &mut self.kind {
            interpreted.step_limit = steps;
        }
    }

    /// Puts a program into a slot of a program array, or clears it; returns
    /// whether that changed it. Programs can run meanwhile, on other threads.
    pub fn set_slot(&self, array: &str, index: u32, program: Option<&str>) -> Result<bool, Error> {
        let map = self.map_ref(array)?;
        let func = program.map(|name| self.entry(name)).transpose()?;
        match &self.kind {
            Kind::Interpreted(interpreted) => interpreted.set_slot(map, index, func),
            Kind::Native(module) => module.set_slot(map, index, func),
        }
        .map_err(runtime_error)
    }

    /// The same with a program that may be another instance's of the same
    /// runtime. It stays there when that one is dropped.
    pub fn put(&self, array: &str, index: u32, program: &Program<'_>) -> Result<bool, Error> {
        let map = self.map_ref(array)?;
        match (&self.kind, &program.0) {
            (Kind::Native(module), ProgramKind::Native(program)) => {
                let array = module.prog_array(map);
                array.and_then(|array| array.set(index, program)).map_err(runtime_error)
            }
            (Kind::Interpreted(own), ProgramKind::Interpreted(other, func))
                if std::ptr::eq(own, *other) =>
            {
                own.set_slot(map, index, Some(*func)).map_err(runtime_error)
            }
            _ => Err(Error::new(format!(
                "map {array}: programs that are interpreted can only be in arrays of their object"
            ))),
        }
    }

    /// The loaded code; none in the interpreter.
    pub fn module(&self) -> Option<&tailor_runtime::Module> {
        match &self.kind {
            Kind::Interpreted(_) => None,
            Kind::Native(module) => Some(module),
        }
    }

    fn entry(&self, program: &str) -> Result<FuncRef, Error> {
        let id = self.unit.object.program(program);
        let id = id.ok_or_else(|| Error::new(format!("no program {program:?}")))?;
        match self.refused.get(&id) {
            Some(error) => Err(error.clone()),
            None => Ok(self.unit.object.programs[id].function),
        }
    }

    /// Runs the IR of a program instead of its bytecode, in the world that the
    /// interpreter has: every access is checked. An error in any other engine.
    pub fn run_ir(
        &self,
        ir: &Module,
        program: &str,
        context: &mut dyn Context,
    ) -> Result<u64, Error> {
        let Kind::Interpreted(interpreted) = &self.kind else {
            return Err(Error::new("IR runs in the world of the interpreter alone"));
        };
        let func = self.entry(program)?;
        // An instruction of bytecode is a few of the IR.
        let limit = interpreted.step_limit.saturating_mul(8);
        let run = |host: &mut dyn Host, args: [u64; 2]| ir_world::run(ir, func, &args, host, limit);
        interpreted.run_with(func, context, run).map_err(runtime_error)
    }

    /// Runs a program and counts what it executes. An error in any engine but
    /// the interpreter.
    pub fn run_profiled(
        &self,
        program: &str,
        context: &mut dyn Context,
        profile: &mut Profile,
    ) -> Result<u64, Error> {
        let Kind::Interpreted(interpreted) = &self.kind else {
            return Err(Error::new("the interpreter alone counts what it executes"));
        };
        let func = self.entry(program)?;
        let (object, facts, limit) = (&self.unit.object, &self.unit.facts, interpreted.step_limit);
        let run = |host: &mut dyn Host, args: [u64; 2]| {
            run_profiled(object, facts, func, args, host, limit, Some(profile))
        };
        interpreted.run_with(func, context, run).map_err(runtime_error)
    }

    /// A program by name, ready to run.
    pub fn program(&self, name: &str) -> Result<Program<'_>, Error> {
        let func = self.entry(name)?;
        Ok(Program(match &self.kind {
            Kind::Interpreted(interpreted) => ProgramKind::Interpreted(interpreted, func),
            Kind::Native(module) => {
                let program = module.program(func).map_err(runtime_error);
                ProgramKind::Native(program.map_err(|error| error.in_program(name))?)
            }
        }))
    }
}

/// A program of an instance.
pub struct Program<'a>(ProgramKind<'a>);

enum ProgramKind<'a> {
    Interpreted(&'a Interpreted, FuncRef),
    Native(tailor_runtime::module::Program<'a>),
}

impl Program<'_> {
    /// Where C code enters it; none in the interpreter.
    pub fn entry(&self) -> Option<tailor_runtime::module::Entry> {
        match &self.0 {
            ProgramKind::Interpreted(..) => None,
            ProgramKind::Native(program) => Some(program.entry()),
        }
    }

    /// Runs it once and returns R0.
    ///
    /// # Safety
    /// In a compiling engine: the program must be one that an eBPF verifier
    /// would accept for this kind of context. (The interpreter checks every
    /// access, and returns an error.)
    pub unsafe fn run(&self, context: &mut dyn Context) -> Result<u64, Error> {
        match &self.0 {
            ProgramKind::Interpreted(interpreted, func) => {
                interpreted.run(*func, context).map_err(runtime_error)
            }
            ProgramKind::Native(program) => {
                program.check(context).map_err(runtime_error)?;
                // SAFETY: passed on to the caller.
                Ok(unsafe { program.run(context) })
            }
        }
    }
}

fn runtime_error(error: tailor_runtime::Error) -> Error {
    match error {
        tailor_runtime::Error::Interpreter(error) => error,
        other => Error::new(other.to_string()),
    }
}
