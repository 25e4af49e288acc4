//! Memory, maps, helpers and code for one module at a time.
//!
//! Data is in one mapping: the world's memory, maps, and what a kernel's array points
//! to. Code is in another, never written while it can be executed: the cells and
//! thunks of helpers, and the functions, so that distances fit.

use std::cell::RefCell;

use memmap2::{Mmap, MmapMut, MmapOptions};
use tailor_emit::{CompiledFunction, Convention, RelocKind, Symbol, kernel, layout};

use super::compile::Compiled;
use super::world::{
    BYTES, Calls, FILL, FILLED, MAP_STEP, MAP_VALUE, SLOTS, WRITTEN, World, filler, helper_result,
};

const MAPS: usize = BYTES;
const MAP_BYTES: usize = 0x1000;
/// What the slots of a kernel's array point to.
const DESCRIPTOR: usize = MAPS + MAP_BYTES;
const DATA_BYTES: usize = DESCRIPTOR + 0x1000;

const CELLS: usize = 0;
const THUNKS: usize = 0x800;
const FUNCTIONS: usize = 0x1000;
const CODE_BYTES: usize = 0x40000;
/// The only helpers.
const HELPERS: [u32; 4] = [1, 5, 9, FILL];

thread_local! {
    /// Where memory is, and the calls of helpers so far.
    static STATE: RefCell<(u64, Calls)> = RefCell::default();
}

fn call(helper: u32, args: [u64; 5]) -> u64 {
    STATE.with_borrow_mut(|(memory, calls)| {
        let result = helper_result(helper, args);
        for at in WRITTEN {
            // SAFETY: both places are within the world's memory, which only the code
            // that called accesses at this moment.
            unsafe { ((*memory + at) as *mut u64).write_unaligned(result) };
        }
        calls.push((helper, args));
        result
    })
}

extern "C" fn helper1(a: u64, b: u64) -> u64 {
    call(1, [a, b, 0, 0, 0])
}

extern "C" fn helper5() -> u64 {
    call(5, [0; 5])
}

extern "C" fn helper9(a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
    call(9, [a, b, c, d, e])
}

extern "C" fn fill(object: u64) -> u64 {
    for at in 0..FILLED {
        // SAFETY: programs pass the address of a frame object of so many bytes.
        unsafe { ((object + at) as *mut u8).write(filler(at)) };
    }
    0
}

/// Everything that a module needs.
pub struct Native {
    data: MmapMut,
    code: Mmap,
    entry: usize,
}

/// A module's code in the making, with where everything is.
struct Loader<'a> {
    data: &'a mut MmapMut,
    code: MmapMut,
    /// The functions' places in the code.
    starts: Vec<usize>,
    /// The place of the program array's slots in the data.
    slots: usize,
}

impl Native {
    pub fn new() -> Native {
        let map = |bytes| MmapOptions::new().len(bytes).map_anon().expect("memory");
        let code = map(CODE_BYTES).make_exec().expect("memory that is executable");
        Native { data: map(DATA_BYTES), code, entry: 0 }
    }

    pub fn memory(&self) -> u64 {
        self.data.as_ptr() as u64
    }

    pub fn maps(&self) -> u64 {
        self.memory() + MAPS as u64
    }

    /// Puts a module in place of the one before.
    pub fn load(self, compiled: &Compiled) -> Native {
        let Native { mut data, code, .. } = self;
        let code = code.make_mut().expect("memory that is writable");
        let mut loader = Loader { data: &mut data, code, starts: Vec::new(), slots: 0 };
        loader.helpers();
        let all: Vec<&CompiledFunction> = compiled.functions.iter().chain(&compiled.stub).collect();
        let mut end = FUNCTIONS;
        for function in &all {
            loader.starts.push(end);
            put(&mut loader.code, end, &function.code);
            end = (end + function.code.len()).next_multiple_of(16);
        }
        loader.array(compiled);
        for (number, function) in all.iter().enumerate() {
            loader.patch(loader.starts[number], function, compiled.functions[2].landing);
            loader.relocate(loader.starts[number], function);
        }
        let entry = loader.starts[if compiled.stub.is_some() { all.len() - 1 } else { 0 }];
        let code = loader.code.make_exec().expect("memory that is executable");
        Native { data, code, entry }
    }

    /// Puts a world's memory in place.
    pub fn reset(&mut self, world: &World) {
        self.data[..BYTES].copy_from_slice(&world.memory);
        STATE.set((self.memory(), Vec::new()));
    }

    /// Calls the entry.
    pub fn run(&mut self, [a, b, c]: [u64; 3]) -> u64 {
        let entry = &self.code[self.entry] as *const u8;
        // SAFETY: the code of a module whose accesses the interpreter has made too, and
        // found inside, compiled as a C function.
        let entry: extern "C" fn(u64, u64, u64) -> u64 = unsafe { std::mem::transmute(entry) };
        entry(a, b, c)
    }

