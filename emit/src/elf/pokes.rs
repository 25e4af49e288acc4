//! The section `.tailor.poke`: what is to be patched when a slot changes.
//!
//! The format is in docs/abi.md, "Relocatable files".

use object::elf::R_X86_64_64;
use object::read::elf::ElfFile64;
use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind,
};

use super::{ElfError, File};
use crate::{CompiledCode, CompiledFunction, Convention, Gpr, Poke, PokeReloc, Unwound};

const SECTION: &str = ".tailor.poke";
const RECORD_BYTES: usize = 48;
const VERSION: u8 = 1;
const NOP: [u8; 5] = [0x0f, 0x1f, 0x44, 0, 0];
const JMP: u8 = 0xe9;

/// A record of the section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PokeRecord {
    /// Name of the function in whose code the offsets are.
    pub owner: String,
    /// Name of the program array.
    pub map: String,
    /// The slot that the site follows.
    pub key: u32,
    /// The two instructions.
    pub poke: Poke,
    /// What is done between them.
    pub unwinds: Unwound,
    /// Where in a program the jump to it goes, from its first byte.
    pub landing: u32,
}

/// A function's code with its sites as they are while slots are empty.
pub(super) fn empty(function: &CompiledFunction) -> Vec<u8> {
    let mut code = function.code.clone();
    for poke in function.tail_sites.iter().filter_map(|site| site.poke) {
        let [bypass, target] = [poke.bypass, poke.target].map(|at| at as usize);
        let distance = poke.out.wrapping_sub(poke.bypass + 5);
        code[bypass] = JMP;
        code[bypass + 1..bypass + 5].copy_from_slice(&distance.to_le_bytes());
        code[target..target + 5].copy_from_slice(&NOP);
    }
    code
}

pub(super) fn write(file: &mut File<'_>, code: &CompiledCode) -> Result<(), ElfError> {
    if code.pokes().next().is_none() {
        return Ok(());
    }
    let name = SECTION.as_bytes().to_vec();
    let section = file.object.add_section(Vec::new(), name, SectionKind::ReadOnlyDataWithRel);
    let landing = match code.convention {
        Convention::Saving => 0,
        Convention::Kernel { landing } => landing,
    };
    for site in code.pokes() {
        let at = file.object.append_section_data(section, &record(&site, landing), 8);
        let (owner, map) = (file.functions[&site.owner], file.map(site.map)?);
        file.field(section, at, R_X86_64_64, owner, 0)?;
        file.field(section, at + 8, R_X86_64_64, map, 0)?;
    }
    Ok(())
}

/// A record without its addresses.
fn record(site: &PokeReloc<'_>, landing: u32) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    let Poke { bypass, target, out } = site.poke;
    let words = [site.key, bypass, target, out, site.unwinds.bytes];
    for (field, word) in record[16..36].chunks_exact_mut(4).zip(words) {
        field.copy_from_slice(&word.to_le_bytes());
    }
    record[36] = VERSION;
    record[37] = site.unwinds.registers.len() as u8;
    for (field, reg) in record[38..44].iter_mut().zip(&site.unwinds.registers) {
        *field = reg.enc();
    }
    record[44..].copy_from_slice(&landing.to_le_bytes());
    record
}

/// Reads the section of a relocatable file; no records if there is none.
pub fn read_pokes(file: &[u8]) -> Result<Vec<PokeRecord>, ElfError> {
    let file = ElfFile64::<Endianness>::parse(file)?;
    let Some(section) = file.section_by_name(SECTION) else { return Ok(Vec::new()) };
    let data = section.data()?;
    let names = |at: usize| {
        let mut found = section.relocations().filter(|(offset, _)| *offset == at as u64);
        let RelocationTarget::Symbol(symbol) = found.next()?.1.target() else { return None };
        file.symbol_by_index(symbol).ok()?.name().ok()
    };
    let records = data.chunks(RECORD_BYTES).enumerate();
    records.map(|(number, bytes)| read(number, bytes, &names)).collect()
}

fn read<'a>(
    number: usize,
    bytes: &[u8],
    names: &dyn Fn(usize) -> Option<&'a str>,
) -> Result<PokeRecord, ElfError> {
    let fail = |what| ElfError::Poke { record: number, what };
    let bytes: &[u8; RECORD_BYTES] = bytes.try_into().map_err(|_| fail("is cut off"))?;
    if bytes[36] != VERSION {
        return Err(fail("is of another version"));
    }
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[at + byte]));
    let registers = bytes[38..44].get(..usize::from(bytes[37]));
    let registers = registers.filter(|registers| registers.iter().all(|&reg| reg < 16));
    let registers = registers.ok_or_else(|| fail("has bad registers"))?;
    let owner = names(number * RECORD_BYTES).ok_or_else(|| fail("has no owner"))?;
    let map = names(number * RECORD_BYTES + 8).and_then(|name| name.strip_prefix("tailor_map_"));
    Ok(PokeRecord {
        owner: owner.to_string(),
        map: map.ok_or_else(|| fail("has no map"))?.to_string(),
        key: word(16),
        poke: Poke { bypass: word(20), target: word(24), out: word(28) },
        unwinds: Unwound {
            registers: registers.iter().map(|&reg| Gpr::from_enc(reg)).collect(),
            bytes: word(32),
        },
        landing: word(44),
    })
}
