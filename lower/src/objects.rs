//! Which stack objects are live together.
//!
//! Problem: objects that never hold data at the same time can share memory, and
//! more than half of what real frames need is objects.
//! Idea: an object is live where something may have been written to it and may
//! still be read. Both are found by flow analysis over its accesses: direct
//! ones, and those through registers that may hold its address. Which those
//! are is found first, regardless of flow: an address is made by `Lea`, goes
//! through moves, arithmetic and block parameters, and nowhere else; one that
//! is stored in memory or handed to someone who may keep it is lost track of,
//! and its object is live from then on.
//! Invariants: a write that nobody reads is a write all the same, so whatever
//! an instruction accesses interferes with what is live around it. Calls may
//! read and write what they are given addresses in. The result of a call is no
//! address in the frame (a verifier refuses to return one), nor is what is
//! loaded, unless an address was stored, which counts as lost.

use cranelift_entity::EntityRef;
use regalloc2::{Block, OperandKind, VReg};
use tailor_ir::StackSlot;

use crate::x64::inst::{Base, Mem, Rhs};
use crate::{MInst, MachFunction, Role};

/// A set of stack objects by number. Functions with more than [`MOST`] are not analysed.
type Set = u64;

/// Objects that are told apart.
const MOST: usize = Set::BITS as usize;

/// For each object, those that are live together with it.
#[derive(Clone, Debug, Default)]
pub struct Interference {
    /// `None` if all of them are.
    with: Option<Vec<Set>>,
}

impl Interference {
    /// Whether two objects must not share memory.
    pub fn between(&self, a: StackSlot, b: StackSlot) -> bool {
        let set = |with: &Vec<Set>| with[a.index()] >> b.index() & 1 == 1;
        a == b || self.with.as_ref().is_none_or(set)
    }
}

/// Finds out. `keeps` says of a helper that it may keep an address or hand it
/// to other code of the program.
pub fn interference(function: &MachFunction, keeps: &dyn Fn(u32) -> bool) -> Interference {
    let count = function.stack_slots.len();
    if count > MOST {
        return Interference::default();
    }
    let mut with = vec![0; count];
    if count > 1 {
        let flow = Flow::new(function, keeps);
        let mut last = 0;
        for live in flow.live() {
            if live != last {
                slots(live).for_each(|slot| with[slot] |= live);
                last = live;
            }
        }
    }
    Interference { with: Some(with) }
}

/// By instruction, the bytes of the objects that are live there; `None` where
/// they are too many to tell.
pub fn live_bytes(function: &MachFunction, keeps: &dyn Fn(u32) -> bool) -> Option<Vec<u32>> {
    let sizes: Vec<u32> = function.stack_slots.values().map(|slot| slot.size).collect();
    match sizes.len() {
        0 => Some(vec![0; function.insts.len()]),
        1..=MOST => {
            let bytes = |live: Set| slots(live).map(|slot| sizes[slot]).sum();
            Some(Flow::new(function, keeps).live().into_iter().map(bytes).collect())
        }
        _ => None,
    }
}

/// The members of a set.
fn slots(mut set: Set) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let slot = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (slot < MOST).then_some(slot)
    })
}

/// What an instruction does to objects.
#[derive(Clone, Copy, Default)]
struct Effect {
    /// May read.
    reads: Set,
    /// May write, or loses track of.
    writes: Set,
    /// Writes all of.
    fills: Set,
}

/// The solved flow problem.
struct Flow<'a> {
    function: &'a MachFunction,
    effects: Vec<Effect>,
    /// Objects whose addresses are lost track of.
    lost: Set,
    /// By block, at its start: may have been written.
    written: Vec<Set>,
    /// By block, at its end: may still be read.
    wanted: Vec<Set>,
}

