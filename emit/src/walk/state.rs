//! What is known at a point, and what an instruction does to it.

use std::collections::BTreeMap;

use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

use super::Wrong;
use crate::Gpr;

/// Below everything: where nothing was called yet, nothing is lost.
const NOWHERE: i64 = i64::MIN / 2;
/// Bytes below rsp that signal handlers leave alone.
const RED_ZONE: i64 = 128;

/// What a register or a stack slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holds {
    /// What this register held at the entry.
    Entry(Gpr),
    /// The entry's rsp plus this.
    Frame(i64),
}

/// What is known before an instruction. Places on the stack are distances from
/// the entry's rsp, which points at the return address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    rsp: i64,
    /// By number; `None` for anything. That of rsp is not used.
    regs: [Option<Holds>; 16],
    /// Eight bytes each, not overlapping.
    slots: BTreeMap<i64, Holds>,
    /// Below this a callee may have written,
    lost: i64,
    /// except in these ranges, written since.
    written: Vec<(i64, i64)>,
}

fn gpr(register: Register) -> Option<Gpr> {
    register.is_gpr().then(|| Gpr::from_enc(register.full_register().number() as u8))
}

impl State {
    pub(super) fn at_entry() -> State {
        let mut regs = [None; 16];
        for reg in Gpr::CALLEE_SAVED {
            regs[reg.enc() as usize] = Some(Holds::Entry(reg));
        }
        State { rsp: 0, regs, slots: BTreeMap::new(), lost: NOWHERE, written: Vec::new() }
    }

    pub(super) fn rsp(&self) -> i64 {
        self.rsp
    }

    fn reg(&self, reg: Gpr) -> Option<Holds> {
        if reg == Gpr::RSP { Some(Holds::Frame(self.rsp)) } else { self.regs[reg.enc() as usize] }
    }

    fn set(&mut self, reg: Gpr, holds: Option<Holds>) -> Result<(), Wrong> {
        if reg != Gpr::RSP {
            self.regs[reg.enc() as usize] = holds;
            return Ok(());
        }
        match holds {
            Some(Holds::Frame(rsp)) if rsp <= 0 => self.rsp = rsp,
            Some(Holds::Frame(_)) => return Err(Wrong::AboveFrame),
            _ => return Err(Wrong::UnknownStack),
        }
        // What lies far below rsp may be overwritten at any time.
        self.slots = self.slots.split_off(&(self.rsp - RED_ZONE));
        Ok(())
    }

    /// The place of a memory operand, if it is known.
    fn place(&self, base: Register, index: Register, displacement: u64) -> Option<i64> {
        match self.reg(gpr(base).filter(|_| index == Register::None)?) {
            Some(Holds::Frame(at)) => Some(at.wrapping_add(displacement as i64)),
            _ => None,
        }
    }

    /// Writes `bytes` bytes at a place. Addresses are not followed through memory:
    /// where one from there leads is for a verifier to see to.
    fn write(&mut self, at: i64, bytes: i64, holds: Option<Holds>) {
        self.slots.retain(|&slot, _| slot + 8 <= at || at + bytes <= slot);
        if let Some(holds @ Holds::Entry(_)) = holds.filter(|_| bytes == 8) {
            self.slots.insert(at, holds);
        }
        if at < self.lost {
            self.written.push((at, at + bytes));
            self.written.sort_unstable();
            self.written.dedup_by(|next, last| {
                let joins = next.0 <= last.1;
                if joins {
                    last.1 = last.1.max(next.1);
                }
                joins
            });
        }
    }

    /// Whether a callee may have written some of these bytes last.
    fn is_lost(&self, at: i64, bytes: i64) -> bool {
        let end = (at + bytes).min(self.lost);
        at < end && !self.written.iter().any(|&(lo, hi)| lo <= at && end <= hi)
    }

    /// Keeps what both know; whether that is less than before.
    pub(super) fn meet(&mut self, other: &State) -> Result<bool, Wrong> {
        if self.rsp != other.rsp {
            return Err(Wrong::Unbalanced(self.rsp, other.rsp));
        }
        let old = self.clone();
        for (mine, theirs) in self.regs.iter_mut().zip(other.regs) {
            *mine = mine.filter(|holds| Some(*holds) == theirs);
        }
        self.slots.retain(|at, holds| other.slots.get(at) == Some(holds));
        // What only one path had called for is lost on the other's account too.
        let fresh = |state: &State, lo: i64, hi: i64| lo < hi && !state.is_lost(lo, hi - lo);
        let lost = self.lost.max(other.lost);
        let mut written = Vec::new();
        let ends = old.written.iter().chain(&other.written).flat_map(|&(lo, hi)| [lo, hi]);
        let mut ends: Vec<i64> = ends.chain([old.lost, other.lost]).collect();
        ends.sort_unstable();
        for pair in ends.windows(2) {
            if fresh(&old, pair[0], pair[1]) && fresh(other, pair[0], pair[1]) && pair[1] <= lost {
                written.push((pair[0], pair[1]));
            }
        }
        written.dedup_by(|next, last| {
            let joins = next.0 <= last.1;
            if joins {
                last.1 = last.1.max(next.1);
            }
            joins
        });
        (self.lost, self.written) = (lost, written);
        Ok(*self != old)
    }

