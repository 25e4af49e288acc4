//! Where the caller's frame and registers are, before each instruction: what an
//! unwinder has to know.

use super::flow::Flow;
use super::state::{State, Transfer, Value};
use super::walk::walk;
use super::{DecodeError, FrameHints};
use crate::Gpr;

/// What holds a value that a callee-saved register had at the entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The register itself or another one.
    Register(Gpr),
    /// The stack slot at this distance from the return address, which is negative.
    Slot(i32),
    /// Nothing: the function does not return from here.
    Lost,
}

/// The state before an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Offset of the instruction.
    pub at: u32,
    /// Register from which the return address is found.
    pub base: Gpr,
    /// Distance from there to the return address.
    pub distance: i32,
    /// By position in [`Gpr::CALLEE_SAVED`].
    pub places: [Place; 6],
}

/// The rows of the function whose bytes `code` is, one for each instruction that
/// can be reached, ascending.
pub fn rows(code: &[u8], hints: &FrameHints<'_>) -> Result<Vec<Row>, DecodeError> {
    let flow = Flow::new(code, hints)?;
    let walk = walk(&flow)?;
    let mut transfer = Transfer::new();
    let mut state = State::at_entry();
    let mut rows = Vec::with_capacity(flow.steps.len());
    for (index, step) in flow.steps.iter().enumerate() {
        if let Some(known) = walk.before(index) {
            state.clone_from(known);
        }
        rows.push(Row {
            at: step.at,
            base: Gpr::RSP,
            distance: -state.depth() as i32,
            places: Gpr::CALLEE_SAVED.map(|reg| place(&state, reg)),
        });
        transfer.apply(&mut state, &step.instruction)?;
    }
    Ok(rows)
}

/// Where a register's entry value is: untouched if it can be, else in a slot, which
/// no call changes, else in another register.
fn place(state: &State, reg: Gpr) -> Place {
    let wanted = Value::Entry(reg);
    if state.reg(reg) == wanted {
        return Place::Register(reg);
    }
    let slot = state.slots().iter().find(|slot| slot.1 == wanted);
    let other = || (0..16).map(Gpr::from_enc).find(|&other| state.reg(other) == wanted);
    match slot {
        Some(&(at, _)) => Place::Slot(at as i32),
        None => other().map_or(Place::Lost, Place::Register),
    }
}
