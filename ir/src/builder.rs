//! Building a function, with SSA construction on the fly.
//!
//! Problem: whoever translates into the IR thinks in variables that are
//! assigned many times, while the IR wants every value defined once, with block
//! parameters where different values meet.
//!
//! Idea: each block remembers what every variable is at its end. Reading a
//! variable that the block does not define asks its predecessors; where there
//! are several, a block parameter is made and given the predecessors' values as
//! arguments. A block whose predecessors are not all known yet gets the
//! parameter at once and its arguments when it is sealed. Parameters that turn
//! out to receive one value only are removed in the end.
//!
//! Invariants: an edge exists from the moment its block is terminated, and a
//! block is sealed only when all its edges exist; so every lookup beyond the
//! current block sees finished blocks. Nothing recurses: lookups walk chains of
//! blocks with a single predecessor and queue the parameters that they make.
//!
//! Source: Braun, Buchwald, Hack, Leißa, Mallon, Zwinkau: Simple and Efficient
//! Construction of Static Single Assignment Form, CC 2013. In reducible graphs
//! the result is minimal; being made by reads only, it is always pruned.

mod finish;
#[cfg(test)]
mod random_tests;
mod ssa;
#[cfg(test)]
mod tests;
mod trivial;

use cranelift_entity::entity_impl;
use smallvec::SmallVec;

use crate::function::{InstData, Payload, StackSlotData, Terminator};
use crate::opcode::{AtomicOp, Cond, Opcode, PayloadKind, Region, Size, Ty, Type};
use crate::{Block, BlockCall, ExtFunc, ExternData, FuncRef, Function, StackSlot, Value};

/// What a builder's client assigns and reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Variable(u32);
entity_impl!(Variable, "var");

/// The memory that an instruction accesses: operand 0 plus an offset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Access {
    /// Added to the address, wrapping.
    pub offset: i32,
    /// Bytes accessed.
    pub size: Size,
    /// What it may touch.
    pub region: Region,
}

/// Builds one function. Broken rules (operands of the wrong type, a block
/// terminated twice, an unsealed block at the end) are bugs of the caller and panic.
pub struct Builder {
    func: Function,
    current: Block,
    origin: u32,
    ssa: ssa::Ssa,
}

impl Builder {
    /// A builder for an empty function; its entry block is the current one and
    /// already sealed.
    pub fn new(id: FuncRef, name: impl Into<String>) -> Builder {
        let func = Function::new(id, name);
        let entry = func.entry;
        let mut builder = Builder { func, current: entry, origin: 0, ssa: ssa::Ssa::default() };
        builder.seal_block(entry);
        builder
    }

    /// The function as far as it is built. Block parameters of variables and
    /// the arguments for them are not in it yet.
    pub fn func(&self) -> &Function {
        &self.func
    }

    /// Appends an empty block to the layout.
    pub fn add_block(&mut self) -> Block {
        self.func.add_block()
    }

    /// Makes a block the current one: instructions are appended to it.
    pub fn switch_to(&mut self, block: Block) {
        self.current = block;
    }

    /// The block that instructions are appended to.
    pub fn current(&self) -> Block {
        self.current
    }

    /// Says which bytecode instruction the next instructions come from.
    pub fn set_origin(&mut self, origin: u32) {
        self.origin = origin;
    }

    /// Sets a block's executions per execution of the entry.
    pub fn set_frequency(&mut self, block: Block, frequency: f64) {
        self.func.blocks[block].frequency = frequency;
    }

    /// Says whether a tail call can be reached from the function.
    pub fn set_reaches_tail_call(&mut self, reaches: bool) {
        self.func.reaches_tail_call = reaches;
    }

    /// Appends a parameter to a block. Explicit parameters precede those made
    /// for variables, so all of a block's must exist before its first edge.
    pub fn add_param(&mut self, block: Block, ty: Type) -> Value {
        self.func.add_param(block, ty)
    }

    /// Adds an object to the frame.
    pub fn add_slot(&mut self, data: StackSlotData) -> StackSlot {
        self.func.stack_slots.push(data)
    }

    /// Declares a helper.
    pub fn add_extern(&mut self, data: ExternData) -> ExtFunc {
        self.func.externs.push(data)
    }

    /// Appends an instruction to the current block; the result, if it has one.
    pub fn inst(
        &mut self,
        op: Opcode,
        ty: Type,
        args: &[Value],
        payload: Payload,
    ) -> Option<Value> {
        let inst = self.func.make_inst(InstData {
            op,
            ty,
            args: SmallVec::from_slice(args),
            payload,
            origin: self.origin,
        });
        self.check_types(inst);
        self.func.blocks[self.current].insts.push(inst);
        self.func.result(inst)
    }

    /// Appends an instruction that has a result.
    fn value(&mut self, op: Opcode, ty: Type, args: &[Value], payload: Payload) -> Value {
        self.inst(op, ty, args, payload)
            .unwrap_or_else(|| panic!("{} has no result", op.info().name))
    }

    fn check_types(&self, inst: crate::Inst) {
        let data = &self.func.insts[inst];
        let Some(types) = data.op.info().args else {
            return;
        };
        debug_assert!(
            types.len() == data.args.len()
                && std::iter::zip(types, &data.args)
                    .all(|(&ty, &arg)| data.resolve(ty) == self.func.ty(arg)),
            "operands of {} do not fit: {:?}",
            data.op.info().name,
            data.args
        );
    }

    /// The type of an instruction of this opcode with this first operand.
    fn type_by_operand(&self, op: Opcode, first: Value) -> Type {
        match op.info().args {
            Some([Ty::Same, ..]) => self.func.ty(first),
            _ => Type::I64,
        }
    }
}

