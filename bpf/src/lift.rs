//! Lifting: a function of bytecode becomes a function of the IR.
//!
//! Problem: bytecode has eleven registers, one frame without object boundaries
//! and pointers that look like numbers; the IR has values, stack slots and
//! accesses that say what they touch.
//!
//! Idea: R0 to R9 are variables of the IR's builder, which makes the values.
//! What an address means is taken from the facts: the frame's objects become
//! stack slots, and whatever the analysis knows to be R10 plus a constant is
//! made anew as an address in the slot that this byte lies in (`frame`).
//! Otherwise each instruction is translated by itself (`alu`, `memory`,
//! `calls`), as literally as can be: simplifying is the passes' work. In the end
//! accesses are marked with what they may touch (`regions`).
//!
//! Invariants: IR blocks stand in the order of the bytecode's; each carries
//! the frequency of its bytecode block, each instruction its slot. Registers
//! that a call leaves undefined read as 0 afterwards.

mod alu;
mod calls;
mod flow;
mod frame;
mod memory;
mod regions;

use std::collections::HashMap;

use tailor_ir::{Block, Builder, ExtFunc, StackSlot, Type, Value, Variable};

use crate::facts::{Facts, FunctionFacts};
use crate::insn::{MAY_GOTO_BUDGET, Op};
use crate::object::{Function, Object};
use crate::{Error, FuncRef, Reg};

/// Lifts a function of a validated object. Its entry parameters are the first
/// argument registers, as many as [`FunctionFacts::parameters`] says.
pub fn lift(object: &Object, facts: &Facts, func: FuncRef) -> Result<tailor_ir::Function, Error> {
    let function = &object.functions[func];
    if let Some(refused) = &function.refused {
        return Err(refused.clone());
    }
    let mut lifter = Lifter::new(object, facts, func);
    lifter.make_frame();
    lifter.blocks()?;
    let mut lifted = lifter.b.finish();
    regions::infer(object, &mut lifted);
    Ok(lifted)
}

struct Lifter<'a> {
    object: &'a Object,
    facts: &'a Facts,
    function: &'a Function,
    own: &'a FunctionFacts,
    b: Builder,
    /// By register number; that of R10 is never read.
    registers: [Variable; 11],
    /// What is left of the function's `may_goto` budget.
    may_goto: Variable,
    /// By index of the bytecode's block.
    blocks: Vec<Block>,
    /// For each of these, edges to it that do not exist yet.
    missing_edges: Vec<usize>,
    /// Where code that falls off the end goes, once needed.
    trap: Option<Block>,
    /// By index of the frame's objects.
    slots: Vec<StackSlot>,
    /// Helpers declared so far, by number.
    externs: HashMap<u32, ExtFunc>,
    /// Slot of the instruction being lifted.
    pc: usize,
}

impl<'a> Lifter<'a> {
    fn new(object: &'a Object, facts: &'a Facts, func: FuncRef) -> Lifter<'a> {
        let function = &object.functions[func];
        let own = &facts.functions[func];
        let mut b = Builder::new(func, function.name.clone());
        b.set_reaches_tail_call(own.reaches_tail_call);
        let registers = [(); 11].map(|()| b.declare_var(Type::I64));
        let may_goto = b.declare_var(Type::I32);
        let entry = b.current();
        for register in Reg::args().take(own.parameters.into()) {
            let value = b.add_param(entry, Type::I64);
            b.def_var(registers[register.index()], value);
        }
        if function.ops.iter().any(|op| matches!(op, Op::MayGoto { .. })) {
            let budget = b.iconst(Type::I32, MAY_GOTO_BUDGET.into());
            b.def_var(may_goto, budget);
        }
        Lifter {
            object,
            facts,
            function,
            own,
            b,
            registers,
            may_goto,
            blocks: Vec::new(),
            missing_edges: Vec::new(),
            trap: None,
            slots: Vec::new(),
            externs: HashMap::new(),
            pc: 0,
        }
    }

    fn error(&self, what: impl Into<String>) -> Error {
        Error::at(&self.function.name, self.pc, what)
    }

    fn read(&mut self, reg: Reg) -> Value {
        if reg == Reg::FP {
            self.frame_address(0)
        } else {
            self.b.use_var(self.registers[reg.index()])
        }
    }

    fn write(&mut self, reg: Reg, value: Value) {
        self.b.def_var(self.registers[reg.index()], value);
    }

    /// An instruction that does not end its block.
    fn instruction(&mut self, op: Op) -> Result<(), Error> {
        if self.makes_frame_pointer(&op) {
            return Ok(());
        }
        match op {
            Op::Alu { op, w, dst, src } => self.alu(op, w, dst, src),
            Op::Mov { w, dst, src } => self.mov(w, dst, src),
            Op::MovSx { w, from, dst, src } => self.mov_sx(w, from, dst, src),
            Op::Neg { w, dst } => self.neg(w, dst),
            Op::End { kind, size, dst } => self.byte_order(kind, size, dst),
            Op::LoadImm { dst, value } => return self.load_imm(dst, value),
            Op::Load { .. }
            | Op::Store { .. }
            | Op::Atomic { .. }
            | Op::CmpXchg { .. }
            | Op::LoadAcquire { .. }
            | Op::StoreRelease { .. } => {
                self.memory(op);
            }
            Op::LoadPacket { size, index, off } => self.load_packet(size, index, off),
            Op::Call(callee) => return self.call(callee),
            // The second slot of a load does nothing; the others end blocks.
            Op::LoadImmHi | Op::Jump { .. } | Op::Branch { .. } | Op::Exit => {}
            Op::MayGoto { .. } | Op::IndirectJump { .. } => {}
        }
        Ok(())
    }
}
