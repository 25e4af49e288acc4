//! Loading compiled code: placing functions, resolving relocations, filling
//! program arrays, and entering programs.
//!
//! What a program needs and this runtime lacks (a helper, a map type) does not
//! keep its object from loading: it is named when that program is to run.

use std::collections::HashMap;
use std::sync::Arc;

use tailor_bpf::{CALL_BY_NUMBER, FuncRef, MapDef, MapRef, Object, ProgramKind};
use tailor_emit::{CompiledCode, CompiledFunction, Convention, Poke, RelocKind, Symbol};

use crate::Error;
use crate::ctx::{self, Context};
use crate::env::{self, Environment};
use crate::helpers::{Table, by_number};
use crate::map::{self, Map, SlotLayout};
use crate::memory::CodeSpace;

/// Functions start at multiples of this.
const FUNCTION_ALIGN: usize = 16;
/// Bytes of a helper's thunk.
const THUNK_BYTES: usize = 16;
/// Word of a kernel-convention program's descriptor that holds its address
/// (`bpf_func` in the kernel's `struct bpf_prog`).
const DESCRIPTOR_ENTRY: usize = 6;

/// Where code of each convention finds a program array's fields. The kernel's
/// are those of `struct bpf_array`, so that encodings have the kernel's sizes.
pub fn slot_layout(convention: Convention) -> SlotLayout {
    match convention {
        Convention::Kernel { .. } => SlotLayout { max_entries: 0x24, slots: 0x110 },
        Convention::Saving => SlotLayout { max_entries: 0, slots: 16 },
    }
}

/// The maps of an object, by number; an error where one cannot be made.
pub type MapSet = Vec<Result<Arc<Map>, Error>>;

/// Makes the maps of an object, and fills its maps of maps as it says.
pub fn make_maps(object: &Object, options: impl Into<map::Options>) -> MapSet {
    let options = options.into();
    let mut maps: MapSet = object.maps.values().map(|def| Map::new(def, options)).collect();
    for (outer, def) in &object.maps {
        for (key, inner) in &def.inner_maps {
            if let Err(error) = put_in(&maps, outer, def, *key, *inner) {
                maps[outer.as_u32() as usize] = Err(error);
            }
        }
    }
    maps
}

/// Puts a map into a map of maps as the object says.
fn put_in(
    maps: &MapSet,
    outer: MapRef,
    def: &MapDef,
    key: u32,
    inner: MapRef,
) -> Result<(), Error> {
    let [outer, inner] = [outer, inner].map(|map| maps[map.as_u32() as usize].clone());
    let (outer, inner) = (outer?, inner?);
    match outer.insert_map(&key.to_le_bytes(), &inner, 0) {
        0 => Ok(()),
        error => Err(Error::Map {
            map: def.name.clone(),
            what: format!("{} cannot be put in at {key} (error {error})", inner.name()),
        }),
    }
}

/// Whether this processor has shifts that take their count in any register.
pub fn has_bmi2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("bmi2");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// A range of code memory and the table of helpers in it.
pub struct Runtime {
    code: CodeSpace,
    helpers: Arc<Table>,
    /// Offset of the first helper's cell; the others follow in table order, then
    /// that of the function that calls helpers by number.
    cells: usize,
    /// Offset of the first helper's realigning thunk.
    thunks: usize,
}

impl Runtime {
    /// Reserves the range. Programs can call the standard helpers.
    pub fn new() -> Result<Arc<Runtime>, Error> {
        Runtime::with_helpers(Table::default())
    }

    /// Reserves the range. Programs can call these helpers.
    pub fn with_helpers(helpers: Table) -> Result<Arc<Runtime>, Error> {
        let (code, helpers) = (CodeSpace::new()?, Arc::new(helpers));
        let cells = code.allocate(8 * (helpers.len() + 1))?;
        let thunks = code.allocate(THUNK_BYTES * (helpers.len() + 1))?;
        let stub = code.allocate(by_number::STUB_BYTES)?;
        code.write(stub, &by_number::stub(Arc::as_ptr(&helpers)));
        let functions = helpers.iter().map(|helper| helper as usize as u64);
        for (position, function) in functions.chain([code.address(stub)]).enumerate() {
            let cell = cells + 8 * position;
            code.write(cell, &function.to_le_bytes());
            let thunk = thunks + THUNK_BYTES * position;
            code.write(thunk, &realigning_thunk(cell as i64 - thunk as i64));
        }
        Ok(Arc::new(Runtime { code, helpers, cells, thunks }))
    }

