//! Programs in the bytecode interpreter: the same maps, helpers and contexts
//! as compiled code, but every access is checked against the memory that the
//! program may touch.

use std::collections::HashMap;
use std::sync::Arc;

use tailor_bpf::facts::Facts;
use tailor_bpf::helpers::{Arg, Extent};
use tailor_bpf::host::Host;
use tailor_bpf::{FuncRef, MapRef, Object, Size};

use crate::Error;
use crate::ctx::Context;
use crate::env::{self, Environment};
use crate::helpers::Table;
use crate::map::Map;
use crate::module::{MapSet, first_value};

/// An object ready to be interpreted.
pub struct Interpreted {
    object: Arc<Object>,
    facts: Arc<Facts>,
    maps: MapSet,
    helpers: Table,
    slots: HashMap<(u64, u32), FuncRef>,
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
        let args = context.args();
        let mut host = Checked { program: self, frames: Vec::new(), regions: context.regions() };
        env::enter(&self.environment, || {
            tailor_bpf::interp::run(
                &self.object,
                &self.facts,
                func,
                args,
                &mut host,
                self.step_limit,
            )
        })
        .map_err(Error::Interpreter)
    }
}

/// The host of one run: knows which memory the program may touch.
struct Checked<'a> {
    program: &'a Interpreted,
    frames: Vec<Box<[u64]>>,
    regions: Vec<(u64, usize)>,
}

impl Checked<'_> {
    fn map(&self, map: MapRef) -> Result<&Arc<Map>, String> {
        self.program.maps[map.as_u32() as usize].as_ref().map_err(Error::to_string)
    }

    fn check(&self, address: u64, len: usize) -> Result<(), String> {
        let within = |(start, size): (u64, usize)| {
            address >= start
                && address - start <= size as u64
                && len as u64 <= size as u64 - (address - start)
        };
        let frames = self.frames.iter().rev().map(|frame| (frame.as_ptr() as u64, frame.len() * 8));
        let maps = self.program.maps.iter().flatten();
        let values = maps.filter_map(|map| map.region(address));
        if frames.chain(self.regions.iter().copied()).chain(values).any(within) {
            return Ok(());
        }
        Err(format!("access of {len} bytes at {address:#x}, which is no memory of the program"))
    }

    fn map_at(&self, address: u64) -> Result<Arc<Map>, String> {
        let mut maps = self.program.maps.iter().flatten();
        let found = maps.find_map(|map| match map.address() == address {
            true => Some(map.clone()),
            false => map.inner_at(address),
        });
        found.ok_or_else(|| format!("{address:#x} is no map"))
    }
}

impl Checked<'_> {
    /// Checks that maps are maps and that memory is the program's, as far as
    /// the helper's row says what it takes.
    fn check_arguments(&self, number: u32, args: [u64; 5]) -> Result<(), String> {
        let row = tailor_bpf::helpers::helper(number);
        let map: Option<Arc<Map>> =
            row.map_arg().map(|position| self.map_at(args[position])).transpose()?;
        for (kind, &address) in row.args.iter().zip(&args) {
            let Arg::Memory { extent, .. } = *kind else { continue };
            let len = match extent {
                Extent::Key => map.as_ref().map_or(0, |map| map.key_size()),
                Extent::Value => map.as_ref().map_or(0, |map| map.value_size()),
                Extent::Bytes(bytes) => bytes as usize,
                // Sizes are 32 bits wide in C.
                Extent::Argument(position) => args[position as usize - 1] as u32 as usize,
                Extent::Unknown => 1,
            };
            if len > 0 {
                self.check(address, len)?;
            }
        }
        Ok(())
    }
}

impl Host for Checked<'_> {
    fn push_frame(&mut self, bytes: u32) -> Result<u64, String> {
        let mut frame = vec![0u64; (bytes as usize).div_ceil(8)].into_boxed_slice();
        let address = frame.as_mut_ptr() as u64;
        self.frames.push(frame);
        Ok(address)
    }

    fn pop_frame(&mut self) {
        self.frames.pop();
    }

    fn load(&mut self, address: u64, size: Size) -> Result<u64, String> {
        self.check(address, size.bytes() as usize)?;
        let mut bytes = [0; 8];
        // SAFETY: the range was just found inside memory of the program.
        unsafe {
            std::ptr::copy_nonoverlapping(
                address as *const u8,
                bytes.as_mut_ptr(),
                size.bytes() as usize,
            );
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), String> {
        self.check(address, size.bytes() as usize)?;
        let bytes = value.to_le_bytes();
        // SAFETY: as above; frames, contexts and pools are all writable.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                address as *mut u8,
                size.bytes() as usize,
            );
        }
        Ok(())
    }

    fn map_address(&mut self, map: MapRef) -> Result<u64, String> {
        Ok(self.map(map)?.address())
    }

    fn map_value_address(&mut self, map: MapRef) -> Result<u64, String> {
        first_value(self.map(map)?).map_err(|error| error.to_string())
    }

    fn call_helper(&mut self, helper: u32, args: [u64; 5]) -> Result<u64, String> {
        let implementation =
            self.program.helpers.get(helper).ok_or_else(|| Error::Helper(helper).to_string())?;
        self.check_arguments(helper, args)?;
        let [a, b, c, d, e] = args;
        // SAFETY: the arguments were checked against the helper's table row.
        Ok(unsafe { implementation(a, b, c, d, e) })
    }

    fn tail_call_target(&mut self, array: u64, index: u32) -> Result<Option<FuncRef>, String> {
        self.map_at(array)?;
        Ok(self.program.slots.get(&(array, index)).copied())
    }
}
