//! Code as a relocatable ELF file, to be linked with C.
//!
//! The names and what they mean are in docs/abi.md, "Relocatable files". In
//! short: functions are local symbols of their own names; what C may name is
//! `tailor_enter_F` (where C code enters F) and `tailor_slot_F` (what a slot of a
//! program array holds for it); what it must supply is `tailor_helper_H`,
//! `tailor_map_M` and `tailor_values_M`. A helper's cell is its entry in the
//! linker's global offset table.

mod pokes;

use std::collections::HashMap;

use object::elf::{R_X86_64_64, R_X86_64_GOTPCREL, R_X86_64_PC32, R_X86_64_PLT32};
use object::write::{
    Object, Relocation, SectionId, StandardSection, Symbol as ElfSymbol, SymbolId, SymbolSection,
};
use object::{BinaryFormat, Endianness, RelocationFlags, SymbolFlags, SymbolKind, SymbolScope};

pub use pokes::{PokeRecord, read_pokes};

use crate::frame::DecodeError;
use crate::unwind::{self, Unwindable};
use crate::{
    CompiledCode, CompiledFunction, Convention, FuncRef, FunctionKind, MapRef, RelocKind, Symbol,
    kernel, layout,
};

/// Functions start at multiples of this.
const FUNCTION_ALIGN: u64 = 16;

/// Names that compiled code does not know.
pub struct Names<'a> {
    /// Of a helper, by number.
    pub helper: &'a dyn Fn(u32) -> String,
    /// Of a map.
    pub map: &'a dyn Fn(MapRef) -> String,
}

