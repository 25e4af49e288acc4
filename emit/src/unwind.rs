//! `.eh_frame`: how to get from any instruction to the caller's frame.
//!
//! The table follows from the bytes, as the frame decoder reads them: before each
//! instruction it knows how far the return address is and where each
//! callee-saved register's entry value is. So it is the same for all engines and
//! conventions, and right within prologues and tail-call sites. Where an
//! instruction changes nothing of it the row before goes on.

use gimli::write::{
    Address, CallFrameInstruction, CommonInformationEntry, EhFrame, EndianVec,
    FrameDescriptionEntry, FrameTable, RelocateWriter, Relocation,
};
use gimli::{Encoding, Format, LittleEndian, Register, X86_64};

use crate::frame::{self, DecodeError, FrameHints, Place, Row};
use crate::{CompiledFunction, Gpr};

/// The canonical frame address lies above the return address.
const CFA: i32 = 8;

/// The rows of a function.
pub fn rows(function: &CompiledFunction) -> Result<Vec<Row>, DecodeError> {
    frame::rows(&function.code, &FrameHints::of(function))
}

/// The rows of [`HELPER_THUNK`](crate::kernel::HELPER_THUNK), in the middle of
/// which the distance from rsp is not known.
pub fn thunk_rows() -> Vec<Row> {
    let mut places = Gpr::CALLEE_SAVED.map(Place::Register);
    let entry = Row { at: 0, base: Gpr::RSP, distance: 0, places };
    let rbp = Gpr::CALLEE_SAVED.iter().position(|&reg| reg == Gpr::RBP);
    places[rbp.expect("it is one")] = Place::Slot(-8);
    vec![
        entry,
        Row { at: 1, base: Gpr::RSP, distance: 8, places },
        Row { at: 4, base: Gpr::RBP, distance: 8, places },
        Row { at: 15, ..entry },
    ]
}

/// One function of the table.
pub struct Unwindable {
    /// Number of its symbol, for relocations.
    pub symbol: usize,
    /// Its length.
    pub bytes: u32,
    /// Its rows, the first at 0.
    pub rows: Vec<Row>,
}

/// The section and its relocations, all of them to symbols by number.
pub fn eh_frame(
    functions: &[Unwindable],
) -> Result<(Vec<u8>, Vec<Relocation>), gimli::write::Error> {
    let encoding = Encoding { format: Format::Dwarf32, version: 1, address_size: 8 };
    let mut entry = CommonInformationEntry::new(encoding, 1, -8, X86_64::RA);
    entry.fde_address_encoding = gimli::DwEhPe(gimli::DW_EH_PE_pcrel.0 | gimli::DW_EH_PE_sdata4.0);
    entry.add_instruction(CallFrameInstruction::Cfa(X86_64::RSP, CFA));
    entry.add_instruction(CallFrameInstruction::Offset(X86_64::RA, -CFA));
    let mut table = FrameTable::default();
    let entry = table.add_cie(entry);
    for function in functions {
        let address = Address::Symbol { symbol: function.symbol, addend: 0 };
        let mut description = FrameDescriptionEntry::new(address, function.bytes);
        for (at, instruction) in instructions(&function.rows) {
            description.add_instruction(at, instruction);
        }
        table.add_fde(entry, description);
    }
    let section = Section { bytes: EndianVec::new(LittleEndian), relocations: Vec::new() };
    let mut section = EhFrame(section);
    table.write_eh_frame(&mut section)?;
    Ok((section.0.bytes.into_vec(), section.0.relocations))
}

/// What changes from row to row.
fn instructions(rows: &[Row]) -> Vec<(u32, CallFrameInstruction)> {
    let places = Gpr::CALLEE_SAVED.map(Place::Register);
    let mut before = Row { at: 0, base: Gpr::RSP, distance: 0, places };
    let mut changes = Vec::new();
    for &row in rows {
        let cfa = row.distance + CFA;
        match (row.base == before.base, row.distance == before.distance) {
            (true, true) => {}
            (true, false) => changes.push((row.at, CallFrameInstruction::CfaOffset(cfa))),
            _ => changes.push((row.at, CallFrameInstruction::Cfa(dwarf(row.base), cfa))),
        }
        for (index, reg) in Gpr::CALLEE_SAVED.into_iter().enumerate() {
            if row.places[index] != before.places[index] {
                changes.push((row.at, rule(reg, row.places[index])));
            }
        }
        before = row;
    }
    changes
}

fn rule(reg: Gpr, place: Place) -> CallFrameInstruction {
    match place {
        Place::Register(holder) if holder == reg => CallFrameInstruction::SameValue(dwarf(reg)),
        Place::Register(holder) => CallFrameInstruction::Register(dwarf(reg), dwarf(holder)),
        Place::Slot(at) => CallFrameInstruction::Offset(dwarf(reg), at - CFA),
        Place::Lost => CallFrameInstruction::Undefined(dwarf(reg)),
    }
}

/// DWARF's number of a register (psABI, figure 3.36).
fn dwarf(reg: Gpr) -> Register {
    const NUMBERS: [u16; 8] = [0, 2, 1, 3, 7, 6, 4, 5];
    let number = u16::from(reg.enc());
    Register(NUMBERS.get(usize::from(number)).copied().unwrap_or(number))
}

struct Section {
    bytes: EndianVec<LittleEndian>,
    relocations: Vec<Relocation>,
}

impl RelocateWriter for Section {
    type Writer = EndianVec<LittleEndian>;

    fn writer(&self) -> &Self::Writer {
        &self.bytes
    }

    fn writer_mut(&mut self) -> &mut Self::Writer {
        &mut self.bytes
    }

    fn relocate(&mut self, relocation: Relocation) {
        self.relocations.push(relocation);
    }
}
