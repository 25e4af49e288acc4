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

use regalloc2::{Allocation, Edit, OperandKind, ProgPoint, SpillSlot};
use tailor_lower::MachFunction;
use tailor_lower::objects::MOST;

use crate::saves::Occupied;
use crate::steps::{Located, Step};

/// Where a slot is named: by an operand, or by a move as what it reads or writes.
#[derive(Clone, Copy)]
enum Site {
    Operand(usize),
    From(usize),
    To(usize),
}

/// Gives each web of the `slots` slots a slot of its own, unless that makes more
/// than [`MOST`], with the function's objects. Returns how many slots there are.
pub fn separate(
    function: &MachFunction,
    locations: &mut [Allocation],
    edits: &mut [(ProgPoint, Edit)],
    occupied: &Occupied,
    slots: usize,
) -> usize {
    let most = MOST.saturating_sub(function.stack_slots.len());
    if slots == 0 || slots > most {
        return slots;
    }
    let (sites, count) = webs(&Located::new(function, locations, edits, &[]), occupied, slots);
    if count > most {
        return slots;
    }
    for (site, web) in sites {
        let web = Allocation::stack(SpillSlot::new(web));
        match site {
            Site::Operand(at) => locations[at] = web,
            Site::From(edit) => {
                let Edit::Move { from, .. } = &mut edits[edit].1;
                *from = web;
            }
            Site::To(edit) => {
                let Edit::Move { to, .. } = &mut edits[edit].1;
                *to = web;
            }
        }
    }
    count
}

/// The web of each access to a slot, numbered in the order of layout, and how many
/// there are.
fn webs(located: &Located, occupied: &Occupied, slots: usize) -> (Vec<(Site, usize)>, usize) {
    let blocks = &located.function.blocks;
    let mut webs = Webs::default();
    let starts: Vec<Vec<usize>> =
        blocks.iter().map(|_| (0..slots).map(|_| webs.add()).collect()).collect();
    let mut found = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        let mut current = starts[number].clone();
        let mut access = |site: Site, kind: OperandKind, location: Allocation| {
            let Some(slot) = location.as_stack() else { return };
            if kind == OperandKind::Def {
                current[slot.index()] = webs.add();
            }
            found.push((site, current[slot.index()]));
        };
        for step in located.steps(number) {
            match step {
                Step::Move { edit, from, to } => {
                    access(Site::From(edit), OperandKind::Use, from);
                    access(Site::To(edit), OperandKind::Def, to);
                }
                Step::Inst(inst) => {
                    for kind in [OperandKind::Use, OperandKind::Def] {
                        let sites = located.function.info[inst].first as usize..;
                        let operands = sites.zip(located.operands(inst));
                        for (at, (operand, location)) in operands {
                            if operand.kind() == kind {
                                access(Site::Operand(at), kind, location);
                            }
                        }
                    }
                }
            }
        }
        for succ in block.succs.iter().map(|succ| succ.index()) {
            let live = occupied.live_slots(succ);
            for slot in (0..slots).filter(|slot| live >> slot & 1 == 1) {
                webs.join(current[slot], starts[succ][slot]);
            }
        }
    }
    webs.number(found)
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

    /// Puts numbers of classes in the place of these, in the order of the first of
    /// each. Returns how many there are, too.
    fn number(&mut self, mut webs: Vec<(Site, usize)>) -> (Vec<(Site, usize)>, usize) {
        let mut numbers = vec![None; self.others.len()];
        let mut count = 0;
        for (_, web) in &mut webs {
            let class = self.find(*web);
            *web = *numbers[class].get_or_insert_with(|| {
                count += 1;
                count - 1
            });
        }
        (webs, count)
    }
}