    /// Loads the code of an object together with its maps, which must have
    /// been made with this convention's layout, and fills its program arrays
    /// as the object says.
    pub fn load(
        self: &Arc<Runtime>,
        object: &Object,
        code: &CompiledCode,
        maps: MapSet,
    ) -> Result<Module, Error> {
        let host = target_lexicon::HOST.architecture;
        if code.architecture != host {
            return Err(Error::Architecture { code: code.architecture, host });
        }
        let mut module = Module {
            runtime: self.clone(),
            convention: code.convention,
            functions: HashMap::new(),
            kinds: kinds(object),
            maps,
            pokes: HashMap::new(),
            environment: Environment::default(),
        };
        let pieces = || {
            let bodies = code.functions.iter().filter_map(|(f, c)| Some((f, c.as_ref()?, false)));
            let stubs = code.stubs.iter().filter_map(|(f, c)| Some((f, c.as_ref()?, true)));
            bodies.chain(stubs)
        };
        let size = pieces().map(|(_, c, _)| c.code.len().next_multiple_of(FUNCTION_ALIGN)).sum();
        let mut at = self.code.allocate(size)?;
        for (func, compiled, is_stub) in pieces() {
            module.place(func, compiled, is_stub, at);
            at += compiled.code.len().next_multiple_of(FUNCTION_ALIGN);
        }
        for (func, compiled, is_stub) in pieces() {
            module.link(func, compiled, is_stub);
        }
        for (map, def) in &object.maps {
            for &(index, program) in &def.slots {
                let func = object.programs[program].function;
                if module.functions.contains_key(&func) {
                    module.set_slot(map, index, Some(func))?;
                }
            }
        }
        Ok(module)
    }
}

/// Calls a helper with an aligned stack, for code that keeps its stack aligned
/// to 8 only: `push rbp; mov rbp,rsp; and rsp,-16; call [cell]; leave; ret`.
/// `to_cell` is the distance from the thunk to the helper's cell.
fn realigning_thunk(to_cell: i64) -> [u8; THUNK_BYTES] {
    let mut code =
        [0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xe4, 0xf0, 0xff, 0x15, 0, 0, 0, 0, 0xc9, 0xc3];
    let displacement = (to_cell - 14) as i32;
    code[10..14].copy_from_slice(&displacement.to_le_bytes());
    code
}

/// The kinds of the programs, by function.
pub(crate) fn kinds(object: &Object) -> HashMap<FuncRef, ProgramKind> {
    object.programs.values().map(|program| (program.function, program.kind)).collect()
}

/// Where a function is and what it needs.
struct Placed {
    /// Offset of the body.
    body: usize,
    /// Where tail calls enter.
    landing: usize,
    /// Where C code enters.
    entry: usize,
    /// Functions that it calls.
    callees: Vec<FuncRef>,
    /// Helpers that it calls.
    helpers: Vec<u32>,
    /// Why it cannot run here.
    lacks: Option<Error>,
    /// What a kernel-convention slot points to.
    descriptor: Box<[u64; DESCRIPTOR_ENTRY + 1]>,
}

/// An object's loaded code.
pub struct Module {
    runtime: Arc<Runtime>,
    convention: Convention,
    functions: HashMap<FuncRef, Placed>,
    /// The kinds of those that are programs.
    kinds: HashMap<FuncRef, ProgramKind>,
    maps: MapSet,
    /// Patched sites by map and key: function offset and offsets in it.
    pokes: HashMap<(MapRef, u32), Vec<(usize, Poke)>>,
    /// What helpers see.
    pub environment: Environment,
}

/// Address of a map's first value.
pub(crate) fn first_value(map: &Map) -> Result<u64, Error> {
    map.first_value().ok_or_else(|| Error::Map {
        map: map.name().to_string(),
        what: "its values have no fixed address".into(),
    })
}

