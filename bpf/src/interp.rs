//! The bytecode interpreter: the oracle that compiled code is compared with.
//!
//! It executes slot by slot what RFC 9669 says, in the plainest way, and knows
//! nothing of blocks or of the IR. Memory, maps and helpers are the [`Host`]'s,
//! which checks every access. Where the instruction set leaves a value
//! unspecified the interpreter has one all the same: registers that nothing
//! wrote, R1 to R5 after a call and R6 to R9 at the start of a function are 0,
//! and R0 after a tail call that failed is [`TAIL_CALL_FAILED`].

pub(crate) mod arith;
mod callback;
mod profile;

use std::collections::HashMap;

use crate::cfg::TAIL_CALL;
use crate::ctx::{Field, KINDS};
use crate::facts::{CtxAccess, Facts};
use crate::helpers::{NO_HELPER, by_number, packet_load};
use crate::host::Host;
use crate::insn::{AtomicOp, Callee, Imm64, MAY_GOTO_BUDGET, Op, Reg, Src, Width};
use crate::object::Object;
use crate::{Error, FuncRef, Size};
pub use profile::Profile;

/// Frames at a time, the first one included: 8 of a program, as in the kernel,
/// each time that one is entered by a tail call below the frames of the last.
pub const MAX_FRAMES: usize = 8 * (MAX_TAIL_CALLS as usize + 1);
/// Tail calls that succeed in one top-level invocation.
pub const MAX_TAIL_CALLS: u32 = 33;
/// Bytes of a function's frame.
pub const FRAME_BYTES: u32 = 512;
/// R0 after a tail call that failed: -EINVAL. The value is unspecified.
pub const TAIL_CALL_FAILED: u64 = -22i64 as u64;

/// Runs a function of an object until it exits, and returns R0. `args` are R1
/// and R2; `limit` is the number of instructions after which to give up.
pub fn run(
    object: &Object,
    facts: &Facts,
    entry: FuncRef,
    args: [u64; 2],
    host: &mut dyn Host,
    limit: u64,
) -> Result<u64, Error> {
    run_profiled(object, facts, entry, args, host, limit, None)
}

/// Like [`run`], and counts what is executed.
pub fn run_profiled(
    object: &Object,
    facts: &Facts,
    entry: FuncRef,
    args: [u64; 2],
    host: &mut dyn Host,
    limit: u64,
    profile: Option<&mut Profile>,
) -> Result<u64, Error> {
    let mut machine = Machine {
        object,
        facts,
        host,
        profile,
        regs: [0; 11],
        function: entry,
        pc: 0,
        callers: Vec::new(),
        may_goto: MAY_GOTO_BUDGET,
        tables: HashMap::new(),
        frames: 0,
        frames_around: 0,
        tail_calls: 0,
        limit,
        left: limit,
    };
    machine.regs[1..3].copy_from_slice(&args);
    machine.run()
}

/// What a call keeps for the caller.
struct Caller {
    function: FuncRef,
    pc: usize,
    kept: [u64; 5],
    may_goto: u32,
}

struct Machine<'a> {
    object: &'a Object,
    facts: &'a Facts,
    host: &'a mut dyn Host,
    profile: Option<&'a mut Profile>,
    regs: [u64; 11],
    function: FuncRef,
    /// Slot of the instruction being executed.
    pc: usize,
    callers: Vec<Caller>,
    /// What is left of the function's [`MAY_GOTO_BUDGET`].
    may_goto: u32,
    /// Jump targets of functions that asked for them.
    tables: HashMap<FuncRef, Vec<u32>>,
    /// Frames that the host has given.
    frames: usize,
    /// Frames of those that called this function back.
    frames_around: usize,
    tail_calls: u32,
    /// Instructions after which to give up, and how many of them are left.
    limit: u64,
    left: u64,
}

/// Where execution goes on.
enum Next {
    /// At this slot of the current function.
    Slot(i64),
    /// At the start of a function that has just been entered.
    Entered,
    /// Nowhere: this is the result.
    Done(u64),
}

