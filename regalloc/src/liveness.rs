//! Which virtual registers live where.
//!
//! Problem: several analyses ask what lives at the ends of blocks, and around
//! instructions.
//! Idea: most virtual registers live in one block only. The others get numbers,
//! and from each block that uses one without having defined it, all paths
//! backwards are followed up to the definition, or to where that was done
//! before, which takes as many steps as the result has members. Within a block,
//! what lives follows from one walk over its instructions, backwards.
//! Invariant: what is passed to a block's parameters lives at the end of the
//! block that passes it, and parameters do not live at the start of their own.
//! Source: Boissinot and others, "Computing liveness sets for SSA-form
//! programs", 2011, by variable.

use regalloc2::{Block, OperandKind, VReg};
use tailor_lower::MachFunction;

/// More bits than this are not spent on sets.
const MOST_BITS: usize = 1 << 31;

/// What lives at the starts and ends of blocks.
pub struct Liveness {
    /// Those that live in more than one block.
    vregs: Vec<VReg>,
    /// By virtual register, its place in `vregs`; [`LOCAL`] for others.
    numbers: Vec<u32>,
    /// By block, a row of `words` words.
    at_start: Vec<u64>,
    words: usize,
}

const LOCAL: u32 = u32::MAX;

impl Liveness {
    /// Finds out; `None` if the function is too large to tell.
    pub fn new(function: &MachFunction) -> Option<Liveness> {
        Liveness::of(function, |_| true)
    }

    /// The same for some of the virtual registers; others do not live in more than
    /// one block, as far as this knows.
    pub fn of(function: &MachFunction, wanted: impl Fn(VReg) -> bool) -> Option<Liveness> {
        let mut live = Liveness {
            vregs: Vec::new(),
            numbers: vec![LOCAL; function.vreg_bytes.len()],
            at_start: Vec::new(),
            words: 0,
        };
        // With the blocks that use them without having defined them.
        let mut exposed = Vec::new();
        let mut defined_in = vec![u32::MAX; function.vreg_bytes.len()];
        for block in 0..function.blocks.len() {
            for_each_event(function, block, |event, vreg| match event {
                OperandKind::Def => defined_in[vreg.vreg()] = block as u32,
                OperandKind::Use => {
                    if defined_in[vreg.vreg()] != block as u32 && wanted(vreg) {
                        exposed.push((block, live.number(vreg)));
                    }
                }
            });
        }
        live.words = live.vregs.len().div_ceil(64);
        let words = live.words.checked_mul(function.blocks.len())?;
        if words > MOST_BITS / 64 {
            return None;
        }
        live.at_start = vec![0; words];
        let mut work = Vec::new();
        for (block, number) in exposed {
            let home = defined_in[live.vregs[number as usize].vreg()];
            work.push(block);
            while let Some(block) = work.pop() {
                if live.mark(block, number) {
                    let preds = function.blocks[block].preds.iter().map(|pred| pred.index());
                    work.extend(preds.filter(|&pred| pred as u32 != home));
                }
            }
        }
        Some(live)
    }

    /// Notes that one lives at the start of a block; whether that is new.
    fn mark(&mut self, block: usize, number: u32) -> bool {
        let word = &mut self.at_start[block * self.words + number as usize / 64];
        let old = *word;
        *word |= 1 << (number % 64);
        *word != old
    }

    fn number(&mut self, vreg: VReg) -> u32 {
        let number = &mut self.numbers[vreg.vreg()];
        if *number == LOCAL {
            *number = self.vregs.len() as u32;
            self.vregs.push(vreg);
        }
        *number
    }

    /// Whether it lives at the start of a block.
    pub fn is_live_at_start(&self, block: Block, vreg: VReg) -> bool {
        let number = self.numbers[vreg.vreg()] as usize;
        let word = block.index() * self.words + number / 64;
        number != LOCAL as usize && self.at_start[word] >> (number % 64) & 1 == 1
    }

    /// Whether it lives at the end of a block.
    pub fn is_live_at_end(&self, function: &MachFunction, block: Block, vreg: VReg) -> bool {
        let block = &function.blocks[block.index()];
        block.args.contains(&vreg)
            || block.succs.iter().any(|&succ| self.is_live_at_start(succ, vreg))
    }

