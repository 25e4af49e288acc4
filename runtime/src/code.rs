//! An object's code in a runtime's range: placing functions, resolving
//! relocations, making its tail-call sites known.
//!
//! A block of code memory holds the functions and entry stubs, then the
//! veneers of sites, then (on cache lines of their own, since they change while
//! the code runs) their cells.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tailor_bpf::{CALL_BY_NUMBER, FuncRef, MapRef};
use tailor_emit::{
    CompiledCode, CompiledFunction, Convention, Poke, Poking, RelocKind, Symbol, TailSite,
};

use crate::map::Map;
use crate::memory::CodeSpace;
use crate::module::{MapSet, Runtime};
use crate::poke::{self, CELL_BYTES, Entry, Linkage, Room, Site, VENEER_BYTES};
use crate::{Error, barrier};

/// Functions start at multiples of this, unless their sites want it otherwise.
const FUNCTION_ALIGN: usize = 16;
/// Veneers and cells start on lines of their own.
const LINE: usize = 64;
/// Word of a kernel-convention program's descriptor that holds its address
/// (`bpf_func` in the kernel's `struct bpf_prog`).
const DESCRIPTOR_ENTRY: usize = 6;

/// Where a function is and what it needs.
pub(crate) struct Placed {
    /// Offset of the body.
    body: usize,
    /// Where tail calls enter.
    landing: usize,
    /// Where C code enters.
    pub(crate) entry: usize,
    /// Functions that it calls.
    pub(crate) callees: Vec<FuncRef>,
    /// Helpers that it calls.
    pub(crate) helpers: Vec<u32>,
    /// Maps that it names.
    pub(crate) maps: BTreeSet<MapRef>,
    /// Why it cannot run here.
    pub(crate) lacks: Option<Error>,
    /// What a kernel-convention slot points to.
    descriptor: Box<[u64; DESCRIPTOR_ENTRY + 1]>,
}

/// An object's loaded code. It stays as long as somebody may execute it: the
/// module, or a program array in a slot of which it is.
pub(crate) struct Code {
    runtime: Arc<Runtime>,
    convention: Convention,
    pub(crate) poking: Poking,
    pub(crate) functions: HashMap<FuncRef, Placed>,
    pub(crate) maps: MapSet,
    /// The block's offset and length.
    block: (usize, usize),
    /// By which program arrays know its sites.
    number: u64,
    /// Those that know some.
    arrays: Vec<Arc<Map>>,
    /// Instructions of its sites that lie in veneers.
    pub(crate) veneers: usize,
}

/// A function or stub to be placed.
struct Piece<'a> {
    func: FuncRef,
    compiled: &'a CompiledFunction,
    is_stub: bool,
    /// Offset in the block.
    at: usize,
}

impl Piece<'_> {
    fn pokes(&self) -> Vec<Poke> {
        self.compiled.tail_sites.iter().filter_map(|site| site.poke).collect()
    }
}

/// Where everything goes in the block.
struct Layout<'a> {
    pieces: Vec<Piece<'a>>,
    veneers: usize,
    cells: usize,
    len: usize,
    /// Instructions of sites that need a veneer.
    needed: usize,
}

/// Where a piece goes at or behind an offset: at a multiple of 16, or up to
/// seven bytes further, where fewer instructions of its sites need a veneer.
fn place(pokes: &[Poke], from: usize, poking: Poking) -> usize {
    let aligned = from.next_multiple_of(FUNCTION_ALIGN);
    let best = (0..8).min_by_key(|&shift| poke::veneers(pokes, aligned + shift, poking));
    aligned + best.unwrap_or(0)
}

fn layout(code: &CompiledCode, poking: Poking) -> Layout<'_> {
    let bodies = code.functions.iter().filter_map(|(f, c)| Some((f, c.as_ref()?, false)));
    let stubs = code.stubs.iter().filter_map(|(f, c)| Some((f, c.as_ref()?, true)));
    let (mut at, mut needed) = (0, 0);
    let mut pieces = Vec::new();
    for (func, compiled, is_stub) in bodies.chain(stubs) {
        let mut piece = Piece { func, compiled, is_stub, at };
        let pokes = piece.pokes();
        piece.at = place(&pokes, at, poking);
        needed += poke::veneers(&pokes, piece.at, poking);
        at = piece.at + compiled.code.len();
        pieces.push(piece);
    }
    let veneers = at.next_multiple_of(LINE);
    let cells = (veneers + VENEER_BYTES * needed).next_multiple_of(LINE);
    let len = if poking == Poking::Data { cells + CELL_BYTES * needed } else { cells };
    Layout { pieces, veneers, cells, len, needed }
}

