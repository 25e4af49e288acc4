//! Map definitions, and data sections as maps.
//!
//! Maps are variables: in `.maps` their type's BTF is the definition, in the
//! legacy sections their first five words are. A data section is an array with
//! one entry.

use std::collections::{BTreeMap, HashMap};

use cranelift_entity::PrimaryMap;
use object::elf::{STT_FILE, STT_SECTION};

use super::btf::{Btf, Member, word};
use super::file::{File, Section, SymbolPlace};
use crate::insn::Imm64;
use crate::object::{MapDef, MapKind};
use crate::{Error, MapRef};

/// The maps of an object, and where they are.
#[derive(Default)]
pub(super) struct Maps {
    pub defs: PrimaryMap<MapRef, MapDef>,
    /// Map variables by section and offset.
    variables: BTreeMap<(usize, u64), Variable>,
    /// Maps of data sections.
    data: HashMap<usize, MapRef>,
    /// Jump tables by section and offset, with their sizes.
    tables: BTreeMap<(usize, u64), (MapRef, u64)>,
}

/// A variable that defines a map.
struct Variable {
    map: MapRef,
    size: u64,
    /// Offset of the array with initial values in the variable.
    values: Option<u32>,
}

/// A relocation that puts something into a map.
pub(super) struct Initialiser {
    pub map: MapRef,
    pub key: u32,
    /// Index of the symbol that it names.
    pub symbol: usize,
    pub section: SymbolPlace,
    pub offset: u64,
}

/// Bytes of .bss and the like that an object may ask for in all.
const MAX_ZEROS: u64 = 1 << 28;

/// Members of a definition that are looked at; there are some ten.
const MAX_MEMBERS: usize = 64;

/// The section with jump tables.
const TABLES: &str = ".jumptables";

/// Programs cannot write the map: .rodata.
const READ_ONLY: u32 = 1 << 7;

impl Maps {
    /// Finds the maps of an object.
    pub fn find(file: &File<'_>, btf: Option<&Result<Btf<'_>, Error>>) -> Maps {
        let mut maps = Maps::default();
        let types = btf.and_then(|btf| btf.as_ref().ok());
        let variables = types.map(|btf| btf.variables(".maps").collect::<HashMap<_, _>>());
        for (section, name, offset, size) in map_variables(file) {
            let bytes = file.sections[section].bytes;
            let mut values = None;
            let mut map = MapDef::new(name, MapKind::Other(0));
            if file.sections[section].name != ".maps" {
                map.refused = legacy(&mut map, bytes, offset, size).err();
            } else if let Some(Err(error)) = btf {
                map.refused = Some(error.to_string());
            } else if let Some(btf) = types
                && let Some(ty) = variables.as_ref().and_then(|all| all.get(name))
            {
                match defined(&mut map, btf, *ty) {
                    Ok(found) => values = found,
                    Err(why) => map.refused = Some(why),
                }
            } // Else nothing is known of it but that it is a map.
            let map = maps.defs.push(map);
            let values = values.map(|values| values.offset);
            let variable = Variable { map, size, values };
            maps.variables.insert((section, offset), variable);
        }
        for initialiser in maps.initialisers(file) {
            maps.add_inner(&initialiser);
        }
        maps.add_data(file);
        maps.add_tables(file);
        maps
    }

    /// Makes a map of each data section.
    fn add_data(&mut self, file: &File<'_>) {
        let mut zeros = 0u64;
        for (index, section) in file.sections.iter().enumerate() {
            let Some(flags) = data_flags(section) else {
                continue;
            };
            let asked_for = if section.is_zero { section.size } else { 0 };
            let size = u32::try_from(section.size).ok();
            let size = size.filter(|_| zeros.saturating_add(asked_for) <= MAX_ZEROS);
            let mut map = MapDef {
                key_size: 4,
                max_entries: 1,
                flags,
                ..MapDef::new(&section.name, MapKind::Array)
            };
            if let Some(size) = size {
                zeros += asked_for;
                map.value_size = size;
                map.initial = section.bytes.to_vec();
                map.initial.resize(size as usize, 0);
            } else {
                map.refused = Some("the section is too large for a map".into());
            }
            self.data.insert(index, self.defs.push(map));
        }
    }

