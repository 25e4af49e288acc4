//! Where registers are saved and restored, and what that costs.

use regalloc2::{Allocation, Block, Edit, VReg};
use tailor_emit::Gpr;
use tailor_lower::{MachFunction, Role};
use tailor_regalloc::cost::Exits;
use tailor_regalloc::holdings::Holding;
use tailor_regalloc::liveness::Liveness;
use tailor_regalloc::placement::Placed;
use tailor_regalloc::region::{Costs, Demand, Graph};
use tailor_regalloc::{Lever, Levers};

use super::values::{At, Values};
use crate::compile::Finished;

/// An instruction that saves a register or restores it.
#[derive(Clone, Debug)]
pub struct Save {
    /// It restores.
    pub restores: bool,
    /// What it is done for, to be followed by the place.
    pub what: &'static str,
    /// The place; none at entry.
    pub at: Option<At>,
    /// How often it is executed.
    pub cost: f64,
}

/// Where a function saves and restores a register.
pub(super) fn of(finished: &Finished, values: &Values<'_>, reg: Gpr) -> Vec<Save> {
    match finished.allocated.placed.iter().find(|placed| placed.reg == reg) {
        Some(placed) => moved(finished, values, placed),
        None => pushed(finished, values),
    }
}

/// Of a register that is pushed and popped.
fn pushed(finished: &Finished, values: &Values<'_>) -> Vec<Save> {
    let mut saves = vec![Save { restores: false, what: "entry", at: None, cost: 1.0 }];
    for (inst, info) in finished.mach.info.iter().enumerate() {
        match info.role {
            Role::Return => {
                saves.push(restore("exit after", values.at(inst), 1.0));
            }
            Role::TailCall => saves.push(tail_call(values, inst)),
            _ => {}
        }
    }
    saves
}

fn restore(what: &'static str, at: At, share: f64) -> Save {
    let cost = share * at.frequency;
    Save { restores: true, what, at: Some(at), cost }
}

fn tail_call(values: &Values<'_>, inst: usize) -> Save {
    restore("tail call at", values.at(inst), values.leaves(inst))
}

/// Of a register that is saved by moves.
fn moved(finished: &Finished, values: &Values<'_>, placed: &Placed) -> Vec<Save> {
    let own = Allocation::reg(placed.reg.preg());
    let mut saves = Vec::new();
    for (point, Edit::Move { from, to }) in &finished.allocated.edits {
        let restores = match (*from == placed.slot, *to == placed.slot) {
            (true, _) if *to == own => true,
            (_, true) if *from == own => false,
            _ => continue,
        };
        let at = values.at(point.inst().index());
        saves.push(Save { restores, what: "at", cost: at.frequency, at: Some(at) });
    }
    saves.extend(placed.tail_calls.iter().map(|&inst| tail_call(values, inst as usize)));
    saves
}

/// The least that saving a register for these values would cost, as these levers
/// price and place it; none if the function is too large to tell.
pub(super) fn further(mach: &MachFunction, held: &[&Holding], levers: &Levers) -> Option<f64> {
    let exits = Exits::new(mach, levers);
    let pushing = exits.save_cost();
    if !levers.has(Lever::Placement) {
        return Some(pushing);
    }
    let liveness = Liveness::new(mach)?;
    let lives = |block: Block, value: VReg| {
        liveness.is_live_at_start(block, value) || liveness.is_live_at_end(mach, block, value)
    };
    let occupied = |index: usize| {
        let (block, range) = (Block::new(index), &mach.blocks[index]);
        let inside = |inst: usize| (range.start as usize..range.end as usize).contains(&inst);
        held.iter().any(|holding| {
            let here = holding.events.iter().any(|(inst, _)| inside(*inst));
            here || lives(block, holding.value)
        })
    };
    let demand = |block| if occupied(block) { Demand::Inside } else { Demand::Either };
    let demands: Vec<Demand> = (0..mach.blocks.len()).map(demand).collect();
    let mut inside = exits.by_block;
    *inside.first_mut()? += 1.0;
    let graph = Graph::of_loops(&mach.blocks);
    let region = graph.cheapest(&demands, &Costs { enter: 1.0, leave: 1.0, inside })?;
    Some(region.cost.min(pushing))
}
