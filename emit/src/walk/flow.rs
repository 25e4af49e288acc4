//! The instructions that paths from the entry reach, and where each goes.

use std::collections::{BTreeMap, HashSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind};

use super::{WalkError, Wrong};
use crate::{CompiledFunction, Reloc, Symbol};

/// Where control is after an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Goes {
    /// Behind it.
    On,
    /// To this offset.
    To(u32),
    /// To this offset or behind it.
    ToOrOn(u32),
    /// Back to the caller, or to a function that returns there.
    Out,
    /// The same, or behind it.
    OutOrOn,
    /// To another program.
    TailCall,
    /// Nowhere: it traps.
    Nowhere,
}

impl Goes {
    pub(super) fn falls(self) -> bool {
        matches!(self, Goes::On | Goes::ToOrOn(_) | Goes::OutOrOn)
    }

    pub(super) fn target(self) -> Option<u32> {
        match self {
            Goes::To(target) | Goes::ToOrOn(target) => Some(target),
            _ => None,
        }
    }
}

/// An instruction.
pub(super) struct Step {
    pub(super) instruction: Instruction,
    pub(super) goes: Goes,
    /// The field in it that the loader fills.
    pub(super) reloc: Option<Reloc>,
}

impl Step {
    pub(super) fn end(&self) -> u32 {
        self.instruction.next_ip() as u32
    }

    pub(super) fn is_call(&self) -> bool {
        matches!(self.instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
    }
}

/// All instructions that are reached, by offset.
pub(super) struct Code {
    steps: BTreeMap<u32, Step>,
    leaders: HashSet<u32>,
}

impl Code {
    pub(super) fn explore(function: &CompiledFunction) -> Result<Code, WalkError> {
        let mut code = Code { steps: BTreeMap::new(), leaders: HashSet::new() };
        code.leaders.extend([0, function.landing]);
        let mut paths = vec![0];
        while let Some(mut at) = paths.pop() {
            while !code.steps.contains_key(&at) {
                let step = decode(function, at)?;
                let (goes, end) = (step.goes, step.end());
                code.steps.insert(at, step);
                if let Some(target) = goes.target() {
                    code.leaders.insert(target);
                    paths.push(target);
                }
                if !goes.falls() {
                    break;
                }
                at = end;
            }
        }
        code.check_overlap()?;
        code.check_sites(function)?;
        Ok(code)
    }

    pub(super) fn step(&self, at: u32) -> &Step {
        &self.steps[&at]
    }

    /// Whether something other than the instruction before leads here.
    pub(super) fn is_leader(&self, at: u32) -> bool {
        self.leaders.contains(&at)
    }

    fn check_overlap(&self) -> Result<(), WalkError> {
        let mut end = 0;
        for (&at, step) in &self.steps {
            if at < end {
                return Err(Wrong::Overlaps.at(at));
            }
            end = step.end();
        }
        Ok(())
    }

    /// A recorded site whose jump is reached must leave there.
    fn check_sites(&self, function: &CompiledFunction) -> Result<(), WalkError> {
        for site in &function.tail_sites {
            match self.steps.get(&site.exit) {
                Some(step) if step.goes == Goes::TailCall => {}
                _ => return Err(Wrong::NoTailCall.at(site.exit)),
            }
        }
        Ok(())
    }
}

fn decode(function: &CompiledFunction, at: u32) -> Result<Step, WalkError> {
    let bytes = function.code.get(at as usize..).filter(|rest| !rest.is_empty());
    let bytes = bytes.ok_or(Wrong::LeavesCode.at(at))?;
    let ip = u64::from(at);
    let instruction = Decoder::with_ip(64, bytes, ip, DecoderOptions::NONE).decode();
    if instruction.is_invalid() {
        return Err(Wrong::NoInstruction.at(at));
    }
    let first = function.relocs.partition_point(|reloc| reloc.offset < at);
    let reloc = function.relocs.get(first).copied();
    let reloc = reloc.filter(|reloc| u64::from(reloc.offset) < instruction.next_ip());
    let goes = goes(function, at, &instruction, reloc)?;
    Ok(Step { instruction, goes, reloc })
}

fn goes(
    function: &CompiledFunction,
    at: u32,
    instruction: &Instruction,
    reloc: Option<Reloc>,
) -> Result<Goes, WalkError> {
    // A patched site may hold either of its forms at any time.
    for poke in function.tail_sites.iter().filter_map(|site| site.poke) {
        if at == poke.bypass {
            return Ok(Goes::ToOrOn(poke.out));
        }
        if at == poke.target {
            return Ok(Goes::TailCall);
        }
    }
    let is_exit = || function.tail_sites.iter().any(|site| site.exit == at);
    let known = reloc.is_some_and(|reloc| {
        use Symbol::*;
        matches!(reloc.target, Function(_) | Helper(_) | HelperCell(_))
    });
    let target = || match instruction.op0_kind() {
        OpKind::NearBranch64 if known => Ok(None),
        OpKind::NearBranch64 => match u32::try_from(instruction.near_branch_target()) {
            Ok(target) if (target as usize) < function.code.len() => Ok(Some(target)),
            _ => Err(Wrong::LeavesCode.at(at)),
        },
        _ => Err(Wrong::UnknownTarget.at(at)),
    };
    Ok(match instruction.flow_control() {
        FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => Goes::On,
        FlowControl::Return if instruction.op_count() == 0 => Goes::Out,
        FlowControl::UnconditionalBranch if is_exit() => Goes::TailCall,
        FlowControl::UnconditionalBranch => target()?.map_or(Goes::Out, Goes::To),
        FlowControl::ConditionalBranch => target()?.map_or(Goes::OutOrOn, Goes::ToOrOn),
        FlowControl::IndirectBranch if is_exit() => Goes::TailCall,
        FlowControl::IndirectBranch if known => Goes::Out,
        FlowControl::Return | FlowControl::IndirectBranch => {
            return Err(Wrong::UnknownTarget.at(at));
        }
        _ => Goes::Nowhere,
    })
}