    /// Makes a map of each variable in the section with jump tables. Entries are
    /// eight bytes each: offsets from the start of the section of the code. Here
    /// they become slots of that section; the linker makes them the function's.
    fn add_tables(&mut self, file: &File<'_>) {
        // Tables do not overlap, or they would hold much more than the file does.
        let mut left: HashMap<usize, u64> = HashMap::new();
        for symbol in &file.symbols {
            let SymbolPlace::Section(index) = symbol.at else {
                continue;
            };
            let section = &file.sections[index];
            let end = symbol.value.saturating_add(symbol.size) as usize;
            let bytes = section.bytes.get(symbol.value as usize..end).unwrap_or(&[]);
            let (entries, _) = bytes.as_chunks::<8>();
            let is_table = section.name == TABLES && symbol.kind != STT_SECTION;
            if !is_table || entries.is_empty() || self.tables.contains_key(&(index, symbol.value)) {
                continue;
            }
            let left = left.entry(index).or_insert(section.size);
            let Some(now_left) = left.checked_sub(symbol.size) else {
                continue;
            };
            *left = now_left;
            // An offset within an instruction becomes no slot.
            let slot = |entry: &[u8; 8]| match u64::from_le_bytes(*entry) {
                offset if offset % 8 == 0 => offset / 8,
                _ => u64::MAX,
            };
            let map = self.defs.push(MapDef {
                key_size: 4,
                value_size: 8,
                max_entries: entries.len() as u32,
                flags: READ_ONLY,
                initial: entries.iter().flat_map(|entry| slot(entry).to_le_bytes()).collect(),
                ..MapDef::new(&symbol.name, MapKind::InsnArray)
            });
            self.tables.insert((index, symbol.value), (map, symbol.size));
        }
    }

    /// What an address in a section refers to.
    pub fn value(&self, section: usize, offset: i64) -> Option<Imm64> {
        let offset = u64::try_from(offset).ok()?;
        if let Some(map) = self.data.get(&section) {
            let def = &self.defs[*map];
            let inside = def.refused.is_some() || offset < u64::from(def.value_size);
            return inside.then_some(Imm64::MapValue(*map, offset as u32));
        }
        if let Some(((_, start), (map, size))) =
            self.tables.range((section, 0)..=(section, offset)).next_back()
        {
            let inside = offset - start;
            return (inside < *size).then_some(Imm64::MapValue(*map, inside as u32));
        }
        let (variable, _) = self.variable(section, offset)?;
        Some(Imm64::Map(variable.map))
    }

    /// The variable at an offset, and the rest of the offset.
    fn variable(&self, section: usize, offset: u64) -> Option<(&Variable, u64)> {
        let mut before = self.variables.range((section, 0)..=(section, offset));
        let ((_, start), variable) = before.next_back()?;
        let inside = offset - start;
        (inside == 0 || inside < variable.size).then_some((variable, inside))
    }

    /// Notes the map that an initialiser puts into a map of maps.
    fn add_inner(&mut self, initialiser: &Initialiser) {
        let SymbolPlace::Section(section) = initialiser.section else {
            return; // Undefined at times: the loader is to set it.
        };
        let found = self.variable(section, initialiser.offset).map(|(variable, _)| variable.map);
        let outer = &mut self.defs[initialiser.map];
        if let Some(inner) = found.filter(|_| outer.kind.holds_maps()) {
            outer.inner_maps.push((initialiser.key, inner));
        }
    }

    /// What relocations of definitions put into maps.
    pub fn initialisers(&self, file: &File<'_>) -> Vec<Initialiser> {
        let mut found = Vec::new();
        for (index, section) in file.sections.iter().enumerate() {
            if section.name != ".maps" {
                continue;
            }
            for relocation in &section.relocations {
                let variable = self.variable(index, relocation.offset);
                let Some((&Variable { map, values, .. }, inside)) = variable else {
                    continue;
                };
                let Some(symbol) = file.symbols.get(relocation.symbol) else {
                    continue;
                };
                let Some(inside) = values.and_then(|at| inside.checked_sub(at.into())) else {
                    continue;
                };
                let here = section.bytes.get(relocation.offset as usize..);
                let here = here.and_then(|bytes| word(bytes, 0)).unwrap_or(0);
                let addend = relocation.addend.wrapping_add(here.into()) as u64;
                found.push(Initialiser {
                    map,
                    key: (inside / 8) as u32,
                    symbol: relocation.symbol,
                    section: symbol.at,
                    offset: symbol.value.wrapping_add(addend),
                });
            }
        }
        found
    }
}

