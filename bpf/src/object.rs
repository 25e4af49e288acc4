//! An eBPF object after loading: linked functions, programs and maps.

use std::collections::BTreeSet;

use cranelift_entity::{PrimaryMap, entity_impl};

use crate::cfg::TAIL_CALL;
use crate::ctx;
use crate::helpers::{self, Helper};
use crate::insn::{Callee, Imm64, Op};
use crate::lines::Lines;
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
    /// Numbers of helpers that are not the kernel's but the embedder's own:
    /// nothing is known of what they take and do. (No part of the text form.)
    pub own_helpers: BTreeSet<u32>,
}

/// A linked function: calls and addresses name entities of the object.
#[derive(Clone, Debug)]
pub struct Function {
    /// Symbol name, made unique within the object.
    pub name: String,
    /// Section that it lies in.
    pub section: String,
    /// One element a slot.
    pub ops: Vec<Op>,
    /// Why the function cannot be compiled or run (say, a CO-RE relocation),
    /// found while linking; concerns only programs that reach it.
    pub refused: Option<Error>,
    /// What else linking found wrong with it.
    pub further: Vec<Error>,
    /// The source code that its instructions come from. (No part of the text form.)
    pub lines: Lines,
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
    /// R1 = __sk_buff: a classifier or action of traffic control.
    SchedCls,
    /// R1 = __sk_buff: a filter of a socket.
    SocketFilter,
    /// R1 = __sk_buff: a filter of a control group's sockets.
    CgroupSkb,
    /// R1 = __sk_buff: a parser of packet headers.
    FlowDissector,
    /// R1 = __sk_buff: a parser or verdict of a socket map.
    SkSkb,
    /// R1 = __sk_buff: a lightweight tunnel.
    Lwt,
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
    /// First value of a data section's map, `value_size` bytes; all values of a
    /// jump table; else empty.
    pub initial: Vec<u8>,
    /// Static initialisers of a program array: slot and program.
    pub slots: Vec<(u32, ProgId)>,
    /// Of a map of maps: what the maps in it look like.
    pub inner: Option<Box<MapDef>>,
    /// Static initialisers of a map of maps: key and map.
    pub inner_maps: Vec<(u32, MapRef)>,
    /// Why the definition cannot be understood; a function that refers to the
    /// map cannot be compiled then.
    pub refused: Option<String>,
}

/// The kind of a map: `BPF_MAP_TYPE_*` of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // the names are the documentation
pub enum MapKind {
    Hash,
    Array,
    ProgArray,
    PerfEventArray,
    PercpuHash,
    PercpuArray,
    LruHash,
    LruPercpuHash,
    LpmTrie,
    ArrayOfMaps,
    HashOfMaps,
    DevMap,
    CpuMap,
    XskMap,
    CgroupStorage,
    PercpuCgroupStorage,
    Queue,
    Stack,
    DevMapHash,
    RingBuf,
    /// A jump table: each value is, in eight bytes, the slot of an instruction
    /// in the function that names the map.
    InsnArray,
    /// Another type, by number: compiles, and is named when it is to run.
    Other(u32),
}

/// Kinds of maps that have names: number in the eBPF ABI, and name in the text form.
static MAP_KINDS: &[(u32, MapKind, &str)] = &[
    (1, MapKind::Hash, "hash"),
    (2, MapKind::Array, "array"),
    (3, MapKind::ProgArray, "prog_array"),
    (4, MapKind::PerfEventArray, "perf_event_array"),
    (5, MapKind::PercpuHash, "percpu_hash"),
    (6, MapKind::PercpuArray, "percpu_array"),
    (9, MapKind::LruHash, "lru_hash"),
    (10, MapKind::LruPercpuHash, "lru_percpu_hash"),
    (11, MapKind::LpmTrie, "lpm_trie"),
    (12, MapKind::ArrayOfMaps, "array_of_maps"),
    (13, MapKind::HashOfMaps, "hash_of_maps"),
    (14, MapKind::DevMap, "devmap"),
    (16, MapKind::CpuMap, "cpumap"),
    (17, MapKind::XskMap, "xskmap"),
    (19, MapKind::CgroupStorage, "cgroup_storage"),
    (21, MapKind::PercpuCgroupStorage, "percpu_cgroup_storage"),
    (22, MapKind::Queue, "queue"),
    (23, MapKind::Stack, "stack"),
    (25, MapKind::DevMapHash, "devmap_hash"),
    (27, MapKind::RingBuf, "ringbuf"),
    (34, MapKind::InsnArray, "insn_array"),
];

