//! Giving a value other names in a region.
//!
//! Problem: on every edge where a value enters or leaves a region it is copied,
//! and each use must name the copy, or the one of several, that reaches it.
//! Idea: the usual repair of SSA form. Blocks are visited in order until nothing
//! changes; what reaches a block is what all its predecessors deliver, or else a
//! new parameter, of which those that deliver something pass it. What comes back
//! along loops is not known at first and counts as agreeing; after a new
//! parameter all that was concluded is forgotten.
//! Invariants: only where the value lives is anything looked at, so no parameter
//! is unused; outside of the region no use names a copy made for it, nor the other
//! way round. There are no critical edges: a copy stands at the end of a block
//! with one successor, or at the start of one with one predecessor.
//! Source: as the construction of Braun et al. (CC 2013), with what they do to
//! incomplete parameters replaced by iteration.

use regalloc2::{Block, Operand, VReg};
use tailor_lower::MInst;
use tailor_lower::edit::{Editor, Place};
use tailor_lower::x64::inst::Width;

use super::ranges::{Index, Range, Use};

/// Names of the value in the blocks that it lives in, each at its place in the range.
struct Names<'a> {
    vreg: VReg,
    range: &'a Range,
    index: &'a Index,
    inside: &'a [bool],
    /// The copy at the block's start.
    at_start: Vec<Option<VReg>>,
    /// The copy at the block's end.
    at_end: Vec<Option<VReg>>,
    /// The new parameter, with its position.
    param: Vec<Option<(VReg, usize)>>,
    /// What the block starts with, if known.
    value: Vec<Option<VReg>>,
}

/// Splits a value: in the blocks `inside` of its range, and only there, other
/// registers hold it. `index` is turned to the range.
pub(super) fn split(
    editor: &mut Editor,
    vreg: VReg,
    range: &Range,
    index: &Index,
    uses: &[Use],
    inside: &[bool],
) {
    let none = vec![None; inside.len()];
    let mut names = Names {
        vreg,
        range,
        index,
        inside,
        at_start: none.clone(),
        at_end: none.clone(),
        param: vec![None; inside.len()],
        value: none,
    };
    names.make_copies(editor);
    while names.find_conflict(editor) {}
    names.insert_copies(editor);
    names.pass_arguments(editor);
    for at in uses {
        let block = Block::new(at.block as usize);
        if at.is_argument() {
            let name = names.passed(editor, block);
            editor.set_argument(block, at.index as usize, name);
        } else {
            editor.set_operand(at.inst(), at.index as usize, names.within(names.place(block)));
        }
    }
}

impl Names<'_> {
    fn place(&self, block: Block) -> usize {
        self.index.place(block).expect("the value lives there")
    }

    fn block(&self, place: usize) -> Block {
        Block::new(self.range.blocks[place] as usize)
    }

    fn bytes(&self, editor: &Editor) -> u8 {
        editor.function().vreg_bytes[self.vreg.vreg()]
    }

    /// A name for each copy on an edge into or out of the region. A value that is
    /// passed to a parameter outside leaves it too.
    fn make_copies(&mut self, editor: &mut Editor) {
        let bytes = self.bytes(editor);
        for from in 0..self.inside.len() {
            let succs = editor.function().blocks[self.block(from).index()].succs.clone();
            for &succ in &succs {
                let to = self.index.place_from_start(succ);
                let crosses = match to {
                    Some(to) => self.inside[from] != self.inside[to],
                    None => self.inside[from] && passes(editor, self.block(from), self.vreg),
                };
                if crosses {
                    let copy = Some(editor.new_vreg(bytes));
                    match to {
                        Some(to) if succs.len() > 1 => self.at_start[to] = copy,
                        _ => self.at_end[from] = copy,
                    }
                }
            }
        }
    }

    /// Finds out what reaches each block; stops at one that is reached by several
    /// names, and gives it a parameter.
    fn find_conflict(&mut self, editor: &mut Editor) -> bool {
        self.value.fill(None);
        self.value[0] = Some(self.vreg);
        let mut changed = true;
        while changed {
            changed = false;
            for place in 1..self.inside.len() {
                let mut name = self.at_start[place].or(self.param[place].map(|(param, _)| param));
                if name.is_none() {
                    let Ok(delivered) = self.delivered(editor, place) else {
                        let bytes = self.bytes(editor);
                        self.param[place] = Some(editor.add_parameter(self.block(place), bytes));
                        return true;
                    };
                    name = delivered;
                }
                changed |= self.value[place] != name;
                self.value[place] = name;
            }
        }
        false
    }

    /// What the predecessors deliver, as far as that is known; an error if they
    /// disagree.
    fn delivered(&self, editor: &Editor, place: usize) -> Result<Option<VReg>, ()> {
        let mut name = None;
        for &pred in &editor.function().blocks[self.block(place).index()].preds {
            match (name, self.at_end(self.place(pred))) {
                (_, None) => {}
                (None, delivered) => name = delivered,
                (Some(name), Some(delivered)) if name == delivered => {}
                _ => return Err(()),
            }
        }
        Ok(name)
    }

    /// The name with which a block ends.
    fn at_end(&self, place: usize) -> Option<VReg> {
        self.at_end[place].or(self.value[place])
    }

    /// The name that uses in a block see.
    fn within(&self, place: usize) -> VReg {
        self.value[place].expect("a use is reached by a definition")
    }

    /// The name that a block passes to a parameter that it passed the value to: one
    /// for inside only if the value is inside there too.
    fn passed(&self, editor: &Editor, block: Block) -> VReg {
        let place = self.place(block);
        let succ = editor.function().blocks[block.index()].succs[0];
        let stays = self.index.place_from_start(succ).is_some_and(|succ| self.inside[succ]);
        match self.inside[place] && !stays {
            true => self.at_end[place].expect("it was copied there"),
            false => self.within(place),
        }
    }

    fn insert_copies(&self, editor: &mut Editor) {
        for place in 0..self.inside.len() {
            let block = self.block(place);
            if let Some(copy) = self.at_start[place] {
                let pred = editor.function().blocks[block.index()].preds[0];
                let from = self.at_end(self.place(pred)).expect("it lives there");
                self.insert(editor, editor.start_of(block), copy, from, self.inside[place]);
            }
            if let Some(copy) = self.at_end[place] {
                let enters = !self.inside[place];
                self.insert(editor, editor.end_of(block), copy, self.within(place), enters);
            }
        }
    }

    /// A copy. The one of the two that is inside may be in memory: there it will be
    /// if no register is worth saving for it.
    fn insert(&self, editor: &mut Editor, at: Place, to: VReg, from: VReg, enters: bool) {
        let operands = match enters {
            true => [Operand::any_def(to), Operand::reg_use(from)],
            false => [Operand::reg_def(to), Operand::any_use(from)],
        };
        editor.insert(at, MInst::Mov(Width::W64), &operands);
    }

    fn pass_arguments(&self, editor: &mut Editor) {
        for place in 0..self.inside.len() {
            let Some((_, position)) = self.param[place] else { continue };
            for pred in editor.function().blocks[self.block(place).index()].preds.clone() {
                let name = self.at_end(self.place(pred)).expect("it lives there");
                editor.set_argument(pred, position, name);
            }
        }
    }
}

/// Whether a block passes a value to a parameter.
fn passes(editor: &Editor, block: Block, vreg: VReg) -> bool {
    editor.function().blocks[block.index()].args.contains(&vreg)
}