impl Module {
    fn place(&mut self, func: FuncRef, compiled: &CompiledFunction, is_stub: bool, at: usize) {
        if is_stub {
            self.functions.get_mut(&func).expect("bodies come first").entry = at;
            return;
        }
        let mut descriptor = Box::new([0; DESCRIPTOR_ENTRY + 1]);
        descriptor[DESCRIPTOR_ENTRY] = self.runtime.code.address(at);
        let landing = at + compiled.landing as usize;
        let placed = Placed {
            body: at,
            landing,
            entry: at,
            callees: Vec::new(),
            helpers: Vec::new(),
            lacks: None,
            descriptor,
        };
        self.functions.insert(func, placed);
        for site in &compiled.tail_sites {
            if let (Some(slot), Some(poke)) = (site.direct, site.poke) {
                self.pokes.entry(slot).or_default().push((at, poke));
            }
        }
    }

    fn link(&mut self, func: FuncRef, compiled: &CompiledFunction, is_stub: bool) {
        let placed = &self.functions[&func];
        let at = if is_stub { placed.entry } else { placed.body };
        let mut bytes = compiled.code.clone();
        let (mut callees, mut helpers, mut lacks) = (Vec::new(), Vec::new(), None);
        for reloc in &compiled.relocs {
            match reloc.target {
                Symbol::Function(callee) | Symbol::Entry(callee) => callees.push(callee),
                // Which helper that is, and whether it may be called, shows in the call.
                Symbol::Helper(CALL_BY_NUMBER) | Symbol::HelperCell(CALL_BY_NUMBER) => {}
                Symbol::Helper(id) | Symbol::HelperCell(id) => helpers.push(id),
                _ => {}
            }
            // What cannot be had keeps an address of 0 and is never run.
            let target = self.resolve(reloc.target).unwrap_or_else(|error| {
                lacks.get_or_insert(error);
                0
            });
            let field = reloc.offset as usize;
            match reloc.kind {
                RelocKind::Abs64 => bytes[field..field + 8].copy_from_slice(&target.to_le_bytes()),
                RelocKind::Rel32 => {
                    let next = self.runtime.code.address(at + field + 4);
                    let distance = target.wrapping_sub(next) as i32;
                    bytes[field..field + 4].copy_from_slice(&distance.to_le_bytes());
                }
            }
        }
        self.runtime.code.write(at, &bytes);
        let placed = self.functions.get_mut(&func).expect("placed before");
        placed.callees.extend(callees);
        placed.helpers.extend(helpers);
        placed.lacks = placed.lacks.take().or(lacks);
    }

    fn resolve(&self, symbol: Symbol) -> Result<u64, Error> {
        let code = &self.runtime.code;
        let map = |map: MapRef| self.maps[map.as_u32() as usize].clone();
        let helpers = &self.runtime.helpers;
        let known = |id: u32| match id {
            CALL_BY_NUMBER => Ok(helpers.len()),
            _ => helpers.position(id).ok_or(Error::Helper(id)),
        };
        Ok(match symbol {
            Symbol::Map(m) => map(m)?.address(),
            Symbol::MapValue(m, offset) => first_value(&*map(m)?)? + u64::from(offset),
            Symbol::MapSlot(m, index) => {
                let map = map(m)?;
                map.slot_address(index).ok_or_else(|| Error::Map {
                    map: map.name().to_string(),
                    what: format!("no slot {index} to tail-call through"),
                })?
            }
            Symbol::Function(func) => code.address(self.placed(func)?.body),
            Symbol::Entry(func) => code.address(self.placed(func)?.entry),
            Symbol::Helper(id) => code.address(self.runtime.thunks + THUNK_BYTES * known(id)?),
            Symbol::HelperCell(id) => code.address(self.runtime.cells + 8 * known(id)?),
        })
    }

    fn placed(&self, func: FuncRef) -> Result<&Placed, Error> {
        self.functions.get(&func).ok_or_else(|| Error::NoProgram(format!("{func}")))
    }

    /// The maps, by number.
    pub fn maps(&self) -> &MapSet {
        &self.maps
    }

