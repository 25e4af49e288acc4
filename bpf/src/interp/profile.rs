//! Counts of what an interpreted program executes.

use std::collections::BTreeMap;

use cranelift_entity::SecondaryMap;

use crate::FuncRef;
use crate::cfg::Cfg;

/// How often functions were entered and instructions executed, summed over the
/// runs that the profile was handed to.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    functions: SecondaryMap<FuncRef, Counts>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    entries: u64,
    slots: Vec<u64>,
    /// By slot of a tail call, how often it left the function.
    left: BTreeMap<u32, u64>,
}

impl Profile {
    pub(super) fn enter(&mut self, function: FuncRef, slots: usize) {
        let counts = &mut self.functions[function];
        counts.entries += 1;
        counts.slots.resize(slots, 0);
    }

    pub(super) fn count(&mut self, function: FuncRef, slot: usize) {
        if let Some(count) = self.functions[function].slots.get_mut(slot) {
            *count += 1;
        }
    }

    pub(super) fn leave(&mut self, function: FuncRef, slot: usize) {
        *self.functions[function].left.entry(slot as u32).or_default() += 1;
    }

    /// Adds the counts of another profile of the same object.
    pub fn add(&mut self, other: &Profile) {
        for (function, more) in other.functions.iter() {
            let counts = &mut self.functions[function];
            counts.entries += more.entries;
            counts.slots.resize(counts.slots.len().max(more.slots.len()), 0);
            counts.slots.iter_mut().zip(&more.slots).for_each(|(sum, count)| *sum += count);
            more.left
                .iter()
                .for_each(|(&slot, left)| *counts.left.entry(slot).or_default() += left);
        }
    }

    /// How often a function was entered, by calls and tail calls alike.
    pub fn entries(&self, function: FuncRef) -> u64 {
        self.functions[function].entries
    }

    /// How often the instruction at a slot was executed.
    pub fn executions(&self, function: FuncRef, slot: u32) -> u64 {
        let slots = &self.functions[function].slots;
        slots.get(slot as usize).copied().unwrap_or(0)
    }

    /// The share of the tail calls at a slot that left the function; none if it was
    /// never executed.
    pub fn succeeds(&self, function: FuncRef, slot: u32) -> Option<f64> {
        let left = self.functions[function].left.get(&slot).copied().unwrap_or(0);
        let executions = self.executions(function, slot);
        (executions > 0).then(|| left as f64 / executions as f64)
    }

    /// Executions of each block per entry of the function, in the form of
    /// [`crate::facts::FunctionFacts::frequency`]; none if it was never entered.
    pub fn frequency(&self, function: FuncRef, cfg: &Cfg) -> Option<Vec<f64>> {
        let entries = self.entries(function);
        let relative = |slot| self.executions(function, slot) as f64 / entries as f64;
        (entries > 0).then(|| cfg.blocks.iter().map(|b| relative(b.start)).collect())
    }
}
