//! Writes small ELF objects and BTF for the tests of the loader.

use crate::encode::encode;
use crate::text::parse_ops;

pub const FUNC: u8 = 2;
pub const NOTYPE: u8 = 0;
pub const OBJECT: u8 = 1;
const SECTION: u8 = 3;

/// An object in the making.
pub struct Elf {
    pub machine: u16,
    sections: Vec<Section>,
    /// Encoded symbols; locals and globals in any order.
    symbols: Vec<Vec<u8>>,
    strings: Vec<u8>,
}

struct Section {
    name: u32,
    kind: u32,
    flags: u64,
    bytes: Vec<u8>,
    /// Of .bss.
    zeros: u64,
    relocations: Vec<u8>,
}

pub fn code(text: &str) -> Vec<u8> {
    encode("test", &parse_ops(text).unwrap()).unwrap()
}

impl Elf {
    pub fn new() -> Elf {
        let mut elf = Elf {
            machine: 247,
            sections: Vec::new(),
            symbols: vec![vec![0; 24]],
            strings: vec![0],
        };
        elf.section("", 0, 0, Vec::new(), 0);
        elf
    }

    fn name(&mut self, name: &str) -> u32 {
        let offset = self.strings.len() as u32;
        self.strings.extend(name.bytes());
        self.strings.push(0);
        offset
    }

    fn section(&mut self, name: &str, kind: u32, flags: u64, bytes: Vec<u8>, zeros: u64) -> usize {
        let name = self.name(name);
        self.sections.push(Section { name, kind, flags, bytes, zeros, relocations: Vec::new() });
        let index = self.sections.len() - 1;
        // Symbol n is section n's.
        self.push_symbol(0, SECTION, true, index, 0, 0);
        index
    }

    pub fn code(&mut self, name: &str, text: &str) -> usize {
        self.section(name, 1, 6, code(text), 0)
    }

    pub fn data(&mut self, name: &str, bytes: &[u8]) -> usize {
        self.section(name, 1, 3, bytes.to_vec(), 0)
    }

    pub fn zeros(&mut self, name: &str, zeros: u64) -> usize {
        self.section(name, 8, 3, Vec::new(), zeros)
    }

    /// The symbol of a section.
    pub fn section_symbol(section: usize) -> usize {
        section + 1
    }

    fn push_symbol(
        &mut self,
        name: u32,
        kind: u8,
        local: bool,
        section: usize,
        value: u64,
        size: u64,
    ) {
        let mut symbol = name.to_le_bytes().to_vec();
        symbol.extend([kind | if local { 0 } else { 0x10 }, 0]);
        symbol.extend((section as u16).to_le_bytes());
        symbol.extend(value.to_le_bytes());
        symbol.extend(size.to_le_bytes());
        self.symbols.push(symbol);
    }

    /// All sections come before the first symbol.
    pub fn symbol(
        &mut self,
        name: &str,
        kind: u8,
        local: bool,
        section: usize,
        value: u64,
    ) -> usize {
        let name = self.name(name);
        self.push_symbol(name, kind, local, section, value, 0);
        self.symbols.len() - 1
    }

    /// A global variable of so many bytes.
    pub fn variable(&mut self, name: &str, section: usize, value: u64, size: u64) -> usize {
        let name = self.name(name);
        self.push_symbol(name, OBJECT, false, section, value, size);
        self.symbols.len() - 1
    }

    pub fn global(&mut self, name: &str, section: usize, slot: u64) -> usize {
        self.symbol(name, FUNC, false, section, 8 * slot)
    }

    pub fn local(&mut self, name: &str, section: usize, slot: u64) -> usize {
        self.symbol(name, FUNC, true, section, 8 * slot)
    }