impl Machine<'_> {
    fn run(&mut self) -> Result<u64, Error> {
        let result = self.execute();
        for _ in 0..self.frames {
            self.host.pop_frame();
        }
        result
    }

    fn execute(&mut self) -> Result<u64, Error> {
        self.enter(self.function)?;
        while self.left > 0 {
            self.left -= 1;
            let object = self.object;
            let Some(&op) = object.functions[self.function].ops.get(self.pc) else {
                return Err(self.error("execution falls off the end of the function"));
            };
            if let Some(profile) = &mut self.profile {
                profile.count(self.function, self.pc);
            }
            match self.step(op)? {
                Next::Slot(slot) => {
                    self.pc = usize::try_from(slot)
                        .map_err(|_| self.error("jump to before the function"))?;
                }
                Next::Entered => {}
                Next::Done(result) => return Ok(result),
            }
        }
        Err(self.error(format!("still running after {} instructions", self.limit)))
    }

    fn error(&self, what: impl Into<String>) -> Error {
        Error::at(&self.object.functions[self.function].name, self.pc, what)
    }

    fn get(&self, reg: Reg) -> u64 {
        self.regs[reg.index()]
    }

    fn set(&mut self, reg: Reg, value: u64) {
        self.regs[reg.index()] = value;
    }

    /// An operand; immediates are sign-extended, and truncated where used.
    fn operand(&self, src: Src) -> u64 {
        match src {
            Src::Reg(reg) => self.get(reg),
            Src::Imm(imm) => i64::from(imm) as u64,
        }
    }

    fn address(&self, base: Reg, off: i16) -> u64 {
        self.get(base).wrapping_add(i64::from(off) as u64)
    }

    fn step(&mut self, op: Op) -> Result<Next, Error> {
        let next = (self.pc + op.slots()) as i64;
        match op {
            Op::Alu { op, w, dst, src } => {
                let value = arith::alu(op, w, self.get(dst), self.operand(src));
                self.set(dst, value);
            }
            Op::Mov { w, dst, src } => self.set(dst, arith::truncate(w, self.operand(src))),
            Op::MovSx { w, from, dst, src } => {
                let value = arith::sign_extend(from, self.get(src));
                self.set(dst, arith::truncate(w, value));
            }
            Op::Neg { w, dst } => self.set(dst, arith::negate(w, self.get(dst))),
            Op::End { kind, size, dst } => {
                self.set(dst, arith::byte_order(kind, size, self.get(dst)));
            }
            Op::LoadImm { dst, value } => {
                let value = self.immediate(value)?;
                self.set(dst, value);
            }
            Op::LoadImmHi => return Err(self.error("jump into a 64-bit immediate load")),
            Op::Load { size, signed, dst, base, off } => {
                let value = self.load_op(base, off, size)?;
                let extended = if signed { arith::sign_extend(size, value) } else { value };
                self.set(dst, extended);
            }
            Op::Store { size, base, off, src } => {
                self.store_op(base, off, size, self.operand(src))?
            }
            Op::Atomic { op, w, fetch, base, off, src } => {
                self.atomic(op, w, fetch, (base, off), src)?
            }
            Op::CmpXchg { w, base, off, src } => self.compare_exchange(w, (base, off), src)?,
            Op::LoadAcquire { size, dst, base, off } => {
                let value = self.load(self.address(base, off), size)?;
                self.set(dst, value);
            }
            Op::StoreRelease { size, base, off, src } => {
                self.store(self.address(base, off), size, self.get(src))?;
            }
            Op::MayGoto { off } => {
                let jump = if self.may_goto == 0 { i64::from(off) } else { 0 };
                self.may_goto = self.may_goto.saturating_sub(1);
                return Ok(Next::Slot(next + jump));
            }
            Op::IndirectJump { target } => {
                let slot = self.get(target);
                let object = self.object;
                let of_object = || object.jump_targets(&object.functions[self.function]);
                let table = self.tables.entry(self.function).or_insert_with(of_object);
                if !table.iter().any(|target| u64::from(*target) == slot) {
                    return Err(self.error(format!("{slot:#x} is in no jump table")));
                }
                return Ok(Next::Slot(slot as i64));
            }
            Op::LoadPacket { size, index, off } => return self.load_packet(size, index, off),
            Op::Jump { off, .. } => return Ok(Next::Slot(next + i64::from(off))),
            Op::Branch { cond, w, dst, src, off } => {
                let taken = arith::compare(cond, w, self.get(dst), self.operand(src));
                let jump = if taken { i64::from(off) } else { 0 };
                return Ok(Next::Slot(next + jump));
            }
            Op::Call(callee) => return self.call(callee),
            Op::Exit => return Ok(self.leave()),
        }
        Ok(Next::Slot(next))
    }

    /// Outside the packet it returns 0 from the function. R1 to R5 are lost.
    fn load_packet(&mut self, size: Size, index: Option<Reg>, off: i32) -> Result<Next, Error> {
        let index = index.map_or(0, |index| self.get(index));
        let offset = index.wrapping_add(off as u64);
        let args = [self.get(Reg::R6), offset, 0, 0, 0];
        let loaded = self.host.call_helper(packet_load(size), args);
        let value = loaded.map_err(|what| self.error(what))?;
        if (value as i64) < 0 {
            self.set(Reg::R0, 0);
            return Ok(self.leave());
        }
        self.returned(value);
        Ok(Next::Slot(self.pc as i64 + 1))
    }

    fn immediate(&mut self, value: Imm64) -> Result<u64, Error> {
        let address = match value {
            Imm64::Const(value) => return Ok(value),
            Imm64::Map(map) => self.host.map_address(map),
            Imm64::MapValue(map, offset) => self
                .host
                .map_value_address(map)
                .map(|address| address.wrapping_add(u64::from(offset))),
            Imm64::Function(function) => Ok(callback::address(function)),
            Imm64::Pseudo(..) => Err("the immediate was not linked".into()),
        };
        address.map_err(|what| self.error(what))
    }
}

