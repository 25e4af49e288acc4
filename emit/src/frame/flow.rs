//! The instructions that can be reached, and where each goes.

use std::collections::HashMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind};

use super::{DecodeError, FrameHints};
use crate::Reloc;

/// How control leaves an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// To the one behind it.
    Falls,
    /// To an offset.
    Jumps(u32),
    /// To an offset or behind it.
    Branches(u32),
    /// To the caller, or out of the function as a return would.
    Returns,
    /// Out of the function as a return would, or to the one behind it.
    MayReturn,
    /// To another program.
    TailCalls,
    /// Nowhere.
    Stops,
}

impl Next {
    /// Whether the instruction behind it may be next.
    pub(super) fn falls(self) -> bool {
        matches!(self, Next::Falls | Next::Branches(_) | Next::MayReturn)
    }
}

/// A decoded instruction.
pub(super) struct Step {
    pub(super) at: u32,
    pub(super) instruction: Instruction,
    pub(super) next: Next,
    /// Something other than the instruction before it may lead here, or that one ends a path.
    pub(super) leads: bool,
}

impl Step {
    pub(super) fn end(&self) -> u32 {
        self.instruction.next_ip() as u32
    }
}

/// A function's reachable instructions, ascending.
pub(super) struct Flow<'a> {
    pub(super) steps: Vec<Step>,
    pub(super) landing: u32,
    pub(super) code_bytes: u32,
    relocs: &'a [Reloc],
    /// What the sites say of an offset, whatever the bytes there are at the moment.
    recorded: HashMap<u32, Next>,
}

impl<'a> Flow<'a> {
    pub(super) fn new(code: &[u8], hints: &'a FrameHints<'a>) -> Result<Flow<'a>, DecodeError> {
        let mut flow = Flow {
            steps: Vec::new(),
            landing: hints.landing,
            code_bytes: code.len() as u32,
            relocs: hints.relocs,
            recorded: recorded(hints),
        };
        flow.explore(code)?;
        flow.steps.sort_by_key(|step| step.at);
        flow.check_overlap()?;
        flow.mark_leaders();
        Ok(flow)
    }

    /// The step at an offset where one begins.
    pub(super) fn find(&self, at: u32) -> Option<usize> {
        self.steps.binary_search_by_key(&at, |step| step.at).ok()
    }

    /// Decodes along every path.
    fn explore(&mut self, code: &[u8]) -> Result<(), DecodeError> {
        let mut seen = vec![false; code.len()];
        let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
        // Where a path goes on, and the instruction that leads there.
        let mut pending = vec![(0, 0)];
        while let Some((mut at, from)) = pending.pop() {
            let mut from = from;
            loop {
                match seen.get_mut(at as usize) {
                    None => return Err(DecodeError::RunsOver { at: from }),
                    Some(true) => break,
                    Some(seen) => *seen = true,
                }
                let step = self.decode(&mut decoder, at)?;
                let end = step.end();
                let next = step.next;
                self.steps.push(step);
                if let Next::Jumps(target) | Next::Branches(target) = next {
                    pending.push((target, at));
                }
                if !next.falls() {
                    break;
                }
                (at, from) = (end, at);
            }
        }
        Ok(())
    }

    fn decode(&self, decoder: &mut Decoder<'_>, at: u32) -> Result<Step, DecodeError> {
        decoder.set_ip(u64::from(at));
        decoder.set_position(at as usize).map_err(|_| DecodeError::Invalid { at })?;
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return Err(DecodeError::Invalid { at });
        }
        Ok(Step { at, next: self.next(at, &instruction), instruction, leads: false })
    }

    fn next(&self, at: u32, instruction: &Instruction) -> Next {
        if let Some(next) = self.recorded.get(&at) {
            return *next;
        }
        let target = self.local_target(instruction);
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => Next::Falls,
            FlowControl::Return => Next::Returns,
            FlowControl::IndirectBranch => Next::TailCalls,
            // Out of the function without being a site: a thunk that returns, or a sibling call.
            FlowControl::UnconditionalBranch => target.map_or(Next::Returns, Next::Jumps),
            FlowControl::ConditionalBranch => target.map_or(Next::MayReturn, Next::Branches),
            _ => Next::Stops,
        }
    }

    /// Where a direct branch goes, if that is in the function.
    fn local_target(&self, instruction: &Instruction) -> Option<u32> {
        if instruction.op0_kind() != OpKind::NearBranch64 || has_reloc(self.relocs, instruction) {
            return None;
        }
        let target = instruction.near_branch_target();
        (target < u64::from(self.code_bytes)).then_some(target as u32)
    }

    fn check_overlap(&self) -> Result<(), DecodeError> {
        let overlaps = |pair: &&[Step]| pair[0].end() > pair[1].at;
        match self.steps.windows(2).find(overlaps) {
            Some(pair) => Err(DecodeError::Overlap { at: pair[1].at }),
            None => Ok(()),
        }
    }

    fn mark_leaders(&mut self) {
        let mut after_end = true;
        let mut targets = vec![self.landing];
        for step in &mut self.steps {
            step.leads = after_end;
            after_end = !matches!(step.next, Next::Falls);
            if let Next::Jumps(target) | Next::Branches(target) = step.next {
                targets.push(target);
            }
        }
        for target in targets {
            if let Some(step) = self.find(target) {
                self.steps[step].leads = true;
            }
        }
    }
}

fn recorded(hints: &FrameHints<'_>) -> HashMap<u32, Next> {
    let mut recorded = HashMap::new();
    for site in hints.sites {
        recorded.insert(site.exit, Next::TailCalls);
        if let Some(poke) = site.poke {
            recorded.insert(poke.bypass, Next::Branches(poke.out));
            recorded.insert(poke.target, Next::TailCalls);
        }
    }
    recorded
}

fn has_reloc(relocs: &[Reloc], instruction: &Instruction) -> bool {
    let first = relocs.partition_point(|reloc| u64::from(reloc.offset) < instruction.ip());
    let next = relocs.get(first);
    next.is_some_and(|reloc| u64::from(reloc.offset) < instruction.next_ip())
}
