//! The tables of an ELF file, without the file format.

use std::borrow::Cow;

use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, Rel, Rela, SectionHeader, Sym, SymbolTable};
use object::{LittleEndian, SectionIndex};

use crate::Error;

/// Sections and symbols of a file.
pub(super) struct File<'a> {
    pub sections: Vec<Section<'a>>,
    pub symbols: Vec<Symbol<'a>>,
}

/// A section.
pub(super) struct Section<'a> {
    pub name: Cow<'a, str>,
    /// Contents; empty where the file holds none (.bss).
    pub bytes: &'a [u8],
    /// Bytes in memory.
    pub size: u64,
    pub is_code: bool,
    /// The file holds no contents.
    pub is_zero: bool,
    /// Relocations of the contents.
    pub relocations: Vec<Relocation>,
}

/// A relocation; its kind follows from what it relocates.
pub(super) struct Relocation {
    pub offset: u64,
    /// Index of the symbol.
    pub symbol: usize,
    /// Added to what the place itself holds.
    pub addend: i64,
}

/// A symbol.
pub(super) struct Symbol<'a> {
    pub name: Cow<'a, str>,
    pub at: SymbolPlace,
    pub value: u64,
    pub size: u64,
    pub kind: elf::SymbolType,
    pub is_local: bool,
}

/// Where a symbol is defined.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SymbolPlace {
    /// Nowhere: an extern.
    Undefined,
    /// In a section.
    Section(usize),
    /// Not in a section.
    Other,
}

type Header = FileHeader64<LittleEndian>;
type Symbols<'a> = SymbolTable<'a, Header>;

const LE: LittleEndian = LittleEndian;

/// An error of the library that reads the file format.
fn bad(place: impl Into<String>) -> impl FnOnce(object::read::Error) -> Error {
    |error| Error::in_object(place, format!("not a readable ELF object: {error}"))
}

const HEADER: &str = "ELF header";

/// Names are copied to wherever they are used, so that a long one could become
/// very much text.
pub(super) const MAX_NAME: usize = 4096;

fn text<'a>(place: &str, name: &'a [u8]) -> Result<Cow<'a, str>, Error> {
    if name.len() > MAX_NAME {
        return Err(Error::in_object(place, "a name of more than 4,096 bytes"));
    }
    Ok(String::from_utf8_lossy(name))
}

impl<'a> File<'a> {
    /// Reads the tables.
    pub fn read(bytes: &'a [u8]) -> Result<File<'a>, Error> {
        // Big-endian files have the same size of header, and fail the test below.
        let header = FileHeader64::<LittleEndian>::parse(bytes).map_err(bad(HEADER))?;
        if header.is_big_endian() {
            return Err(Error::in_object(HEADER, "a big-endian object"));
        }
        let machine = header.e_machine(LE);
        // Some tools leave the machine out.
        if machine != elf::EM_BPF && machine != elf::EM_NONE {
            let what = format!("an object for machine {}, not for eBPF (247)", machine.0);
            return Err(Error::in_object(HEADER, what));
        }
        let place = format!("section headers at byte {}", header.e_shoff(LE));
        let table = header.sections(LE, bytes).map_err(bad(place))?;
        let mut sections = Vec::with_capacity(table.len());
        let mut total = 0u64;
        for (index, section) in table.iter().enumerate() {
            let place = format!("section {index}");
            let name = table.section_name(LE, section).map_err(bad(&*place))?;
            let kind = section.sh_type(LE);
            let contents = match kind {
                elf::SHT_NULL => &[],
                _ => section.data(LE, bytes).map_err(bad(&*place))?,
            };
            // Contents that overlap would multiply what the file holds.
            total += contents.len() as u64;
            if total > bytes.len() as u64 {
                return Err(Error::in_object(place, "sections overlap"));
            }
            let flags = section.sh_flags(LE);
            sections.push(Section {
                name: text(&place, name)?,
                bytes: contents,
                size: match kind {
                    elf::SHT_NOBITS => section.sh_size(LE),
                    _ => contents.len() as u64,
                },
                is_code: kind == elf::SHT_PROGBITS && flags.contains(elf::SHF_EXECINSTR),
                is_zero: kind == elf::SHT_NOBITS,
                relocations: Vec::new(),
            });
        }
        let symbols = table.symbols(LE, bytes, elf::SHT_SYMTAB).map_err(bad("symbol table"))?;
        for (index, section) in table.iter().enumerate() {
            let of = section.info_link(LE);
            if let Some(target) = sections.get_mut(of.0) {
                let place = format!("section {index}");
                let relocations = read_relocations(&place, section, bytes, symbols.section())?;
                target.relocations.extend(relocations);
            }
        }
        Ok(File { symbols: read_symbols(&symbols, sections.len())?, sections })
    }

    /// Index of the section of this name.
    pub fn section(&self, name: &str) -> Option<usize> {
        self.sections.iter().position(|s| s.name == name)
    }
}

fn read_relocations(
    place: &str,
    section: &elf::SectionHeader64<LittleEndian>,
    bytes: &[u8],
    symbols: SectionIndex,
) -> Result<Vec<Relocation>, Error> {
    let mut into = Vec::new();
    let check = |table: SectionIndex| match table == symbols {
        true => Ok(()),
        false => Err(Error::in_object(place, "relocations against another symbol table")),
    };
    if let Some((rels, table)) = section.rel(LE, bytes).map_err(bad(place))? {
        check(table)?;
        into.extend(rels.iter().map(|rel| Relocation {
            offset: rel.r_offset(LE),
            symbol: rel.r_sym(LE) as usize,
            addend: 0,
        }));
    }
    if let Some((relas, table)) = section.rela(LE, bytes).map_err(bad(place))? {
        check(table)?;
        into.extend(relas.iter().map(|rela| Relocation {
            offset: rela.r_offset(LE),
            symbol: rela.r_sym(LE, false) as usize,
            addend: rela.r_addend(LE),
        }));
    }
    Ok(into)
}

fn read_symbols<'a>(symbols: &Symbols<'a>, sections: usize) -> Result<Vec<Symbol<'a>>, Error> {
    let mut read = Vec::with_capacity(symbols.len());
    for (index, symbol) in symbols.enumerate() {
        let place = format!("symbol {}", index.0);
        let name = symbols.symbol_name(LE, symbol).map_err(bad(&*place))?;
        let section = symbols.symbol_section(LE, symbol, index).map_err(bad(&*place))?;
        let at = match section {
            Some(SectionIndex(section)) if section < sections => SymbolPlace::Section(section),
            Some(SectionIndex(section)) => {
                return Err(Error::in_object(place, format!("section {section} does not exist")));
            }
            None if symbol.is_undefined(LE) => SymbolPlace::Undefined,
            None => SymbolPlace::Other,
        };
        read.push(Symbol {
            name: text(&place, name)?,
            at,
            value: symbol.st_value(LE),
            size: symbol.st_size(LE),
            kind: symbol.st_type(),
            is_local: symbol.is_local(),
        });
    }
    Ok(read)
}
