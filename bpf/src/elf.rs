//! Loading ELF objects as compilers make them.
//!
//! The file's tables are read first, then maps and data sections, then code is
//! cut into functions and linked, then it is told which functions are programs.
//! What cannot be supported is noted in the function that needs it, so that one
//! such program does not spoil an object.

mod btf;
mod co_re;
mod code;
mod file;
mod line_info;
mod maps;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use self::btf::Btf;
use self::code::CodeSections;
use self::file::{File, SymbolPlace};
use self::maps::{Initialiser, Maps};
use crate::insn::{Imm64, Op};
use crate::link::{Linked, Place, Unit, link};
use crate::object::{MapKind, Object, ProgId, Program, ProgramKind};
use crate::{Error, FuncRef, MapRef};

impl Object {
    /// Loads an ELF object. `name` is for messages.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Object, Error> {
        let file = File::read(bytes)?;
        let btf = file.section(".BTF").map(|section| Btf::parse(file.sections[section].bytes));
        let mut maps = Maps::find(&file, btf.as_ref());
        let sections = CodeSections::find(&file);
        let mut units = sections.units(&file, &maps);
        if let Some(section) = file.section(".BTF.ext") {
            refuse_co_re(&mut units, file.sections[section].bytes, btf.as_ref())?;
        }
        let mut linked = link(&units);
        if let (Some(section), Some(Ok(btf))) = (file.section(".BTF.ext"), &btf) {
            line_info::attach(&mut linked, &units, file.sections[section].bytes, btf);
        }
        place_tables(&mut linked, &mut maps);
        let initialised = program_slots(&file, &sections, &mut maps, &linked);
        let programs = programs(&file, &sections, &linked, &initialised);
        let ids = programs.iter().enumerate();
        let ids: HashMap<FuncRef, ProgId> =
            ids.map(|(id, p)| (p.function, ProgId::from_u32(id as u32))).collect();
        for slot in initialised {
            if let Some(&program) = ids.get(&slot.function) {
                maps.defs[slot.map].slots.push((slot.key, program));
            }
        }
        Ok(Object {
            name: name.into(),
            maps: maps.defs,
            functions: linked.functions,
            programs: programs.into_iter().collect(),
            ..Object::default()
        })
    }
}

/// Makes the slots in jump tables relative to the functions that name them. A
/// table leads into one function; another that names it is refused.
fn place_tables(linked: &mut Linked, maps: &mut Maps) {
    let starts: HashMap<FuncRef, i64> = linked.starts.iter().map(|(p, f)| (*f, p.slot)).collect();
    let mut owners = HashMap::new();
    for (id, function) in &mut linked.functions {
        let mut errors = Vec::new();
        for (slot, op) in function.ops.iter().enumerate() {
            let Op::LoadImm { value: Imm64::MapValue(map, _), .. } = *op else {
                continue;
            };
            let def = &mut maps.defs[map];
            if def.kind != MapKind::InsnArray {
                continue;
            }
            match owners.entry(map) {
                Entry::Vacant(owner) => {
                    owner.insert(id);
                    let start = starts[&id] as u64;
                    for entry in def.initial.as_chunks_mut::<8>().0 {
                        *entry = u64::from_le_bytes(*entry).wrapping_sub(start).to_le_bytes();
                    }
                }
                Entry::Occupied(owner) if *owner.get() == id => {}
                Entry::Occupied(_) => {
                    let what = format!("names {}, another function's jump table", def.name);
                    errors.push(Error::at(&function.name, slot, what));
                }
            }
        }
        let mut errors = errors.into_iter();
        if function.refused.is_none() {
            function.refused = errors.next();
        }
        function.further.extend(errors);
    }
}

