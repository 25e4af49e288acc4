//! Editing a machine function.
//!
//! Problem: what changes a function before allocation puts instructions in,
//! takes others out, and gives uses other registers, while all instructions,
//! operands and blocks are in flat lists.
//! Idea: edits are collected, and one pass makes the new lists. Until then every
//! number is that of the function before the edits: an instruction keeps its
//! number whatever is put in before it. Registers of operands and arguments are
//! changed at once.
//! Invariants, asserted in debug builds: an instruction that changes the flags
//! does not come between a comparison and its jump; what is taken out or made
//! again is pure; a block's predecessors pass as many arguments as it has
//! parameters.

use regalloc2::{Block, Operand, OperandKind, PRegSet, RegClass, VReg};
use smallvec::SmallVec;

use crate::mach::{InstInfo, MachBlock, MachFunction, Role};
use crate::x64::inst::{Extend, Flags, MInst, Width};

/// A place between instructions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place(u32);

impl Place {
    /// Just before an instruction, behind whatever stands after the one before it.
    pub fn before(inst: usize) -> Place {
        Place(2 * inst as u32)
    }

    /// Just after an instruction, which is not the last of its block.
    pub fn after(inst: usize) -> Place {
        Place(2 * inst as u32 + 1)
    }

    /// The number of instructions in front of it.
    fn inst(self) -> usize {
        self.0.div_ceil(2) as usize
    }

    /// The role of the instruction that it is just after.
    fn ended_by(self, function: &MachFunction) -> Option<Role> {
        (self.0 % 2 == 1).then(|| function.info[self.0 as usize / 2].role)
    }
}

/// An instruction to be put in.
struct Inserted {
    place: Place,
    inst: MInst,
    operands: SmallVec<[Operand; 4]>,
    origin: u32,
    recomputed: bool,
}

/// Collects edits to a function.
pub struct Editor {
    function: MachFunction,
    inserted: Vec<Inserted>,
    /// By instruction; empty if none is.
    removed: Vec<bool>,
}

impl Editor {
    /// No edits yet.
    pub fn new(function: MachFunction) -> Editor {
        Editor { function, inserted: Vec::new(), removed: Vec::new() }
    }

    /// The function with the numbers of before, and registers as they are now.
    pub fn function(&self) -> &MachFunction {
        &self.function
    }

    /// The first place in a block at which all that it is entered with is there.
    pub fn start_of(&self, block: Block) -> Place {
        let first = self.function.blocks[block.index()].start as usize;
        match self.function.insts[first] {
            MInst::Args => Place::after(first),
            _ => Place::before(first),
        }
    }

    /// The last place in a block at which flags may be changed: before its
    /// branch, and the comparison that the branch waits for.
    pub fn end_of(&self, block: Block) -> Place {
        let branch = self.function.blocks[block.index()].end as usize - 1;
        Place::before(self.function.comparison(block).unwrap_or(branch))
    }

    /// A new virtual register, of which so many bytes (4 or 8) are meaningful.
    pub fn new_vreg(&mut self, bytes: u8) -> VReg {
        self.function.vreg_bytes.push(bytes);
        VReg::new(self.function.vreg_bytes.len() - 1, RegClass::Int)
    }

    /// Puts in an instruction without effects and clobbers. It counts as coming
    /// from the bytecode instruction that the next one comes from.
    pub fn insert(&mut self, place: Place, inst: MInst, operands: &[Operand]) {
        let origin = self.function.info[place.inst()].origin;
        self.insert_from(place, inst, operands, origin, false);
    }

    fn insert_from(
        &mut self,
        place: Place,
        inst: MInst,
        operands: &[Operand],
        origin: u32,
        recomputed: bool,
    ) {
        debug_assert!(
            !matches!(
                place.ended_by(&self.function),
                Some(Role::Branch | Role::Return | Role::Trap)
            ),
            "{place:?} is behind the end of a block"
        );
        debug_assert!(
            inst.flags() == Flags::Keeps || !self.function.flags_awaited(place.inst()),
            "{inst:?} would change flags that the branch after {place:?} waits for"
        );
        let operands = SmallVec::from_slice(operands);
        self.inserted.push(Inserted { place, inst, operands, origin, recomputed });
    }

    /// Copies a register into a new one.
    pub fn copy(&mut self, place: Place, from: VReg) -> VReg {
        let to = self.new_vreg(self.function.vreg_bytes[from.vreg()]);
        let operands = [Operand::reg_def(to), Operand::reg_use(from)];
        self.insert(place, MInst::Mov(Width::W64), &operands);
        to
    }

    /// The same from wherever the allocator keeps it, a slot included.
    pub fn load_or_copy(&mut self, place: Place, from: VReg) -> VReg {
        let bytes = self.function.vreg_bytes[from.vreg()];
        let to = self.new_vreg(bytes);
        let extend = if bytes == 8 { Extend::None64 } else { Extend::Zero32 };
        let operands = [Operand::reg_def(to), Operand::any_use(from)];
        self.insert(place, MInst::Ext(extend), &operands);
        to
    }