impl<'a> Flow<'a> {
    fn new(function: &'a MachFunction, keeps: &dyn Fn(u32) -> bool) -> Flow<'a> {
        let addresses = Addresses::new(function, keeps);
        let effect = |inst| addresses.effect(function, inst);
        let mut flow = Flow {
            function,
            effects: (0..function.insts.len()).map(effect).collect(),
            lost: addresses.lost,
            written: vec![0; function.blocks.len()],
            wanted: vec![addresses.lost; function.blocks.len()],
        };
        flow.solve();
        flow
    }

    fn solve(&mut self) {
        let blocks = &self.function.blocks;
        let mut changed = true;
        while changed {
            changed = false;
            for (at, block) in blocks.iter().enumerate() {
                let effects = &self.effects[block.start as usize..block.end as usize];
                let end = effects.iter().fold(self.written[at], |set, effect| set | effect.writes);
                for succ in &block.succs {
                    changed |= add(&mut self.written[succ.index()], end);
                }
            }
            for (at, block) in blocks.iter().enumerate().rev() {
                let wanted = |succ: &Block| self.at_start(succ.index());
                let end = block.succs.iter().map(wanted).fold(0, |a, b| a | b);
                changed |= add(&mut self.wanted[at], end);
            }
        }
    }

    /// What may still be read at the start of a block.
    fn at_start(&self, block: usize) -> Set {
        let range = &self.function.blocks[block];
        let effects = &self.effects[range.start as usize..range.end as usize];
        effects.iter().rev().fold(self.wanted[block], |set, effect| self.before(set, effect))
    }

    fn before(&self, wanted: Set, effect: &Effect) -> Set {
        wanted & !effect.fills | effect.reads | self.lost
    }

    /// By instruction, the objects that are live there or accessed by it.
    fn live(&self) -> Vec<Set> {
        let mut live = vec![0; self.effects.len()];
        for (at, block) in self.function.blocks.iter().enumerate() {
            let range = block.start as usize..block.end as usize;
            let mut wanted = self.wanted[at];
            for inst in range.clone().rev() {
                // For now, what is wanted before or after it.
                live[inst] = wanted;
                wanted = self.before(wanted, &self.effects[inst]);
                live[inst] |= wanted;
            }
            let mut written = self.written[at];
            for inst in range {
                let effect = &self.effects[inst];
                written |= effect.writes;
                live[inst] = live[inst] & written | effect.reads | effect.writes;
            }
        }
        live
    }
}

/// Adds to a set, and says whether that changed it.
fn add(set: &mut Set, more: Set) -> bool {
    let old = *set;
    *set |= more;
    *set != old
}

/// Which registers may hold addresses of which objects.
struct Addresses {
    of: Vec<Set>,
    lost: Set,
    /// By instruction: addresses that are lost track of there.
    lost_at: Vec<Set>,
}

impl Addresses {
    fn new(function: &MachFunction, keeps: &dyn Fn(u32) -> bool) -> Addresses {
        let of = vec![0; function.vreg_bytes.len()];
        let lost_at = vec![0; function.insts.len()];
        let mut addresses = Addresses { of, lost: 0, lost_at };
        while addresses.propagate(function) {}
        for inst in 0..function.insts.len() {
            let lost = addresses.loses(function, inst, keeps);
            addresses.lost_at[inst] = lost;
            addresses.lost |= lost;
        }
        addresses
    }

    /// One round; says whether anything changed.
    fn propagate(&mut self, function: &MachFunction) -> bool {
        let mut changed = false;
        for inst in 0..function.insts.len() {
            let made = self.result(function, inst);
            if made != 0 {
                for operand in function.inst_operands(inst) {
                    if operand.kind() == OperandKind::Def {
                        changed |= add(&mut self.of[operand.vreg().vreg()], made);
                    }
                }
            }
        }
        for block in &function.blocks {
            if let [succ] = block.succs[..] {
                let params = &function.blocks[succ.index()].params;
                for (arg, param) in block.args.iter().zip(params) {
                    let made = self.of[arg.vreg()];
                    changed |= add(&mut self.of[param.vreg()], made);
                }
            }
        }
        changed
    }

    /// Objects whose addresses an instruction's results may be.
    fn result(&self, function: &MachFunction, inst: usize) -> Set {
        match &function.insts[inst] {
            MInst::Lea(_, mem) => base(mem) | self.held(function, inst, all(function, inst)),
            MInst::Args => 0,
            other => match function.info[inst].role {
                Role::Plain => self.held(function, inst, values(function, inst, other.mem())),
                _ => 0,
            },
        }
    }

