//! Operands: registers for values, constants where they are needed, immediates,
//! and loads as operands.
//!
//! Constants and addresses have no register of their own. Each use makes one
//! right before it, and uses near each other share it: within [`WINDOW`]
//! instructions of a block, and never across a call, where it would need a
//! callee-saved register.

use std::collections::HashMap;

use regalloc2::{Operand, VReg};
use smallvec::{SmallVec, smallvec};
use tailor_ir::{Inst, Opcode, Payload, Size, StackSlot, Type, Value, ValueDef};

use super::Selector;
use crate::x64::inst::{Base, MInst, Mem, Rhs, Symbol, Width};

/// Over how many instructions a constant may stay in a register.
const WINDOW: usize = 24;

/// What can be made anew at any place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Constant {
    Imm(u64),
    Symbol(Symbol),
    Slot(StackSlot, i32),
}

/// A constant in a register of the current block.
struct Shared {
    constant: Constant,
    vreg: VReg,
    /// How much of the block was written at its first use, and at the last one,
    /// which selection meets first.
    first: usize,
    last: usize,
}

/// The constants of the current block.
#[derive(Default)]
pub(super) struct Constants {
    all: Vec<Shared>,
    active: HashMap<Constant, usize>,
    /// Those used by the sequence that is being written.
    touched: Vec<usize>,
}

/// The right-hand side of an instruction, with its operands.
pub(super) struct Right {
    pub rhs: Rhs,
    pub operands: SmallVec<[Operand; 2]>,
}

/// A load that may become part of the instruction that uses it.
#[derive(Clone, Copy)]
pub(super) struct FoldedLoad {
    pub address: Value,
    pub offset: i32,
    pub size: Size,
    pub signed: bool,
    pub ty: Type,
}

impl Width {
    /// The width of a type.
    pub(super) fn of(ty: Type) -> Width {
        match ty {
            Type::I32 => Width::W32,
            Type::I64 => Width::W64,
        }
    }
}

