//! Sections of code: where functions start in them, and what their relocations
//! refer to.

use std::collections::{BTreeMap, HashMap, HashSet};

use object::elf::{STT_FUNC, STT_NOTYPE};

use super::file::{File, Relocation, Section, Symbol, SymbolPlace};
use super::maps::Maps;
use super::named;
use crate::encode::Slot;
use crate::link::{Place, Target, Unit};
use crate::table::{class, code, mode};

/// The sections that hold code, in the file's order.
pub(super) struct CodeSections {
    /// Indices of the sections.
    sections: Vec<usize>,
    /// Indices into those by section.
    units: HashMap<usize, usize>,
}

impl CodeSections {
    /// Finds them.
    pub fn find(file: &File<'_>) -> CodeSections {
        let sections = file.sections.iter().enumerate();
        let code = sections.filter(|(_, s)| s.is_code && !s.bytes.is_empty());
        let sections: Vec<usize> = code.map(|(index, _)| index).collect();
        let numbered = sections.iter().enumerate();
        CodeSections { units: numbered.map(|(unit, section)| (*section, unit)).collect(), sections }
    }

    /// The place of a byte offset, if the section is code.
    pub fn place(&self, section: usize, offset: i64) -> Option<Place> {
        let unit = *self.units.get(&section)?;
        // An offset within a slot is no place of a function.
        let slot = if offset % 8 == 0 { offset / 8 } else { -1 };
        Some(Place { unit, slot })
    }

    /// The sections ready to be linked.
    pub fn units<'a>(&self, file: &File<'a>, maps: &Maps) -> Vec<Unit<'a>> {
        let sections = self.sections.iter().map(|index| &file.sections[*index]);
        let mut units: Vec<Unit<'a>> = sections
            .map(|section| Unit {
                section: section.name.to_string(),
                bytes: section.bytes,
                ..Unit::default()
            })
            .collect();
        self.name_functions(file, &mut units);
        for (unit, section) in units.iter_mut().zip(&self.sections) {
            for relocation in &file.sections[*section].relocations {
                if relocation.offset >= unit.bytes.len() as u64 {
                    continue; // It relocates nothing.
                }
                let slot = (relocation.offset / 8) as u32;
                let target = self.target(file, maps, &file.sections[*section], relocation);
                unit.targets.insert(slot, target);
            }
        }
        units
    }

    /// Enters what symbols say about functions into the units.
    fn name_functions(&self, file: &File<'_>, units: &mut [Unit<'_>]) {
        let mut labels = Vec::new();
        let mut global = HashSet::new();
        for symbol in &file.symbols {
            let SymbolPlace::Section(section) = symbol.at else {
                continue;
            };
            let place = i64::try_from(symbol.value).ok();
            let Some(place) = place.and_then(|value| self.place(section, value)) else {
                continue;
            };
            let Ok(slot) = u32::try_from(place.slot) else {
                continue;
            };
            let is_function = match symbol.kind {
                STT_FUNC => true,
                // Old compilers give functions no type.
                STT_NOTYPE => !symbol.is_local,
                _ => false,
            };
            if is_function {
                // Of several names the first global one.
                let first = symbol.is_local || global.insert(place);
                let starts = &mut units[place.unit].starts;
                if first && (!symbol.is_local || !starts.contains_key(&slot)) {
                    starts.insert(slot, symbol.name.to_string());
                }
            } else if symbol.kind == STT_NOTYPE && !symbol.name.starts_with("LBB") {
                labels.push((place.unit, slot, symbol.name.to_string()));
            }
        }
        for (unit, slot, name) in labels {
            units[unit].hints.entry(slot).or_insert(name);
        }
        for unit in units {
            start_at_labels(unit);
        }
    }

    fn target(
        &self,
        file: &File<'_>,
        maps: &Maps,
        section: &Section<'_>,
        relocation: &Relocation,
    ) -> Target {
        let Some(symbol) = file.symbols.get(relocation.symbol) else {
            return Target::Refused("has a relocation to a symbol that does not exist".into());
        };
        let (slots, _) = section.bytes.as_chunks::<8>();
        let slot = slots.get((relocation.offset / 8) as usize).map(Slot::read);
        let (Some(slot), 0) = (slot, relocation.offset % 8) else {
            return Target::Refused("has a relocation within it".into());
        };
        let is_call = slot.opcode == code::CALL | class::JMP;
        let SymbolPlace::Section(at) = symbol.at else {
            return Target::Refused(undefined(symbol, is_call));
        };
        let base = (symbol.value as i64).wrapping_add(relocation.addend);
        let offset = match is_call {
            true => base.wrapping_add(8 * (i64::from(slot.imm) + 1)),
            false => base.wrapping_add(slot.imm.into()),
        };
        if let Some(place) = self.place(at, offset) {
            return Target::Code(place);
        }
        match maps.value(at, offset) {
            Some(value) if slot.opcode == LOAD_IMM => Target::Value(value),
            Some(_) => Target::Refused("has a relocation that it cannot have".into()),
            None => Target::Refused(format!(
                "refers to {} in {}, which is in no map",
                named(&symbol.name),
                named(&file.sections[at].name)
            )),
        }
    }
}

const LOAD_IMM: u8 = mode::IMM | 0x18 | class::LD;

/// Why a symbol that the object does not define cannot be supported.
fn undefined(symbol: &Symbol<'_>, is_call: bool) -> String {
    let name = named(&symbol.name);
    match (symbol.at, is_call) {
        (SymbolPlace::Undefined, true) => {
            format!("calls {name}, which the object does not define (a kernel function)")
        }
        (SymbolPlace::Undefined, false) => {
            format!("refers to {name}, which the object does not define (an extern)")
        }
        _ => format!("refers to {name}, which is in no section"),
    }
}

/// Old compilers give even static functions no type, like the labels of jumps.
/// A label that no jump leads to and that nothing falls into is a function.
fn start_at_labels(unit: &mut Unit<'_>) {
    if unit.hints.is_empty() {
        return;
    }
    let mut jumps = HashSet::new();
    let mut after_end = HashSet::new();
    for (pc, slot) in unit.instructions() {
        let (class, operation) = (slot.opcode & 7, slot.opcode & 0xf0);
        if class != class::JMP && class != class::JMP32 {
            continue;
        }
        let off = match slot.opcode {
            JUMP_LONG => slot.imm,
            _ => slot.off.into(),
        };
        match operation {
            code::CALL => continue,
            code::EXIT => {}
            _ => drop(jumps.insert(i64::from(pc) + 1 + i64::from(off))),
        }
        if matches!(operation, code::EXIT | code::JA) {
            after_end.insert(pc + 1);
        }
    }
    let labels: BTreeMap<u32, String> = std::mem::take(&mut unit.hints);
    let is_start = |slot: &u32| after_end.contains(slot) && !jumps.contains(&i64::from(*slot));
    for (slot, name) in labels {
        if is_start(&slot) {
            unit.starts.entry(slot).or_insert(name);
        } else {
            unit.hints.insert(slot, name);
        }
    }
}

const JUMP_LONG: u8 = code::JA | class::JMP32;