    /// That everything is as `wanted` has it for whoever is entered next: rsp,
    /// what is saved in the frame, frame pointers, and all callee-saved
    /// registers that are not saved there.
    pub(super) fn expect(&self, wanted: &State) -> Result<(), Wrong> {
        if self.rsp != wanted.rsp {
            return Err(Wrong::Depth { found: self.rsp, expected: wanted.rsp });
        }
        let saved = |state: &State, reg: Gpr| {
            let holds = |(_, holds): &(&i64, &Holds)| **holds == Holds::Entry(reg);
            let mut slots = state.slots.range(state.rsp..);
            slots.find(|slot| holds(slot)).map(|(&at, _)| at)
        };
        for reg in Gpr::CALLEE_SAVED {
            let own = Some(Holds::Entry(reg));
            let kept = match (wanted.reg(reg), saved(wanted, reg)) {
                // From there it will be restored.
                (holds, Some(at)) if holds == own => self.slots.get(&at) == own.as_ref(),
                (holds, Some(at)) => self.slots.get(&at) == own.as_ref() && self.reg(reg) == holds,
                (holds, None) => self.reg(reg) == holds && holds == own,
            };
            if !kept {
                return Err(Wrong::Unrestored(reg));
            }
        }
        Ok(())
    }

    /// Whether a callee-saved register's value of the entry is still somewhere.
    fn has(&self, reg: Gpr) -> bool {
        let own = Holds::Entry(reg);
        self.regs.contains(&Some(own)) || self.slots.values().any(|holds| *holds == own)
    }
}

/// Applies instructions.
pub(super) struct Transfer {
    info: InstructionInfoFactory,
}

impl Transfer {
    pub(super) fn new() -> Transfer {
        Transfer { info: InstructionInfoFactory::new() }
    }

    /// Turns the state before an instruction into the one after it.
    pub(super) fn apply(
        &mut self,
        instruction: &Instruction,
        state: &mut State,
    ) -> Result<(), Wrong> {
        if instruction.flow_control() == FlowControl::Return {
            // Nothing comes behind it.
            return Ok(());
        }
        let held = Gpr::CALLEE_SAVED.map(|reg| state.has(reg));
        self.memory(instruction, state)?;
        let moved = moved(instruction, state);
        self.registers(instruction, state)?;
        match moved {
            Moved::Nothing => {}
            Moved::Reg(reg, holds) => state.set(reg, holds)?,
            Moved::Push(holds) => {
                state.rsp -= 8;
                state.write(state.rsp, 8, holds);
            }
            Moved::Pop(reg, holds, above) => {
                state.set(Gpr::RSP, Some(Holds::Frame(above)))?;
                state.set(reg, holds)?;
            }
            Moved::Store(at, holds) => state.write(at, 8, holds),
            Moved::Call => {
                state.slots = state.slots.split_off(&state.rsp);
                state.written.retain_mut(|range| {
                    range.0 = range.0.max(state.rsp);
                    range.0 < range.1
                });
                state.lost = state.lost.max(state.rsp);
            }
        }
        for (reg, held) in Gpr::CALLEE_SAVED.into_iter().zip(held) {
            if held && !state.has(reg) {
                return Err(Wrong::Lost(reg));
            }
        }
        Ok(())
    }

    /// Checks accesses at known places and forgets what is overwritten.
    fn memory(&mut self, instruction: &Instruction, state: &mut State) -> Result<(), Wrong> {
        let explicit = instruction.op_kinds().any(|kind| kind == OpKind::Memory);
        let used = self.info.info(instruction).used_memory();
        for memory in used {
            let place = state.place(memory.base(), memory.index(), memory.displacement());
            let Some(at) = place.filter(|_| memory.access() != OpAccess::NoMemAccess) else {
                continue;
            };
            let bytes = memory.memory_size().size().max(1) as i64;
            // Pushes and calls lower rsp as they write.
            if explicit && at < state.rsp - RED_ZONE {
                return Err(Wrong::BelowRedZone);
            }
            if writes(memory.access()) {
                if at + bytes > 0 {
                    return Err(Wrong::AboveFrame);
                }
                state.write(at, bytes, None);
            } else if state.is_lost(at, bytes) {
                return Err(Wrong::Overwritten);
            }
        }
        Ok(())
    }