    /// Objects whose addresses the uses among these operands may hold.
    fn held(&self, function: &MachFunction, inst: usize, range: std::ops::Range<usize>) -> Set {
        let operands = &function.inst_operands(inst)[range];
        let uses = operands.iter().filter(|operand| operand.kind() == OperandKind::Use);
        uses.map(|operand| self.address(operand.vreg())).fold(0, |a, b| a | b)
    }

    fn address(&self, vreg: VReg) -> Set {
        self.of[vreg.vreg()]
    }

    /// Objects whose addresses go where they cannot be followed.
    fn loses(&self, function: &MachFunction, inst: usize, keeps: &dyn Fn(u32) -> bool) -> Set {
        let everything = || self.held(function, inst, all(function, inst));
        match &function.insts[inst] {
            MInst::CallHelper(helper) if !keeps(*helper) => 0,
            other => match (other.mem(), function.info[inst].role) {
                // What only reads memory is one of these.
                (None, Role::Plain | Role::Branch) => 0,
                (Some(mem), _) if writes(other) => {
                    self.held(function, inst, values(function, inst, Some(mem)))
                }
                (Some(_), _) => 0,
                (None, _) => everything(),
            },
        }
    }

    fn effect(&self, function: &MachFunction, inst: usize) -> Effect {
        let mut effect = Effect { writes: self.lost_at[inst], ..Effect::default() };
        let code = &function.insts[inst];
        if let Some(mem) = code.mem() {
            let registers = values(function, inst, Some(mem)).end..all(function, inst).end;
            let accessed = base(mem) | self.held(function, inst, registers);
            if reads(code) {
                effect.reads |= accessed;
            }
            if writes(code) {
                effect.writes |= accessed;
                effect.fills |= filled(function, code, mem);
            }
        } else if matches!(function.info[inst].role, Role::CallC | Role::CallLocal | Role::TailCall)
        {
            let given = self.held(function, inst, all(function, inst));
            effect.reads |= given;
            effect.writes |= given;
        }
        effect
    }
}

/// All operands of an instruction.
fn all(function: &MachFunction, inst: usize) -> std::ops::Range<usize> {
    0..function.inst_operands(inst).len()
}

/// Its operands but for the registers of the memory operand, which come last.
fn values(function: &MachFunction, inst: usize, mem: Option<&Mem>) -> std::ops::Range<usize> {
    let registers =
        mem.map_or(0, |mem| usize::from(mem.base == Base::Reg) + usize::from(mem.index.is_some()));
    0..function.inst_operands(inst).len() - registers
}

/// The object that a memory operand starts from.
fn base(mem: &Mem) -> Set {
    match mem.base {
        Base::Slot(slot) => 1 << slot.index(),
        Base::Reg => 0,
    }
}

/// Whether an instruction with a memory operand writes it.
fn writes(inst: &MInst) -> bool {
    !matches!(
        inst,
        MInst::Load(..)
            | MInst::CmpMemImm(..)
            | MInst::TestMemImm(..)
            | MInst::Alu(_, _, Rhs::Mem(_))
            | MInst::Imul(_, Rhs::Mem(_))
            | MInst::Cmp(_, Rhs::Mem(_))
            | MInst::Test(_, Rhs::Mem(_))
    )
}

/// Whether it reads it.
fn reads(inst: &MInst) -> bool {
    !matches!(inst, MInst::Store(..) | MInst::StoreImm(..))
}

/// The object that a store overwrites wholly.
fn filled(function: &MachFunction, inst: &MInst, mem: &Mem) -> Set {
    let bytes = match inst {
        MInst::Store(bytes, _) | MInst::StoreImm(bytes, _, _) => u32::from(*bytes),
        _ => return 0,
    };
    match (mem.base, mem.index, mem.disp) {
        (Base::Slot(slot), None, 0) if bytes >= function.stack_slots[slot].size => base(mem),
        _ => 0,
    }
}
