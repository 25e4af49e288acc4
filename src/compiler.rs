//! The library as an embedder uses it: an object or plain bytecode in, programs
//! to run out.
//!
//! ```no_run
//! # fn main() -> Result<(), tailor::Error> {
//! let object = tailor::Object::open("lb.o")?;
//! let module = tailor::Compiler::new().compile(&object)?;
//! let program = module.program("xdp_lb")?;
//! let mut packet = vec![0; 64];
//! // SAFETY: the kernel's verifier accepts this program.
//! let verdict = unsafe { program.run(&mut tailor::Xdp::new(&mut packet)) }?;
//! # let _ = verdict; Ok(())
//! # }
//! ```

use std::sync::Arc;

use tailor_emit::Poking;
use tailor_lower::Features;
use tailor_regalloc::Levers;
use tailor_runtime::helpers::Table;
use tailor_runtime::module::Entry;
use tailor_runtime::{Map, Runtime};

use crate::instance::Setup;
use crate::{Engine, Error, Instance, Object, Trace, Unit, profile};

/// How an object is to be compiled and loaded.
#[derive(Clone)]
pub struct Compiler {
    engine: Engine,
    features: Option<Features>,
    levers: Option<Levers>,
    profile: Option<Vec<u8>>,
    setup: Setup,
}

impl Default for Compiler {
    fn default() -> Compiler {
        let setup = Setup::default();
        Compiler { engine: Engine::Tailor, features: None, levers: None, profile: None, setup }
    }
}

impl Compiler {
    /// The optimizing engine and the standard helpers.
    pub fn new() -> Compiler {
        Compiler::default()
    }

    /// Chooses the engine.
    pub fn engine(mut self, engine: Engine) -> Compiler {
        self.engine = engine;
        self
    }

    /// Chooses the instructions that may be used, of those that this processor
    /// has; otherwise all of them are.
    pub fn features(mut self, features: Features) -> Compiler {
        self.features = Some(features);
        self
    }

    /// Chooses the levers that the optimizing engines use; otherwise all of them,
    /// or what `TAILOR_NO` in the environment leaves.
    pub fn levers(mut self, levers: Levers) -> Compiler {
        self.levers = Some(levers);
        self
    }

    /// Takes for frequencies what runs on this packet (or memory) execute, in the
    /// interpreter and with the compiler's helpers, instead of estimates
    /// ([`profile::measure`]). Estimates stay for what cannot be run on it.
    pub fn profile(mut self, data: &[u8]) -> Compiler {
        self.profile = Some(data.to_vec());
        self
    }

    /// Chooses the helpers that programs can call.
    pub fn helpers(mut self, helpers: Table) -> Compiler {
        self.setup.helpers = helpers;
        self
    }

    /// Chooses the runtime, whose helpers programs can call: programs of all
    /// objects in it can be put into each other's program arrays
    /// ([`Instance::put`]).
    pub fn runtime(mut self, runtime: Arc<Runtime>) -> Compiler {
        self.setup.runtime = Some(runtime);
        self
    }

    /// Takes this map, which the object must define alike, for the object's own
    /// of the same name.
    pub fn share(mut self, map: Arc<Map>) -> Compiler {
        self.setup.shared.push(map);
        self
    }

    /// Chooses whether tail calls whose slot is known are patched when it
    /// changes, or jump through data.
    pub fn poking(mut self, poking: Poking) -> Compiler {
        self.setup.poking = Some(poking);
        self
    }

    /// Compiles all programs of an object and loads them. Programs that cannot
    /// be compiled are named when they are asked for.
    pub fn compile(&self, object: &Object) -> Result<Instance, Error> {
        let mut trace = Trace::from_environment()?;
        if let Some(features) = self.features {
            trace.features = features;
        }
        if let Some(levers) = &self.levers {
            trace.levers = levers.clone();
        }
        let runtime = self.setup.runtime.as_ref();
        let helpers = runtime.map_or(&self.setup.helpers, |runtime| runtime.helpers());
        let mut unit = Unit::with_helpers(object.clone(), helpers);
        if let Some(data) = &self.profile {
            profile::measure_with(&mut unit, data, helpers);
        }
        Instance::with(&unit, self.engine, &mut trace, self.setup.clone())
    }
}

/// Plain bytecode: R1 = memory, R2 = its length.
pub mod raw {
    use super::*;

    /// A function compiled from bytecode.
    pub struct Raw {
        instance: Instance,
        entry: Entry,
    }

    /// Compiles bytecode with the default compiler.
    pub fn compile(bytecode: &[u8]) -> Result<Raw, Error> {
        let object = Object::raw("raw", bytecode)?;
        let name = object.programs.values().next().map(|program| program.name.clone());
        let instance = Compiler::new().compile(&object)?;
        let program = instance.program(&name.unwrap_or_default())?;
        let entry = program.entry().ok_or_else(|| Error::new("no native code"))?;
        Ok(Raw { instance, entry })
    }

    impl Raw {
        /// The code as a C function of memory and its length in bytes, valid as long as this value lives.
        pub fn as_fn(&self) -> Entry {
            self.entry
        }

        /// The loaded code and its maps.
        pub fn instance(&self) -> &Instance {
            &self.instance
        }
    }
}
