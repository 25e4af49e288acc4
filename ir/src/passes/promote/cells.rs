//! Which bytes of the stack become values.
//!
//! The loads of a slot that does not escape are gathered into groups that
//! overlap. The bytes of a group of at most eight are a cell, one value of 32
//! or 64 bits; those of a larger group stay memory. No load crosses the edge of
//! a cell. Stores may: each writes a piece of every cell that it touches.

use cranelift_entity::EntityRef;

use super::super::Context;
use super::super::edges::group;
use super::super::slots::{Access, SlotUses};
use crate::{Function, Inst, Opcode, StackSlot, Type};

/// Bytes of a slot that are one value. The bits above them are unspecified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// First byte.
    pub lo: u32,
    /// One past the last byte.
    pub hi: u32,
    /// Type of the value.
    pub ty: Type,
}

/// The cells of a function, by number.
pub(super) struct Cells {
    uses: SlotUses,
    /// Bytes that some load reads, in disjoint ranges, by slot and ascending;
    /// those of slot `s` are `ranges[starts[s]..starts[s + 1]]`.
    ranges: Vec<Range>,
    starts: Vec<u32>,
    cells: Vec<Cell>,
}

#[derive(Clone, Copy)]
struct Range {
    lo: u32,
    hi: u32,
    /// The cell that it is, unless it stays memory.
    cell: Option<u32>,
}

/// A cell that an access touches.
#[derive(Clone, Copy)]
pub(super) struct Touched {
    /// Number of the cell.
    pub index: usize,
    /// The cell.
    pub cell: Cell,
}

impl Touched {
    /// Whether a store writes the whole cell.
    pub fn covered_by(&self, access: Access) -> bool {
        access.lo <= self.cell.lo && self.cell.hi <= access.hi()
    }
}

impl Cells {
    /// Chooses the cells.
    pub fn find(function: &Function, context: &mut Context) -> Cells {
        let uses = SlotUses::new(function);
        let mut loads = Vec::new();
        for &block in &function.layout {
            for &inst in &function.blocks[block].insts {
                if function.insts[inst].op != Opcode::Store
                    && let Some(access) = uses.access(function, inst)
                {
                    loads.push((access.slot.index(), (access.lo, access.hi())));
                }
            }
        }
        let (starts, mut loads) = group(function.stack_slots.len(), &loads);
        let mut cells = Cells { uses, ranges: Vec::new(), starts: vec![0], cells: Vec::new() };
        for bounds in starts.windows(2) {
            cells.add_slot(&mut loads[bounds[0] as usize..bounds[1] as usize], context);
        }
        cells
    }

    fn add_slot(&mut self, loads: &mut [(u32, u32)], context: &mut Context) {
        loads.sort_unstable();
        let mut loads = loads.iter().copied().peekable();
        while let Some((lo, mut hi)) = loads.next() {
            while let Some((_, more)) = loads.next_if(|next| next.0 < hi) {
                hi = hi.max(more);
            }
            let cell = (hi - lo <= 8 && context.allow()).then(|| {
                let ty = if hi - lo <= 4 { Type::I32 } else { Type::I64 };
                self.cells.push(Cell { lo, hi, ty });
                self.cells.len() as u32 - 1
            });
            self.ranges.push(Range { lo, hi, cell });
        }
        self.starts.push(self.ranges.len() as u32);
    }

    /// The number of cells.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// A cell by its number.
    pub fn cell(&self, index: usize) -> Cell {
        self.cells[index]
    }

    /// The access that an instruction is, if it is one to a slot with cells or
    /// to one that is never loaded.
    pub fn access(&self, function: &Function, inst: Inst) -> Option<Access> {
        self.uses.access(function, inst)
    }

    fn ranges(&self, slot: StackSlot, access: Access) -> &[Range] {
        let slot = slot.index();
        let ranges = &self.ranges[self.starts[slot] as usize..self.starts[slot + 1] as usize];
        let first = ranges.partition_point(|range| range.hi <= access.lo);
        let end = ranges.partition_point(|range| range.lo < access.hi());
        &ranges[first..end]
    }

    /// The cells that an access touches; a load touches one at most.
    pub fn touched(&self, access: Access) -> impl Iterator<Item = Touched> + '_ {
        let ranges = self.ranges(access.slot, access).iter();
        ranges.filter_map(|range| {
            let index = range.cell? as usize;
            let cell = self.cells[index];
            Some(Touched { index, cell })
        })
    }

    /// Whether an access touches bytes that are loaded and stay memory.
    pub fn touches_memory(&self, access: Access) -> bool {
        let mut ranges = self.ranges(access.slot, access).iter();
        ranges.any(|range| range.cell.is_none())
    }
}
