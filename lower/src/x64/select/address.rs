//! Addressing modes.
//!
//! Problem: cover the sum behind an address, or behind an addition, with one
//! memory operand: base + index << scale + displacement.
//!
//! Idea: the sum is taken apart into terms, from its root down. Constants go
//! into the displacement, a stack slot becomes the base, a shift by up to 3 the
//! index; other terms are registers. A part is only taken apart where that
//! costs nothing: nobody else needs it in a register, or what it is made of is
//! live anyway.
//!
//! Invariants: there are never more than two terms that need the base or the
//! index, so that a sum always fits; at most [`STEPS`] parts are looked at, so
//! that chains of additions cost linear time. Only parts of the same width are
//! taken apart: a 32-bit sum wraps before it is widened.

use regalloc2::{Operand, VReg};
use smallvec::{SmallVec, smallvec};
use tailor_ir::{Opcode, Payload, StackSlot, Type, Value};

use super::Selector;
use super::operands::Constant;
use crate::x64::inst::{Base, Mem, Symbol, Width};

/// How many parts of a sum are looked at.
const STEPS: usize = 16;

/// Displacements within a frame stay far from overflowing when the frame's own are added.
const SLOT_DISP: i64 = 1 << 30;

/// What a term of a sum is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Term {
    /// A value in its register.
    Value(Value),
    /// `.0 << .1`, which is value `.2`.
    Shifted(Value, u8, Value),
    /// A constant in a register.
    Constant(Constant),
    /// A stack slot.
    Slot(StackSlot),
}

/// A sum of at most two terms and a displacement.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    pub terms: SmallVec<[Term; 2]>,
    pub disp: i32,
}

/// One step of taking a value apart.
enum Split {
    /// The value plus a number.
    Plus(Value, i64),
    /// Two values.
    Two(Value, Value),
    /// A term that is not taken apart any further, plus a number.
    Term(Term, i64),
    /// The number alone.
    Number(i64),
}

