//! Where a value is defined and used, and through which blocks it lives.
//!
//! Idea: few values live long, and of these few are worth a thought. So there is
//! no liveness of everything: definitions, uses and calls are listed once, and
//! the blocks that one value lives through are found by going back from its uses
//! to its definition.

use regalloc2::{OperandKind, VReg};
use tailor_lower::MachFunction;

/// A place in the listing: twice its number just before an instruction, one more
/// at the instruction. Arguments of a block are used at its end, parameters are
/// defined at its start.
pub(super) type Position = u32;

/// A use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub block: u32,
    pub position: Position,
    /// Which operand of the instruction; of the end of a block, which argument.
    pub index: u32,
}

impl Use {
    /// Whether it is an argument of its block, not an operand.
    pub fn is_argument(&self) -> bool {
        self.position.is_multiple_of(2)
    }

    /// The instruction, of an operand.
    pub fn inst(&self) -> usize {
        self.position as usize / 2
    }
}

/// Definitions, uses and calls of a function.
pub(super) struct Places {
    /// By virtual register: block and position of its definition.
    definitions: Vec<(u32, Position)>,
    /// By virtual register, where its uses start in `uses`.
    first: Vec<u32>,
    /// In the order of the listing for each register.
    uses: Vec<Use>,
    calls: Vec<Position>,
}

impl Places {
    /// Of a function; `None` if it calls nothing.
    pub fn new(function: &MachFunction) -> Option<Places> {
        let is_call = |inst: &usize| function.info[*inst].role.is_call();
        let calls = (0..function.insts.len()).filter(is_call).map(|inst| 2 * inst as u32 + 1);
        let calls: Vec<Position> = calls.collect();
        if calls.is_empty() {
            return None;
        }
        let count = function.vreg_bytes.len();
        let mut first = vec![0; count + 1];
        for_each_use(function, |vreg, _| first[vreg.vreg() + 1] += 1);
        for vreg in 0..count {
            first[vreg + 1] += first[vreg];
        }
        let mut next = first.clone();
        let mut uses = vec![Use { block: 0, position: 0, index: 0 }; first[count] as usize];
        for_each_use(function, |vreg, at| {
            uses[next[vreg.vreg()] as usize] = at;
            next[vreg.vreg()] += 1;
        });
        Some(Places { definitions: definitions(function), first, uses, calls })
    }

    /// Block and position of its definition.
    pub fn definition(&self, vreg: VReg) -> (u32, Position) {
        self.definitions[vreg.vreg()]
    }

    /// Its uses in the order of the listing.
    pub fn uses(&self, vreg: VReg) -> &[Use] {
        let vreg = vreg.vreg();
        &self.uses[self.first[vreg] as usize..self.first[vreg + 1] as usize]
    }

    /// Its first use at a position or behind it.
    pub fn next_use(&self, vreg: VReg, position: Position) -> Option<&Use> {
        let uses = self.uses(vreg);
        uses.get(uses.partition_point(|at| at.position < position))
    }

    /// Its last use before a position.
    pub fn last_use(&self, vreg: VReg, position: Position) -> Option<&Use> {
        let uses = self.uses(vreg);
        uses[..uses.partition_point(|at| at.position < position)].last()
    }

    /// The last call between two positions.
    pub fn last_call(&self, start: Position, end: Position) -> Option<Position> {
        let next = self.calls.partition_point(|&call| call < end);
        self.calls[..next].last().copied().filter(|&call| call > start)
    }
}

fn definitions(function: &MachFunction) -> Vec<(u32, Position)> {
    let mut definitions = vec![(0, 0); function.vreg_bytes.len()];
    for (number, block) in function.blocks.iter().enumerate() {
        for param in &block.params {
            definitions[param.vreg()] = (number as u32, 2 * block.start);
        }
        for inst in block.start..block.end {
            for operand in function.inst_operands(inst as usize) {
                if operand.kind() == OperandKind::Def {
                    definitions[operand.vreg().vreg()] = (number as u32, 2 * inst + 1);
                }
            }
        }
    }
    definitions
}