impl MapKind {
    /// The kind with a number of the eBPF ABI.
    pub fn from_number(number: u32) -> MapKind {
        let row = MAP_KINDS.iter().find(|row| row.0 == number);
        row.map_or(MapKind::Other(number), |row| row.1)
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<MapKind> {
        MAP_KINDS.iter().find(|row| row.2 == name).map(|row| row.1)
    }

    /// Its number in the eBPF ABI.
    pub fn number(self) -> u32 {
        match self {
            MapKind::Other(number) => number,
            kind => MAP_KINDS.iter().find(|row| row.1 == kind).map_or(0, |row| row.0),
        }
    }

    /// Its name, if it has one.
    pub fn name(self) -> Option<&'static str> {
        MAP_KINDS.iter().find(|row| row.1 == self).map(|row| row.2)
    }

    /// Whether its values are maps.
    pub fn holds_maps(self) -> bool {
        matches!(self, MapKind::ArrayOfMaps | MapKind::HashOfMaps)
    }
}

impl ProgramKind {
    /// The kind of its context, an index into [`crate::ctx::KINDS`]; none if
    /// its fields are not declared.
    pub fn context(self) -> Option<u8> {
        match self {
            ProgramKind::Xdp => Some(ctx::XDP),
            ProgramKind::SchedCls
            | ProgramKind::SocketFilter
            | ProgramKind::CgroupSkb
            | ProgramKind::FlowDissector
            | ProgramKind::SkSkb
            | ProgramKind::Lwt => Some(ctx::SKB),
            ProgramKind::Raw | ProgramKind::Opaque => None,
        }
    }
}

impl MapDef {
    /// Bytes from the address of the first value that its address reaches.
    pub fn addressed_bytes(&self) -> u32 {
        match self.kind {
            MapKind::Array => self.value_size,
            MapKind::InsnArray => self.initial.len() as u32,
            _ => 0,
        }
    }

    /// A map of which nothing but name and kind is known.
    pub fn new(name: &str, kind: MapKind) -> MapDef {
        MapDef {
            name: name.into(),
            kind,
            key_size: 0,
            value_size: 0,
            max_entries: 0,
            flags: 0,
            initial: Vec::new(),
            slots: Vec::new(),
            inner: None,
            inner_maps: Vec::new(),
            refused: None,
        }
    }
}

impl Object {
    /// The program of this name.
    pub fn program(&self, name: &str) -> Option<ProgId> {
        self.programs.iter().find(|(_, p)| p.name == name).map(|(id, _)| id)
    }

    /// The slots that indirect jumps of a function may lead to, ascending: what is
    /// in the jump tables that it names. Nothing if it has no such jump.
    pub fn jump_targets(&self, function: &Function) -> Vec<u32> {
        if !function.ops.iter().any(|op| matches!(op, Op::IndirectJump { .. })) {
            return Vec::new();
        }
        let named = function.ops.iter().filter_map(|op| match op {
            Op::LoadImm { value: Imm64::MapValue(map, _), .. } => Some(*map),
            _ => None,
        });
        // A function may name a long table often.
        let named: BTreeSet<MapRef> = named.collect();
        let maps = named.into_iter().filter_map(|map| self.maps.get(map));
        let tables = maps.filter(|map| map.kind == MapKind::InsnArray);
        let targets = tables.flat_map(|map| map.initial.as_chunks::<8>().0);
        // What is no slot stays none, for validation to find.
        let slot = |entry: &[u8; 8]| u64::from_le_bytes(*entry).try_into().unwrap_or(u32::MAX);
        let mut slots: Vec<u32> = targets.map(slot).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// The row of a helper as the object's programs know it.
    pub fn helper(&self, id: u32) -> &'static Helper {
        if self.own_helpers.contains(&id) { helpers::unknown() } else { helpers::helper(id) }
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
    /// Reads and loads an object file. Errors start with its path.
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Object, Error> {
        let name = path.as_ref().display().to_string();
        let in_file = |error: &dyn std::fmt::Display| Error::new(format!("{name}: {error}"));
        let bytes = std::fs::read(path).map_err(|error| in_file(&error))?;
        Object::parse(&name, &bytes).map_err(|error| in_file(&error))
    }
}
