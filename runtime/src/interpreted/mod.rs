//! Programs in the bytecode interpreter: the same maps, helpers and contexts
//! as compiled code, but every access is checked against the memory that the
//! program may touch.

mod checked;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};

use tailor_bpf::facts::Facts;
use tailor_bpf::host::Host;
use tailor_bpf::{FuncRef, Imm64, MapRef, Object, Op, ProgramKind};

use crate::Error;
use crate::ctx::{self, Context};
use crate::env::{self, Environment};
use crate::helpers::Table;
use crate::module::MapSet;
use crate::poke::{Linkage, Owner};
use checked::Checked;

/// An object ready to be interpreted.
pub struct Interpreted {
    object: Arc<Object>,
    facts: Arc<Facts>,
    maps: MapSet,
    helpers: Table,
    /// By the array's address and index.
    slots: RwLock<HashMap<(u64, u32), FuncRef>>,
    /// The programs by function: kind, and what arrays they can be in.
    programs: HashMap<FuncRef, (ProgramKind, Owner)>,
    /// Programs that must not run, since they use an array that is not theirs.
    refused: HashMap<FuncRef, Error>,
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
        let linkage = Linkage::interpreted();
        let programs = object.programs.values().map(|program| {
            (program.function, (program.kind, Owner::new(program, linkage.clone())))
        });
        let mut this = Interpreted {
            object: object.clone(),
            facts,
            maps,
            helpers,
            slots: RwLock::default(),
            programs: programs.collect(),
            refused: HashMap::new(),
            environment: Environment::default(),
            step_limit: 1 << 32,
        };
        for program in object.programs.values() {
            if let Err(error) = this.claim(program.function) {
                this.refused.insert(program.function, error);
            }
        }
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

    /// Makes the program arrays that a program uses its own, or those of its like.
    fn claim(&self, func: FuncRef) -> Result<(), Error> {
        let (_, owner) = &self.programs[&func];
        for func in self.object.reachable(func) {
            for op in &self.object.functions[func].ops {
                if let Op::LoadImm { value: Imm64::Map(map), .. } = *op
                    && let Some(Ok(map)) = self.maps.get(map.as_u32() as usize)
                    && let Some(mut slots) = map.slots()
                {
                    slots.claim(map, owner)?;
                }
            }
        }
        Ok(())
    }

    /// Fills or clears a slot of a program array; returns whether that changed
    /// it. Runs on other threads see it from their next tail call on.
    pub fn set_slot(&self, map: MapRef, index: u32, func: Option<FuncRef>) -> Result<bool, Error> {
        let array = self.maps[map.as_u32() as usize].clone()?;
        let word = array.slot(index)?;
        let func_owner = func.map(|func| {
            if let Some(error) = self.refused.get(&func) {
                return Err(error.clone());
            }
            let program = self.programs.get(&func);
            program.ok_or_else(|| Error::NoProgram(format!("{func}")))
        });
        if let (Some((_, owner)), Some(mut slots)) = (func_owner.transpose()?, array.slots()) {
            slots.claim(&array, owner)?;
        }
        let mut slots = self.slots.write().expect("no panic while locked");
        let key = (array.address(), index);
        let old = match func {
            Some(func) => slots.insert(key, func),
            None => slots.remove(&key),
        };
        // What somebody else put into an array that is shared stays.
        if old != func {
            word.store(u64::from(func.is_some()), Ordering::Release);
        }
        Ok(old != func)
    }

    /// What is in a slot.
    fn slot(&self, array: u64, index: u32) -> Option<FuncRef> {
        self.slots.read().expect("no panic while locked").get(&(array, index)).copied()
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
        let kind = self.programs.get(&func).map_or(ProgramKind::Opaque, |(kind, _)| *kind);
        ctx::check(kind, context)?;
        if let Some(error) = self.refused.get(&func) {
            return Err(error.clone());
        }
        let args = context.args();
        let mut host = Checked::new(self, kind, args[0], context);
        env::enter(&self.environment, kind, || execute(&mut host, args)).map_err(Error::Interpreter)
    }
}
