//! Programs in the bytecode interpreter: the same maps, helpers and contexts
//! as compiled code, but every access is checked against the memory that the
//! program may touch.

mod checked;

use std::collections::HashMap;
use std::sync::Arc;

use tailor_bpf::facts::Facts;
use tailor_bpf::host::Host;
use tailor_bpf::{FuncRef, MapRef, Object, ProgramKind};

use crate::Error;
use crate::ctx::{self, Context};
use crate::env::{self, Environment};
use crate::helpers::Table;
use crate::module::{MapSet, kinds};
use checked::Checked;

/// An object ready to be interpreted.
pub struct Interpreted {
    object: Arc<Object>,
    facts: Arc<Facts>,
    maps: MapSet,
    helpers: Table,
    slots: HashMap<(u64, u32), FuncRef>,
    /// The kinds of the functions that are programs.
    kinds: HashMap<FuncRef, ProgramKind>,
    /// What helpers see.
    pub environment: Environment,
    /// Instructions after which a run is given up.
    pub step_limit: u64,
}

impl Interpreted {
    /// Takes an object, what analysis found out about it, and its maps, and
    /// fills its program arrays as the object says.
    pub fn new(
        object: Arc<Object>,
        facts: Arc<Facts>,
        maps: MapSet,
        helpers: Table,
    ) -> Interpreted {
        let mut this = Interpreted {
            object: object.clone(),
            facts,
            maps,
            helpers,
            slots: HashMap::new(),
            kinds: kinds(&object),
            environment: Environment::default(),
            step_limit: 1 << 32,
        };
        for (map, def) in &object.maps {
            for &(index, program) in &def.slots {
                // A map that cannot be made is named when a program uses it.
                let _ = this.set_slot(map, index, Some(object.programs[program].function));
            }
        }
        this
    }

    /// The maps, by number.
    pub fn maps(&self) -> &MapSet {
        &self.maps
    }

    /// Fills or clears a slot of a program array.
    pub fn set_slot(
        &mut self,
        map: MapRef,
        index: u32,
        func: Option<FuncRef>,
    ) -> Result<(), Error> {
        let array = self.maps[map.as_u32() as usize].clone()?;
        array.set_slot(index, u64::from(func.is_some()))?;
        let key = (array.address(), index);
        match func {
            Some(func) => self.slots.insert(key, func),
            None => self.slots.remove(&key),
        };
        Ok(())
    }

    /// Runs a program once.
    pub fn run(&self, func: FuncRef, context: &mut dyn Context) -> Result<u64, Error> {
        self.run_with(func, context, |host, args| {
            let (object, facts) = (&self.object, &self.facts);
            tailor_bpf::interp::run(object, facts, func, args, host, self.step_limit)
        })
    }

    /// The same, executed by another interpreter: it gets this object's world,
    /// every access in which is checked, and R1 and R2.
    pub fn run_with(
        &self,
        func: FuncRef,
        context: &mut dyn Context,
        execute: impl FnOnce(&mut dyn Host, [u64; 2]) -> Result<u64, tailor_bpf::Error>,
    ) -> Result<u64, Error> {
        let kind = self.kinds.get(&func).copied().unwrap_or(ProgramKind::Opaque);
        ctx::check(kind, context)?;
        let args = context.args();
        let mut host = Checked::new(self, kind, args[0], context);
        env::enter(&self.environment, kind, || execute(&mut host, args)).map_err(Error::Interpreter)
    }
}
