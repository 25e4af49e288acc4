//! What registers and stack slots hold, and what an instruction does to that.

use iced_x86::{Code, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register, UsedMemory};

use super::DecodeError;
use crate::Gpr;

/// What is known of eight bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// The value this callee-saved register had at the entry.
    Entry(Gpr),
    /// The entry's rsp plus this.
    Stack(i64),
    /// Anything.
    Other,
}

/// The state before an instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct State {
    regs: [Value; 16],
    /// Slots that hold something known, ascending by distance from the entry's rsp.
    slots: Vec<(i64, Value)>,
}

impl State {
    pub(super) fn at_entry() -> State {
        let mut state = State { regs: [Value::Other; 16], slots: Vec::new() };
        for reg in Gpr::CALLEE_SAVED {
            state.set(reg, Value::Entry(reg));
        }
        state.set(Gpr::RSP, Value::Stack(0));
        state
    }

    pub(super) fn reg(&self, reg: Gpr) -> Value {
        self.regs[reg.enc() as usize]
    }

    fn set(&mut self, reg: Gpr, value: Value) {
        self.regs[reg.enc() as usize] = value;
    }

    /// Distance of rsp from the entry's.
    pub(super) fn depth(&self) -> i64 {
        match self.reg(Gpr::RSP) {
            Value::Stack(depth) => depth,
            _ => unreachable!("rsp is always known"),
        }
    }

    pub(super) fn slot(&self, at: i64) -> Value {
        match self.slots.binary_search_by_key(&at, |slot| slot.0) {
            Ok(found) => self.slots[found].1,
            Err(_) => Value::Other,
        }
    }

    pub(super) fn slots(&self) -> &[(i64, Value)] {
        &self.slots
    }

    /// Writes `bytes` bytes from `at`: what overlaps is lost.
    fn store(&mut self, at: i64, bytes: i64, value: Value) {
        self.slots.retain(|&(slot, _)| slot + 8 <= at || at + bytes <= slot);
        // Addresses are not followed through memory: programs keep theirs there.
        if matches!(value, Value::Entry(_)) && bytes == 8 {
            let place = self.slots.partition_point(|slot| slot.0 < at);
            self.slots.insert(place, (at, value));
        }
    }

