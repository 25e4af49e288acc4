//! Where registers are saved and restored.

use tailor_emit::Gpr;
use tailor_lower::Role;
use tailor_regalloc::cost::TAIL_CALL_SUCCEEDS;

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
pub(super) fn of(finished: &Finished, values: &Values<'_>, _reg: Gpr) -> Vec<Save> {
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
