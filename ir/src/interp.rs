//! The interpreter: what a module does, without compiling it.
//!
//! It reaches memory, maps, contexts and helpers through a [`Host`], which
//! checks every access. Operations compute what [`eval`](crate::eval) says. A
//! step is an instruction or a terminator; steps and the depth of calls are
//! limited, so that it ends on any input, and a function that the verifier would
//! refuse ends in an error at worst.
//!
//! A tail call whose slot is filled replaces the running function, up to 33
//! times in a run, whatever functions make it; after that, and where the slot is
//! empty, execution goes on. A helper that calls back starts a run of its own.

use smallvec::SmallVec;

use crate::eval::{eval, eval_atomic, eval_cas, eval_cond, eval_load};
use crate::{
    Block, BlockCall, BlockData, FuncRef, Function, InstData, MapRef, Module, Opcode, Payload,
    Size, Terminator, Value,
};

/// Successful tail calls in a run.
pub const MAX_TAIL_CALLS: u32 = 33;

/// Calls that may be open at once: for each program of a longest chain, the
/// eight frames that the kernel allows.
pub const MAX_DEPTH: usize = 8 * (MAX_TAIL_CALLS as usize + 1);

/// The world of a running program. Addresses are whatever the host says they
/// are; an error's text says what was wrong.
pub trait Host {
    /// Makes a frame of `bytes` bytes (0 too) and returns its lowest address, a
    /// multiple of 16.
    fn push_frame(&mut self, bytes: u32) -> Result<u64, String>;
    /// Gives back the youngest frame.
    fn pop_frame(&mut self);
    /// Reads, zero-extended.
    fn load(&mut self, address: u64, size: Size) -> Result<u64, String>;
    /// Writes the low bytes.
    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), String>;
    /// Address of a map as helpers take it.
    fn map_address(&mut self, map: MapRef) -> Result<u64, String>;
    /// Address of a map's first value.
    fn map_value_address(&mut self, map: MapRef) -> Result<u64, String>;
    /// Address of a function as helpers take it for a callback.
    fn func_address(&mut self, func: FuncRef) -> Result<u64, String>;
    /// Calls a helper (never the tail call); arguments it does not take are 0.
    fn call_helper(&mut self, helper: u32, args: [u64; 5]) -> Result<u64, String>;
    /// Calls the helper of a number that the program computed. What is no
    /// helper's number is the host's to define.
    fn call_number(&mut self, number: u64, args: [u64; 5]) -> Result<u64, String> {
        let helper = u32::try_from(number).map_err(|_| format!("there is no helper {number}"))?;
        self.call_helper(helper, args)
    }
    /// The program in a slot of a program array (by the array's address), if
    /// the slot exists and is filled. Counting is the caller's business.
    fn tail_call_target(&mut self, array: u64, index: u32) -> Result<Option<FuncRef>, String>;
    /// Reads a field of the context at an address.
    fn ctx_load(&mut self, kind: u8, field: u8, ctx: u64) -> Result<u64, String>;
    /// Writes a field of the context at an address.
    fn ctx_store(&mut self, kind: u8, field: u8, ctx: u64, value: u64) -> Result<(), String>;
}

/// Why a run ended without a result, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name}+{origin}: {cause}")]
pub struct Error {
    /// The function that ran.
    pub function: FuncRef,
    /// Its name.
    pub name: String,
    /// The bytecode instruction of the last IR instruction begun there.
    pub origin: u32,
    /// Why.
    pub cause: Cause,
}

/// Why a run ended without a result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Cause {
    /// The host refused something.
    #[error("{0}")]
    Host(String),
    /// Execution fell off the end of the bytecode.
    #[error("execution reaches a trap")]
    Trap,
    /// The limit on steps was reached.
    #[error("no end after the given number of steps")]
    StepLimit,
    /// More than [`MAX_DEPTH`] calls were open.
    #[error("more than {MAX_DEPTH} calls are open")]
    TooDeep,
    /// The verifier would have refused the function.
    #[error("invalid IR: {0}")]
    Invalid(&'static str),
}

