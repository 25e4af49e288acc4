//! From the states to the figures, and the checks at exits.

use iced_x86::{Code, Instruction, OpKind, Register};

use super::flow::{Flow, Next};
use super::state::{State, Transfer, Value, gpr};
use super::walk::Walk;
use super::weigh::{self, Copy, Traffic, Weighted};
use super::{DecodeError, FrameFacts, FrameHints};
use crate::{Gpr, Unwound, Weights};

/// Where a frame pointer points, from rsp at the entry: at what is pushed first.
const FRAME_POINTER: i64 = -8;

/// What is collected on the way.
struct Collector<'a> {
    flow: &'a Flow<'a>,
    landing: &'a State,
    /// First offset and number of instructions that save each register.
    saves: [(u32, u32); 16],
    /// Number of instructions that restore each register.
    restores: [u32; 16],
    frame_pointer: bool,
    /// Distances from the entry's rsp before each step.
    depths: Vec<i64>,
    /// How each step may be part of unwinding.
    unwinds: Vec<Unwind>,
    /// What each step does to memory of the frame.
    traffic: Vec<Traffic>,
    /// Lowest address in use below rsp.
    lowest_access: i64,
    tail_calls: u32,
}

/// What a step can do for an exit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unwind {
    /// Nothing.
    No,
    /// Moves rsp up.
    Moves,
    /// Restores this register.
    Restores(Gpr),
    /// Pops something else into this register: discards it, if the register is
    /// restored later.
    Pops(Gpr),
}

/// Reads the figures and checks the exits.
pub(super) fn facts(
    flow: &Flow<'_>,
    walk: &Walk,
    hints: &FrameHints<'_>,
) -> Result<FrameFacts, DecodeError> {
    let no_landing = DecodeError::NoLanding { at: flow.landing };
    let landing = flow.find(flow.landing).and_then(|step| walk.before(step));
    let mut collector = Collector {
        flow,
        landing: landing.ok_or(no_landing)?,
        saves: [(0, 0); 16],
        restores: [0; 16],
        frame_pointer: false,
        depths: Vec::with_capacity(flow.steps.len()),
        unwinds: Vec::with_capacity(flow.steps.len()),
        traffic: Vec::with_capacity(flow.steps.len()),
        lowest_access: 0,
        tail_calls: 0,
    };
    collector.collect(walk)?;
    let unwinds = collector.check_sites(hints)?;
    Ok(FrameFacts { unwinds, ..collector.sum_up(hints) })
}