    /// What is different from what the interpreter did.
    pub fn differs(&self, expected: &World) -> Option<String> {
        // Above the maps' values the interpreter keeps its frames.
        let shared = ..BYTES / 2;
        let calls = STATE.with_borrow(|(_, calls)| calls.clone());
        if calls != expected.calls {
            return Some(format!("{calls:x?}\nfor {:x?}", expected.calls));
        }
        let differs = |at: &usize| self.data[*at] != expected.memory[*at];
        let at = (0..shared.end).find(differs)?;
        Some(format!("memory differs at {at:#x}"))
    }
}

impl Loader<'_> {
    fn helpers(&mut self) {
        let addresses: [*const (); 4] =
            [helper1 as *const (), helper5 as *const (), helper9 as *const (), fill as *const ()];
        for (number, address) in addresses.into_iter().enumerate() {
            let (cell, thunk) = (CELLS + 8 * number, THUNKS + 16 * number);
            put(&mut self.code, cell, &(address as u64).to_le_bytes());
            put(&mut self.code, thunk, &kernel::HELPER_THUNK);
            self.distance(thunk + kernel::HELPER_THUNK_CELL, cell);
        }
    }

    /// Four bytes of code: how far it is from behind them.
    fn distance(&mut self, field: usize, target: usize) {
        let distance = target as i32 - (field + 4) as i32;
        put(&mut self.code, field, &distance.to_le_bytes());
    }

    /// Puts the third function into every third slot.
    fn array(&mut self, compiled: &Compiled) {
        let target = (self.code.as_ptr() as u64 + self.starts[2] as u64).to_le_bytes();
        let (entries, slots, value) = match compiled.convention {
            Convention::Saving => {
                (layout::PROG_ARRAY_MAX_ENTRIES, layout::PROG_ARRAY_SLOTS, target)
            }
            Convention::Kernel { .. } => {
                put(self.data, DESCRIPTOR + kernel::DESCRIPTOR_ENTRY as usize, &target);
                let descriptor = self.data.as_ptr() as u64 + DESCRIPTOR as u64;
                (kernel::ARRAY_MAX_ENTRIES, kernel::ARRAY_SLOTS, descriptor.to_le_bytes())
            }
        };
        self.data[MAPS..][..MAP_BYTES].fill(0);
        put(self.data, MAPS + entries as usize, &SLOTS.to_le_bytes());
        self.slots = MAPS + slots as usize;
        for slot in (0..SLOTS as usize).step_by(3) {
            put(self.data, self.slots + 8 * slot, &value);
        }
    }

    /// Opens the patched sites whose slots are set: five bytes of nothing, and a jump.
    fn patch(&mut self, start: usize, function: &CompiledFunction, landing: u32) {
        for site in &function.tail_sites {
            if let (Some((_, key)), Some(poke)) = (site.direct, site.poke)
                && key.is_multiple_of(3)
            {
                put(&mut self.code, start + poke.bypass as usize, &[0x0f, 0x1f, 0x44, 0, 0]);
                let jump = start + poke.target as usize;
                put(&mut self.code, jump, &[0xe9]);
                self.distance(jump + 1, self.starts[2] + landing as usize);
            }
        }
    }

    fn relocate(&mut self, start: usize, function: &CompiledFunction) {
        let data = self.data.as_ptr() as u64;
        for reloc in &function.relocs {
            let field = start + reloc.offset as usize;
            let in_data = |at: usize| (data, at);
            let in_code = |at: usize| (self.code.as_ptr() as u64, at);
            let (base, target) = match reloc.target {
                Symbol::Map(map) => in_data(MAPS + MAP_STEP as usize * map.as_u32() as usize),
                Symbol::MapValue(_, offset) => in_data(MAP_VALUE as usize + offset as usize),
                Symbol::MapSlot(_, key) => in_data(self.slots + 8 * key as usize),
                Symbol::Function(function) | Symbol::Entry(function) => {
                    in_code(self.starts[function.as_u32() as usize])
                }
                Symbol::Helper(helper) => in_code(THUNKS + 16 * position(helper)),
                Symbol::HelperCell(helper) => in_code(CELLS + 8 * position(helper)),
            };
            match reloc.kind {
                RelocKind::Abs64 => {
                    put(&mut self.code, field, &(base + target as u64).to_le_bytes());
                }
                // All of these are in the code.
                RelocKind::Rel32 => self.distance(field, target),
            }
        }
    }
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..at + new.len()].copy_from_slice(new);
}

fn position(helper: u32) -> usize {
    HELPERS.iter().position(|&known| known == helper).expect("one of the helpers")
}
