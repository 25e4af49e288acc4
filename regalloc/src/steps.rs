//! An allocated function, in the order in which it is executed.
//!
//! Problem: an allocation leaves instructions alone. Locations stand beside the
//! operands and moves beside the points between instructions, so whoever follows
//! values through locations has to weave all three together, forwards or backwards.
//! Idea: one view of the parts, which gives the steps of a block (an instruction or
//! a move each) from either end, and what a step reads and writes.
//! Invariants: moves at one point happen one after the other, in their order; all
//! that are before an instruction come ahead of it, and all that are after it
//! ahead of those before the next. An instruction reads all of its uses, then
//! destroys its clobbers, then writes all of its definitions. Early and late
//! positions change nothing about that: what is written early has no location in
//! common with what is used, nor what is used late with what is written or
//! destroyed, so no reader can tell.

use std::ops::Range;

use regalloc2::{Allocation, Edit, Inst, InstPosition, Operand, OperandKind, ProgPoint, VReg};
use tailor_lower::MachFunction;

use crate::placement::Placed;

/// A function with its locations and moves.
pub struct Located<'a> {
    /// The instructions.
    pub function: &'a MachFunction,
    /// One for each element of `MachFunction::operands`.
    pub locations: &'a [Allocation],
    /// Moves, ascending by the point at which they happen.
    pub edits: &'a [(ProgPoint, Edit)],
    /// Callee-saved registers that are saved by some of these moves, and that tail
    /// calls restore; none while that is not decided.
    pub placed: &'a [Placed],
    /// By block, its first move; then how many there are.
    first_moves: Vec<u32>,
}

/// What happens next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A move.
    Move {
        /// Its number among the edits.
        edit: usize,
        /// What it reads.
        from: Allocation,
        /// What it writes.
        to: Allocation,
    },
    /// The instruction of this number.
    Inst(usize),
}

impl<'a> Located<'a> {
    /// Puts the parts together.
    pub fn new(
        function: &'a MachFunction,
        locations: &'a [Allocation],
        edits: &'a [(ProgPoint, Edit)],
        placed: &'a [Placed],
    ) -> Located<'a> {
        let mut next = 0;
        let mut first_moves = Vec::with_capacity(function.blocks.len() + 1);
        first_moves.push(0);
        for block in &function.blocks {
            let end = ProgPoint::before(Inst::new(block.end as usize));
            next += edits[next..].iter().take_while(|(point, _)| *point < end).count();
            first_moves.push(next as u32);
        }
        Located { function, locations, edits, placed, first_moves }
    }

    /// What happens in a block, in order.
    pub fn steps(&self, block: usize) -> Steps<'a> {
        let range = &self.function.blocks[block];
        let insts = range.start as usize..range.end as usize;
        Steps { edits: self.edits, insts, moves: self.moves(block) }
    }

    /// The moves in a block, as numbers of edits.
    pub fn moves(&self, block: usize) -> Range<usize> {
        self.first_moves[block] as usize..self.first_moves[block + 1] as usize
    }

    /// The first instruction behind a step.
    pub fn next_inst(&self, step: Step) -> usize {
        match step {
            Step::Inst(inst) => inst + 1,
            Step::Move { edit, .. } => {
                let point = self.edits[edit].0;
                point.inst().index() + usize::from(point.pos() == InstPosition::After)
            }
        }
    }

    /// The instruction of a step: its own, or the one that a move is before or after.
    pub fn inst(&self, step: Step) -> usize {
        match step {
            Step::Inst(inst) => inst,
            Step::Move { edit, .. } => self.edits[edit].0.inst().index(),
        }
    }

    /// The virtual registers that an instruction uses, and where they are.
    pub fn uses(&self, inst: usize) -> impl Iterator<Item = (VReg, Allocation)> {
        self.values(inst, OperandKind::Use)
    }

    /// Those that it defines.
    pub fn defs(&self, inst: usize) -> impl Iterator<Item = (VReg, Allocation)> {
        self.values(inst, OperandKind::Def)
    }

    fn values(&self, inst: usize, kind: OperandKind) -> impl Iterator<Item = (VReg, Allocation)> {
        let these = self.operands(inst).filter(move |(operand, _)| operand.kind() == kind);
        these.map(|(operand, location)| (operand.vreg(), location))
    }

    /// The operands of an instruction as it lists them, and where they are.
    pub fn operands(&self, inst: usize) -> impl Iterator<Item = (Operand, Allocation)> {
        let operands = self.function.inst_operands(inst);
        let locations = &self.locations[self.function.info[inst].first as usize..];
        operands.iter().copied().zip(locations.iter().copied())
    }

    /// All locations that operands of these instructions of a block name, and moves
    /// before and after them, in no order.
    pub fn named_in(&self, block: usize, insts: Range<usize>) -> impl Iterator<Item = Allocation> {
        let first = |inst: usize| {
            let info = self.function.info.get(inst);
            info.map_or(self.locations.len(), |info| info.first as usize)
        };
        let operands = self.locations[first(insts.start)..first(insts.end)].iter().copied();
        let moves = &self.edits[self.moves(block)];
        let before =
            |inst| moves.partition_point(|(at, _)| *at < ProgPoint::before(Inst::new(inst)));
        let moves = moves[before(insts.start)..before(insts.end)].iter();
        operands.chain(moves.flat_map(|(_, Edit::Move { from, to })| [*from, *to]))
    }
}

/// The steps of a block, from both ends.
#[derive(Clone)]
pub struct Steps<'a> {
    edits: &'a [(ProgPoint, Edit)],
    insts: Range<usize>,
    moves: Range<usize>,
}

impl Steps<'_> {
    fn moved(&self, edit: usize) -> Step {
        let Edit::Move { from, to } = self.edits[edit].1;
        Step::Move { edit, from, to }
    }
}

impl Iterator for Steps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let is_first = |point| {
            self.insts.is_empty() || point <= ProgPoint::before(Inst::new(self.insts.start))
        };
        match self.moves.is_empty() || !is_first(self.edits[self.moves.start].0) {
            true => self.insts.next().map(Step::Inst),
            false => self.moves.next().map(|edit| self.moved(edit)),
        }
    }
}

impl DoubleEndedIterator for Steps<'_> {
    fn next_back(&mut self) -> Option<Step> {
        let is_last = |point| {
            self.insts.is_empty() || point >= ProgPoint::after(Inst::new(self.insts.end - 1))
        };
        match self.moves.is_empty() || !is_last(self.edits[self.moves.end - 1].0) {
            true => self.insts.next_back().map(Step::Inst),
            false => self.moves.next_back().map(|edit| self.moved(edit)),
        }
    }
}
