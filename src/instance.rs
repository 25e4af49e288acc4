//! An object made ready to run in one engine: the interpreter or native code
//! behind the same few methods.

use std::sync::Arc;

use tailor_bpf::host::Host;
use tailor_bpf::{Error, FuncRef, MapRef, ProgId};
use tailor_emit::Convention;
use tailor_ir::Module;
use tailor_runtime::helpers::Table;
use tailor_runtime::module::{MapSet, make_maps, slot_layout};
use tailor_runtime::{Context, Environment, Interpreted, Map, Runtime};

use crate::compile::{Compiled, Unit, compile};
use crate::engine::{Engine, Family};
use crate::ir_world;
use crate::trace::Trace;

/// A loaded object with its own maps.
pub struct Instance {
    unit: Unit,
    kind: Kind,
    /// Programs that cannot run in this engine, and why.
    refused: std::collections::BTreeMap<ProgId, Error>,
}

enum Kind {
    Interpreted(Interpreted),
    Native(tailor_runtime::Module),
}

impl Instance {
    /// Compiles (unless the engine is the interpreter) and loads.
    pub fn new(unit: &Unit, engine: Engine, trace: &mut Trace) -> Result<Instance, Error> {
        Instance::with_helpers(unit, engine, trace, Table::default())
    }

    /// The same with helpers of the caller's.
    pub fn with_helpers(
        unit: &Unit,
        engine: Engine,
        trace: &mut Trace,
        helpers: Table,
    ) -> Result<Instance, Error> {
        let mut refused = std::collections::BTreeMap::new();
        let kind = if engine.family() == Family::Interpreter {
            for (id, program) in &unit.object.programs {
                if let Err(error) = unit.reachable(id) {
                    refused.insert(id, error.in_program(&program.name));
                }
            }
            let maps = make_maps(&unit.object, slot_layout(Convention::Saving));
            Kind::Interpreted(Interpreted::new(
                unit.object.clone(),
                unit.facts.clone(),
                maps,
                helpers,
            ))
        } else {
            let bmi2 = tailor_runtime::module::has_bmi2();
            if matches!(engine.family(), Family::Naive(_)) && !bmi2 {
                return Err(Error::new(format!("{engine} needs a processor with BMI2")));
            }
            trace.features.bmi2 = bmi2;
            let Compiled { code, errors, .. } = compile(unit, engine, None, trace);
            refused = errors;
            let maps = make_maps(&unit.object, slot_layout(code.convention));
            let load = |code| Runtime::with_helpers(helpers)?.load(&unit.object, code, maps);
            Kind::Native(load(&code).map_err(runtime_error)?)
        };
        Ok(Instance { unit: unit.clone(), kind, refused })
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

    /// Puts a program into a slot of a program array, or clears it.
    pub fn set_slot(
        &mut self,
        array: &str,
        index: u32,
        program: Option<&str>,
    ) -> Result<(), Error> {
        let map = self.map_ref(array)?;
        let func = program.map(|name| self.entry(name)).transpose()?;
        match &mut self.kind {
            Kind::Interpreted(interpreted) => interpreted.set_slot(map, index, func),
            Kind::Native(module) => module.set_slot(map, index, func),
        }
        .map_err(runtime_error)
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
        let limit = interpreted.step_limit;
        let run = |host: &mut dyn Host, args: [u64; 2]| ir_world::run(ir, func, &args, host, limit);
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
