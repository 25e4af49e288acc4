//! That no half of a value is read that was lost on the way.
//!
//! Problem: the allocator's moves may leave the upper half of a value behind, and
//! slots may be of four bytes, where nobody reads more. That follows from an
//! analysis from uses backwards, which could be wrong.
//! Idea: forwards, on all paths: which registers and slots hold half a value. A
//! move of four bytes leaves half a value, a move of eight passes on what is
//! there, a definition makes a whole one. A use of a virtual register that
//! counts in eight bytes must find a whole one; so must what reads eight bytes
//! of a slot, nor is more written into a slot than it has; and a caller's register
//! that moves have saved comes back whole.
//! It finds moves in its own way, so as not to share a fault with what it proves.

use regalloc2::{Allocation, Edit, Inst, OperandKind, ProgPoint};
use tailor_lower::{MachFunction, Role};
use tailor_regalloc::Allocated;

use super::IntentError;

/// By location, registers first, whether half a value is there.
type Halves = Vec<bool>;

const REGISTERS: usize = 16;

/// Proves it.
pub(super) fn check(function: &MachFunction, allocated: &Allocated) -> Result<(), IntentError> {
    if !allocated.narrow.contains(&true) && !allocated.frame.spill_bytes.contains(&4) {
        return Ok(());
    }
    let slots = allocated.frame.spills.len();
    let check = Check { function, allocated };
    let mut starts = vec![None; function.blocks.len()];
    let mut work = vec![0];
    if let Some(entry) = starts.first_mut() {
        *entry = Some(vec![false; REGISTERS + slots]);
    }
    while let Some(block) = work.pop() {
        let Some(mut halves) = starts[block].clone() else { continue };
        check.block(block, &mut halves)?;
        for succ in function.blocks[block].succs.iter().map(|succ| succ.index()) {
            if join(&mut starts[succ], &halves) {
                work.push(succ);
            }
        }
    }
    Ok(())
}

/// Adds what may be half on another path; says whether that is new.
fn join(start: &mut Option<Halves>, more: &Halves) -> bool {
    let Some(start) = start else {
        *start = Some(more.clone());
        return true;
    };
    let mut changed = false;
    for (old, &new) in start.iter_mut().zip(more) {
        changed |= new && !*old;
        *old |= new;
    }
    changed
}

struct Check<'a> {
    function: &'a MachFunction,
    allocated: &'a Allocated,
}

impl Check<'_> {
    fn block(&self, block: usize, halves: &mut Halves) -> Result<(), IntentError> {
        let data = &self.function.blocks[block];
        for inst in data.start as usize..data.end as usize {
            self.moves(ProgPoint::before(Inst::new(inst)), halves)?;
            self.inst(inst, halves)?;
            self.moves(ProgPoint::after(Inst::new(inst)), halves)?;
        }
        Ok(())
    }

    fn moves(&self, point: ProgPoint, halves: &mut Halves) -> Result<(), IntentError> {
        let edits = &self.allocated.edits;
        let first = edits.partition_point(|(at, _)| *at < point);
        let here = edits[first..].iter().take_while(|(at, _)| *at == point);
        for (number, (_, Edit::Move { from, to })) in here.enumerate() {
            let bytes = self.allocated.move_bytes(first + number);
            for at in [from, to] {
                if self.slot_bytes(*at) < bytes {
                    return fail(point.inst().index(), "a move within its slot");
                }
            }
            let half = bytes < 8 || index(*from).is_some_and(|from| halves[from]);
            // What is moved onto itself stays as it is: no code is made for it.
            if let Some(to) = index(*to)
                && Some(to) != index(*from)
            {
                halves[to] = half;
            }
        }
        Ok(())
    }

    fn inst(&self, inst: usize, halves: &mut Halves) -> Result<(), IntentError> {
        let info = &self.function.info[inst];
        if info.role.leaves() {
            self.left(inst, halves)?;
        }
        let operands = self.function.inst_operands(inst);
        let locations = &self.allocated.locations[info.first as usize..];
        for kind in [OperandKind::Use, OperandKind::Def] {
            let these = operands.iter().zip(locations).filter(|(op, _)| op.kind() == kind);
            for (operand, &at) in these {
                let Some(place) = index(at) else { continue };
                if kind == OperandKind::Def {
                    let written =
                        if at.is_stack() { self.function.slot_bytes(inst).min(8) } else { 0 };
                    if written > self.slot_bytes(at) {
                        return fail(inst, "a result within its slot");
                    }
                    halves[place] = false;
                    continue;
                }
                let counts = self.function.vreg_bytes[operand.vreg().vreg()] > 4;
                let read = if at.is_stack() { self.function.slot_bytes(inst) } else { 0 };
                if halves[place] && (counts || read > 4) || read > self.slot_bytes(at) {
                    return fail(inst, "a whole value");
                }
            }
        }
        Ok(())
    }

    /// What callers get back, in registers or from the slots that tail calls
    /// restore them from.
    fn left(&self, inst: usize, halves: &Halves) -> Result<(), IntentError> {
        let restored = self.allocated.restored_at(inst).map(|placed| placed.slot);
        let returns = matches!(self.function.info[inst].role, Role::Return | Role::Trap);
        let kept = self.allocated.placed.iter().filter(|_| returns);
        let mut places = kept.map(|placed| Allocation::reg(placed.reg.preg())).chain(restored);
        match places.any(|at| index(at).is_some_and(|at| halves[at]) || self.slot_bytes(at) < 8) {
            true => fail(inst, "a whole register of the caller's"),
            false => Ok(()),
        }
    }

    /// Bytes that a location has.
    fn slot_bytes(&self, at: Allocation) -> u32 {
        let bytes =
            at.as_stack().and_then(|slot| self.allocated.frame.spill_bytes.get(slot.index()));
        bytes.map_or(8, |&bytes| bytes.into())
    }
}

fn index(at: Allocation) -> Option<usize> {
    let slot = || at.as_stack().map(|slot| REGISTERS + slot.index());
    at.as_reg().map(|reg| reg.hw_enc()).or_else(slot)
}

fn fail(inst: usize, wanted: &str) -> Result<(), IntentError> {
    Err(IntentError {
        at: 0,
        what: format!("{inst}"),
        wanted: wanted.into(),
        found: "half of one".into(),
    })
}