    /// Keeps what both know. rsp must agree: the two distances if it does not.
    /// Says whether anything was lost.
    pub(super) fn join(&mut self, other: &State) -> Result<bool, (i64, i64)> {
        if self.depth() != other.depth() {
            return Err((self.depth(), other.depth()));
        }
        let before = self.slots.len();
        self.slots.retain(|&(at, value)| other.slot(at) == value);
        let mut changed = self.slots.len() != before;
        for (mine, theirs) in self.regs.iter_mut().zip(other.regs) {
            if *mine != theirs && *mine != Value::Other {
                *mine = Value::Other;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// What a memory operand's constant part is, seen from the entry's rsp.
    pub(super) fn address(&self, base: Register, displacement: u64) -> Option<i64> {
        match gpr(base).map(|base| self.reg(base)) {
            Some(Value::Stack(at)) => Some(at.wrapping_add(displacement as i64)),
            _ => None,
        }
    }
}

/// The general-purpose register that `register` is a part of.
pub(super) fn gpr(register: Register) -> Option<Gpr> {
    register.is_gpr().then(|| Gpr::from_enc(register.full_register().number() as u8))
}

/// Applies instructions to states.
pub(super) struct Transfer {
    info: InstructionInfoFactory,
}

impl Transfer {
    pub(super) fn new() -> Transfer {
        Transfer { info: InstructionInfoFactory::new() }
    }

    /// Turns the state before `instruction` into the one after it.
    pub(super) fn apply(
        &mut self,
        state: &mut State,
        instruction: &Instruction,
    ) -> Result<(), DecodeError> {
        let at = instruction.ip() as u32;
        match instruction.code() {
            Code::Push_r64 => {
                let value = gpr(instruction.op0_register()).map(|reg| state.reg(reg));
                push(state, value.unwrap_or(Value::Other));
            }
            Code::Pop_r64 => pop(state, instruction.op0_register()),
            Code::Leaveq => {
                state.set(Gpr::RSP, state.reg(Gpr::RBP));
                if !matches!(state.reg(Gpr::RSP), Value::Stack(_)) {
                    return Err(DecodeError::UnknownStack { at });
                }
                pop(state, Register::RBP);
            }
            Code::Mov_rm64_r64 | Code::Mov_r64_rm64 => mov(state, instruction),
            Code::Lea_r64_m => lea(state, instruction),
            Code::Add_rm64_imm8 | Code::Add_rm64_imm32 | Code::Add_RAX_imm32
                if instruction.op0_kind() == OpKind::Register =>
            {
                add(state, instruction, instruction.immediate(1) as i64);
            }
            Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 | Code::Sub_RAX_imm32
                if instruction.op0_kind() == OpKind::Register =>
            {
                add(state, instruction, -(instruction.immediate(1) as i64));
            }
            _ if instruction.is_call_near() || instruction.is_call_near_indirect() => call(state),
            _ => self.other(state, instruction),
        }
        match state.reg(Gpr::RSP) {
            Value::Stack(depth) if depth <= 0 => Ok(()),
            // A return pops its address.
            Value::Stack(8) if instruction.code() == Code::Retnq => Ok(()),
            Value::Stack(_) => Err(DecodeError::Underflow { at }),
            _ => Err(DecodeError::UnknownStack { at }),
        }
    }

    /// Anything else: what it writes becomes unknown.
    fn other(&mut self, state: &mut State, instruction: &Instruction) {
        let info = self.info.info(instruction);
        let depth = state.depth();
        for memory in info.used_memory().iter().filter(|m| writes(m.access())) {
            forget(state, memory);
        }
        for used in info.used_registers().iter().filter(|r| writes(r.access())) {
            if let Some(reg) = gpr(used.register()) {
                state.set(reg, Value::Other);
            }
        }
        let moves = i64::from(instruction.stack_pointer_increment());
        if moves != 0 {
            state.set(Gpr::RSP, Value::Stack(depth + moves));
        }
    }
}

fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// A store to a known place. One to an unknown place is taken to leave saved
/// values alone: no compiler's frame could be read otherwise.
fn forget(state: &mut State, memory: &UsedMemory) {
    if memory.index() == Register::None
        && let Some(at) = state.address(memory.base(), memory.displacement())
    {
        let bytes = memory.memory_size().size().max(1) as i64;
        state.store(at, bytes, Value::Other);
    }
}

fn push(state: &mut State, value: Value) {
    let depth = state.depth() - 8;
    state.set(Gpr::RSP, Value::Stack(depth));
    state.store(depth, 8, value);
}

fn pop(state: &mut State, into: Register) {
    let depth = state.depth();
    let value = state.slot(depth);
    state.set(Gpr::RSP, Value::Stack(depth + 8));
    if let Some(reg) = gpr(into) {
        state.set(reg, value);
    }
}

fn mov(state: &mut State, instruction: &Instruction) {
    let value = match instruction.op1_kind() {
        OpKind::Register => gpr(instruction.op1_register()).map(|reg| state.reg(reg)),
        _ => exact_address(state, instruction).map(|at| state.slot(at)),
    };
    let value = value.unwrap_or(Value::Other);
    if let OpKind::Register = instruction.op0_kind() {
        if let Some(reg) = gpr(instruction.op0_register()) {
            state.set(reg, value);
        }
    } else if let Some(at) = exact_address(state, instruction) {
        state.store(at, 8, value);
    }
}

fn lea(state: &mut State, instruction: &Instruction) {
    let address = exact_address(state, instruction);
    if let Some(reg) = gpr(instruction.op0_register()) {
        state.set(reg, address.map_or(Value::Other, Value::Stack));
    }
}

/// Where a memory operand is, if that is a known place on the stack.
fn exact_address(state: &State, instruction: &Instruction) -> Option<i64> {
    if instruction.memory_index() != Register::None {
        return None;
    }
    state.address(instruction.memory_base(), instruction.memory_displacement64())
}

fn add(state: &mut State, instruction: &Instruction, amount: i64) {
    if let Some(reg) = gpr(instruction.op0_register()) {
        let sum = match state.reg(reg) {
            Value::Stack(at) => Value::Stack(at.wrapping_add(amount)),
            _ => Value::Other,
        };
        state.set(reg, sum);
    }
}

/// The callee preserves what the C convention says, and may use what is below rsp.
fn call(state: &mut State) {
    for reg in Gpr::CALLER_SAVED.into_iter().chain([Gpr::SCRATCH]) {
        state.set(reg, Value::Other);
    }
    let depth = state.depth();
    state.slots.retain(|&(at, _)| at >= depth);
}