impl Code {
    /// Puts code into a runtime's range. No site is known to an array yet.
    pub(crate) fn new(
        runtime: &Arc<Runtime>,
        code: &CompiledCode,
        maps: MapSet,
        poking: Poking,
    ) -> Result<Code, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Layout { pieces, len, needed, .. } = layout(code, poking);
        let start = runtime.space().allocate(len)?;
        let mut this = Code {
            runtime: runtime.clone(),
            convention: code.convention,
            poking,
            functions: HashMap::new(),
            maps,
            block: (start, len),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            arrays: Vec::new(),
            veneers: needed,
        };
        for piece in &pieces {
            this.place(piece);
        }
        for piece in &pieces {
            this.link(piece);
        }
        Ok(this)
    }

    fn place(&mut self, piece: &Piece<'_>) {
        let at = self.block.0 + piece.at;
        if piece.is_stub {
            self.functions.get_mut(&piece.func).expect("bodies come first").entry = at;
            return;
        }
        let mut descriptor = Box::new([0; DESCRIPTOR_ENTRY + 1]);
        descriptor[DESCRIPTOR_ENTRY] = self.space().address(at);
        let placed = Placed {
            body: at,
            landing: at + piece.compiled.landing as usize,
            entry: at,
            callees: Vec::new(),
            helpers: Vec::new(),
            maps: BTreeSet::new(),
            lacks: None,
            descriptor,
        };
        self.functions.insert(piece.func, placed);
    }

    fn link(&mut self, piece: &Piece<'_>) {
        let Piece { func, compiled, at, .. } = *piece;
        let at = self.block.0 + at;
        let mut bytes = compiled.code.clone();
        let (mut callees, mut helpers, mut maps) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut lacks = None;
        for reloc in &compiled.relocs {
            match reloc.target {
                Symbol::Function(callee) | Symbol::Entry(callee) => callees.push(callee),
                // Which helper that is, and whether it may be called, shows in the call.
                Symbol::Helper(CALL_BY_NUMBER) | Symbol::HelperCell(CALL_BY_NUMBER) => {}
                Symbol::Helper(id) | Symbol::HelperCell(id) => helpers.push(id),
                Symbol::Map(map) | Symbol::MapValue(map, _) | Symbol::MapSlot(map, _) => {
                    maps.insert(map);
                }
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
                    let next = self.space().address(at + field + 4);
                    let distance = target.wrapping_sub(next) as i32;
                    bytes[field..field + 4].copy_from_slice(&distance.to_le_bytes());
                }
            }
        }
        maps.extend(compiled.tail_sites.iter().filter_map(|site| Some(site.direct?.0)));
        self.space().write(at, &bytes);
        let placed = self.functions.get_mut(&func).expect("placed before");
        placed.callees.extend(callees);
        placed.helpers.extend(helpers);
        placed.maps.append(&mut maps);
        placed.lacks = placed.lacks.take().or(lacks);
    }

    fn resolve(&self, symbol: Symbol) -> Result<u64, Error> {
        let map = |map: MapRef| self.maps[map.as_u32() as usize].clone();
        let placed = |func: FuncRef| {
            self.functions.get(&func).ok_or_else(|| Error::NoProgram(format!("{func}")))
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
            Symbol::Function(func) => self.space().address(placed(func)?.body),
            Symbol::Entry(func) => self.space().address(placed(func)?.entry),
            Symbol::Helper(id) => self.runtime.helper_thunk(id)?,
            Symbol::HelperCell(id) => self.runtime.helper_cell(id)?,
        })
    }

    /// Prepares the sites and makes them known to the arrays that take programs
    /// like these. Afterwards all bytes are as they are to be executed.
    pub(crate) fn publish(&mut self, code: &CompiledCode) {
        let Layout { pieces, veneers, cells, .. } = layout(code, self.poking);
        let start = self.block.0;
        let mut room = Room { veneers: start + veneers, cells: start + cells };
        let mut by_slot: HashMap<(MapRef, u32), Vec<Site>> = HashMap::new();
        for piece in &pieces {
            for site in &piece.compiled.tail_sites {
                if let TailSite { direct: Some(slot), poke: Some(poke), .. } = *site {
                    let at = start + piece.at;
                    let site = Site::new(self.space(), at, poke, self.poking, &mut room);
                    by_slot.entry(slot).or_default().push(site);
                }
            }
        }
        let linkage = Linkage::Native(self.convention, self.runtime.clone());
        for ((map, index), sites) in by_slot {
            // A site of an array that cannot be made stays empty.
            let Ok(array) = self.maps[map.as_u32() as usize].clone() else { continue };
            if poke::reaches(&array, &linkage) {
                poke::publish(&array, index, self.number, self.space(), &sites);
                self.arrays.push(array);
            }
        }
        barrier::synchronize_cores();
    }

    pub(crate) fn space(&self) -> &CodeSpace {
        self.runtime.space()
    }

    /// A function as the content of a slot.
    pub(crate) fn entry(self: &Arc<Code>, func: FuncRef) -> Result<Entry, Error> {
        let placed = self.functions.get(&func);
        let placed = placed.ok_or_else(|| Error::NoProgram(format!("{func}")))?;
        let value = match self.convention {
            Convention::Kernel { .. } => placed.descriptor.as_ptr() as u64,
            Convention::Saving => self.space().address(placed.landing),
        };
        Ok(Entry { _code: self.clone(), func, landing: placed.landing, value })
    }

    /// All bytes of its block as they are now.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.space().read(self.block.0, self.block.1)
    }
}

impl Drop for Code {
    /// Nobody executes it: what had it in a slot let go of it after a grace
    /// period, and who enters a program holds on to its module.
    fn drop(&mut self) {
        for array in &self.arrays {
            poke::withdraw(array, self.number);
        }
        self.space().free(self.block.0, self.block.1);
    }
}

/// Address of a map's first value.
pub(crate) fn first_value(map: &Map) -> Result<u64, Error> {
    map.first_value().ok_or_else(|| Error::Map {
        map: map.name().to_string(),
        what: "its values have no fixed address".into(),
    })
}