impl Selector<'_> {
    /// The register of a value, for a use of that width.
    pub(super) fn reg(&mut self, value: Value, width: Width) -> VReg {
        let vreg = match self.constant(value) {
            Some(constant) => self.shared_constant(constant),
            None => self.vreg_of(self.values.root(value)),
        };
        if width == Width::W64 {
            self.out.widen(vreg);
        }
        vreg
    }

    /// The same, but a constant gets a register that nobody else uses: for
    /// operands that are overwritten, or fixed by a convention.
    pub(super) fn own_reg(&mut self, value: Value, width: Width) -> VReg {
        let Some(constant) = self.constant(value) else {
            return self.reg(value, width);
        };
        let vreg = self.out.new_vreg();
        if width == Width::W64 {
            self.out.widen(vreg);
        }
        self.out.push(constant.inst(), &[Operand::reg_def(vreg)]);
        vreg
    }

    /// The register of a root.
    pub(super) fn vreg_of(&mut self, root: Value) -> VReg {
        match self.vregs[root] {
            Some(vreg) => vreg,
            None => {
                let vreg = self.out.new_vreg();
                self.vregs[root] = Some(vreg);
                vreg
            }
        }
    }

    /// Whether something selected already, that is to say later in the order of
    /// execution, needs the value in its register.
    pub(super) fn requested(&self, value: Value) -> bool {
        self.vregs[self.values.root(value)].is_some()
    }

    /// Whether the value is (very likely) still needed after this instruction.
    pub(super) fn stays_live(&self, value: Value) -> bool {
        let outside = || {
            let home = self.values.home(value);
            home.is_some_and(|home| self.order.depth(home) < self.depth)
        };
        self.requested(value) || (self.constant(value).is_none() && outside())
    }

    /// The instruction behind a value's root.
    pub(super) fn def(&self, value: Value) -> Option<&tailor_ir::InstData> {
        self.function.def(self.values.root(value))
    }

    /// The number that a value is, cut to the value's width.
    pub(super) fn number(&self, value: Value) -> Option<u64> {
        let number = self.function.constant(self.values.root(value))?;
        Some(number & (u64::MAX >> (64 - self.function.ty(value).bits())))
    }

    /// The immediate that stands for a value in an operation of that width.
    pub(super) fn immediate(&self, value: Value, width: Width) -> Option<i32> {
        let number = self.number(value)?;
        match width {
            Width::W32 => Some(number as u32 as i32),
            Width::W64 => i32::try_from(number as i64).ok(),
        }
    }

    /// The constant that a value is.
    pub(super) fn constant(&self, value: Value) -> Option<Constant> {
        if let Some(number) = self.number(value) {
            return Some(Constant::Imm(number));
        }
        let data = self.def(value)?;
        Some(match (data.op, data.payload) {
            (Opcode::MapAddr, Payload::Map(map)) => Constant::Symbol(Symbol::Map(map)),
            (Opcode::MapValue, Payload::MapValue { map, offset }) => {
                Constant::Symbol(Symbol::MapValue(map, offset))
            }
            (Opcode::FuncAddr, Payload::Func(func)) => Constant::Symbol(Symbol::Entry(func)),
            (Opcode::StackAddr, Payload::Slot { slot, offset }) => Constant::Slot(slot, offset),
            _ => return None,
        })
    }

    /// A register with a constant, from a use nearby if there is one.
    pub(super) fn shared_constant(&mut self, constant: Constant) -> VReg {
        let position = self.out.position();
        if let Some(&index) = self.constants.active.get(&constant)
            && position - self.constants.all[index].last <= WINDOW
        {
            self.constants.touched.push(index);
            return self.constants.all[index].vreg;
        }
        let vreg = self.out.new_vreg();
        let index = self.constants.all.len();
        self.constants.all.push(Shared { constant, vreg, first: position, last: position });
        self.constants.active.insert(constant, index);
        self.constants.touched.push(index);
        vreg
    }

    /// Ends the current sequence of instructions.
    pub(super) fn finish_sequence(&mut self) {
        self.out.finish_sequence();
        for index in self.constants.touched.drain(..) {
            self.constants.all[index].first = self.out.position();
        }
    }

    /// From here on up, constants get other registers.
    pub(super) fn forget_constants(&mut self) {
        self.constants.active.clear();
    }

    /// Makes the constants of the block.
    pub(super) fn place_constants(&mut self) {
        for shared in self.constants.all.drain(..) {
            let def = [Operand::reg_def(shared.vreg)];
            self.out.insert(shared.first, shared.constant.inst(), &def);
        }
        self.constants.active.clear();
    }

    /// The value as right-hand side: immediate, load or register.
    pub(super) fn right(&mut self, value: Value, width: Width) -> Right {
        if let Some(imm) = self.immediate(value, width) {
            return Right { rhs: Rhs::Imm(imm), operands: smallvec![] };
        }
        self.right_rm(value, width)
    }

    /// The value as right-hand side that is not an immediate.
    pub(super) fn right_rm(&mut self, value: Value, width: Width) -> Right {
        if let Some(load) = self.foldable_operand(value, width) {
            let (mem, regs) = self.address(load.address, load.offset);
            return Right { rhs: Rhs::Mem(mem), operands: regs };
        }
        let vreg = self.reg(value, width);
        Right { rhs: Rhs::Reg, operands: smallvec![Operand::any_use(vreg)] }
    }

    /// The load behind a value, if only this use wants it and memory cannot have
    /// changed in between.
    pub(super) fn foldable_load(&self, value: Value) -> Option<FoldedLoad> {
        let root = self.values.root(value);
        let ValueDef::Result(inst) = self.function.values[root].def else {
            return None;
        };
        let foldable = self.values.uses(root) == 1
            && self.values.epoch(inst) == self.epoch
            && !self.requested(root);
        if foldable { self.load_of(inst) } else { None }
    }

    /// The same, where memory holds all bits of an operand of that width.
    pub(super) fn foldable_operand(&self, value: Value, width: Width) -> Option<FoldedLoad> {
        let bytes = if width == Width::W32 { 4 } else { 8 };
        let load = self.foldable_load(value)?;
        (load.size.bytes() >= bytes).then_some(load)
    }

    pub(super) fn load_of(&self, inst: Inst) -> Option<FoldedLoad> {
        let data = &self.function.insts[inst];
        match (data.op, data.payload) {
            (Opcode::Load | Opcode::Sload, Payload::Mem { offset, size, .. }) => Some(FoldedLoad {
                address: data.args[0],
                offset,
                size: size.min(Size::of(data.ty)),
                signed: data.op == Opcode::Sload,
                ty: data.ty,
            }),
            _ => None,
        }
    }
}

impl Constant {
    /// The instruction that makes it.
    fn inst(self) -> MInst {
        match self {
            Constant::Imm(number) => MInst::Imm(number),
            Constant::Symbol(symbol) => MInst::Addr(symbol),
            Constant::Slot(slot, disp) => {
                MInst::Lea(Width::W64, Mem { base: Base::Slot(slot), index: None, disp })
            }
        }
    }
}