fn for_each_use(function: &MachFunction, mut note: impl FnMut(VReg, Use)) {
    for (number, block) in function.blocks.iter().enumerate() {
        let number = number as u32;
        for inst in block.start..block.end {
            for (index, operand) in function.inst_operands(inst as usize).iter().enumerate() {
                if operand.kind() == OperandKind::Use {
                    let position = 2 * inst + 1;
                    let index = index as u32;
                    note(operand.vreg(), Use { block: number, position, index });
                }
            }
        }
        for (index, &arg) in block.args.iter().enumerate() {
            let position = 2 * block.end;
            note(arg, Use { block: number, position, index: index as u32 });
        }
    }
}

/// The blocks that a value lives in: the one that defines it, then those at whose
/// start it lives, ascending. Sets of blocks are by place in this list.
pub(super) struct Range {
    pub blocks: Vec<u32>,
}

/// Which blocks a range has, for one range at a time.
pub(super) struct Index {
    /// By block, the number of the range that it was seen in last, and its place there.
    places: Vec<(u32, u32)>,
    range: u32,
}

impl Index {
    pub fn new(function: &MachFunction) -> Index {
        Index { places: vec![(0, 0); function.blocks.len()], range: 0 }
    }

    /// Turns to a range.
    pub fn turn_to(&mut self, range: &Range) {
        self.range += 1;
        for (place, &block) in range.blocks.iter().enumerate() {
            self.places[block as usize] = (self.range, place as u32);
        }
    }

    /// The place of a block at whose end or in which the value lives.
    pub fn place(&self, block: regalloc2::Block) -> Option<usize> {
        let (range, place) = self.places[block.index()];
        (range == self.range).then_some(place as usize)
    }

    /// The same of a block at whose start the value lives.
    pub fn place_from_start(&self, block: regalloc2::Block) -> Option<usize> {
        self.place(block).filter(|&place| place > 0)
    }
}

/// A walk from the uses of a value back to its definition.
pub(super) struct Walk {
    /// By block, the number of the walk that came there last, and from where: itself
    /// if it has a use that the definition reaches from outside.
    seen: Vec<(u32, u32)>,
    walk: u32,
    blocks: Vec<u32>,
}

impl Walk {
    pub fn new(function: &MachFunction) -> Walk {
        Walk { seen: vec![(0, 0); function.blocks.len()], walk: 0, blocks: Vec::new() }
    }

    /// Forgets the last walk.
    pub fn forget(&mut self) {
        self.walk += 1;
        self.blocks.clear();
    }

    /// Goes through the blocks of a value; stops at one that it lives through or at
    /// whose end it lives if `stop` says so, and returns that.
    pub fn start(
        &mut self,
        function: &MachFunction,
        places: &Places,
        vreg: VReg,
        mut stop: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let defined_in = places.definition(vreg).0;
        self.forget();
        for at in places.uses(vreg).iter().filter(|at| at.block != defined_in) {
            self.come(at.block, at.block);
        }
        let mut next = 0;
        while let Some(&block) = self.blocks.get(next) {
            next += 1;
            for pred in &function.blocks[block as usize].preds {
                let pred = pred.index() as u32;
                if pred != defined_in {
                    self.come(pred, block);
                }
                if stop(pred as usize) {
                    return Some(pred as usize);
                }
            }
        }
        None
    }

    fn come(&mut self, block: u32, from: u32) {
        let seen = &mut self.seen[block as usize];
        if seen.0 != self.walk {
            *seen = (self.walk, from);
            self.blocks.push(block);
        }
    }

    /// Whether the walk has seen that the value lives at the start of a block.
    pub fn has_seen(&self, block: usize) -> bool {
        self.seen[block].0 == self.walk
    }

    /// The next block on a way from the start of a block that the walk has seen to a
    /// use; `None` if the block has one.
    pub fn way_on(&self, block: usize) -> Option<usize> {
        let next = self.seen[block].1 as usize;
        (next != block).then_some(next)
    }

    /// What a walk to the end went through.
    pub fn range(&self, defined_in: u32) -> Range {
        let mut blocks = Vec::with_capacity(self.blocks.len() + 1);
        blocks.push(defined_in);
        blocks.extend_from_slice(&self.blocks);
        blocks[1..].sort_unstable();
        Range { blocks }
    }
}
