//! Where registers are saved and restored.

use regalloc2::{Allocation, Edit};
use tailor_emit::Gpr;
use tailor_lower::Role;
use tailor_regalloc::cost::TAIL_CALL_SUCCEEDS;
use tailor_regalloc::placement::Placed;

use super::values::{At, Values};
use crate::compile::Finished;

/// An instruction that saves a register or restores it.
#[derive(Clone, Debug)]
pub struct Save {
    /// It restores.
    pub restores: bool,
    /// What it is done for, to be followed by the place.
    pub what: &'static str,
    /// The exit or site; none at entry.
    pub at: Option<At>,
    /// How often it is executed.
    pub cost: f64,
}

/// Where a function saves and restores a register.
pub(super) fn of(finished: &Finished, values: &Values<'_>, reg: Gpr) -> Vec<Save> {
    match finished.allocated.placed.iter().find(|placed| placed.reg == reg) {
        Some(placed) => by_moves(finished, values, placed),
        None => pushed(finished, values),
    }
}

/// Where it is stored into its slot, loaded from there, and loaded if a tail call succeeds.
fn by_moves(finished: &Finished, values: &Values<'_>, placed: &Placed) -> Vec<Save> {
    let own = Allocation::reg(placed.reg.preg());
    let mut saves = Vec::new();
    for (point, Edit::Move { from, to }) in &finished.allocated.edits {
        let at = values.at(point.inst().index());
        let cost = at.frequency;
        let at = Some(at);
        if (*from, *to) == (own, placed.slot) {
            saves.push(Save { restores: false, what: "at", at, cost });
        } else if (*from, *to) == (placed.slot, own) {
            saves.push(Save { restores: true, what: "at", at, cost });
        }
    }
    for &inst in &placed.tail_calls {
        let at = values.at(inst as usize);
        let cost = TAIL_CALL_SUCCEEDS * at.frequency;
        saves.push(Save { restores: true, what: "tail call at", at: Some(at), cost });
    }
    saves
}

fn pushed(finished: &Finished, values: &Values<'_>) -> Vec<Save> {
    let mut saves = vec![Save { restores: false, what: "entry", at: None, cost: 1.0 }];
    for (inst, info) in finished.mach.info.iter().enumerate() {
        let (what, share) = match info.role {
            Role::Return => ("exit after", 1.0),
            Role::TailCall => ("tail call at", TAIL_CALL_SUCCEEDS),
            _ => continue,
        };
        let at = values.at(inst);
        let cost = share * at.frequency;
        saves.push(Save { restores: true, what, at: Some(at), cost });
    }
    saves
}
