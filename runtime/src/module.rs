//! Loading compiled code, and entering programs.
//!
//! What a program needs and this runtime lacks (a helper, a map type) does not
//! keep its object from loading: it is named when that program is to run.
//!
//! All modules of a runtime lie in one range of code memory, so that programs
//! of one can be put into program arrays of another ([`ProgArray`]). Loading,
//! updating arrays and unloading are safe at any time from any thread that
//! does not run a program; programs run meanwhile.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tailor_bpf::{CALL_BY_NUMBER, FuncRef, MapDef, MapRef, Object, ProgramKind};
use tailor_emit::kernel::{HELPER_THUNK, HELPER_THUNK_CELL};
use tailor_emit::{CompiledCode, Convention, Poking};

use crate::Error;
use crate::barrier;
pub(crate) use crate::code::Code;
use crate::ctx::{self, Context};
use crate::env::{self, Environment};
use crate::helpers::{Table, by_number};
use crate::map::{self, Map, SlotLayout};
use crate::memory::CodeSpace;
use crate::poke::{self, Entry as Content, Linkage, Owner, ProgArray, User};
use crate::readers::{self, Outside};

/// Bytes of a helper's thunk.
const THUNK_BYTES: usize = HELPER_THUNK.len();

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

    /// Loads the code of an object together with its maps (which may be other
    /// modules' too), and fills its program arrays as the object says. Programs
    /// that use an array of another convention's layout do not run. Sites are
    /// changed as `poking` says, or through data where code cannot be patched.
    pub fn load(
        self: &Arc<Runtime>,
        object: &Object,
        code: &CompiledCode,
        maps: MapSet,
        poking: Poking,
    ) -> Result<Module, Error> {
        poke::outside_runs()?;
        let host = target_lexicon::HOST.architecture;
        if code.architecture != host {
            return Err(Error::Architecture { code: code.architecture, host });
        }
        let poking = if barrier::can_synchronize_cores() { poking } else { Poking::Data };
        let mut placed = Code::new(self, code, maps, poking)?;
        let users = placed.maps.iter().flatten().filter_map(User::new).collect();
        let linkage = Linkage::Native(code.convention, self.clone());
        let programs = programs(object, &placed, &linkage);
        placed.publish(code);
        let parts = Outside::new(Parts { _users: users, code: Arc::new(placed) });
        let runtime = self.clone();
        let mut module = Module { runtime, programs, parts, environment: Environment::default() };
        module.fill(object);
        Ok(module)
    }

    pub(crate) fn space(&self) -> &CodeSpace {
        &self.code
    }

    /// Address of the thunk that calls a helper.
    pub(crate) fn helper_thunk(&self, id: u32) -> Result<u64, Error> {
        Ok(self.code.address(self.thunks + THUNK_BYTES * self.position(id)?))
    }

    /// Address of the cell that holds a helper's address.
    pub(crate) fn helper_cell(&self, id: u32) -> Result<u64, Error> {
        Ok(self.code.address(self.cells + 8 * self.position(id)?))
    }

    /// Its place among them; the function that calls by number comes last.
    fn position(&self, id: u32) -> Result<usize, Error> {
        match id {
            CALL_BY_NUMBER => Ok(self.helpers.len()),
            _ => self.helpers.position(id).ok_or(Error::Helper(id)),
        }
    }

    /// The helpers that programs can call.
    pub fn helpers(&self) -> &Table {
        &self.helpers
    }

    /// Bytes of code memory in use.
    pub fn code_bytes(&self) -> usize {
        self.code.held()
    }
}

/// The thunk of a helper. `to_cell` is the distance from it to the helper's cell.
fn realigning_thunk(to_cell: i64) -> [u8; THUNK_BYTES] {
    let mut code = HELPER_THUNK;
    let field = HELPER_THUNK_CELL..HELPER_THUNK_CELL + 4;
    let displacement = (to_cell - field.end as i64) as i32;
    code[field].copy_from_slice(&displacement.to_le_bytes());
    code
}

/// The object's programs that are in the code. A program array that is of no
/// use to one of them makes that one refused.
fn programs(object: &Object, code: &Code, linkage: &Linkage) -> HashMap<FuncRef, Loaded> {
    let mut programs = HashMap::new();
    for program in object.programs.values() {
        if !code.functions.contains_key(&program.function) {
            continue;
        }
        let owner = Owner::new(program, linkage.clone());
        let mut loaded = Loaded { kind: program.kind, owner, maps: BTreeSet::new(), refused: None };
        for func in reachable(code, program.function) {
            let placed = code.functions.get(&func);
            loaded.maps.extend(placed.iter().flat_map(|placed| &placed.maps));
        }
        for map in &loaded.maps {
            let Ok(map) = &code.maps[map.as_u32() as usize] else { continue };
            let claimed = map.slots().map_or(Ok(()), |mut slots| slots.claim(map, &loaded.owner));
            loaded.refused = loaded.refused.take().or(claimed.err());
        }
        programs.insert(program.function, loaded);
    }
    programs
}

/// A function and those that it calls, directly or not.
fn reachable(code: &Code, func: FuncRef) -> Vec<FuncRef> {
    let mut seen = HashSet::from([func]);
    let mut all = vec![func];
    let mut next = 0;
    while let Some(func) = all.get(next) {
        let callees = code.functions.get(func).into_iter().flat_map(|placed| &placed.callees);
        let new: Vec<FuncRef> = callees.copied().filter(|&callee| seen.insert(callee)).collect();
        all.extend(new);
        next += 1;
    }
    all
}

