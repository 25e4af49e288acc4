//! Memory, maps, helpers and code for one module at a time.
//!
//! One mapping has all of it, so that distances fit: the world's memory, maps, the
//! cells and thunks of helpers, code.

use std::cell::RefCell;

use memmap2::{MmapMut, MmapOptions};
use tailor_emit::{CompiledFunction, Convention, RelocKind, Symbol, kernel, layout};

use super::compile::Compiled;
use super::world::{BYTES, FILL, FILLED, MAP_STEP, SLOTS, WRITTEN, World, filler, helper_result};

const MAPS: usize = BYTES;
const MAP_BYTES: usize = 0x1000;
/// What the slots of a kernel's array point to.
const DESCRIPTOR: usize = MAPS + 0x2000;
const CELLS: usize = MAPS + 0x3000;
const THUNKS: usize = CELLS + 0x800;
const CODE: usize = MAPS + 0x4000;
const CODE_BYTES: usize = 0x20000;
/// The only helpers.
const HELPERS: [u32; 4] = [1, 5, 9, FILL];

thread_local! {
    /// Where memory is, and the calls of helpers so far.
    static STATE: RefCell<(u64, Vec<(u32, [u64; 5])>)> = RefCell::default();
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
    mapped: MmapMut,
    entry: usize,
}

impl Native {
    pub fn new() -> Native {
        let bytes = CODE + CODE_BYTES;
        let mapped = MmapOptions::new().len(bytes).map_anon().expect("memory");
        let start = mapped.as_ptr();
        // SAFETY: the range is the mapping made just now.
        let protected = unsafe {
            libc::mprotect(
                start as *mut libc::c_void,
                bytes,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
            )
        };
        assert_eq!(protected, 0, "memory that is executable");
        let mut native = Native { mapped, entry: CODE };
        let addresses = [
            helper1 as *const () as u64,
            helper5 as *const () as u64,
            helper9 as *const () as u64,
            fill as *const () as u64,
        ];
        for (number, address) in addresses.into_iter().enumerate() {
            native.put(CELLS + 8 * number, &address.to_le_bytes());
            let thunk = THUNKS + 16 * number;
            native.put(thunk, &kernel::HELPER_THUNK);
            let field = thunk + kernel::HELPER_THUNK_CELL;
            let distance = (CELLS + 8 * number) as i32 - (field + 4) as i32;
            native.put(field, &distance.to_le_bytes());
        }
        native
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.mapped[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn memory(&self) -> u64 {
        self.mapped.as_ptr() as u64
    }

    pub fn maps(&self) -> u64 {
        self.memory() + MAPS as u64
    }

    /// Puts a module in place of the one before.
    pub fn load(&mut self, compiled: &Compiled) {
        let mut starts = Vec::new();
        let mut end = CODE;
        let all: Vec<&CompiledFunction> = compiled.functions.iter().chain(&compiled.stub).collect();
        for function in &all {
            starts.push(end);
            self.put(end, &function.code);
            end = (end + function.code.len()).next_multiple_of(16);
        }
        self.entry = starts[if compiled.stub.is_some() { starts.len() - 1 } else { 0 }];
        let target = (self.memory() + starts[2] as u64).to_le_bytes();
        let (entries, slots, value) = match compiled.convention {
            Convention::Saving => {
                (layout::PROG_ARRAY_MAX_ENTRIES, layout::PROG_ARRAY_SLOTS, target)
            }
            Convention::Kernel { .. } => {
                self.put(DESCRIPTOR + kernel::DESCRIPTOR_ENTRY as usize, &target);
                let descriptor = self.memory() + DESCRIPTOR as u64;
                (kernel::ARRAY_MAX_ENTRIES, kernel::ARRAY_SLOTS, descriptor.to_le_bytes())
            }
        };
        self.mapped[MAPS..MAPS + MAP_BYTES].fill(0);
        self.put(MAPS + entries as usize, &SLOTS.to_le_bytes());
        let slots = MAPS + slots as usize;
        for slot in (0..SLOTS as usize).step_by(3) {
            self.put(slots + 8 * slot, &value);
        }
        for (function, start) in all.into_iter().zip(&starts) {
            for site in &function.tail_sites {
                if let (Some((_, key)), Some(poke)) = (site.direct, site.poke)
                    && key.is_multiple_of(3)
                {
                    // Five bytes of nothing, and a jump.
                    self.put(start + poke.bypass as usize, &[0x0f, 0x1f, 0x44, 0, 0]);
                    let jump = start + poke.target as usize;
                    let landing = starts[2] + compiled.functions[2].landing as usize;
                    let distance = landing as i32 - (jump + 5) as i32;
                    self.put(jump, &[0xe9]);
                    self.put(jump + 1, &distance.to_le_bytes());
                }
            }
            for reloc in &function.relocs {
                let target = match reloc.target {
                    Symbol::Map(map) => MAPS + MAP_STEP as usize * map.as_u32() as usize,
                    Symbol::MapValue(_, offset) => {
                        super::world::MAP_VALUE as usize + offset as usize
                    }
                    Symbol::MapSlot(_, key) => slots + 8 * key as usize,
                    Symbol::Function(function) | Symbol::Entry(function) => {
                        starts[function.as_u32() as usize]
                    }
                    Symbol::Helper(helper) => THUNKS + 16 * position(helper),
                    Symbol::HelperCell(helper) => CELLS + 8 * position(helper),
                };
                let field = start + reloc.offset as usize;
                match reloc.kind {
                    RelocKind::Abs64 => {
                        let address = self.memory() + target as u64;
                        self.put(field, &address.to_le_bytes());
                    }
                    RelocKind::Rel32 => {
                        let distance = target as i32 - (field + 4) as i32;
                        self.put(field, &distance.to_le_bytes());
                    }
                }
            }
        }
    }

    /// Puts a world's memory in place.
    pub fn reset(&mut self, world: &World) {
        self.mapped[..BYTES].copy_from_slice(&world.memory);
        STATE.set((self.memory(), Vec::new()));
    }

    /// Calls the entry.
    pub fn run(&mut self, [a, b, c]: [u64; 3]) -> u64 {
        let entry = &self.mapped[self.entry] as *const u8;
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
        let differs = |at: &usize| self.mapped[*at] != expected.memory[*at];
        let at = (0..shared.end).find(differs)?;
        Some(format!("memory differs at {at:#x}"))
    }
}

fn position(helper: u32) -> usize {
    HELPERS.iter().position(|&known| known == helper).expect("one of the helpers")
}
