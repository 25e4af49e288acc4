//! Compiled code as a relocatable ELF file with the object's names in it.

use cranelift_entity::EntitySet;
use tailor_bpf::CALL_BY_NUMBER;
use tailor_emit::elf::{ElfError, Names};

use crate::{Compiled, Unit};

/// Writes the programs of an object that compiled as a file that can be linked
/// with C: see "Relocatable files" in docs/abi.md.
pub fn relocatable(unit: &Unit, compiled: &Compiled) -> Result<Vec<u8>, ElfError> {
    let object = &unit.object;
    let mut code = compiled.code.clone();
    let mut whole = EntitySet::new();
    for (id, program) in &object.programs {
        if code.functions[program.function].is_some() && !compiled.errors.contains_key(&id) {
            whole.extend(unit.reachable(id).unwrap_or_default());
        }
    }
    // A program that did not compile may have left functions, and lack a stub.
    for func in object.functions.keys().filter(|&func| !whole.contains(func)) {
        code.functions[func] = None;
        code.stubs[func] = None;
    }
    let helper = |id: u32| match (id, object.helper(id)) {
        (CALL_BY_NUMBER, _) => "by_number".to_string(),
        (_, row) if row.id == id => row.name.to_string(),
        _ => id.to_string(),
    };
    let map = |map| object.maps[map].name.clone();
    tailor_emit::elf::write(&code, &Names { helper: &helper, map: &map })
}
