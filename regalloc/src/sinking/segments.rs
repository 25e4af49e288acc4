//! One walk over all accesses of slots.

use regalloc2::{
    Allocation, Edit, Inst, Operand, OperandConstraint, OperandKind, OperandPos, ProgPoint,
};
use smallvec::SmallVec;
use tailor_lower::Gpr;
use tailor_lower::objects::{MOST, Set};

use super::held::{Held, at_starts, members, pass, slot};
use crate::locations::Access;
use crate::steps::{Located, Step};

/// A store that could be made.
#[derive(Clone, Copy)]
pub(super) struct Store {
    /// The move that it comes before.
    pub(super) before: usize,
    /// Where.
    pub(super) point: ProgPoint,
    /// What is stored.
    pub(super) from: Gpr,
}

/// Who gave a slot what it holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It had it at the start of the block.
    Start,
    /// A move from a register.
    Move,
    /// An instruction that writes into the slot, or a move that is not looked into.
    Fixed,
}

/// A part of a block in which a slot holds one thing.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub(super) slot: usize,
    pub(super) block: usize,
    pub(super) origin: Origin,
    /// The latest store that makes the slot hold it wherever it must; `None` if it
    /// must from the start of the segment.
    pub(super) store: Option<Store>,
    /// The slot must hold it somewhere in the segment.
    pub(super) needed: bool,
    /// A register is like the slot up to here (at last, to the end of the block).
    pub(super) open: bool,
    /// It lasts until the end of the block.
    pub(super) at_end: bool,
}

/// What is found of an allocation.
pub(super) struct Found {
    /// Those at the start or the end of a block, and none of those that a slot
    /// must hold something in throughout.
    pub(super) segments: Vec<Segment>,
    /// Stores that are needed inside of blocks, with the slots.
    pub(super) stores: Vec<(usize, Store)>,
    /// By block, the slots that must hold something at its start.
    pub(super) live: Vec<Set>,
    /// By move, what becomes of it; stores of registers go.
    pub(super) moves: Vec<Option<Edit>>,
    /// Operands that are read in registers now, with their places in the list.
    pub(super) operands: Vec<(usize, Allocation)>,
}

/// Looks at everything.
pub(super) fn find(located: &Located, slots: usize) -> Found {
    let blocks = located.function.blocks.len();
    let mut finder = Finder {
        located,
        current: vec![None; slots.min(MOST)],
        begun: 0,
        read: vec![0; blocks],
        written: vec![0; blocks],
        found: Found {
            segments: Vec::new(),
            stores: Vec::new(),
            live: Vec::new(),
            moves: located.edits.iter().map(|(_, edit)| Some(edit.clone())).collect(),
            operands: Vec::new(),
        },
    };
    for (block, start) in at_starts(located).into_iter().enumerate() {
        // Nothing leads to a block that was not reached: it stays as it is.
        if let Some(held) = start {
            finder.block(block, held);
        }
    }
    finder.live();
    finder.found
}

struct Finder<'a> {
    located: &'a Located<'a>,
    /// By slot, the segment that goes on; `None` if it must have held something
    /// since the start of the block.
    current: Vec<Option<Segment>>,
    /// The slots with such a segment.
    begun: Set,
    /// By block, the slots that are read before anything is put there.
    read: Vec<Set>,
    written: Vec<Set>,
    found: Found,
}