    pub fn relocate(&mut self, section: usize, offset: u64, symbol: usize) {
        let relocations = &mut self.sections[section].relocations;
        relocations.extend(offset.to_le_bytes());
        relocations.extend((((symbol as u64) << 32) | 1).to_le_bytes());
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; 64];
        let mut headers: Vec<[u64; 8]> = Vec::new(); // name kind flags offset size link info entry
        let strings = self.sections.len() as u64;
        let symbols = strings + 1;
        for section in &self.sections {
            let size = section.zeros + section.bytes.len() as u64;
            let offset = out.len() as u64;
            let (name, kind) = (section.name.into(), section.kind.into());
            headers.push([name, kind, section.flags, offset, size, 0, 0, 0]);
            out.extend(&section.bytes);
        }
        let mut add = |kind, bytes: &[u8], link, info, entry| {
            let (offset, size) = (out.len() as u64, bytes.len() as u64);
            headers.push([0, kind, 0, offset, size, link, info, entry]);
            out.extend(bytes);
        };
        add(3, &self.strings, 0, 0, 0);
        add(2, &self.symbols.concat(), strings, 1, 24);
        for (index, section) in self.sections.iter().enumerate() {
            if !section.relocations.is_empty() {
                add(9, &section.relocations, symbols, index as u64, 16);
            }
        }
        let table = out.len() as u64;
        for [name, kind, flags, offset, size, link, info, entry] in &headers {
            out.extend((*name as u32).to_le_bytes());
            out.extend((*kind as u32).to_le_bytes());
            for word in [*flags, 0, *offset, *size] {
                out.extend(word.to_le_bytes());
            }
            out.extend((*link as u32).to_le_bytes());
            out.extend((*info as u32).to_le_bytes());
            out.extend(1u64.to_le_bytes());
            out.extend(entry.to_le_bytes());
        }
        out[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        out[16..20].copy_from_slice(&[1, 0, self.machine as u8, (self.machine >> 8) as u8]);
        out[20] = 1;
        out[40..48].copy_from_slice(&table.to_le_bytes());
        let halves = [64, 0, 0, 64, headers.len() as u16, strings as u16];
        out[52..64].copy_from_slice(&halves.map(u16::to_le_bytes).concat());
        out
    }
}

/// Type information in the making.
#[derive(Default)]
pub struct BtfWriter {
    types: Vec<u8>,
    count: u32,
    strings: Vec<u8>,
}

impl BtfWriter {
    pub fn string(&mut self, text: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(text.bytes());
        self.strings.push(0);
        offset
    }

    pub fn add(&mut self, name: &str, kind: u32, count: u32, word: u32, rest: &[u32]) -> u32 {
        let name = if name.is_empty() { 0 } else { self.string(name) };
        self.add_named(name, kind, count, word, rest)
    }

    /// The same with a name that is there already.
    pub fn add_named(&mut self, name: u32, kind: u32, count: u32, word: u32, rest: &[u32]) -> u32 {
        for word in [name, kind << 24 | count, word].iter().chain(rest) {
            self.types.extend(word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    /// A number as map definitions write it: a pointer to an array so long.
    pub fn number(&mut self, number: u32) -> u32 {
        let array = self.add("", 3, 0, 0, &[0, 0, number]);
        self.add("", 2, 0, array, &[])
    }

    pub fn structure(&mut self, members: &[(&str, u32, u32)]) -> u32 {
        let mut rest = Vec::new();
        for (name, ty, offset) in members {
            rest.extend([self.string(name), *ty, 8 * offset]);
        }
        self.add("", 4, members.len() as u32, 64, &rest)
    }

    /// A data section of variables with these types.
    pub fn section(&mut self, name: &str, variables: &[(&str, u32)]) {
        let mut rest = Vec::new();
        for (name, ty) in variables {
            rest.extend([self.add(name, 14, 0, *ty, &[1]), 0, 0]);
        }
        self.add(name, 15, variables.len() as u32, 0, &rest);
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut out = header(&[0, types, types, strings]);
        out.extend(&self.types);
        out.extend(&self.strings);
        out
    }
}

/// The header of .BTF and .BTF.ext.
pub fn header(words: &[u32]) -> Vec<u8> {
    let mut out = vec![0x9f, 0xeb, 1, 0];
    out.extend((8 + 4 * words.len() as u32).to_le_bytes());
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    out
}