    /// Fills or clears a slot of a program array. Exclusive access to the
    /// module says that none of its code runs meanwhile.
    pub fn set_slot(
        &mut self,
        map: MapRef,
        index: u32,
        func: Option<FuncRef>,
    ) -> Result<(), Error> {
        let array = self.maps[map.as_u32() as usize].clone()?;
        let code = &self.runtime.code;
        let (slot, landing) = match func {
            None => (0, None),
            Some(func) => {
                self.runnable(func)?;
                let placed = &self.functions[&func];
                let slot = match self.convention {
                    Convention::Kernel { .. } => placed.descriptor.as_ptr() as u64,
                    Convention::Saving => code.address(placed.landing),
                };
                (slot, Some(placed.landing))
            }
        };
        array.set_slot(index, slot)?;
        for (at, poke) in self.pokes.get(&(map, index)).into_iter().flatten() {
            let site = |offset: u32| at + offset as usize;
            match landing {
                Some(landing) => {
                    code.write(site(poke.target), &jump(site(poke.target), landing));
                    code.write(site(poke.bypass), &NOP5);
                }
                None => {
                    code.write(site(poke.bypass), &jump(site(poke.bypass), site(poke.out)));
                    code.write(site(poke.target), &NOP5);
                }
            }
        }
        Ok(())
    }

    /// Why a function, or one that it calls, cannot run here.
    fn runnable(&self, func: FuncRef) -> Result<(), Error> {
        let kind = self.kind(func);
        let mut seen = vec![func];
        let mut next = 0;
        while let Some(&func) = seen.get(next) {
            let missing = || Error::NoProgram(format!("{func}"));
            let placed = self.functions.get(&func).ok_or_else(missing)?;
            if let Some(error) = &placed.lacks {
                return Err(error.clone());
            }
            for &helper in &placed.helpers {
                self.runtime.helpers.get_for(helper, kind)?;
            }
            for &callee in &placed.callees {
                if !seen.contains(&callee) {
                    seen.push(callee);
                }
            }
            next += 1;
        }
        Ok(())
    }

    /// The kind of a program; of another function, that of no declared context.
    fn kind(&self, func: FuncRef) -> ProgramKind {
        self.kinds.get(&func).copied().unwrap_or(ProgramKind::Opaque)
    }

    /// A program, ready to run.
    pub fn program(&self, func: FuncRef) -> Result<Program<'_>, Error> {
        self.runnable(func)?;
        let address = self.runtime.code.address(self.functions[&func].entry);
        // SAFETY: code compiled with this signature was placed at the address,
        // where it stays as long as the module's runtime, which is borrowed.
        let entry = unsafe { std::mem::transmute::<u64, Entry>(address) };
        Ok(Program { entry, kind: self.kind(func), environment: &self.environment })
    }
}

/// A program as a C function: R1 and R2 to R0.
pub type Entry = unsafe extern "C" fn(u64, u64) -> u64;

/// A loaded program.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    entry: Entry,
    kind: ProgramKind,
    environment: &'a Environment,
}

impl Program<'_> {
    /// Where C code enters it. A call from outside [`Program::run`] sees the
    /// default environment, and helpers that differ by the kind of program act
    /// as for plain bytecode.
    pub fn entry(&self) -> Entry {
        self.entry
    }

    /// Whether it runs on this kind of context.
    pub fn check(&self, context: &dyn Context) -> Result<(), Error> {
        ctx::check(self.kind, context)
    }

    /// Runs it once.
    ///
    /// # Safety
    /// The program must be one that an eBPF verifier would accept for this
    /// kind of context: nothing in its code keeps it from touching any memory.
    pub unsafe fn run(&self, context: &mut dyn Context) -> u64 {
        let [r1, r2] = context.args();
        // SAFETY: the caller vouches for what the program does.
        env::enter(self.environment, self.kind, || unsafe { (self.entry)(r1, r2) })
    }
}

/// A nop of five bytes.
const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// `jmp rel32` from one offset to another.
fn jump(from: usize, to: usize) -> [u8; 5] {
    let distance = to as i64 - (from as i64 + 5);
    let [a, b, c, d] = (distance as i32).to_le_bytes();
    [0xe9, a, b, c, d]
}