/// Memory.
impl Machine<'_> {
    fn load(&mut self, address: u64, size: Size) -> Result<u64, Error> {
        self.host.load(address, size).map_err(|what| self.error(what))
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), Error> {
        self.host.store(address, size, arith::low(size, value)).map_err(|what| self.error(what))
    }

    /// The context field that the current instruction accesses, if it does, and
    /// its native address.
    fn field(&self, base: Reg, off: i16) -> Option<(CtxAccess, &'static Field, u64)> {
        let facts = self.facts.functions.get(self.function)?;
        let access = *facts.ctx_accesses.get(&(self.pc as u32))?;
        let field = KINDS.get(access.kind as usize)?.fields.get(access.field as usize)?;
        // The base register holds the context's address plus a constant.
        let constant = i64::from(field.offset) + i64::from(access.part) - i64::from(off);
        let context = self.get(base).wrapping_sub(constant as u64);
        let native = context.wrapping_add(u64::from(field.native_offset));
        Some((access, field, native))
    }

    fn load_op(&mut self, base: Reg, off: i16, size: Size) -> Result<u64, Error> {
        let Some((access, field, address)) = self.field(base, off) else {
            return self.load(self.address(base, off), size);
        };
        let value = self.load(address, field.native_size)?;
        if size == field.size {
            Ok(value)
        } else {
            Ok(arith::low(size, value >> (8 * access.part)))
        }
    }

    fn store_op(&mut self, base: Reg, off: i16, size: Size, value: u64) -> Result<(), Error> {
        match self.field(base, off) {
            Some((_, field, address)) => self.store(address, field.native_size, value),
            None => self.store(self.address(base, off), size, value),
        }
    }

    fn atomic(
        &mut self,
        op: AtomicOp,
        w: Width,
        fetch: bool,
        (base, off): (Reg, i16),
        src: Reg,
    ) -> Result<(), Error> {
        let (address, size) = (self.address(base, off), memory_size(w));
        let old = self.load(address, size)?;
        self.store(address, size, arith::atomic(op, old, self.get(src)))?;
        if fetch || op == AtomicOp::Xchg {
            self.set(src, old);
        }
        Ok(())
    }

    fn compare_exchange(
        &mut self,
        w: Width,
        (base, off): (Reg, i16),
        src: Reg,
    ) -> Result<(), Error> {
        let (address, size) = (self.address(base, off), memory_size(w));
        let old = self.load(address, size)?;
        if old == arith::truncate(w, self.get(Reg::R0)) {
            self.store(address, size, self.get(src))?;
        }
        self.set(Reg::R0, old);
        Ok(())
    }
}

