//! Compiled code as a relocatable ELF file with the object's names in it.

use tailor_bpf::CALL_BY_NUMBER;
use tailor_emit::CompiledCode;
use tailor_emit::elf::{ElfError, Names};

use crate::Unit;

/// Writes what was compiled of an object as a file that can be linked with C:
/// see "Relocatable files" in docs/abi.md.
pub fn relocatable(unit: &Unit, code: &CompiledCode) -> Result<Vec<u8>, ElfError> {
    let object = &unit.object;
    let helper = |id: u32| match (id, object.helper(id)) {
        (CALL_BY_NUMBER, _) => "by_number".to_string(),
        (_, row) if row.id == id => row.name.to_string(),
        _ => id.to_string(),
    };
    let map = |map| object.maps[map].name.clone();
    tailor_emit::elf::write(code, &Names { helper: &helper, map: &map })
}
