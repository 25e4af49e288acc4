//! Reading an instruction's locations in the order of its operands.

use regalloc2::Allocation;
use tailor_lower::Gpr;
use tailor_lower::x64::inst;
use tailor_regalloc::FrameLayout;

use crate::EmitError;
use crate::asm::{Mem, Rm};

/// The locations of one instruction, from first to last.
pub(super) struct Operands<'a> {
    inst: usize,
    origin: u32,
    frame: &'a FrameLayout,
    rest: &'a [Allocation],
}

impl<'a> Operands<'a> {
    pub(super) fn new(
        inst: usize,
        origin: u32,
        frame: &'a FrameLayout,
        locations: &'a [Allocation],
    ) -> Operands<'a> {
        Operands { inst, origin, frame, rest: locations }
    }

    pub(super) fn broken<T>(&self, what: &'static str) -> Result<T, EmitError> {
        Err(EmitError::Broken { inst: self.inst as u32, origin: self.origin, what })
    }

    fn next(&mut self) -> Result<Allocation, EmitError> {
        let Some((&first, rest)) = self.rest.split_first() else {
            return self.broken("an operand is missing");
        };
        self.rest = rest;
        Ok(first)
    }

    /// One that must be in a register.
    pub(super) fn reg(&mut self) -> Result<Gpr, EmitError> {
        match self.next()?.as_reg() {
            Some(preg) => Ok(Gpr::from_preg(preg)),
            None => self.broken("an operand must be in a register"),
        }
    }

    /// One that must be in this register.
    pub(super) fn fixed(&mut self, reg: Gpr) -> Result<(), EmitError> {
        if self.reg()? == reg {
            Ok(())
        } else {
            self.broken("an operand is in another register than its fixed one")
        }
    }

    /// One that may be in a spill slot.
    pub(super) fn rm(&mut self) -> Result<Rm, EmitError> {
        let location = self.next()?;
        if let Some(preg) = location.as_reg() {
            Ok(Rm::Reg(Gpr::from_preg(preg)))
        } else if let Some(slot) = spill_slot(self.frame, location) {
            Ok(Rm::Mem(slot))
        } else {
            self.broken("an operand has no location")
        }
    }

    /// `d=s, s`: a definition and the use whose register it shares.
    pub(super) fn tied(&mut self) -> Result<Gpr, EmitError> {
        let def = self.reg()?;
        if self.reg()? == def {
            Ok(def)
        } else {
            self.broken("a definition does not share the register of its use")
        }
    }

    /// The memory operand, whose registers are next.
    pub(super) fn mem(&mut self, mem: &inst::Mem) -> Result<Mem, EmitError> {
        let (base, offset) = match mem.base {
            inst::Base::Reg => (self.reg()?, 0),
            inst::Base::Slot(slot) => (self.frame.base(), self.frame.slots[slot]),
        };
        let index = match mem.index {
            Some(shift) => Some((self.reg()?, shift)),
            None => None,
        };
        match offset.checked_add(mem.disp) {
            Some(disp) => Ok(Mem { base, index, disp }),
            None => self.broken("a displacement is beyond 32 bits"),
        }
    }

    /// The right-hand operand, unless it is an immediate.
    pub(super) fn rhs(&mut self, rhs: &inst::Rhs) -> Result<RhsRm, EmitError> {
        Ok(match rhs {
            inst::Rhs::Reg => RhsRm::Rm(self.rm()?),
            inst::Rhs::Mem(mem) => RhsRm::Rm(Rm::Mem(self.mem(mem)?)),
            inst::Rhs::Imm(imm) => RhsRm::Imm(*imm),
        })
    }
}

/// A right-hand operand with its location.
pub(super) enum RhsRm {
    Rm(Rm),
    Imm(i32),
}

/// The place of a spill slot.
pub(super) fn spill_slot(frame: &FrameLayout, location: Allocation) -> Option<Mem> {
    let slot = location.as_stack()?;
    let disp = frame.spills.get(slot.index())?;
    Some(Mem::new(frame.base(), *disp))
}