/// Section, name, offset and size of the variables that define maps, in order.
fn map_variables<'f>(file: &'f File<'_>) -> Vec<(usize, &'f str, u64, u64)> {
    let mut found = BTreeMap::new();
    for symbol in &file.symbols {
        let SymbolPlace::Section(index) = symbol.at else {
            continue;
        };
        let section = &file.sections[index];
        let is_variable = symbol.kind != STT_SECTION && symbol.kind != STT_FILE;
        if is_variable && is_map_section(&section.name) && symbol.value < section.size {
            let at = (index, symbol.value);
            found.entry(at).or_insert((&*symbol.name, symbol.size));
        }
    }
    let mut all: Vec<_> = found
        .into_iter()
        .map(|((section, offset), (name, size))| (section, name, offset, size))
        .collect();
    // A variable without size reaches up to the next.
    for index in 0..all.len() {
        let (section, _, offset, size) = all[index];
        let end = match all.get(index + 1) {
            Some(next) if next.0 == section => next.2,
            _ => file.sections[section].size,
        };
        if size == 0 || size > end - offset {
            all[index].3 = end - offset;
        }
    }
    all
}

fn is_map_section(name: &str) -> bool {
    name == ".maps" || name == "maps" || name.starts_with("maps/") || name.ends_with("/maps")
}

/// The flags of a data section's map; none if it is no data section.
fn data_flags(section: &Section<'_>) -> Option<u32> {
    let is = |base: &str| {
        let rest = section.name.strip_prefix(base);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let flags = match () {
        () if section.size == 0 => return None,
        () if is(".rodata") => READ_ONLY,
        () if is(".data") || is(".bss") => 0,
        () => return None,
    };
    Some(flags)
}

/// Reads a definition of the legacy form, whose length varies.
fn legacy(map: &mut MapDef, bytes: &[u8], offset: u64, size: u64) -> Result<(), String> {
    let end = offset.saturating_add(size) as usize;
    let bytes = bytes.get(offset as usize..end).unwrap_or(&[]);
    let words = [0, 4, 8, 12].map(|at| word(bytes, at));
    let [Some(kind), Some(key_size), Some(value_size), Some(max_entries)] = words else {
        return Err("the definition is cut off".into());
    };
    map.kind = MapKind::from_number(kind);
    map.key_size = key_size;
    map.value_size = value_size;
    map.max_entries = max_entries;
    map.flags = word(bytes, 16).unwrap_or(0);
    Ok(())
}

/// Reads a definition, and that of the maps in it, from a variable's type. Returns
/// the member of the initial values.
fn defined<'a>(map: &mut MapDef, btf: &Btf<'a>, ty: u32) -> Result<Option<Member<'a>>, String> {
    let values = definition(map, btf, ty)?;
    map.inner = inner(map, btf, values.as_ref())?;
    Ok(values)
}

/// Reads a definition from a type. Returns the member of the initial values.
fn definition<'a>(map: &mut MapDef, btf: &Btf<'a>, ty: u32) -> Result<Option<Member<'a>>, String> {
    let mut values = None;
    let bad = |member: &str| {
        format!("the type of the definition's `{member:.128}` does not say what it should")
    };
    // Numbers are the lengths of arrays that are pointed to.
    let number = |member: &Member<'_>| {
        let array = btf.pointee(member.ty);
        array.and_then(|ty| btf.array_length(ty))
    };
    let size = |member: &Member<'_>| {
        let pointee = btf.pointee(member.ty);
        pointee.and_then(|ty| btf.size(ty))
    };
    for member in btf.members(ty).take(MAX_MEMBERS) {
        let of = |value: Option<u32>| value.ok_or_else(|| bad(member.name));
        match member.name {
            "type" => map.kind = MapKind::from_number(of(number(&member))?),
            "max_entries" => map.max_entries = of(number(&member))?,
            "map_flags" => map.flags = of(number(&member))?,
            "key_size" => map.key_size = of(number(&member))?,
            "value_size" => map.value_size = of(number(&member))?,
            "key" => map.key_size = of(size(&member))?,
            "value" => map.value_size = of(size(&member))?,
            "values" => values = Some(member),
            _ => {} // Pinning, NUMA nodes and what loaders of others define.
        }
    }
    if values.is_some() && map.value_size == 0 {
        map.value_size = 4;
    }
    Ok(values)
}

/// The definition of the maps in a map of maps: its values are an array of
/// pointers to such a definition.
fn inner(
    outer: &MapDef,
    btf: &Btf<'_>,
    values: Option<&Member<'_>>,
) -> Result<Option<Box<MapDef>>, String> {
    let values = values.filter(|_| outer.kind.holds_maps());
    let element = values.and_then(|values| btf.array_element(values.ty));
    let Some(ty) = element.and_then(|ty| btf.pointee(ty)) else {
        return Ok(None);
    };
    let mut map = MapDef::new(&format!("{}.inner", outer.name), MapKind::Other(0));
    definition(&mut map, btf, ty)?;
    Ok(Some(Box::new(map)))
}
