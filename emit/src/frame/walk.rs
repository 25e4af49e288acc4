//! The fixpoint over all paths.

use std::collections::BTreeSet;

use super::DecodeError;
use super::flow::{Flow, Next};
use super::state::{State, Transfer};

/// The states before the instructions where paths begin or meet.
pub(super) struct Walk {
    /// By step; `None` for instructions that only one other leads to.
    states: Vec<Option<State>>,
}

/// Propagates states until nothing changes. States only lose knowledge, and
/// there are few things to know, so a block is rarely visited more than twice;
/// taking the lowest first keeps close to execution order.
pub(super) fn walk(flow: &Flow<'_>) -> Result<Walk, DecodeError> {
    let mut walk = Walk { states: vec![None; flow.steps.len()] };
    walk.states[0] = Some(State::at_entry());
    let mut transfer = Transfer::new();
    let mut pending = BTreeSet::from([0]);
    while let Some(first) = pending.pop_first() {
        let mut state = walk.states[first].clone().expect("pending blocks have one");
        let mut at = first;
        loop {
            let step = &flow.steps[at];
            transfer.apply(&mut state, &step.instruction)?;
            if let Next::Jumps(target) | Next::Branches(target) = step.next {
                let target = flow.find(target).expect("branch targets are decoded");
                walk.flow_into(flow, target, &state, &mut pending)?;
            }
            if !step.next.falls() {
                break;
            }
            // Decoding follows every path, so the next step is the one behind.
            at += 1;
            if flow.steps[at].leads {
                walk.flow_into(flow, at, &state, &mut pending)?;
                break;
            }
        }
    }
    Ok(walk)
}

impl Walk {
    fn flow_into(
        &mut self,
        flow: &Flow<'_>,
        step: usize,
        state: &State,
        pending: &mut BTreeSet<usize>,
    ) -> Result<(), DecodeError> {
        let changed =
            match &mut self.states[step] {
                Some(known) => known.join(state).map_err(|(one, other)| {
                    DecodeError::Unbalanced { at: flow.steps[step].at, one, other }
                })?,
                unknown => {
                    *unknown = Some(state.clone());
                    true
                }
            };
        if changed {
            pending.insert(step);
        }
        Ok(())
    }

    /// The state before a step where paths begin or meet.
    pub(super) fn before(&self, step: usize) -> Option<&State> {
        self.states[step].as_ref()
    }
}