impl From<String> for Cause {
    fn from(text: String) -> Cause {
        Cause::Host(text)
    }
}

/// Runs a function to its end, in at most `limit` steps. Parameters without an
/// argument are 0.
pub fn run(
    module: &Module,
    entry: FuncRef,
    args: &[u64],
    host: &mut dyn Host,
    limit: u64,
) -> Result<u64, Error> {
    let mut machine =
        Machine { module, host, callers: Vec::new(), host_frames: 0, steps: limit, tail_calls: 0 };
    let at_entry = |cause| Error {
        function: entry,
        name: module
            .functions
            .get(entry)
            .map_or_else(|| entry.to_string(), |function| function.name.clone()),
        origin: 0,
        cause,
    };
    let result = match machine.frame(entry, args) {
        Ok(mut frame) => machine.execute(&mut frame).map_err(|cause| Error {
            function: frame.function.id,
            name: frame.function.name.clone(),
            origin: frame.origin,
            cause,
        }),
        Err(cause) => Err(at_entry(cause)),
    };
    for _ in 0..machine.host_frames {
        machine.host.pop_frame();
    }
    result
}

struct Machine<'a> {
    module: &'a Module,
    host: &'a mut dyn Host,
    /// The calls that are open, each with the value that its callee returns.
    callers: Vec<(Frame<'a>, Option<Value>)>,
    /// Frames that the host has been asked for and not been given back.
    host_frames: usize,
    steps: u64,
    tail_calls: u32,
}

/// A running function.
struct Frame<'a> {
    function: &'a Function,
    block: &'a BlockData,
    /// The next instruction's place in the block.
    next: usize,
    values: Vec<u64>,
    /// Addresses of the stack slots.
    slots: SmallVec<[u64; 4]>,
    origin: u32,
}

impl<'a> Frame<'a> {
    fn get(&self, value: Value) -> Result<u64, Cause> {
        let bits = self.values.get(value.as_u32() as usize);
        bits.copied().ok_or(Cause::Invalid("no such value"))
    }

    fn set(&mut self, value: Value, bits: u64) -> Result<(), Cause> {
        let place = self.values.get_mut(value.as_u32() as usize);
        *place.ok_or(Cause::Invalid("no such value"))? = bits;
        Ok(())
    }

    fn arg(&self, data: &InstData, index: usize) -> Result<u64, Cause> {
        let value = data.args.get(index);
        self.get(*value.ok_or(Cause::Invalid("an operand is missing"))?)
    }

    fn args(&self, data: &InstData) -> Result<SmallVec<[u64; 5]>, Cause> {
        data.args.iter().map(|&value| self.get(value)).collect()
    }

    /// The address of an access.
    fn address(&self, data: &InstData, offset: i32) -> Result<u64, Cause> {
        Ok(self.arg(data, 0)?.wrapping_add_signed(offset.into()))
    }

    fn jump(&mut self, target: &BlockCall) -> Result<(), Cause> {
        let args: Result<SmallVec<[u64; 8]>, Cause> =
            target.args.iter().map(|&value| self.get(value)).collect();
        self.enter(target.block, &args?)
    }

    fn enter(&mut self, block: Block, args: &[u64]) -> Result<(), Cause> {
        let data = self.function.blocks.get(block);
        self.block = data.ok_or(Cause::Invalid("no such block"))?;
        self.next = 0;
        for (index, &param) in self.block.params.iter().enumerate() {
            self.set(param, args.get(index).copied().unwrap_or(0))?;
        }
        Ok(())
    }
}