impl Collector<'_> {
    /// One pass in order; a step that nothing else leads to continues the one before.
    fn collect(&mut self, walk: &Walk) -> Result<(), DecodeError> {
        let mut transfer = Transfer::new();
        let mut observer = weigh::Observer::new();
        let mut state = State::at_entry();
        for (at, step) in self.flow.steps.iter().enumerate() {
            if let Some(known) = walk.before(at) {
                state.clone_from(known);
            }
            let before = state.clone();
            self.depths.push(before.depth());
            self.check_exit(step.at, step.next, &before)?;
            self.see_access(&step.instruction, &before);
            transfer.apply(&mut state, &step.instruction)?;
            let copy = self.see_copies(&step.instruction, &before, &state);
            self.traffic.push(observer.traffic(&step.instruction, &before, copy));
        }
        Ok(())
    }

    fn check_exit(&mut self, at: u32, next: Next, state: &State) -> Result<(), DecodeError> {
        let entry = State::at_entry();
        match next {
            Next::Returns | Next::MayReturn => check_against(at, state, &entry),
            Next::TailCalls => {
                self.tail_calls += 1;
                check_against(at, state, self.landing)
            }
            _ => Ok(()),
        }
    }

    /// Notes data below rsp: accessed, or its address taken.
    fn see_access(&mut self, instruction: &Instruction, state: &State) {
        let has_memory = instruction.op_kinds().any(|kind| kind == OpKind::Memory);
        let moves_rsp = instruction.op0_kind() == OpKind::Register
            && instruction.op0_register() == Register::RSP;
        if !has_memory || moves_rsp {
            return;
        }
        let displacement = instruction.memory_displacement64();
        if let Some(at) = state.address(instruction.memory_base(), displacement)
            && at < state.depth()
        {
            self.lowest_access = self.lowest_access.min(at);
        }
    }

    /// Notes saves, restores and a frame pointer.
    fn see_copies(&mut self, instruction: &Instruction, before: &State, after: &State) -> Copy {
        let mut copy = Copy::Neither;
        let copied = match instruction.code() {
            Code::Push_r64 => gpr(instruction.op0_register()),
            Code::Mov_rm64_r64 | Code::Mov_r64_rm64
                if instruction.op1_kind() == OpKind::Register
                    && instruction.op0_register() != instruction.op1_register() =>
            {
                gpr(instruction.op1_register())
            }
            _ => None,
        };
        if let Some(reg) = copied
            && before.reg(reg) == Value::Entry(reg)
        {
            let save = &mut self.saves[reg.enc() as usize];
            if save.1 == 0 {
                save.0 = instruction.ip() as u32;
            }
            save.1 += 1;
            copy = Copy::Saves(reg);
        }
        let restored = restored(instruction, after);
        if let Some(reg) = restored {
            self.restores[reg.enc() as usize] += 1;
            copy = Copy::Restores(reg);
        }
        let moves_up = after.depth() > before.depth();
        let popped = match instruction.code() {
            Code::Pop_r64 => gpr(instruction.op0_register()),
            _ => None,
        };
        self.unwinds.push(match (restored, popped) {
            (Some(reg), _) => Unwind::Restores(reg),
            (None, Some(reg)) => Unwind::Pops(reg),
            (None, None) if moves_up => Unwind::Moves,
            (None, None) => Unwind::No,
        });
        // Kernels push rbp first. Elsewhere in the frame it is saved like any
        // register, and may hold an address that happens to be its own slot's.
        if after.reg(Gpr::RBP) == Value::Stack(FRAME_POINTER)
            && after.slot(FRAME_POINTER) == Value::Entry(Gpr::RBP)
        {
            self.frame_pointer = true;
        }
        copy
    }

    /// Every recorded site that can be reached must be an exit; whether by a
    /// jump or by bytes that will be patched to one is the site's business.
    /// What each undoes on the way there.
    fn check_sites(&self, hints: &FrameHints<'_>) -> Result<Vec<Unwound>, DecodeError> {
        let steps = &self.flow.steps;
        let mut unwinds = Vec::with_capacity(hints.sites.len());
        for site in hints.sites {
            let patched = site.poke.is_some_and(|poke| poke.target == site.exit);
            let is_jump = |instruction: &Instruction| {
                instruction.is_jmp_short_or_near() || instruction.is_jmp_near_indirect()
            };
            let exit = self.flow.find(site.exit);
            let exit = exit.filter(|&at| patched || is_jump(&steps[at].instruction));
            let no_site = DecodeError::NoSite { at: site.exit };
            let (Some(exit), Some(first)) = (exit, self.flow.find(site.offset)) else {
                return Err(no_site);
            };
            let restored = (first..exit).rev().filter_map(|at| match self.unwinds[at] {
                Unwind::Restores(reg) => Some(reg),
                _ => None,
            });
            let bytes = (self.depths[exit] - self.depths[first]) as u32;
            unwinds.push(Unwound { registers: restored.collect(), bytes });
        }
        Ok(unwinds)
    }

    /// The depth that exits unwind: before the trailing run of restoring
    /// instructions of the one where that is deepest.
    fn base(&self) -> Option<i64> {
        let steps = &self.flow.steps;
        let exits = (0..steps.len())
            .filter(|&at| matches!(steps[at].next, Next::Returns | Next::TailCalls));
        exits.map(|exit| self.depths[self.unwinding(exit)]).min()
    }

    /// Where the trailing run of restoring instructions before an exit starts.
    fn unwinding(&self, exit: usize) -> usize {
        let steps = &self.flow.steps;
        let (mut at, mut restored) = (exit, [false; 16]);
        while at > 0 && steps[at - 1].end() == steps[at].at {
            match self.unwinds[at - 1] {
                Unwind::Restores(reg) => restored[reg.enc() as usize] = true,
                Unwind::Pops(reg) if restored[reg.enc() as usize] => {}
                Unwind::Moves => {}
                Unwind::No | Unwind::Pops(_) => break,
            }
            at -= 1;
        }
        at
    }

    /// What all of that costs when the function runs. `base`: the frame's depth.
    fn weigh(&self, weights: &Weights, base: i64) -> Option<Weighted> {
        let steps = &self.flow.steps;
        let mut for_tail_call = vec![false; steps.len()];
        for exit in (0..steps.len()).filter(|&at| steps[at].next == Next::TailCalls) {
            // Counter slots are popped on the way, into any register.
            let mut at = exit;
            while at > 0
                && self.unwinds[at - 1] != Unwind::No
                && steps[at - 1].end() == steps[at].at
            {
                at -= 1;
                for_tail_call[at] = true;
            }
        }
        let offsets = steps.iter().map(|step| step.at);
        let traffic = self.traffic.iter().zip(for_tail_call);
        weigh::sum(weights, offsets.zip(traffic), base, self.frame_pointer)
    }

    fn sum_up(self, hints: &FrameHints<'_>) -> FrameFacts {
        let lowest = self.depths.iter().copied().min().unwrap_or(0);
        let base = self.base().unwrap_or(lowest);
        let weighted = hints.weights.and_then(|weights| self.weigh(weights, base));
        let declared = base - i64::from(hints.red_zone);
        let frame_end = base.min(declared).min(self.lowest_access);
        let counts = |reg: &Gpr| !(self.frame_pointer && *reg == Gpr::RBP);
        let mut saved: Vec<Gpr> = Gpr::CALLEE_SAVED.into_iter().filter(counts).collect();
        let push_sites = saved.iter().map(|reg| self.saves[reg.enc() as usize].1).sum();
        let pop_sites = saved.iter().map(|reg| self.restores[reg.enc() as usize]).sum();
        saved.retain(|reg| self.saves[reg.enc() as usize].1 > 0);
        saved.sort_by_key(|reg| self.saves[reg.enc() as usize].0);
        FrameFacts {
            saved: saved.into_iter().collect(),
            frame_pointer: self.frame_pointer,
            push_sites,
            pop_sites,
            tail_call_sites: self.tail_calls,
            frame_bytes: -frame_end as u32,
            body_push_bytes: (base - lowest) as u32,
            padding_bytes: hints.padding_bytes,
            code_bytes: self.flow.code_bytes,
            unwinds: Vec::new(),
            weighted,
        }
    }
}

