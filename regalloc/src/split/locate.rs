//! Where an allocation keeps a value while a call is executed.
//!
//! Idea: operands say where values are at instructions, and from the next use
//! behind the call the moves lead back to it.

use regalloc2::{Allocation, Edit, Inst, ProgPoint, VReg};
use smallvec::SmallVec;
use tailor_lower::MachFunction;

use super::ranges::{Places, Position, Walk};
use crate::allocate::Candidate;

/// A question about a value, for which a walk was made if it lives in several blocks.
pub(super) struct Locator<'a> {
    pub function: &'a MachFunction,
    pub places: &'a Places,
    pub allocated: &'a Candidate,
}

impl Locator<'_> {
    /// The register or slot of a value during the last call of a block that it
    /// lives across; `None` if that cannot be told.
    pub fn at_call(&self, vreg: VReg, block: usize, walk: Option<&Walk>) -> Option<Allocation> {
        let data = &self.function.blocks[block];
        let succs = data.succs.iter().map(|succ| succ.index());
        let next = walk.and_then(|walk| succs.into_iter().find(|&succ| walk.has_seen(succ)));
        let end = match next {
            Some(_) => 2 * data.end + 1,
            None => self.places.last_use(vreg, 2 * data.end + 1)?.position,
        };
        let call = self.places.last_call(2 * data.start, end)?;
        let mut way = vec![block];
        let mut used = self.used_in(vreg, block, call);
        while used.is_none() {
            let next = match way.len() {
                1 => next?,
                _ => walk?.way_on(way[way.len() - 1])?,
            };
            way.push(next);
            used = self.used_in(vreg, next, 2 * self.function.blocks[next].start);
        }
        let used = used.filter(|at| !at.is_argument())?;
        let operand = self.function.info[used.inst()].first + used.index;
        let mut location = self.allocated.output.allocs[operand as usize];
        let mut end = ProgPoint::after(Inst::new(used.inst()));
        for (step, &block) in way.iter().enumerate().rev() {
            let start = match step {
                0 => ProgPoint::after(Inst::new(call as usize / 2)),
                _ => self.start_of(block),
            };
            location = self.before(location, start, end);
            if step > 0 {
                let last = self.function.blocks[way[step - 1]].end as usize;
                end = ProgPoint::before(Inst::new(last));
            }
        }
        Some(location)
    }

    fn start_of(&self, block: usize) -> ProgPoint {
        ProgPoint::before(Inst::new(self.function.blocks[block].start as usize))
    }

    /// The first use in a block from a position on.
    fn used_in(&self, vreg: VReg, block: usize, position: Position) -> Option<&super::ranges::Use> {
        self.places.next_use(vreg, position + 1).filter(|at| at.block as usize == block)
    }

    /// Where what is in a place now was before the moves from `start` on, `end`
    /// excluded.
    fn before(&self, now: Allocation, start: ProgPoint, end: ProgPoint) -> Allocation {
        let edits = &self.allocated.output.edits;
        let first = edits.partition_point(|(point, _)| *point < start);
        let moves = edits[first..].iter().take_while(|(point, _)| *point < end);
        let moves: SmallVec<[&Edit; 16]> = moves.map(|(_, edit)| edit).collect();
        moves.iter().rev().fold(now, |location, Edit::Move { from, to }| match *to == location {
            true => *from,
            false => location,
        })
    }
}