fn memory_size(w: Width) -> Size {
    match w {
        Width::W32 => Size::W,
        Width::W64 => Size::D,
    }
}

/// Calls.
impl Machine<'_> {
    fn call(&mut self, callee: Callee) -> Result<Next, Error> {
        let helper = match callee {
            Callee::Helper(TAIL_CALL) => return self.tail_call(),
            Callee::Helper(helper) => helper,
            Callee::Register(reg) => {
                let helper = by_number(self.get(reg)).filter(|&id| self.host.has_helper(id));
                let Some(helper) = helper else {
                    self.returned(NO_HELPER);
                    return Ok(Next::Slot(self.pc as i64 + 1));
                };
                helper
            }
            Callee::Function(function) => return self.local_call(function),
            Callee::Relative(_) => return Err(self.error("the call was not linked")),
            Callee::Kfunc(id) => {
                return Err(self.error(format!("kernel function {id} is not supported")));
            }
        };
        let mut args = [0; 5];
        args.copy_from_slice(&self.regs[1..6]);
        let result = self.call_helper(helper, args)?;
        self.returned(result);
        Ok(Next::Slot(self.pc as i64 + 1))
    }

    /// R0 to R5 after a call.
    fn returned(&mut self, result: u64) {
        self.regs[..6].copy_from_slice(&[result, 0, 0, 0, 0, 0]);
    }

    fn local_call(&mut self, function: FuncRef) -> Result<Next, Error> {
        if self.frames + self.frames_around >= MAX_FRAMES {
            return Err(self.error(format!("calls nested deeper than {MAX_FRAMES} frames")));
        }
        let mut kept = [0; 5];
        kept.copy_from_slice(&self.regs[6..]);
        let (function_now, pc) = (self.function, self.pc);
        let caller = Caller { function: function_now, pc, kept, may_goto: self.may_goto };
        self.enter(function)?;
        self.callers.push(caller);
        Ok(Next::Entered)
    }

    /// Makes a frame and goes to the start of a function, leaving R1 to R5.
    fn enter(&mut self, function: FuncRef) -> Result<(), Error> {
        let Some(target) = self.object.functions.get(function) else {
            return Err(Error::new(format!("there is no function {function}")));
        };
        if let Some(refused) = &target.refused {
            return Err(refused.clone());
        }
        let base =
            self.host.push_frame(FRAME_BYTES).map_err(|what| Error::at(&target.name, 0, what))?;
        self.frames += 1;
        self.function = function;
        self.pc = 0;
        self.may_goto = MAY_GOTO_BUDGET;
        self.regs[0] = 0;
        self.regs[6..10].fill(0);
        self.regs[10] = base.wrapping_add(u64::from(FRAME_BYTES));
        if let Some(profile) = &mut self.profile {
            profile.enter(function, target.ops.len());
        }
        Ok(())
    }

    fn drop_frame(&mut self) {
        self.host.pop_frame();
        self.frames -= 1;
    }

    fn leave(&mut self) -> Next {
        let result = self.get(Reg::R0);
        self.drop_frame();
        let Some(caller) = self.callers.pop() else {
            return Next::Done(result);
        };
        self.function = caller.function;
        self.pc = caller.pc;
        self.may_goto = caller.may_goto;
        self.regs[6..].copy_from_slice(&caller.kept);
        self.returned(result);
        Next::Slot(self.pc as i64 + 1)
    }

    /// The target takes this function's place, and returns to its caller.
    fn tail_call(&mut self) -> Result<Next, Error> {
        let [context, array, index] = [self.regs[1], self.regs[2], self.regs[3]];
        let target =
            self.host.tail_call_target(array, index as u32).map_err(|what| self.error(what))?;
        match target {
            Some(function) if self.tail_calls < MAX_TAIL_CALLS => {
                self.tail_calls += 1;
                if let Some(profile) = &mut self.profile {
                    profile.leave(self.function, self.pc);
                }
                self.drop_frame();
                self.returned(0);
                self.set(Reg::R1, context);
                self.enter(function)?;
                Ok(Next::Entered)
            }
            _ => {
                self.returned(TAIL_CALL_FAILED);
                Ok(Next::Slot(self.pc as i64 + 1))
            }
        }
    }
}

#[cfg(test)]
mod tests;