impl Selector<'_> {
    /// The memory operand for an access at `address + offset`, with its registers.
    pub(super) fn address(&mut self, address: Value, offset: i32) -> (Mem, SmallVec<[Operand; 2]>) {
        let mut sum = Sum { terms: smallvec![], disp: offset };
        self.take_apart(&mut sum, smallvec![address], Type::I64);
        let (mem, regs) = self.sum_operand(&sum, Width::W64);
        (mem, regs.into_iter().map(Operand::reg_use).collect())
    }

    /// The terms of the sum of some values (at most two) of a type.
    pub(super) fn sum(&self, values: &[Value], ty: Type) -> Sum {
        let mut sum = Sum { terms: smallvec![], disp: 0 };
        self.take_apart(&mut sum, SmallVec::from_slice(values), ty);
        sum
    }

    /// A memory operand that stands for a sum, with its registers.
    pub(super) fn sum_operand(&mut self, sum: &Sum, width: Width) -> (Mem, SmallVec<[VReg; 2]>) {
        let mut terms = sum.terms.clone();
        // The base comes first: a slot if there is one, else what has no shift.
        terms.sort_by_key(|term| match term {
            Term::Slot(_) => 0,
            Term::Value(_) | Term::Constant(_) => 1,
            Term::Shifted(..) => 2,
        });
        let mut mem = Mem { base: Base::Reg, index: None, disp: sum.disp };
        let mut regs = SmallVec::new();
        match terms.first().copied() {
            Some(Term::Slot(slot)) => mem.base = Base::Slot(slot),
            Some(Term::Value(value)) => regs.push(self.reg(value, width)),
            Some(Term::Constant(constant)) => regs.push(self.constant_reg(constant, width)),
            Some(Term::Shifted(_, _, whole)) => regs.push(self.reg(whole, width)),
            None => {
                let number = Constant::Imm(sum.disp as i64 as u64);
                regs.push(self.constant_reg(number, width));
                mem.disp = 0;
            }
        }
        let Some(index) = terms.get(1).copied() else {
            return (mem, regs);
        };
        mem.index = Some(0);
        regs.push(match index {
            Term::Value(value) => self.reg(value, width),
            Term::Constant(constant) => self.constant_reg(constant, width),
            Term::Shifted(value, shift, _) => {
                mem.index = Some(shift);
                self.reg(value, width)
            }
            Term::Slot(slot) => self.constant_reg(Constant::Slot(slot, 0), width),
        });
        (mem, regs)
    }

    fn constant_reg(&mut self, constant: Constant, width: Width) -> VReg {
        let vreg = self.shared_constant(constant);
        if width == Width::W64 {
            self.out.widen(vreg);
        }
        vreg
    }

    fn take_apart(&self, sum: &mut Sum, mut work: SmallVec<[Value; 2]>, ty: Type) {
        let mut steps = 0;
        while let Some(value) = work.pop() {
            steps += 1;
            let room = sum.terms.len() + work.len() == 0;
            let split = if steps > STEPS { None } else { self.split(value, ty, room) };
            if !split.is_some_and(|split| sum.absorb(split, &mut work, ty)) {
                sum.terms.push(Term::Value(value));
            }
        }
    }

    /// Takes a value apart, if that is worth it; into two only if there is room.
    fn split(&self, value: Value, ty: Type, room: bool) -> Option<Split> {
        if let Some(number) = self.number(value) {
            return Some(Split::Number(number as i64));
        }
        let data = self.def(value)?;
        if data.ty != ty || self.function.ty(value) != ty {
            return None;
        }
        let arg = |index: usize| data.args[index];
        let constant = |index: usize| self.number(data.args[index]).map(|n| n as i64);
        match (data.op, data.payload) {
            (Opcode::StackAddr, Payload::Slot { slot, offset }) => {
                Some(Split::Term(Term::Slot(slot), offset.into()))
            }
            (Opcode::MapValue, Payload::MapValue { map, offset }) => {
                // All accesses to one map share the address of its start.
                let start = Constant::Symbol(Symbol::MapValue(map, 0));
                Some(Split::Term(Term::Constant(start), offset.into()))
            }
            (Opcode::Iadd, _) => match (constant(0), constant(1)) {
                (_, Some(n)) => self.split_plus(value, arg(0), n),
                (Some(n), None) => self.split_plus(value, arg(1), n),
                (None, None) => self.split_two(value, arg(0), arg(1), room),
            },
            (Opcode::Isub, _) => self.split_plus(value, arg(0), constant(1)?.checked_neg()?),
            (Opcode::Shl, _) => {
                let shift = constant(1)? as u64 & u64::from(ty.bits() - 1);
                let free = self.values.uses(value) == 1
                    || (!self.requested(value) && self.stays_live(arg(0)));
                let fits = (1..=3).contains(&shift) && free;
                fits.then(|| Split::Term(Term::Shifted(arg(0), shift as u8, value), 0))
            }
            _ => None,
        }
    }

    fn split_plus(&self, whole: Value, part: Value, number: i64) -> Option<Split> {
        let worth = !self.requested(whole) || self.stays_live(part);
        worth.then_some(Split::Plus(part, number))
    }

    fn split_two(&self, whole: Value, a: Value, b: Value, room: bool) -> Option<Split> {
        let free = self.values.uses(whole) == 1
            || (!self.requested(whole) && self.stays_live(a) && self.stays_live(b));
        (room && free).then_some(Split::Two(a, b))
    }
}

impl Sum {
    /// Adds a number, if it still fits.
    pub(super) fn add(&mut self, number: i64, ty: Type) -> bool {
        let total = match ty {
            // Only the low half of the result counts.
            Type::I32 => Some(self.disp.wrapping_add(number as i32).into()),
            Type::I64 => i64::from(self.disp).checked_add(number),
        };
        let has_slot = self.terms.iter().any(|t| matches!(t, Term::Slot(_)));
        let limit = if has_slot { SLOT_DISP } else { 1 << 31 };
        match total {
            Some(total) if (-limit..limit).contains(&total) => {
                self.disp = total as i32;
                true
            }
            _ => false,
        }
    }

    /// Adds a part that was taken apart, unless its number does not fit.
    fn absorb(&mut self, split: Split, work: &mut SmallVec<[Value; 2]>, ty: Type) -> bool {
        match split {
            Split::Plus(value, number) => {
                let fits = self.add(number, ty);
                if fits {
                    work.push(value);
                }
                fits
            }
            Split::Two(a, b) => {
                work.extend([b, a]);
                true
            }
            Split::Term(term, number) => {
                self.terms.push(term);
                let fits = self.add(number, ty);
                if !fits {
                    self.terms.pop();
                }
                fits
            }
            Split::Number(number) => self.add(number, ty),
        }
    }
}