/// What is known of a program.
struct Loaded {
    kind: ProgramKind,
    owner: Owner,
    /// Maps that it uses.
    maps: BTreeSet<MapRef>,
    /// Why it must not run.
    refused: Option<Error>,
}

/// An object's loaded code. It is unloaded when this is dropped; programs of
/// it that are in slots stay there.
pub struct Module {
    runtime: Arc<Runtime>,
    programs: HashMap<FuncRef, Loaded>,
    parts: Outside<Parts>,
    /// What helpers see.
    pub environment: Environment,
}

/// What waits for readers when it is dropped, in this order.
struct Parts {
    /// Held to keep the slots of arrays filled.
    _users: Vec<User>,
    code: Arc<Code>,
}

impl Module {
    /// Fills program arrays as the object says. Programs that use an array
    /// which cannot be filled so must not run.
    fn fill(&mut self, object: &Object) {
        for (map, def) in &object.maps {
            for &(index, program) in &def.slots {
                let func = object.programs[program].function;
                if !self.code().functions.contains_key(&func) {
                    continue;
                }
                if let Err(error) = self.set_slot(map, index, Some(func)) {
                    let users = self.programs.values_mut().filter(|p| p.maps.contains(&map));
                    users.for_each(|user| {
                        user.refused.get_or_insert(error.clone());
                    });
                }
            }
        }
    }

    fn code(&self) -> &Arc<Code> {
        &self.parts.code
    }

    /// Where it is loaded.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The maps, by number.
    pub fn maps(&self) -> &MapSet {
        &self.code().maps
    }

    /// How the module's sites are changed.
    pub fn poking(&self) -> Poking {
        self.code().poking
    }

    /// How many instructions of its sites (two a site) do not change in place,
    /// since they cannot or must not.
    pub fn veneers(&self) -> usize {
        self.code().veneers
    }

    /// A copy of its code as it is now.
    pub fn code_bytes(&self) -> Vec<u8> {
        self.code().bytes()
    }

    /// A program array of this module, by number.
    pub fn prog_array(&self, map: MapRef) -> Result<ProgArray, Error> {
        ProgArray::new(self.maps()[map.as_u32() as usize].as_ref().map_err(Error::clone)?)
    }

    /// Fills a slot of a program array with a program of this module, or clears
    /// it; returns whether that changed it. See [`ProgArray::set`].
    pub fn set_slot(&self, map: MapRef, index: u32, func: Option<FuncRef>) -> Result<bool, Error> {
        let array = self.prog_array(map)?;
        match func {
            Some(func) => array.set(index, &self.program(func)?),
            None => array.clear(index),
        }
    }

    /// Why a function, or one that it calls, cannot run here.
    fn runnable(&self, func: FuncRef) -> Result<(), Error> {
        if let Some(Loaded { refused: Some(error), .. }) = self.programs.get(&func) {
            return Err(error.clone());
        }
        let kind = self.kind(func);
        for func in reachable(self.code(), func) {
            let placed = self.code().functions.get(&func);
            let placed = placed.ok_or_else(|| Error::NoProgram(format!("{func}")))?;
            if let Some(error) = &placed.lacks {
                return Err(error.clone());
            }
            for &helper in &placed.helpers {
                self.runtime.helpers.get_for(helper, kind)?;
            }
        }
        Ok(())
    }

    /// The kind of a program; of another function, that of no declared context.
    fn kind(&self, func: FuncRef) -> ProgramKind {
        self.programs.get(&func).map_or(ProgramKind::Opaque, |program| program.kind)
    }

    /// A program, ready to run.
    pub fn program(&self, func: FuncRef) -> Result<Program<'_>, Error> {
        self.runnable(func)?;
        let address = self.runtime.code.address(self.code().functions[&func].entry);
        // SAFETY: code compiled with this signature was placed at the address,
        // where it stays as long as the module, which is borrowed.
        let entry = unsafe { std::mem::transmute::<u64, Entry>(address) };
        Ok(Program { module: self, func, entry, kind: self.kind(func) })
    }
}

/// A program as a C function: R1, its context or memory, and R2 to R0.
pub type Entry = unsafe extern "C" fn(*mut u8, u64) -> u64;

/// A loaded program. Any number of threads can run it at once.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    module: &'a Module,
    func: FuncRef,
    entry: Entry,
    kind: ProgramKind,
}

impl Program<'_> {
    /// Where C code enters it. A call from outside [`Program::run`] sees the
    /// default environment, and helpers that differ by the kind of program act
    /// as for plain bytecode. Whoever calls it while others change program
    /// arrays or unload modules marks the thread with [`readers::enter`].
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
        let r1 = std::ptr::with_exposed_provenance_mut(r1 as usize);
        let _reading = readers::enter();
        // SAFETY: the caller vouches for what the program does.
        env::enter(&self.module.environment, self.kind, || unsafe { (self.entry)(r1, r2) })
    }

    /// The program as the content of a slot, and what it asks of the array.
    pub(crate) fn entry_in_array(&self) -> Result<(Content, &Owner), Error> {
        let loaded = self.module.programs.get(&self.func);
        let loaded = loaded.ok_or_else(|| Error::NoProgram(format!("{}", self.func)))?;
        Ok((self.module.code().entry(self.func)?, &loaded.owner))
    }
}