impl<'a> Machine<'a> {
    /// A frame at the start of a function.
    fn frame(&mut self, func: FuncRef, args: &[u64]) -> Result<Frame<'a>, Cause> {
        let function = self.module.functions.get(func);
        let function = function.ok_or(Cause::Invalid("no such function"))?;
        let (bytes, offsets) = slot_offsets(function)?;
        let base = self.host.push_frame(bytes)?;
        self.host_frames += 1;
        let entry = function.blocks.get(function.entry);
        let mut frame = Frame {
            function,
            block: entry.ok_or(Cause::Invalid("no such block"))?,
            next: 0,
            values: vec![0; function.values.len()],
            slots: offsets.iter().map(|&at| base.wrapping_add(at.into())).collect(),
            origin: 0,
        };
        frame.enter(function.entry, args)?;
        Ok(frame)
    }

    fn pop_frame(&mut self) {
        self.host.pop_frame();
        self.host_frames -= 1;
    }

    /// Runs to the end of the outermost function. On an error, `frame` is the
    /// one in which it happened.
    fn execute(&mut self, frame: &mut Frame<'a>) -> Result<u64, Cause> {
        loop {
            self.steps = self.steps.checked_sub(1).ok_or(Cause::StepLimit)?;
            if let Some(&inst) = frame.block.insts.get(frame.next) {
                frame.next += 1;
                let data = frame.function.insts.get(inst);
                let data = data.ok_or(Cause::Invalid("no such instruction"))?;
                frame.origin = data.origin;
                let result = frame.function.result(inst);
                match (data.op, data.payload) {
                    (Opcode::Call, Payload::Func(func)) => {
                        self.call(frame, func, data, result)?;
                    }
                    _ => {
                        let bits = self.instruction(frame, data)?;
                        if let (Some(value), Some(ty)) = (result, data.op.info().result) {
                            frame.set(value, bits & data.resolve(ty).mask())?;
                        }
                    }
                }
            } else if let Some(bits) = self.terminator(frame)? {
                self.pop_frame();
                let Some((caller, result)) = self.callers.pop() else {
                    return Ok(bits);
                };
                *frame = caller;
                if let Some(value) = result {
                    frame.set(value, bits)?;
                }
            }
        }
    }

    fn call(
        &mut self,
        frame: &mut Frame<'a>,
        func: FuncRef,
        data: &InstData,
        result: Option<Value>,
    ) -> Result<(), Cause> {
        if self.callers.len() >= MAX_DEPTH {
            return Err(Cause::TooDeep);
        }
        let callee = self.frame(func, &frame.args(data)?)?;
        let caller = std::mem::replace(frame, callee);
        self.callers.push((caller, result));
        Ok(())
    }

    /// Executes everything but calls; returns the result, or 0.
    fn instruction(&mut self, frame: &Frame, data: &InstData) -> Result<u64, Cause> {
        let host = &mut *self.host;
        Ok(match (data.op, data.payload) {
            (Opcode::CallNumber, _) => match frame.args(data)?[..] {
                [number, a, b, c, d, e] => host.call_number(number, [a, b, c, d, e])?,
                _ => return Err(Cause::Invalid("wrong number of operands")),
            },
            (op, Payload::None) => {
                let bits = eval(op, data.ty, &frame.args(data)?);
                bits.ok_or(Cause::Invalid("wrong number of operands"))?
            }
            (Opcode::Iconst, Payload::Imm(bits)) => bits,
            (Opcode::MapAddr, Payload::Map(map)) => host.map_address(map)?,
            (Opcode::MapValue, Payload::MapValue { map, offset }) => {
                host.map_value_address(map)?.wrapping_add(offset.into())
            }
            (Opcode::FuncAddr, Payload::Func(func)) => host.func_address(func)?,
            (Opcode::StackAddr, Payload::Slot { slot, offset }) => {
                let base = frame.slots.get(slot.as_u32() as usize);
                let base = base.ok_or(Cause::Invalid("no such stack slot"))?;
                base.wrapping_add_signed(offset.into())
            }
            (
                op @ (Opcode::Load | Opcode::Sload | Opcode::LoadAcquire),
                Payload::Mem { offset, size, .. },
            ) => {
                let bits = host.load(frame.address(data, offset)?, size)?;
                eval_load(op, data.ty, size, bits)
            }
            (Opcode::Store | Opcode::StoreRelease, Payload::Mem { offset, size, .. }) => {
                host.store(frame.address(data, offset)?, size, frame.arg(data, 1)?)?;
                0
            }
            (Opcode::AtomicCas, Payload::Mem { offset, .. }) => {
                let (expected, replacement) = (frame.arg(data, 1)?, frame.arg(data, 2)?);
                let new = |old| eval_cas(data.ty, old, expected, replacement);
                read_modify_write(host, frame, data, offset, new)?
            }
            (Opcode::Atomic | Opcode::AtomicFetch, Payload::Atomic { op, offset, .. }) => {
                let operand = frame.arg(data, 1)?;
                let new = |old| eval_atomic(op, data.ty, old, operand);
                read_modify_write(host, frame, data, offset, new)?
            }
            (Opcode::CtxLoad, Payload::Ctx { kind, field }) => {
                host.ctx_load(kind, field, frame.arg(data, 0)?)?
            }
            (Opcode::CtxStore, Payload::Ctx { kind, field }) => {
                host.ctx_store(kind, field, frame.arg(data, 0)?, frame.arg(data, 1)?)?;
                0
            }
            (Opcode::CallExt, Payload::Ext(ext)) => {
                let ext = frame.function.externs.get(ext);
                let ext = ext.ok_or(Cause::Invalid("no such helper"))?;
                let mut args = [0; 5];
                for (place, bits) in args.iter_mut().zip(frame.args(data)?) {
                    *place = bits;
                }
                host.call_helper(ext.helper, args)?
            }
            _ => return Err(Cause::Invalid("the payload is not the operation's")),
        })
    }

    /// Ends a block; a result if the function ends with it.
    fn terminator(&mut self, frame: &mut Frame<'a>) -> Result<Option<u64>, Cause> {
        match &frame.block.term {
            Terminator::None => return Err(Cause::Invalid("a block has no terminator")),
            Terminator::Trap => return Err(Cause::Trap),
            Terminator::Return(value) => return frame.get(*value).map(Some),
            Terminator::Jump(target) => frame.jump(target)?,
            Terminator::Branch { cond, ty, lhs, rhs, then, other } => {
                let holds = eval_cond(*cond, *ty, frame.get(*lhs)?, frame.get(*rhs)?);
                frame.jump(if holds { then } else { other })?;
            }
            Terminator::TailCall { ctx, array, index, fail, .. } => {
                let index = frame.get(*index)? as u32;
                let target = self.host.tail_call_target(frame.get(*array)?, index)?;
                match target {
                    Some(func) if self.tail_calls < MAX_TAIL_CALLS => {
                        self.tail_calls += 1;
                        let ctx = frame.get(*ctx)?;
                        self.pop_frame();
                        *frame = self.frame(func, &[ctx])?;
                    }
                    _ => frame.jump(fail)?,
                }
            }
        }
        Ok(None)
    }
}

/// Replaces what memory holds by `new` of it, and returns what it held.
fn read_modify_write(
    host: &mut dyn Host,
    frame: &Frame,
    data: &InstData,
    offset: i32,
    new: impl FnOnce(u64) -> u64,
) -> Result<u64, Cause> {
    let (address, size) = (frame.address(data, offset)?, Size::of(data.ty));
    let old = host.load(address, size)?;
    host.store(address, size, new(old))?;
    Ok(old)
}

/// The size of a frame, and where in it each slot starts.
fn slot_offsets(function: &Function) -> Result<(u32, SmallVec<[u32; 4]>), Cause> {
    let mut end = 0u32;
    let mut offsets = SmallVec::new();
    for slot in function.stack_slots.values() {
        let start = end.checked_next_multiple_of(slot.align);
        let place = start.and_then(|start| Some((start, start.checked_add(slot.size)?)));
        let (start, after) = place.ok_or(Cause::Invalid("the frame is too large"))?;
        offsets.push(start);
        end = after;
    }
    Ok((end, offsets))
}
