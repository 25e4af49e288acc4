//! The fixpoint of the analysis in one function.
//!
//! Blocks are visited in reverse post-order from a queue, so that an inner loop
//! is stable before what follows it is looked at. At the targets of retreating
//! edges intervals are widened after [`PATIENCE`] visits, first to constants
//! that the function compares with (which then bound a loop's counter), and
//! after [`STEPS`] of these to infinity. So each block is visited a bounded
//! number of times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Env;
use super::state::State;
use super::transfer::{refine, step};
use crate::cfg::{Cfg, last_slot};
use crate::insn::{Op, Src};

/// Changes at a loop's head before widening starts.
const PATIENCE: u8 = 2;
/// Changes after that before widening goes to infinity.
const STEPS: u8 = 10;

/// Of more constants than this, a register sees only those that it is itself
/// compared with, and of these the smallest.
const MANY: usize = 96;

/// Where intervals stop growing for a while: the constants that comparisons of
/// a function mention, and their neighbours.
#[derive(Debug)]
pub(super) struct Thresholds {
    /// By register, ascending.
    registers: [Vec<i64>; 11],
    /// For spilled values.
    slots: Vec<i64>,
}

fn smallest(values: &mut Vec<i64>) {
    values.sort_unstable_by_key(|value| (value.unsigned_abs(), *value));
    values.dedup();
    values.truncate(MANY);
}

impl Thresholds {
    fn new(ops: &[Op]) -> Thresholds {
        let mut registers: [Vec<i64>; 11] = Default::default();
        for op in ops {
            if let Op::Branch { dst, src: Src::Imm(imm), .. } = *op {
                let imm = i64::from(imm);
                let own = &mut registers[dst.index()];
                own.extend([imm - 1, imm, imm + 1]);
                if own.len() > 8 * MANY {
                    smallest(own);
                }
            }
        }
        let common = [0, 0xff, 0xffff, u32::MAX.into()];
        let mut slots: Vec<i64> = registers.iter().flatten().copied().collect();
        slots.extend(common);
        slots.sort_unstable();
        slots.dedup();
        let few = slots.len() <= MANY;
        smallest(&mut slots);
        slots.sort_unstable();
        for own in &mut registers {
            if few {
                own.clone_from(&slots);
            } else {
                own.extend(common);
                smallest(own);
                own.sort_unstable();
            }
        }
        Thresholds { registers, slots }
    }

    /// No thresholds at all.
    fn none() -> Thresholds {
        Thresholds { registers: Default::default(), slots: Vec::new() }
    }

    pub fn of_register(&self, index: usize) -> &[i64] {
        &self.registers[index]
    }

    pub fn of_slots(&self) -> &[i64] {
        &self.slots
    }
}

/// The state at the start of every block.
pub(super) fn solve(env: &Env, cfg: &Cfg) -> Vec<Option<State>> {
    let order = cfg.reverse_post_order();
    let mut solver = Solver::new(cfg, &order, Thresholds::new(env.ops));
    if !order.is_empty() {
        solver.flow_to(0, &State::entry(), false);
    }
    while let Some(Reverse(place)) = solver.queue.pop() {
        let index = order[place as usize];
        solver.queued[index as usize] = false;
        let Some(mut state) = solver.entry[index as usize].clone() else {
            continue;
        };
        let block = &cfg.blocks[index as usize];
        for slot in block.slots() {
            step(env, &mut state, &env.ops[slot]);
        }
        let last = &env.ops[last_slot(env.ops, block)];
        for (edge, &succ) in block.succs.iter().enumerate() {
            let retreats = solver.place[succ as usize] <= place;
            if matches!(last, Op::Branch { .. }) && block.succs.len() == 2 {
                let mut refined = state.clone();
                refine(&mut refined, last, edge == 1);
                solver.flow_to(succ, &refined, retreats);
            } else {
                solver.flow_to(succ, &state, retreats);
            }
        }
    }
    solver.entry
}

struct Solver {
    entry: Vec<Option<State>>,
    queued: Vec<bool>,
    /// By block, changes that came over retreating edges.
    changes: Vec<u8>,
    /// By block, its place in reverse post-order.
    place: Vec<u32>,
    queue: BinaryHeap<Reverse<u32>>,
    thresholds: Thresholds,
    infinity: Thresholds,
}

impl Solver {
    fn new(cfg: &Cfg, order: &[u32], thresholds: Thresholds) -> Solver {
        let count = cfg.blocks.len();
        let mut place = vec![0; count];
        for (at, &block) in order.iter().enumerate() {
            place[block as usize] = at as u32;
        }
        Solver {
            entry: vec![None; count],
            queued: vec![false; count],
            changes: vec![0; count],
            place,
            queue: BinaryHeap::new(),
            thresholds,
            infinity: Thresholds::none(),
        }
    }

    fn flow_to(&mut self, block: u32, state: &State, retreats: bool) {
        let index = block as usize;
        let changed = match &mut self.entry[index] {
            Some(known) => {
                let changes = self.changes[index];
                let thresholds = match changes {
                    _ if !retreats || changes < PATIENCE => None,
                    _ if changes < PATIENCE + STEPS => Some(&self.thresholds),
                    _ => Some(&self.infinity),
                };
                known.join(state, thresholds)
            }
            entry @ None => {
                *entry = Some(state.clone());
                true
            }
        };
        if changed {
            self.changes[index] = self.changes[index].saturating_add(u8::from(retreats));
            if !std::mem::replace(&mut self.queued[index], true) {
                self.queue.push(Reverse(self.place[index]));
            }
        }
    }
}
