//! Contexts that travel in memory.
//!
//! Problem: a structure on the caller's stack holds the context's pointer, and
//! a subprogram or a callback gets the structure's address. What the callee
//! loads from there must be known to be the context.
//!
//! Idea: a *cell* is a place behind a parameter, at a constant distance, where
//! some caller keeps a context. An 8-byte load from a cell is a pointer with a
//! base of its own, and what each call puts there is found like what it passes
//! in registers. Cells cost precision and time, so functions have none at first:
//! where a context would be lost because a callee may read the slot that it is
//! spilled in, the callee is given a cell, and everything is looked at again.
//! That goes down one level of calls a round.
//!
//! Invariant: a callee that may write to a cell, through any of its arguments,
//! does not get it; there the context is lost.

use cranelift_entity::SecondaryMap;
use smallvec::SmallVec;

use super::Env;
use super::range::Range;
use super::state::State;
use super::value::{Base, Bases, Pointer, Val};
use crate::FuncRef;

/// The most cells of one function.
pub(super) const MAX_CELLS: usize = 8;

/// A place behind a parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    /// Index of the parameter.
    pub param: u8,
    /// Distance from it.
    pub at: i64,
}

impl Cell {
    /// The bytes that it lies in, relative to the parameter.
    pub fn bytes(&self) -> Range {
        Range::new(self.at, self.at.saturating_add(8))
    }
}

/// The cells of each function.
pub(super) type Cells = SecondaryMap<FuncRef, Vec<Cell>>;

/// Adds a cell; false if there is no room.
pub(super) fn add(cells: &mut Cells, function: FuncRef, cell: Cell) -> bool {
    let own = &mut cells[function];
    if !own.contains(&cell) {
        if own.len() == MAX_CELLS {
            return false;
        }
        own.push(cell);
    }
    true
}

impl Env<'_> {
    /// The cell at a distance behind a parameter.
    fn cell(&self, param: u8, at: i64) -> Option<Val> {
        let wanted = Cell { param, at };
        let index = self.cells[self.function].iter().position(|cell| *cell == wanted)?;
        Some(Val::base(Base::Cell(index as u8)))
    }

    /// The cells that lie in some bytes behind a parameter.
    pub(super) fn cells_in(&self, param: u8, bytes: Range) -> Bases {
        let own = self.cells[self.function].iter().enumerate();
        let inside = own.filter(|(_, c)| c.param == param && bytes.overlaps(c.bytes()));
        inside.fold(Bases::NONE, |all, (index, _)| all.union(Bases::of(Base::Cell(index as u8))))
    }

    /// What an 8-byte load from these bytes behind a parameter gives.
    pub(super) fn load_behind(&self, param: u8, bytes: Range, exact: bool) -> Val {
        let cell = if exact { self.cell(param, bytes.lo) } else { None };
        cell.unwrap_or_else(|| Val::tainted(self.cells_in(param, bytes)))
    }

    /// What a callee finds in each of its cells.
    pub(super) fn contents(
        &self,
        state: &State,
        callee: FuncRef,
        args: &[Val; 5],
    ) -> SmallVec<[Val; 2]> {
        let found = |cell: &Cell| self.content(state, args[usize::from(cell.param)], cell.at);
        self.cells[callee].iter().map(found).collect()
    }

    fn content(&self, state: &State, arg: Val, distance: i64) -> Val {
        match arg {
            Val::Pointer(pointer) => {
                let Pointer { base, at, sure } = pointer;
                let bytes = at.shift(Range::new(distance, distance.saturating_add(8)));
                let exact = sure && at.exact().is_some();
                match base {
                    Base::Frame if self.opaque => Val::ANY,
                    Base::Frame => state.load(bytes, exact && bytes.lo % 8 == 0),
                    Base::Param(param) => self.load_behind(param, bytes, exact),
                    Base::Cell(_) => Val::ANY,
                }
            }
            Val::Mixed(bases) => {
                let behind = bases.params().map(|param| self.cells_in(param as u8, Range::ALL));
                let cells = behind.fold(Bases::NONE, Bases::union);
                let spilled =
                    if bases.has_frame() { state.spilled(Range::ALL) } else { Bases::NONE };
                Val::tainted(cells.union(spilled))
            }
            _ => Val::ANY,
        }
    }
}
