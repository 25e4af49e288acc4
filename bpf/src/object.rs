//! An eBPF object after loading: linked functions, programs and maps.

use cranelift_entity::{PrimaryMap, entity_impl};

use crate::cfg::TAIL_CALL;
use crate::insn::{Callee, Op};
use crate::{Error, FuncRef, MapRef};

/// A program of an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgId(u32);
entity_impl!(ProgId, "prog");

/// A loaded object. Subprograms are shared by the programs that call them.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// File name or other name for messages.
    pub name: String,
    /// Maps; data sections (.rodata, .data, .bss) are array maps with one entry.
    pub maps: PrimaryMap<MapRef, MapDef>,
    /// Functions: entry functions of programs and subprograms alike.
    pub functions: PrimaryMap<FuncRef, Function>,
    /// Programs.
    pub programs: PrimaryMap<ProgId, Program>,
}

/// A linked function: calls and addresses name entities of the object.
#[derive(Clone, Debug)]
pub struct Function {
    /// Symbol name.
    pub name: String,
    /// Section that it lies in.
    pub section: String,
    /// One element a slot.
    pub ops: Vec<Op>,
    /// Why the function cannot be compiled or run (say, a CO-RE relocation),
    /// found while linking; concerns only programs that reach it.
    pub refused: Option<Error>,
}

/// A program: an entry function and what it attaches to.
#[derive(Clone, Debug)]
pub struct Program {
    /// Symbol name of the entry function.
    pub name: String,
    /// Entry function.
    pub function: FuncRef,
    /// ELF section, which says what it attaches to.
    pub section: String,
    /// From the section's name.
    pub kind: ProgramKind,
}

/// What R1 and R2 are at entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ProgramKind {
    /// R1 = xdp_md.
    Xdp,
    /// R1 = memory, R2 = its length: plain bytecode.
    Raw,
    /// R1 = a context whose layout is not declared here; accesses are plain loads and stores.
    Opaque,
}

/// A map definition.
#[derive(Clone, Debug)]
pub struct MapDef {
    /// Symbol name, or the data section's.
    pub name: String,
    /// Type.
    pub kind: MapKind,
    /// Bytes; 0 where not given.
    pub key_size: u32,
    /// Bytes; 0 where not given.
    pub value_size: u32,
    /// Entries; 0 where the loader is to set it.
    pub max_entries: u32,
    /// `BPF_F_*` as in the object.
    pub flags: u32,
    /// First value of a data section's map, `value_size` bytes; else empty.
    pub initial: Vec<u8>,
    /// Static initialisers of a program array: slot and program.
    pub slots: Vec<(u32, ProgId)>,
}

/// The kind of a map.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MapKind {
    /// BPF_MAP_TYPE_HASH.
    Hash,
    /// BPF_MAP_TYPE_ARRAY.
    Array,
    /// BPF_MAP_TYPE_PROG_ARRAY.
    ProgArray,
    /// Another type, by number: compiles, and is named when it is to run.
    Other(u32),
}

impl Object {
    /// The program of this name.
    pub fn program(&self, name: &str) -> Option<ProgId> {
        self.programs.iter().find(|(_, p)| p.name == name).map(|(id, _)| id)
    }

    /// The map of this name.
    pub fn map(&self, name: &str) -> Option<MapRef> {
        self.maps.iter().find(|(_, m)| m.name == name).map(|(id, _)| id)
    }
}

impl Function {
    /// Whether it calls a helper; the tail call is none, since no C code runs.
    pub fn calls_helper(&self) -> bool {
        self.ops.iter().any(|op| match *op {
            Op::Call(Callee::Helper(number)) => number != TAIL_CALL,
            Op::Call(Callee::Register(_)) => true,
            _ => false,
        })
    }
}

impl Object {
    /// Reads and loads an object file.
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Object, Error> {
        let name = path.as_ref().display().to_string();
        let bytes = std::fs::read(path).map_err(|error| Error::new(error.to_string()))?;
        Object::parse(&name, &bytes)
    }
}
