//! One walk over all accesses of slots.

use regalloc2::{Allocation, Edit, Inst, OperandConstraint, OperandKind, OperandPos, ProgPoint};
use smallvec::SmallVec;
use tailor_lower::Gpr;
use tailor_lower::objects::{MOST, Set};

use super::held::{Event, Held, Walk, members, slot};

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
pub(super) fn find(walk: &Walk) -> Found {
    let blocks = walk.function.blocks.len();
    let mut finder = Finder {
        walk,
        current: vec![None; walk.output.num_spillslots.min(MOST)],
        read: vec![0; blocks],
        written: vec![0; blocks],
        found: Found {
            segments: Vec::new(),
            stores: Vec::new(),
            live: Vec::new(),
            moves: walk.output.edits.iter().map(|(_, edit)| Some(edit.clone())).collect(),
            operands: Vec::new(),
        },
    };
    for (block, start) in walk.solve().into_iter().enumerate() {
        // Nothing leads to a block that was not reached: it stays as it is.
        if let Some(held) = start {
            finder.block(block, held);
        }
    }
    finder.live();
    finder.found
}

struct Finder<'a> {
    walk: &'a Walk<'a>,
    /// By slot, the segment that goes on; `None` if it must have held something
    /// since the start of the block.
    current: Vec<Option<Segment>>,
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
        let walk = self.walk;
        let range = &walk.function.blocks[block];
        let mut next_move = self.walk.first_move(range.start);
        let mut end = None;
        for event in self.walk.events(block) {
            let place = match event {
                Event::Move(edit) => (edit, self.walk.output.edits[edit].0),
                Event::Inst(inst) => (next_move, ProgPoint::before(Inst::new(inst))),
            };
            next_move += usize::from(matches!(event, Event::Move(_)));
            end = Some(place);
            self.reads(block, &held, event, place);
            let changed = self.written(&held, event);
            walk.step(&mut held, event, |from, lost| {
                members(lost).for_each(|slot| self.close(Some(from), slot, place));
            });
            for (slot, origin) in changed {
                self.write(block, slot, origin);
            }
        }
        for slot in 0..self.current.len() {
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
    fn reads(&mut self, block: usize, held: &Held, event: Event, place: (usize, ProgPoint)) {
        match event {
            Event::Move(edit) => {
                let Edit::Move { from, to } = self.walk.output.edits[edit].1;
                if held.are_alike(from, to) {
                    self.found.moves[edit] = None;
                } else if let Some(slot) = slot(from) {
                    match held.holder(slot) {
                        Some(reg) => {
                            let from = Allocation::reg(reg.preg());
                            self.found.moves[edit] = Some(Edit::Move { from, to });
                        }
                        None => self.need(block, held, slot, place),
                    }
                }
            }
            Event::Inst(inst) => {
                let first = self.walk.function.info[inst].first as usize;
                for number in 0..self.walk.function.inst_operands(inst).len() {
                    let operand = self.walk.function.inst_operands(inst)[number];
                    let location = self.walk.output.allocs[first + number];
                    let Some(slot) = slot(location) else { continue };
                    if operand.kind() == OperandKind::Def {
                        continue;
                    }
                    let free = operand.constraint() == OperandConstraint::Any
                        && operand.pos() == OperandPos::Early;
                    let holder = held.holder(slot).filter(|_| free);
                    match holder.filter(|reg| self.may_read(inst, *reg)) {
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

    /// Whether an instruction leaves a register alone until it has read all.
    fn may_read(&self, inst: usize, reg: Gpr) -> bool {
        let operands = self.walk.function.inst_operands(inst).iter();
        let locations = &self.walk.output.allocs[self.walk.function.info[inst].first as usize..];
        let early = operands.zip(locations).filter(|(operand, _)| {
            operand.kind() == OperandKind::Def && operand.pos() == OperandPos::Early
        });
        reg != Gpr::SCRATCH && early.map(|(_, at)| *at).all(|at| at != Allocation::reg(reg.preg()))
    }

    /// The slots that get something else.
    fn written(&mut self, held: &Held, event: Event) -> SmallVec<[(usize, Origin); 1]> {
        match event {
            Event::Move(edit) => {
                let Edit::Move { from, to } = self.walk.output.edits[edit].1;
                let slot = slot(to).filter(|_| !held.are_alike(from, to));
                let origin = if from.is_reg() { Origin::Move } else { Origin::Fixed };
                if slot.is_some() && origin == Origin::Move {
                    self.found.moves[edit] = None;
                }
                slot.map(|slot| (slot, origin)).into_iter().collect()
            }
            Event::Inst(inst) => {
                let slots = self.walk.locations(inst, OperandKind::Def).filter_map(slot);
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
        let blocks = &self.walk.function.blocks;
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
