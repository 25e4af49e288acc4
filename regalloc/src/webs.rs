//! Spill slots taken apart.
//!
//! Problem: the allocator gives one slot to several values that do not live
//! together. Where slots are placed in memory, such a slot is one thing that
//! interferes with all that any of its values lives together with, though
//! others could have shared better.
//! Idea: what is written to a slot and what is read from it belong together if
//! one reaches the other; the classes of that relation (webs) are slots of their
//! own, and placing finds out anew which of them share memory.
//! Invariants: every read finds what it found before. What reads a slot that
//! nothing wrote keeps a web of its own.
//! Source: webs are Chaitin's right number of names (1982).

use regalloc2::{Allocation, Edit, Inst, OperandKind, ProgPoint, SpillSlot};
use tailor_lower::MachFunction;
use tailor_lower::objects::{MOST, Set};

/// Gives each web of the `slots` slots a slot of its own, unless that makes more
/// than [`MOST`], with the function's objects. Returns how many slots there are.
pub fn separate(
    function: &MachFunction,
    locations: &mut [Allocation],
    edits: &mut [(ProgPoint, Edit)],
    slots: usize,
) -> usize {
    let most = MOST.saturating_sub(function.stack_slots.len());
    if slots == 0 || slots > most {
        return slots;
    }
    let mut accesses = Accesses { function, locations, edits };
    let live = accesses.live_at_starts();
    let mut webs = Webs::default();
    let starts: Vec<Vec<usize>> =
        live.iter().map(|_| (0..slots).map(|_| webs.add()).collect()).collect();
    // The web of each access, in their order.
    let mut found = Vec::new();
    for block in 0..function.blocks.len() {
        let mut current = starts[block].clone();
        accesses.for_each(block, |kind, slot| {
            if kind == OperandKind::Def {
                current[slot.index()] = webs.add();
            }
            found.push(current[slot.index()]);
            slot
        });
        for succ in function.blocks[block].succs.iter().map(|succ| succ.index()) {
            for slot in (0..slots).filter(|slot| live[succ] >> slot & 1 == 1) {
                webs.join(current[slot], starts[succ][slot]);
            }
        }
    }
    let (numbers, count) = webs.number(found);
    if count > most {
        return slots;
    }
    let mut numbers = numbers.into_iter();
    for block in 0..function.blocks.len() {
        accesses.for_each(block, |_, slot| numbers.next().map_or(slot, SpillSlot::new));
    }
    count
}

/// All that reads or writes slots.
struct Accesses<'a> {
    function: &'a MachFunction,
    locations: &'a mut [Allocation],
    edits: &'a mut [(ProgPoint, Edit)],
}

impl Accesses<'_> {
    /// Visits those of a block in the order in which they happen. Each may be given
    /// another slot.
    fn for_each(
        &mut self,
        block: usize,
        mut visit: impl FnMut(OperandKind, SpillSlot) -> SpillSlot,
    ) {
        let mut visit = |kind, location: &mut Allocation| {
            if let Some(slot) = location.as_stack() {
                *location = Allocation::stack(visit(kind, slot));
            }
        };
        let range = &self.function.blocks[block];
        let first = ProgPoint::before(Inst::new(range.start as usize));
        let mut edit = self.edits.partition_point(|(point, _)| *point < first);
        for inst in range.start as usize..range.end as usize {
            let at = Inst::new(inst);
            let info = &self.function.info[inst];
            let first = info.first as usize;
            let locations = &mut self.locations[first..first + usize::from(info.count)];
            let operands = self.function.inst_operands(inst);
            for half in [ProgPoint::before(at), ProgPoint::after(at)] {
                while let Some((_, Edit::Move { from, to })) =
                    self.edits.get_mut(edit).filter(|(point, _)| *point <= half)
                {
                    visit(OperandKind::Use, from);
                    visit(OperandKind::Def, to);
                    edit += 1;
                }
                if half == ProgPoint::after(at) {
                    continue;
                }
                for kind in [OperandKind::Use, OperandKind::Def] {
                    let these = operands.iter().zip(locations.iter_mut());
                    let these = these.filter(|(operand, _)| operand.kind() == kind);
                    these.for_each(|(_, location)| visit(kind, location));
                }
            }
        }
    }

    /// By block, the slots that may be read before they are written.
    fn live_at_starts(&mut self) -> Vec<Set> {
        let blocks = self.function.blocks.len();
        let (mut live, mut written) = (vec![0; blocks], vec![0; blocks]);
        for block in 0..blocks {
            self.for_each(block, |kind, slot| {
                let slot_set: Set = 1 << slot.index();
                match kind {
                    OperandKind::Use => live[block] |= slot_set & !written[block],
                    OperandKind::Def => written[block] |= slot_set,
                }
                slot
            });
        }
        let mut changed = true;
        while changed {
            changed = false;
            for (block, data) in self.function.blocks.iter().enumerate().rev() {
                let end = data.succs.iter().fold(0, |end, succ| end | live[succ.index()]);
                let start = live[block] | end & !written[block];
                changed |= std::mem::replace(&mut live[block], start) != start;
            }
        }
        live
    }
}

/// Classes of what reaches each other.
#[derive(Default)]
struct Webs {
    /// Another one of the same class, or itself.
    others: Vec<usize>,
}

impl Webs {
    fn add(&mut self) -> usize {
        self.others.push(self.others.len());
        self.others.len() - 1
    }

    fn find(&mut self, mut web: usize) -> usize {
        while self.others[web] != web {
            self.others[web] = self.others[self.others[web]];
            web = self.others[web];
        }
        web
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.others[a] = b;
    }

    /// Numbers the classes of these, in the order of the first of each. Returns
    /// the number of each, and how many there are.
    fn number(&mut self, mut webs: Vec<usize>) -> (Vec<usize>, usize) {
        let mut numbers = vec![None; self.others.len()];
        let mut count = 0;
        for web in &mut webs {
            let class = self.find(*web);
            *web = *numbers[class].get_or_insert_with(|| {
                count += 1;
                count - 1
            });
        }
        (webs, count)
    }
}