impl Finder<'_> {
    fn block(&mut self, block: usize, mut held: Held) {
        for slot in members(held.slots()) {
            self.begin(block, slot, Origin::Start);
        }
        let located = self.located;
        let mut next_move = located.moves(block).start;
        let mut end = None;
        for step in located.steps(block) {
            let place = match step {
                Step::Move { edit, .. } => (edit, located.edits[edit].0),
                Step::Inst(inst) => (next_move, ProgPoint::before(Inst::new(inst))),
            };
            next_move += usize::from(matches!(step, Step::Move { .. }));
            end = Some(place);
            self.reads(block, &held, step, place);
            let changed = self.written(&held, step);
            pass(located, step, &mut held, |from, lost| {
                members(lost).for_each(|slot| self.close(Some(from), slot, place));
            });
            for (slot, origin) in changed {
                self.write(block, slot, origin);
            }
        }
        for slot in members(std::mem::take(&mut self.begun)) {
            let Some(mut segment) = self.current[slot].take() else { continue };
            segment.at_end = true;
            if let (true, Some(from), Some((before, point))) =
                (segment.open, held.holder(slot), end)
            {
                segment.store = Some(Store { before, point, from });
            }
            self.found.segments.push(segment);
        }
    }

    fn begin(&mut self, block: usize, slot: usize, origin: Origin) {
        let open = origin != Origin::Fixed;
        self.begun |= 1 << slot;
        self.current[slot] =
            Some(Segment { slot, block, origin, store: None, needed: false, open, at_end: false });
    }

    /// From here on the slot itself must hold it, if anybody wants it.
    fn close(&mut self, holder: Option<Gpr>, slot: usize, (before, point): (usize, ProgPoint)) {
        if let Some(segment) = &mut self.current[slot]
            && std::mem::take(&mut segment.open)
        {
            segment.store = holder.map(|from| Store { before, point, from });
        }
    }

    fn need(&mut self, block: usize, held: &Held, slot: usize, place: (usize, ProgPoint)) {
        self.close(held.holder(slot), slot, place);
        if let Some(segment) = &mut self.current[slot] {
            segment.needed = true;
        }
        self.read[block] |= 1 << slot & !self.written[block];
    }

    /// Reads of slots become reads of registers that are like them.
    fn reads(&mut self, block: usize, held: &Held, step: Step, place: (usize, ProgPoint)) {
        match step {
            Step::Move { edit, from, to } if held.are_alike(from, to) => {
                self.found.moves[edit] = None;
            }
            Step::Move { edit, from, to } => {
                let Some(slot) = slot(from) else { return };
                match held.holder(slot) {
                    Some(reg) => {
                        let from = Allocation::reg(reg.preg());
                        self.found.moves[edit] = Some(Edit::Move { from, to });
                    }
                    None => self.need(block, held, slot, place),
                }
            }
            Step::Inst(inst) => {
                let first = self.located.function.info[inst].first as usize;
                for (number, (operand, location)) in self.located.operands(inst).enumerate() {
                    let slot = slot(location).filter(|_| operand.kind() == OperandKind::Use);
                    let Some(slot) = slot else { continue };
                    match held.holder(slot).filter(|reg| self.may_read(inst, operand, *reg)) {
                        Some(reg) => {
                            let location = Allocation::reg(reg.preg());
                            self.found.operands.push((first + number, location));
                        }
                        None => self.need(block, held, slot, place),
                    }
                }
            }
        }
    }

    /// Whether an operand may be in a register, which the instruction leaves alone
    /// until it has read all.
    fn may_read(&self, inst: usize, operand: Operand, reg: Gpr) -> bool {
        let early = |operand: &Operand| operand.pos() == OperandPos::Early;
        let written = self.located.operands(inst).any(|(other, at)| {
            other.kind() == OperandKind::Def && early(&other) && at == Allocation::reg(reg.preg())
        });
        let free = operand.constraint() == OperandConstraint::Any && early(&operand);
        free && !written && reg != Gpr::SCRATCH
    }

    /// The slots that get something else.
    fn written(&mut self, held: &Held, step: Step) -> SmallVec<[(usize, Origin); 1]> {
        match step {
            Step::Move { from, to, .. } if held.are_alike(from, to) => SmallVec::new(),
            Step::Move { edit, from, to } => {
                let slot = slot(to);
                let origin = if from.is_reg() { Origin::Move } else { Origin::Fixed };
                if slot.is_some() && origin == Origin::Move {
                    self.found.moves[edit] = None;
                }
                slot.map(|slot| (slot, origin)).into_iter().collect()
            }
            Step::Inst(_) => {
                let slots = members(Access::of(self.located, step).writes.slots);
                slots.map(|slot| (slot, Origin::Fixed)).collect()
            }
        }
    }

    fn write(&mut self, block: usize, slot: usize, origin: Origin) {
        self.written[block] |= 1 << slot;
        match self.current[slot].take() {
            Some(Segment { origin: Origin::Move, needed: true, store: Some(store), .. }) => {
                self.found.stores.push((slot, store));
            }
            Some(segment) if segment.origin == Origin::Start && segment.needed => {
                self.found.segments.push(segment);
            }
            _ => {}
        }
        self.begin(block, slot, origin);
    }

    /// Backwards, which slots must hold something.
    fn live(&mut self) {
        let blocks = &self.located.function.blocks;
        let mut live = std::mem::take(&mut self.read);
        let mut changed = true;
        while changed {
            changed = false;
            for (block, data) in blocks.iter().enumerate().rev() {
                let end = data.succs.iter().fold(0, |end, succ| end | live[succ.index()]);
                let start = live[block] | end & !self.written[block];
                changed |= std::mem::replace(&mut live[block], start) != start;
            }
        }
        self.found.live = live;
    }
}
