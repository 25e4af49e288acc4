//! What a frame costs when its function runs: memory operations for the
//! frame's sake, each as often as it is executed (the design's weighted cost).
//!
//! Counted are saves and restores of callee-saved registers, those of a frame
//! pointer included, and every load and store at a known place of the frame:
//! spill slots, counter slots, and the program's stack where it is no object
//! whose address escapes ([`Weights::objects`]). An instruction that computes a
//! value again instead of keeping it ([`Weights::recomputed`]) counts a quarter.
//! Not counted are pushes and pops below the frame, return addresses, and
//! arguments; nor constants, which every engine makes anew where it uses them.

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register};
use tailor_regalloc::cost::RECOMPUTED;

use super::state::State;
use crate::{Gpr, Weights};

/// Memory operations per execution of a function, for its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weighted {
    /// All of them.
    pub cost: f64,
    /// Saves and restores of callee-saved registers, without a frame pointer.
    pub saves: f64,
    /// The restores among them that precede tail calls.
    pub tail_call_restores: f64,
    /// Saves and restores of a frame pointer.
    pub frame_pointer: f64,
}

impl Weighted {
    /// Adds those of something that happens so often.
    pub fn add(&mut self, times: f64, other: &Weighted) {
        self.cost += times * other.cost;
        self.saves += times * other.saves;
        self.tail_call_restores += times * other.tail_call_restores;
        self.frame_pointer += times * other.frame_pointer;
    }
}

/// An instruction's part in preserving registers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    Neither,
    /// Copies the entry value of this register.
    Saves(Gpr),
    /// Brings it back.
    Restores(Gpr),
}

/// What an instruction does to memory of the frame.
#[derive(Clone, Copy)]
pub(super) struct Traffic {
    copy: Copy,
    /// Loads and stores.
    accesses: u8,
    /// The place, if it is a push or pop.
    pushed_at: Option<i64>,
}

/// Finds the traffic of instructions.
pub(super) struct Observer {
    info: InstructionInfoFactory,
}

impl Observer {
    pub(super) fn new() -> Observer {
        Observer { info: InstructionInfoFactory::new() }
    }

    pub(super) fn traffic(
        &mut self,
        instruction: &Instruction,
        before: &State,
        copy: Copy,
    ) -> Traffic {
        let pushed_at = match instruction.code() {
            Code::Pop_r64 => Some(before.depth()),
            _ if instruction.stack_pointer_increment() == -8 => Some(before.depth() - 8),
            _ => None,
        };
        match instruction.flow_control() {
            _ if instruction.code() == Code::Leaveq => {
                Traffic { copy: Copy::Restores(Gpr::RBP), accesses: 1, pushed_at: None }
            }
            FlowControl::Next => {
                let accesses = self.accesses(instruction, before);
                Traffic { copy, accesses, pushed_at }
            }
            // Return addresses, and the cells that calls and tail calls go through.
            _ => Traffic { copy: Copy::Neither, accesses: 0, pushed_at: None },
        }
    }

    /// Loads and stores at known places of the frame.
    fn accesses(&mut self, instruction: &Instruction, before: &State) -> u8 {
        let known = |base, displacement, index| {
            index == Register::None
                && before.address(base, displacement).is_some_and(|place| place < 0)
        };
        let info = self.info.info(instruction);
        let memory = info.used_memory().iter();
        let own = memory.filter(|m| known(m.base(), m.displacement(), m.index()));
        own.map(|memory| operations(memory.access())).sum()
    }
}

fn operations(access: OpAccess) -> u8 {
    match access {
        OpAccess::None | OpAccess::NoMemAccess => 0,
        OpAccess::ReadWrite | OpAccess::ReadCondWrite => 2,
        OpAccess::Read | OpAccess::CondRead | OpAccess::Write | OpAccess::CondWrite => 1,
    }
}

/// Sums up the traffic of instructions, given with their offsets (ascending) and
/// whether they unwind for a tail call. `None` without weights.
pub(super) fn sum<'a>(
    weights: &Weights,
    steps: impl Iterator<Item = (u32, (&'a Traffic, bool))>,
    base: i64,
    frame_pointer: bool,
) -> Option<Weighted> {
    let mut stretches = weights.stretches.iter().peekable();
    let mut objects = weights.objects.iter().peekable();
    let mut recomputed = weights.recomputed.iter().peekable();
    let mut frequency = stretches.peek()?.1;
    let mut sum = Weighted::default();
    for (at, (traffic, for_tail_call)) in steps {
        while let Some(stretch) = stretches.next_if(|stretch| stretch.0 <= at) {
            frequency = stretch.1;
        }
        while objects.next_if(|object| object.end <= at).is_some() {}
        while recomputed.next_if(|again| again.end <= at).is_some() {}
        if recomputed.peek().is_some_and(|again| again.start <= at) {
            sum.cost += frequency * RECOMPUTED;
        }
        match traffic.copy {
            Copy::Saves(Gpr::RBP) | Copy::Restores(Gpr::RBP) if frame_pointer => {
                sum.cost += frequency;
                sum.frame_pointer += frequency;
            }
            Copy::Saves(_) => {
                sum.cost += frequency;
                sum.saves += frequency;
            }
            Copy::Restores(_) => {
                sum.cost += frequency;
                sum.saves += frequency;
                sum.tail_call_restores += if for_tail_call { frequency } else { 0.0 };
            }
            Copy::Neither => {
                let in_object = objects.peek().is_some_and(|object| object.start <= at);
                let below_frame = traffic.pushed_at.is_some_and(|place| place < base);
                if !in_object && !below_frame {
                    sum.cost += frequency * f64::from(traffic.accesses);
                }
            }
        }
    }
    Some(sum)
}