/// Notes CO-RE relocations with their instructions. Where they cannot be read,
/// any instruction may have one.
fn refuse_co_re(
    units: &mut [Unit<'_>],
    bytes: &[u8],
    btf: Option<&Result<Btf<'_>, Error>>,
) -> Result<(), Error> {
    let mut by_section: HashMap<&str, BTreeMap<u32, String>> = HashMap::new();
    for relocation in co_re::parse(bytes, btf)? {
        let of_section = by_section.entry(relocation.section).or_default();
        of_section.entry(relocation.offset / 8).or_insert(relocation.what);
    }
    // Many sections may share a name: each takes what lies within it.
    for unit in units {
        if let Some(of_section) = by_section.get(&*unit.section) {
            let slots = unit.bytes.len().div_ceil(8) as u32;
            let within = of_section.range(..slots).map(|(slot, what)| (*slot, what.clone()));
            unit.refusals.extend(within);
        }
    }
    Ok(())
}

/// A function in a slot of a program array.
struct ProgramSlot {
    map: MapRef,
    key: u32,
    function: FuncRef,
}

/// The functions that are put into program arrays. A map that holds neither
/// programs nor maps has no such slots, and nothing but a function goes into those of
/// a program array.
fn program_slots(
    file: &File<'_>,
    sections: &CodeSections,
    maps: &mut Maps,
    linked: &Linked,
) -> Vec<ProgramSlot> {
    let mut slots = Vec::new();
    for Initialiser { map, key, symbol, section, offset } in maps.initialisers(file) {
        let def = &mut maps.defs[map];
        if def.kind.holds_maps() {
            continue;
        }
        let place = match section {
            SymbolPlace::Section(section) => sections.place(section, offset as i64),
            _ => None,
        };
        let function = place.and_then(|place| linked.starts.get(&place));
        let why = match function {
            Some(_) if def.kind != MapKind::ProgArray => {
                "has initial values, but holds neither programs nor maps".into()
            }
            Some(&function) => {
                slots.push(ProgramSlot { map, key, function });
                continue;
            }
            None => {
                format!("slot {key} is to hold {}, no program", named(&file.symbols[symbol].name))
            }
        };
        def.refused.get_or_insert(why);
    }
    slots
}

/// The functions that are programs: outside .text all but the static ones that
/// something calls; those in slots of program arrays; and if there is none, the
/// functions of .text that nothing calls.
fn programs(
    file: &File<'_>,
    sections: &CodeSections,
    linked: &Linked,
    slots: &[ProgramSlot],
) -> Vec<Program> {
    let functions = linked.functions.values();
    let called: HashSet<FuncRef> = functions.flat_map(|f| f.callees()).collect();
    let initialised: HashSet<FuncRef> = slots.iter().map(|slot| slot.function).collect();
    let symbols = file.symbols.iter().filter(|symbol| !symbol.is_local);
    let global = symbols.filter_map(|symbol| match symbol.at {
        SymbolPlace::Section(section) => sections.place(section, symbol.value as i64),
        _ => None,
    });
    let global: HashSet<Place> = global.collect();
    let mut places: Vec<(FuncRef, Place)> = linked.starts.iter().map(|(p, f)| (*f, *p)).collect();
    places.sort_unstable();

    let make = |function: FuncRef| {
        let (name, section) = {
            let function = &linked.functions[function];
            (function.name.clone(), function.section.clone())
        };
        Program { name, function, kind: kind(&section), section }
    };
    let is_text = |function: FuncRef| linked.functions[function].section == ".text";
    let outside = places.iter().filter(|(function, place)| {
        let own = !called.contains(function) || global.contains(place);
        initialised.contains(function) || own && !is_text(*function)
    });
    let found: Vec<Program> = outside.map(|(function, _)| make(*function)).collect();
    if !found.is_empty() {
        return found;
    }
    let uncalled = places.iter().filter(|(f, _)| !called.contains(f));
    uncalled.map(|(function, _)| make(*function)).collect()
}

/// Kinds of programs by the start of their section's name.
static SECTIONS: &[(&str, ProgramKind)] = &[
    ("xdp", ProgramKind::Xdp),
    ("tc", ProgramKind::SchedCls),
    ("tcx", ProgramKind::SchedCls),
    ("netkit", ProgramKind::SchedCls),
    ("classifier", ProgramKind::SchedCls),
    ("action", ProgramKind::SchedCls),
    ("socket", ProgramKind::SocketFilter),
    ("cgroup_skb", ProgramKind::CgroupSkb),
    ("cgroup/skb", ProgramKind::CgroupSkb),
    ("flow_dissector", ProgramKind::FlowDissector),
    ("sk_skb", ProgramKind::SkSkb),
    ("lwt_in", ProgramKind::Lwt),
    ("lwt_out", ProgramKind::Lwt),
    ("lwt_xmit", ProgramKind::Lwt),
    ("lwt_seg6local", ProgramKind::Lwt),
];

/// What a section's name says about its programs; a leading `?` only tells a
/// loader not to load them unasked.
fn kind(section: &str) -> ProgramKind {
    let name = section.strip_prefix('?').unwrap_or(section);
    // What follows says more of the same ("tc/ingress", "xdp_drop", "socket1"),
    // unless it makes another word of it ("tcp").
    let is = |start: &str| {
        let rest = name.strip_prefix(start);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()))
    };
    let row = SECTIONS.iter().find(|(start, _)| is(start));
    row.map_or(ProgramKind::Opaque, |(_, kind)| *kind)
}

/// A symbol's name for messages.
fn named(name: &str) -> String {
    if name.is_empty() { "a place without name".into() } else { format!("{name:.128}") }
}

#[cfg(test)]
mod tests;