/// The callee-saved register to which this instruction brought back its entry value.
fn restored(instruction: &Instruction, after: &State) -> Option<Gpr> {
    match instruction.code() {
        Code::Pop_r64 => {}
        Code::Mov_r64_rm64 | Code::Mov_rm64_r64
            if instruction.op0_kind() == OpKind::Register
                && !(instruction.op1_kind() == OpKind::Register
                    && instruction.op0_register() == instruction.op1_register()) => {}
        _ => return None,
    }
    let reg = gpr(instruction.op0_register())?;
    (after.reg(reg) == Value::Entry(reg)).then_some(reg)
}

/// Whether `state` is what whoever is entered next expects, `wanted` being the
/// state it expects: the same rsp, the same values saved in the same slots,
/// the frame pointer if there is one by then, and every other register as it was.
fn check_against(at: u32, state: &State, wanted: &State) -> Result<(), DecodeError> {
    if state.depth() != wanted.depth() {
        return Err(DecodeError::Depth { at, found: state.depth(), expected: wanted.depth() });
    }
    let mut in_slots = [false; 16];
    for &(slot, value) in wanted.slots() {
        if let Value::Entry(reg) = value {
            in_slots[reg.enc() as usize] = true;
            if state.slot(slot) != value {
                return Err(DecodeError::Unrestored { at, reg });
            }
        }
    }
    for reg in Gpr::CALLEE_SAVED {
        let exempt = in_slots[reg.enc() as usize] && wanted.reg(reg) == Value::Entry(reg);
        if !exempt && state.reg(reg) != wanted.reg(reg) {
            return Err(DecodeError::Unrestored { at, reg });
        }
    }
    Ok(())
}