    /// All that live at the start of a block.
    pub fn at_start(&self, block: Block) -> impl Iterator<Item = VReg> {
        let row = block.index() * self.words;
        let words = self.at_start[row..row + self.words].iter().enumerate();
        words.flat_map(move |(word, &bits)| {
            let bits = std::iter::successors(Some(bits), |bits| Some(bits & bits.wrapping_sub(1)));
            let bits = bits.take_while(|bits| *bits != 0);
            bits.map(move |bits| self.vregs[64 * word + bits.trailing_zeros() as usize])
        })
    }

    /// Makes `live` what lives at the end of a block.
    pub fn at_end(&self, function: &MachFunction, block: Block, live: &mut Live) {
        live.clear();
        let block = &function.blocks[block.index()];
        for &succ in &block.succs {
            self.at_start(succ).for_each(|vreg| live.insert(vreg));
        }
        block.args.iter().for_each(|&arg| live.insert(arg));
    }

    /// Visits the instructions of a block, the last first, with what must be
    /// kept while they execute: at calls what lives across, elsewhere what lives
    /// before or after (two visits). `live` may hold anything.
    pub fn for_each_point(
        &self,
        function: &MachFunction,
        block: Block,
        live: &mut Live,
        mut visit: impl FnMut(usize, &Live),
    ) {
        self.at_end(function, block, live);
        let range = &function.blocks[block.index()];
        for inst in (range.start as usize..range.end as usize).rev() {
            let is_call = function.info[inst].role.is_call();
            if !is_call {
                visit(inst, live);
            }
            live.undefine(function, inst);
            if is_call {
                visit(inst, live);
            }
            live.demand(function, inst);
            if !is_call {
                visit(inst, live);
            }
        }
    }
}

/// Definitions and uses of a block in order.
fn for_each_event(function: &MachFunction, block: usize, mut event: impl FnMut(OperandKind, VReg)) {
    let block = &function.blocks[block];
    block.params.iter().for_each(|&param| event(OperandKind::Def, param));
    for inst in block.start as usize..block.end as usize {
        let operands = function.inst_operands(inst);
        for kind in [OperandKind::Use, OperandKind::Def] {
            let these = operands.iter().filter(|operand| operand.kind() == kind);
            these.for_each(|operand| event(kind, operand.vreg()));
        }
    }
    block.args.iter().for_each(|&arg| event(OperandKind::Use, arg));
}

/// The virtual registers that live at some point: a set that is cleared,
/// counted and listed in the time that its members take (Briggs and Torczon,
/// "An efficient representation for sparse sets", 1993).
pub struct Live {
    members: Vec<VReg>,
    /// By virtual register, where it would be in `members`.
    places: Vec<u32>,
}

impl Live {
    /// Nothing; for use with this function.
    pub fn new(function: &MachFunction) -> Live {
        Live { members: Vec::new(), places: vec![0; function.vreg_bytes.len()] }
    }

    /// Whether it lives.
    pub fn contains(&self, vreg: VReg) -> bool {
        self.members.get(self.places[vreg.vreg()] as usize) == Some(&vreg)
    }

    /// All that live, in any order.
    pub fn members(&self) -> &[VReg] {
        &self.members
    }

    /// Adds one.
    pub fn insert(&mut self, vreg: VReg) {
        if !self.contains(vreg) {
            self.places[vreg.vreg()] = self.members.len() as u32;
            self.members.push(vreg);
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, vreg: VReg) {
        if self.contains(vreg) {
            let place = self.places[vreg.vreg()] as usize;
            self.members.swap_remove(place);
            if let Some(moved) = self.members.get(place) {
                self.places[moved.vreg()] = place as u32;
            }
        }
    }

    fn clear(&mut self) {
        self.members.clear();
    }

    /// Takes out what an instruction defines.
    pub fn undefine(&mut self, function: &MachFunction, inst: usize) {
        for operand in function.inst_operands(inst) {
            if operand.kind() == OperandKind::Def {
                self.remove(operand.vreg());
            }
        }
    }

    /// Adds what an instruction uses.
    pub fn demand(&mut self, function: &MachFunction, inst: usize) {
        for operand in function.inst_operands(inst) {
            if operand.kind() == OperandKind::Use {
                self.insert(operand.vreg());
            }
        }
    }
}