    /// Executes a pure instruction with one result again, into a new register.
    /// `input` says which register stands in for each that it uses. What only
    /// takes the instruction's place is not `recomputed`.
    pub fn compute_again(
        &mut self,
        place: Place,
        inst: usize,
        recomputed: bool,
        mut input: impl FnMut(VReg) -> VReg,
    ) -> VReg {
        let code = self.function.insts[inst];
        debug_assert!(code.is_pure(), "{code:?} is not to be executed again");
        let mut operands = SmallVec::<[Operand; 4]>::from_slice(self.function.inst_operands(inst));
        let mut result = VReg::invalid();
        for operand in &mut operands {
            let vreg = match operand.kind() {
                OperandKind::Use => input(operand.vreg()),
                OperandKind::Def => {
                    debug_assert_eq!(result, VReg::invalid(), "{code:?} has two results");
                    result = self.new_vreg(self.function.vreg_bytes[operand.vreg().vreg()]);
                    result
                }
            };
            *operand = with_vreg(*operand, vreg);
        }
        let origin = self.function.info[inst].origin;
        self.insert_from(place, code, &operands, origin, recomputed);
        result
    }

    /// Takes out an instruction without effects, whose results nobody uses any more.
    pub fn remove(&mut self, inst: usize) {
        debug_assert!(self.function.insts[inst].is_pure(), "what is taken out has effects");
        self.removed.resize(self.function.insts.len(), false);
        self.removed[inst] = true;
    }

    /// Gives an operand of an instruction another register.
    pub fn set_operand(&mut self, inst: usize, operand: usize, vreg: VReg) {
        let at = self.function.info[inst].first as usize + operand;
        let old = &mut self.function.operands[at];
        *old = with_vreg(*old, vreg);
    }

    /// Passes another register for parameter number `position` of the successor.
    pub fn set_argument(&mut self, block: Block, position: usize, vreg: VReg) {
        self.function.blocks[block.index()].args[position] = vreg;
    }

    /// Gives a block one more parameter; returns its register and its position.
    /// Each predecessor's argument remains to be set. The block has
    /// predecessors, each of which has no other successor.
    pub fn add_parameter(&mut self, block: Block, bytes: u8) -> (VReg, usize) {
        let param = self.new_vreg(bytes);
        let blocks = &mut self.function.blocks;
        let position = blocks[block.index()].params.len();
        blocks[block.index()].params.push(param);
        debug_assert!(block.index() != 0, "the entry has no parameters");
        for pred in blocks[block.index()].preds.clone() {
            let pred = &mut blocks[pred.index()];
            debug_assert_eq!(pred.succs.len(), 1, "arguments on a critical edge");
            pred.args.push(VReg::invalid());
        }
        (param, position)
    }

    /// The function with all edits.
    pub fn finish(self) -> MachFunction {
        let Editor { mut function, mut inserted, removed } = self;
        // Stable: of those at one place the first stays first.
        inserted.sort_by_key(|inserted| inserted.place);
        let mut inserted = inserted.into_iter().peekable();
        let total = function.insts.len() + inserted.len();
        let mut lists = Lists {
            insts: Vec::with_capacity(total),
            info: Vec::with_capacity(total),
            operands: Vec::with_capacity(function.operands.len() + 2 * inserted.len()),
        };
        let mut blocks = std::mem::take(&mut function.blocks);
        for block in &mut blocks {
            let old = block.start as usize..block.end as usize;
            block.start = lists.insts.len() as u32;
            for inst in old {
                while let Some(new) = inserted.next_if(|new| new.place <= Place::before(inst)) {
                    lists.put(new);
                }
                if !removed.get(inst).is_some_and(|&removed| removed) {
                    lists.keep(&function, inst);
                }
            }
            block.end = lists.insts.len() as u32;
        }
        let Lists { insts, info, operands } = lists;
        function = MachFunction { insts, info, operands, blocks, ..function };
        debug_assert!(inserted.peek().is_none(), "an insertion after the last instruction");
        debug_assert!(function.blocks.iter().all(|block| arguments_fit(&function, block)));
        function
    }
}

/// The new lists.
struct Lists {
    insts: Vec<MInst>,
    info: Vec<InstInfo>,
    operands: Vec<Operand>,
}

impl Lists {
    fn put(&mut self, new: Inserted) {
        self.info.push(InstInfo {
            first: self.operands.len() as u32,
            count: new.operands.len() as u16,
            role: Role::Plain,
            clobbers: PRegSet::empty(),
            origin: new.origin,
            recomputed: new.recomputed,
        });
        self.insts.push(new.inst);
        self.operands.extend(new.operands);
    }

    fn keep(&mut self, function: &MachFunction, inst: usize) {
        let first = self.operands.len() as u32;
        self.info.push(InstInfo { first, ..function.info[inst].clone() });
        self.insts.push(function.insts[inst]);
        self.operands.extend_from_slice(function.inst_operands(inst));
    }
}

/// Whether a block passes a register for each parameter of its successor.
fn arguments_fit(function: &MachFunction, block: &MachBlock) -> bool {
    let params = match block.succs[..] {
        [succ] => function.blocks[succ.index()].params.len(),
        _ => 0,
    };
    block.args.len() == params && !block.args.contains(&VReg::invalid())
}

fn with_vreg(operand: Operand, vreg: VReg) -> Operand {
    Operand::new(vreg, operand.constraint(), operand.kind(), operand.pos())
}
