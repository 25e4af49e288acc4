//! What each instruction does to stack objects.
//!
//! Problem: objects that never hold data at the same time can share memory, so
//! it must be known where each is read and written, directly or through
//! registers that may hold its address.
//! Idea: which registers may, is found first, regardless of flow: an address is
//! made by `Lea`, goes through moves, arithmetic and block parameters, and
//! nowhere else. One that is stored in memory or handed to someone who may keep
//! it is lost track of: from then on its object may be accessed anywhere.
//! Invariants: calls may read and write what they are given addresses in. The
//! result of a call is no address in the frame (a verifier refuses to return
//! one), nor is what is loaded, unless an address was stored, which counts as
//! lost.

use cranelift_entity::EntityRef;
use regalloc2::{OperandKind, VReg};

use crate::x64::inst::{Base, Mem, Rhs};
use crate::{MInst, MachFunction, Role};

/// A set of things in the frame by number: objects first.
pub type Set = u128;

/// Things that are told apart.
pub const MOST: usize = Set::BITS as usize;

/// What an instruction does to objects.
#[derive(Clone, Copy, Default, Debug)]
pub struct Effect {
    /// May read.
    pub reads: Set,
    /// May write, or loses track of.
    pub writes: Set,
    /// Writes all of, and does not read before.
    pub fills: Set,
}

/// What a function does to its objects.
#[derive(Clone, Debug)]
pub struct Accesses {
    /// By instruction.
    pub effects: Vec<Effect>,
    /// Objects whose addresses are lost track of.
    pub lost: Set,
}

/// Finds out; `None` for more than [`MOST`] objects. `keeps` says of a helper
/// that it may keep an address or hand it to other code of the program.
pub fn accesses(function: &MachFunction, keeps: &dyn Fn(u32) -> bool) -> Option<Accesses> {
    let insts = 0..function.insts.len();
    match function.stack_slots.len() {
        0 => Some(Accesses { effects: vec![Effect::default(); insts.len()], lost: 0 }),
        1..=MOST => {
            let addresses = Addresses::new(function, keeps);
            let effects = insts.map(|inst| addresses.effect(function, inst)).collect();
            Some(Accesses { effects, lost: addresses.lost })
        }
        _ => None,
    }
}

/// Adds to a set, and says whether that changed it.
pub fn add(set: &mut Set, more: Set) -> bool {
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
        } else if matches!(
            function.info[inst].role,
            Role::CallC | Role::CallLocal(_) | Role::TailCall
        ) {
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