    /// Forgets the registers that an instruction changes.
    fn registers(&mut self, instruction: &Instruction, state: &mut State) -> Result<(), Wrong> {
        let is_call =
            matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
        if is_call {
            let destroyed = Gpr::CALLER_SAVED.into_iter().chain([Gpr::SCRATCH]);
            destroyed.for_each(|reg| state.regs[reg.enc() as usize] = None);
            return Ok(());
        }
        for used in self.info.info(instruction).used_registers() {
            match gpr(used.register()).filter(|_| writes(used.access())) {
                // rsp's changes are all in `moved`.
                Some(Gpr::RSP) if !moves_rsp(instruction) => return Err(Wrong::UnknownStack),
                Some(Gpr::RSP) | None => {}
                Some(reg) => state.regs[reg.enc() as usize] = None,
            }
        }
        Ok(())
    }
}

fn writes(access: OpAccess) -> bool {
    use OpAccess::*;
    matches!(access, Write | CondWrite | ReadWrite | ReadCondWrite)
}

/// What an instruction moves that the walk follows.
enum Moved {
    Nothing,
    Reg(Gpr, Option<Holds>),
    Push(Option<Holds>),
    /// Into a register, rsp being this afterwards.
    Pop(Gpr, Option<Holds>, i64),
    Store(i64, Option<Holds>),
    Call,
}

/// Whether `moved` says what becomes of rsp.
fn moves_rsp(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    match instruction.mnemonic() {
        Push | Pop | Leave | Call => true,
        Add | Sub | Lea | Mov => instruction.op0_register() == Register::RSP,
        _ => false,
    }
}

fn moved(instruction: &Instruction, state: &State) -> Moved {
    let register = |operand: u32| match instruction.op_kind(operand) {
        OpKind::Register if instruction.op_register(operand).is_gpr64() => {
            gpr(instruction.op_register(operand))
        }
        _ => None,
    };
    let memory = || {
        let displacement = instruction.memory_displacement64();
        state.place(instruction.memory_base(), instruction.memory_index(), displacement)
    };
    let constant = || instruction.try_immediate(1).ok().map(|imm| imm as i64);
    let frame = |reg: Gpr| match state.reg(reg) {
        Some(Holds::Frame(at)) => Some(at),
        _ => None,
    };
    let slot = |at: i64| state.slots.get(&at).copied();
    let plus =
        |reg: Gpr, by: i64| Moved::Reg(reg, frame(reg).map(|at| Holds::Frame(at.wrapping_add(by))));
    use Mnemonic::*;
    match (instruction.mnemonic(), register(0), register(1)) {
        (Push, reg, _) => Moved::Push(reg.and_then(|reg| state.reg(reg))),
        (Pop, Some(reg), _) if instruction.code() == Code::Pop_r64 => {
            Moved::Pop(reg, slot(state.rsp), state.rsp + 8)
        }
        (Leave, ..) => match frame(Gpr::RBP) {
            Some(at) => Moved::Pop(Gpr::RBP, slot(at), at + 8),
            None => Moved::Reg(Gpr::RSP, None),
        },
        (Mov, Some(to), Some(from)) => Moved::Reg(to, state.reg(from)),
        (Mov, Some(to), None) if instruction.op1_kind() == OpKind::Memory => {
            Moved::Reg(to, memory().and_then(slot))
        }
        (Mov, Some(to), None) => Moved::Reg(to, None),
        (Mov, None, Some(from)) => match memory() {
            Some(at) => Moved::Store(at, state.reg(from)),
            None => Moved::Nothing,
        },
        (Lea, Some(to), _) => Moved::Reg(to, memory().map(Holds::Frame)),
        (Add, Some(to), None) => constant().map_or(Moved::Reg(to, None), |by| plus(to, by)),
        (Sub, Some(to), None) => {
            constant().map_or(Moved::Reg(to, None), |by| plus(to, by.wrapping_neg()))
        }
        (Add | Sub, Some(Gpr::RSP), Some(_)) => Moved::Reg(Gpr::RSP, None),
        (Call, ..) => Moved::Call,
        _ => Moved::Nothing,
    }
}