/// Why a file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// A function's frame cannot be read from its code.
    #[error("{function}: {error}")]
    Frame {
        /// Its name.
        function: String,
        /// What is wrong.
        error: DecodeError,
    },
    /// Two maps or two helpers have one name, which would make them one.
    #[error("two symbols {0:?}")]
    Twice(String),
    /// The unwind table.
    #[error("unwind table: {0}")]
    Unwind(#[from] gimli::write::Error),
    /// The file's container.
    #[error("{0}")]
    Write(#[from] object::write::Error),
    /// What is read is no ELF file.
    #[error("{0}")]
    Read(#[from] object::read::Error),
    /// A poke section that is not as documented.
    #[error("poke record {record}: {what}")]
    Poke {
        /// Its number.
        record: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Writes code as a relocatable file. Every function that it calls must be in it,
/// and every stub that is needed.
pub fn write(code: &CompiledCode, names: &Names<'_>) -> Result<Vec<u8>, ElfError> {
    let mut file = File::new(names);
    for (func, function) in code.functions.iter().filter_map(|(f, c)| Some((f, c.as_ref()?))) {
        let body = file.add(&function.name, function, false)?;
        file.functions.insert(func, body);
        if function.kind == FunctionKind::Program {
            file.add_slot(code.convention, function, body)?;
        }
    }
    for (func, function) in code.functions.iter().filter_map(|(f, c)| Some((f, c.as_ref()?))) {
        let enter = format!("tailor_enter_{}", function.name);
        let entry = match &code.stubs[func] {
            Some(stub) => file.add(&enter, stub, true)?,
            None => {
                let body = file.functions[&func];
                if function.kind == FunctionKind::Program {
                    let at = file.object.symbol(body).value;
                    let section = SymbolSection::Section(file.text);
                    file.define(&enter, section, at);
                }
                body
            }
        };
        file.entries.insert(func, entry);
    }
    let pieces = code.functions.iter().map(|(func, f)| (f, file.functions.get(&func).copied()));
    let stubs = code.stubs.iter().map(|(func, f)| (f, file.entries.get(&func).copied()));
    let pieces: Vec<_> =
        pieces.chain(stubs).filter_map(|(f, symbol)| Some((f.as_ref()?, symbol?))).collect();
    for (function, symbol) in pieces {
        file.relocate(code.convention, function, symbol)?;
    }
    pokes::write(&mut file, code)?;
    file.finish()
}

/// A file in the making.
struct File<'a> {
    object: Object<'static>,
    text: SectionId,
    names: &'a Names<'a>,
    functions: HashMap<FuncRef, SymbolId>,
    /// Where C code enters them.
    entries: HashMap<FuncRef, SymbolId>,
    thunks: HashMap<u32, SymbolId>,
    /// Of undefined symbols: whose name it is.
    undefined: HashMap<String, (Symbol, SymbolId)>,
    unwindable: Vec<Unwindable>,
    /// By [`Unwindable::symbol`].
    symbols: Vec<SymbolId>,
}

impl<'a> File<'a> {
    fn new(names: &'a Names<'a>) -> File<'a> {
        let mut object =
            Object::new(BinaryFormat::Elf, object::Architecture::X86_64, Endianness::Little);
        let text = object.section_id(StandardSection::Text);
        // Without this section linkers take it that the code wants an executable stack.
        object.add_section(Vec::new(), b".note.GNU-stack".to_vec(), object::SectionKind::Other);
        File {
            object,
            text,
            names,
            functions: HashMap::new(),
            entries: HashMap::new(),
            thunks: HashMap::new(),
            undefined: HashMap::new(),
            unwindable: Vec::new(),
            symbols: Vec::new(),
        }
    }

    fn symbol(&mut self, name: &str, kind: SymbolKind, scope: SymbolScope) -> SymbolId {
        self.object.add_symbol(ElfSymbol {
            name: name.as_bytes().to_vec(),
            value: 0,
            size: 0,
            kind,
            scope,
            weak: false,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        })
    }

    /// A global name for a place that has a symbol of its own: without a size,
    /// so that debuggers prefer the other.
    fn define(&mut self, name: &str, section: SymbolSection, at: u64) {
        let symbol = self.symbol(name, SymbolKind::Label, SymbolScope::Dynamic);
        let symbol = self.object.symbol_mut(symbol);
        (symbol.section, symbol.value) = (section, at);
    }

    /// Puts a function into the file, its fields still zero.
    fn add(
        &mut self,
        name: &str,
        function: &CompiledFunction,
        global: bool,
    ) -> Result<SymbolId, ElfError> {
        let rows = unwind::rows(function)
            .map_err(|error| ElfError::Frame { function: function.name.clone(), error })?;
        Ok(self.add_code(name, &pokes::empty(function), rows, global))
    }

    fn add_code(
        &mut self,
        name: &str,
        code: &[u8],
        rows: Vec<crate::frame::Row>,
        global: bool,
    ) -> SymbolId {
        let scope = if global { SymbolScope::Dynamic } else { SymbolScope::Compilation };
        let symbol = self.symbol(name, SymbolKind::Text, scope);
        self.object.add_symbol_data(symbol, self.text, code, FUNCTION_ALIGN);
        let number = self.symbols.len();
        self.symbols.push(symbol);
        self.unwindable.push(Unwindable { symbol: number, bytes: code.len() as u32, rows });
        symbol
    }

    /// What a slot of a program array holds for a program.
    fn add_slot(
        &mut self,
        convention: Convention,
        function: &CompiledFunction,
        body: SymbolId,
    ) -> Result<(), ElfError> {
        let name = format!("tailor_slot_{}", function.name);
        match convention {
            Convention::Saving => {
                let at = self.object.symbol(body).value + u64::from(function.landing);
                self.define(&name, SymbolSection::Section(self.text), at);
            }
            Convention::Kernel { .. } => {
                let entry = kernel::DESCRIPTOR_ENTRY as u64;
                let section = self.object.section_id(StandardSection::ReadOnlyDataWithRel);
                let at = self.object.append_section_data(section, &vec![0; entry as usize + 8], 8);
                self.define(&name, SymbolSection::Section(section), at);
                self.field(section, at + entry, R_X86_64_64, body, 0)?;
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        section: SectionId,
        offset: u64,
        kind: object::elf::RelocationType,
        symbol: SymbolId,
        addend: i64,
    ) -> Result<(), ElfError> {
        let flags = RelocationFlags::Elf { r_type: kind };
        let relocation = Relocation { offset, symbol, addend, flags };
        Ok(self.object.add_relocation(section, relocation)?)
    }

    fn relocate(
        &mut self,
        convention: Convention,
        function: &CompiledFunction,
        symbol: SymbolId,
    ) -> Result<(), ElfError> {
        let start = self.object.symbol(symbol).value;
        for reloc in &function.relocs {
            let (target, offset) = self.target(convention, reloc.target)?;
            let (kind, addend) = match (reloc.kind, reloc.target) {
                (RelocKind::Abs64, _) => (R_X86_64_64, offset),
                (RelocKind::Rel32, Symbol::HelperCell(_)) => (R_X86_64_GOTPCREL, -4),
                (RelocKind::Rel32, _) => (R_X86_64_PLT32, offset - 4),
            };
            self.field(self.text, start + u64::from(reloc.offset), kind, target, addend)?;
        }
        Ok(())
    }

    /// A symbol of the file, and the distance from it.
    fn target(
        &mut self,
        convention: Convention,
        target: Symbol,
    ) -> Result<(SymbolId, i64), ElfError> {
        Ok(match target {
            Symbol::Function(func) => (self.functions[&func], 0),
            Symbol::Entry(func) => (self.entries[&func], 0),
            Symbol::Helper(helper) => (self.thunk(helper)?, 0),
            Symbol::HelperCell(helper) => (self.helper(helper)?, 0),
            Symbol::Map(map) => (self.map(map)?, 0),
            Symbol::MapValue(map, offset) => {
                let name = format!("tailor_values_{}", (self.names.map)(map));
                (self.undefined(name, Symbol::MapValue(map, 0))?, i64::from(offset))
            }
            Symbol::MapSlot(map, key) => {
                let slots = match convention {
                    Convention::Saving => layout::PROG_ARRAY_SLOTS,
                    Convention::Kernel { .. } => kernel::ARRAY_SLOTS,
                };
                let at = i64::from(slots) + (i64::from(key) << layout::PROG_ARRAY_SLOT_SHIFT);
                (self.map(map)?, at)
            }
        })
    }

    fn map(&mut self, map: MapRef) -> Result<SymbolId, ElfError> {
        self.undefined(format!("tailor_map_{}", (self.names.map)(map)), Symbol::Map(map))
    }

    fn helper(&mut self, helper: u32) -> Result<SymbolId, ElfError> {
        let name = format!("tailor_helper_{}", (self.names.helper)(helper));
        self.undefined(name, Symbol::Helper(helper))
    }

    /// A symbol that whoever links the file supplies.
    fn undefined(&mut self, name: String, whose: Symbol) -> Result<SymbolId, ElfError> {
        match self.undefined.get(&name) {
            Some((known, symbol)) if *known == whose => Ok(*symbol),
            Some(_) => Err(ElfError::Twice(name)),
            None => {
                let symbol = self.symbol(&name, SymbolKind::Unknown, SymbolScope::Unknown);
                self.undefined.insert(name, (whose, symbol));
                Ok(symbol)
            }
        }
    }

    /// What calls a helper with an aligned stack.
    fn thunk(&mut self, helper: u32) -> Result<SymbolId, ElfError> {
        if let Some(thunk) = self.thunks.get(&helper) {
            return Ok(*thunk);
        }
        let target = self.helper(helper)?;
        let name = format!("tailor_thunk_{}", (self.names.helper)(helper));
        let thunk = self.add_code(&name, &kernel::HELPER_THUNK, unwind::thunk_rows(), false);
        let cell = self.object.symbol(thunk).value + kernel::HELPER_THUNK_CELL as u64;
        self.field(self.text, cell, R_X86_64_GOTPCREL, target, -4)?;
        self.thunks.insert(helper, thunk);
        Ok(thunk)
    }

    fn finish(mut self) -> Result<Vec<u8>, ElfError> {
        let (bytes, relocations) = unwind::eh_frame(&self.unwindable)?;
        let section = self.object.section_id(StandardSection::EhFrame);
        self.object.append_section_data(section, &bytes, 8);
        for relocation in relocations {
            let gimli::write::RelocationTarget::Symbol(number) = relocation.target else {
                unreachable!("the table refers to functions only");
            };
            let symbol = self.symbols[number];
            let (offset, addend) = (relocation.offset as u64, relocation.addend);
            self.field(section, offset, R_X86_64_PC32, symbol, addend)?;
        }
        Ok(self.object.write()?)
    }
}