/// Instructions.
impl Builder {
    /// A constant; bits above the type's width are dropped.
    pub fn iconst(&mut self, ty: Type, value: i64) -> Value {
        let imm = match ty {
            Type::I32 => u64::from(value as u32),
            Type::I64 => value as u64,
        };
        self.value(Opcode::Iconst, ty, &[], Payload::Imm(imm))
    }

    /// A pure operation with one operand.
    pub fn unary(&mut self, op: Opcode, a: Value) -> Value {
        debug_assert_eq!(op.info().payload, PayloadKind::None);
        self.value(op, self.type_by_operand(op, a), &[a], Payload::None)
    }

    /// A pure operation with two operands.
    pub fn binary(&mut self, op: Opcode, a: Value, b: Value) -> Value {
        debug_assert_eq!(op.info().payload, PayloadKind::None);
        self.value(op, self.type_by_operand(op, a), &[a, b], Payload::None)
    }

    /// An operation without operands that makes an address: of a map, a map's
    /// value, a function or a stack slot.
    pub fn address(&mut self, op: Opcode, payload: Payload) -> Value {
        self.value(op, Type::I64, &[], payload)
    }

    /// The address of a byte of a stack slot.
    pub fn stack_addr(&mut self, slot: StackSlot, offset: i32) -> Value {
        self.address(Opcode::StackAddr, Payload::Slot { slot, offset })
    }

    /// `Load` or `Sload` of a type.
    pub fn load(&mut self, op: Opcode, ty: Type, address: Value, access: Access) -> Value {
        self.value(op, ty, &[address], access.payload())
    }

    /// A store of the low bytes of a value.
    pub fn store(&mut self, address: Value, value: Value, access: Access) {
        let ty = self.func.ty(value);
        self.inst(Opcode::Store, ty, &[address, value], access.payload());
    }

    /// An atomic read-modify-write; the old value if `fetch`.
    pub fn atomic(
        &mut self,
        op: AtomicOp,
        fetch: bool,
        address: Value,
        value: Value,
        access: Access,
    ) -> Option<Value> {
        let opcode = if fetch { Opcode::AtomicFetch } else { Opcode::Atomic };
        let payload = Payload::Atomic { op, offset: access.offset, region: access.region };
        let ty = self.func.ty(value);
        debug_assert_eq!(access.size.bits(), ty.bits());
        self.inst(opcode, ty, &[address, value], payload)
    }

    /// A store of the low bytes that overtakes no earlier access.
    pub fn store_release(&mut self, address: Value, value: Value, access: Access) {
        let ty = self.func.ty(value);
        self.inst(Opcode::StoreRelease, ty, &[address, value], access.payload());
    }

    /// Compares `expected` with memory, stores `new` if equal; the old value.
    pub fn atomic_cas(
        &mut self,
        address: Value,
        expected: Value,
        new: Value,
        access: Access,
    ) -> Value {
        let ty = self.func.ty(new);
        debug_assert_eq!(access.size.bits(), ty.bits());
        let args = [address, expected, new];
        self.value(Opcode::AtomicCas, ty, &args, access.payload())
    }

    /// A read of a context field.
    pub fn ctx_load(&mut self, ty: Type, context: Value, kind: u8, field: u8) -> Value {
        let payload = Payload::Ctx { kind, field };
        self.value(Opcode::CtxLoad, ty, &[context], payload)
    }

    /// A write of a context field.
    pub fn ctx_store(&mut self, context: Value, value: Value, kind: u8, field: u8) {
        let payload = Payload::Ctx { kind, field };
        let ty = self.func.ty(value);
        self.inst(Opcode::CtxStore, ty, &[context, value], payload);
    }

    /// A call of a helper.
    pub fn call_ext(&mut self, callee: ExtFunc, args: &[Value]) -> Value {
        self.value(Opcode::CallExt, Type::I64, args, Payload::Ext(callee))
    }

    /// A call of the helper with that number; what the number may be is not known.
    pub fn call_number(&mut self, number: Value, args: [Value; 5]) -> Value {
        let [a, b, c, d, e] = args;
        self.value(Opcode::CallNumber, Type::I64, &[number, a, b, c, d, e], Payload::None)
    }

    /// A call of a function of the module.
    pub fn call(&mut self, callee: FuncRef, args: &[Value]) -> Value {
        self.value(Opcode::Call, Type::I64, args, Payload::Func(callee))
    }
}

/// Terminators.
impl Builder {
    /// Ends the current block.
    pub fn terminate(&mut self, term: Terminator) {
        let block = self.current;
        assert!(
            matches!(self.func.blocks[block].term, Terminator::None),
            "{block} is terminated twice"
        );
        for (position, target) in term.targets().into_iter().enumerate() {
            self.ssa.add_edge(block, position as u32, target.block);
        }
        self.func.blocks[block].term = term;
    }

    /// Ends the current block with a jump.
    pub fn jump(&mut self, to: Block) {
        self.terminate(Terminator::Jump(BlockCall::to(to)));
    }

    /// Ends the current block with a branch to `then` where `lhs cond rhs`, else to `other`.
    pub fn branch(&mut self, cond: Cond, lhs: Value, rhs: Value, then: Block, other: Block) {
        let ty = self.func.ty(lhs);
        debug_assert_eq!(ty, self.func.ty(rhs));
        self.terminate(Terminator::Branch {
            cond,
            ty,
            lhs,
            rhs,
            then: BlockCall::to(then),
            other: BlockCall::to(other),
        });
    }

    /// Ends the current block with a return.
    pub fn ret(&mut self, value: Value) {
        self.terminate(Terminator::Return(value));
    }
}

impl Access {
    fn payload(self) -> Payload {
        Payload::Mem { offset: self.offset, size: self.size, region: self.region }
    }
}
