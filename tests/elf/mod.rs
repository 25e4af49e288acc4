//! eBPF objects made for tests of the command line.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind};
use object::{SymbolFlags, SymbolKind, SymbolScope};

/// A program: the name of its section, its own name, its code in text form, and
/// the source line of each instruction that starts one (number and text).
pub struct Code<'a> {
    pub section: &'a str,
    pub name: &'a str,
    pub text: &'a str,
    pub lines: &'a [(u32, u32, &'a str)],
}

/// An object file with these programs, each in a section of its own; their lines
/// are those of `a.c`.
pub fn object(programs: &[Code<'_>]) -> Vec<u8> {
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let mut strings = b"\0a.c\0".to_vec();
    let mut string = |text: &str| {
        let offset = strings.len() as u32;
        strings.extend(text.bytes().chain([0]));
        offset
    };
    let mut info = vec![16];
    for program in programs {
        let ops = tailor::bpf::text::parse_ops(program.text).expect("code");
        let bytes = tailor::bpf::encode::encode(program.name, &ops).expect("code");
        let name = program.section.as_bytes().to_vec();
        let section = elf.add_section(Vec::new(), name, SectionKind::Text);
        elf.append_section_data(section, &bytes, 8);
        elf.add_symbol(Symbol {
            name: program.name.into(),
            value: 0,
            size: bytes.len() as u64,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
        info.extend([string(program.section), program.lines.len() as u32]);
        for (insn, number, text) in program.lines {
            info.extend([8 * insn, 1, string(text), number << 10 | 1]);
        }
    }
    let mut add = |name: &str, bytes: &[u8]| {
        let section = elf.add_section(Vec::new(), name.into(), SectionKind::Other);
        elf.append_section_data(section, bytes, 4);
    };
    let header = |words: &[u32]| {
        let mut out = vec![0x9f, 0xeb, 1, 0];
        let length = 8 + 4 * words.len() as u32;
        out.extend([length].iter().chain(words).flat_map(|word| word.to_le_bytes()));
        out
    };
    let mut btf = header(&[0, 0, 0, strings.len() as u32]);
    btf.extend(&strings);
    add(".BTF", &btf);
    let info: Vec<u8> = info.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut ext = header(&[0, 0, 0, info.len() as u32]);
    ext.extend(info);
    add(".BTF.ext", &ext);
    elf.write().expect("an object")
}

/// A file in the folder of temporary ones, removed with this.
pub struct File(pub PathBuf);

impl File {
    pub fn new(name: &str, bytes: &[u8]) -> File {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let path = std::env::temp_dir().join(format!("tailor-{process}-{number}-{name}"));
        std::fs::write(&path, bytes).expect("room for a file");
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
