//! The least that a function's frame can be.
//!
//! Problem: to say how close a frame is to the best possible, without knowing
//! how that would be reached.
//! Idea: at any point of the program, what lives there must be somewhere. The
//! bound is the most that does not fit in registers at some point: 8 bytes for
//! each 8, begun, of the widths of the values live there, and the bytes of the
//! memory objects live there. Left out are values that can be computed again
//! (constants, addresses, and pure expressions of values that live anyway) and
//! the most that fit in registers which cost nothing: at a call, none, as the
//! callee may change every register that need not be saved; elsewhere, all
//! caller-saved ones.
//! Invariants: it is computed before the allocator changes anything, and no
//! frame without its padding is smaller. What is recomputable follows from
//! definitions, which do not go round in circles: if every input of a value is
//! live or can be computed, so can it, whatever else is left out.
//! Source: the design's definition of `lower_bound_bytes`.

use regalloc2::{OperandKind, VReg};
use tailor_lower::{Gpr, MachFunction, Role, objects};

use crate::sharing::live_bytes;

/// More bits than this are not spent on liveness.
const MOST_BITS: usize = 1 << 31;

/// The least bytes of the function's frame, or `None` if it is too large to
/// tell. `keeps` says of a helper whether it may keep an address.
pub fn lower_bound(function: &MachFunction, keeps: &dyn Fn(u32) -> bool) -> Option<u32> {
    let vregs = function.vreg_bytes.len();
    if vregs.saturating_mul(function.blocks.len()) > MOST_BITS {
        return None;
    }
    let objects = live_bytes(function, &objects::accesses(function, keeps)?);
    let live = Liveness::new(function);
    let mut points = Points::new(function);
    let mut most = 0;
    for block in 0..function.blocks.len() {
        live.for_each_point(function, block, |inst, around| {
            let kind = function.info[inst].role;
            let is_call = matches!(kind, Role::CallC | Role::CallLocal);
            let free = if is_call { 0 } else { Gpr::CALLER_SAVED.len() + 1 };
            let values = points.stored(function, around, free);
            most = most.max(values.next_multiple_of(8) + objects[inst]);
        });
    }
    Some(most)
}

/// A set of virtual registers.
#[derive(Clone, Default, PartialEq)]
struct Set(Vec<u64>);

impl Set {
    fn new(vregs: usize) -> Set {
        Set(vec![0; vregs.div_ceil(64)])
    }

    fn insert(&mut self, vreg: VReg) {
        self.0[vreg.vreg() / 64] |= 1 << (vreg.vreg() % 64);
    }

    fn remove(&mut self, vreg: VReg) {
        self.0[vreg.vreg() / 64] &= !(1 << (vreg.vreg() % 64));
    }

    fn contains(&self, vreg: usize) -> bool {
        self.0[vreg / 64] >> (vreg % 64) & 1 == 1
    }

    fn extend(&mut self, other: &Set) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(word, &bits)| {
            let bits = std::iter::successors(Some(bits), |bits| Some(bits & bits.wrapping_sub(1)));
            let bits = bits.take_while(|bits| *bits != 0);
            bits.map(move |bits| 64 * word + bits.trailing_zeros() as usize)
        })
    }
}

/// The values live at the ends of blocks.
struct Liveness {
    at_end: Vec<Set>,
}

impl Liveness {
    fn new(function: &MachFunction) -> Liveness {
        let empty = Set::new(function.vreg_bytes.len());
        let mut live = Liveness { at_end: vec![empty.clone(); function.blocks.len()] };
        let mut at_start = vec![empty; function.blocks.len()];
        let mut changed = true;
        while changed {
            changed = false;
            for (at, block) in function.blocks.iter().enumerate().rev() {
                for succ in &block.succs {
                    live.at_end[at].extend(&at_start[succ.index()]);
                }
                block.args.iter().for_each(|&arg| live.at_end[at].insert(arg));
                let mut start = live.at_end[at].clone();
                for inst in (block.start as usize..block.end as usize).rev() {
                    step(function, inst, &mut start);
                }
                block.params.iter().for_each(|&param| start.remove(param));
                if start != at_start[at] {
                    at_start[at] = start;
                    changed = true;
                }
            }
        }
        live
    }

    /// Visits the instructions of a block with what must be kept while they
    /// execute: at calls what lives across, elsewhere what lives before or after.
    fn for_each_point(
        &self,
        function: &MachFunction,
        block: usize,
        mut visit: impl FnMut(usize, &Set),
    ) {
        let mut live = self.at_end[block].clone();
        let range = &function.blocks[block];
        for inst in (range.start as usize..range.end as usize).rev() {
            let is_call = matches!(function.info[inst].role, Role::CallC | Role::CallLocal);
            if !is_call {
                visit(inst, &live);
            }
            for operand in function.inst_operands(inst) {
                if operand.kind() == OperandKind::Def {
                    live.remove(operand.vreg());
                }
            }
            if is_call {
                visit(inst, &live);
            }
            step(function, inst, &mut live);
            if !is_call {
                visit(inst, &live);
            }
        }
    }
}

/// From what lives after an instruction to what lives before it.
fn step(function: &MachFunction, inst: usize, live: &mut Set) {
    let operands = function.inst_operands(inst);
    for operand in operands.iter().filter(|operand| operand.kind() == OperandKind::Def) {
        live.remove(operand.vreg());
    }
    for operand in operands.iter().filter(|operand| operand.kind() == OperandKind::Use) {
        live.insert(operand.vreg());
    }
}

/// How a value comes about, as far as computing it again goes.
#[derive(Clone, Copy)]
enum Definition {
    /// Not again: loaded, returned, a parameter.
    Once,
    /// By this instruction, which has no effects, from its uses.
    By(usize),
}

/// What has to be stored at points.
struct Points {
    definitions: Vec<Definition>,
    /// What is known of each value at the point of this number.
    known: Vec<(u32, bool)>,
    point: u32,
}

impl Points {
    fn new(function: &MachFunction) -> Points {
        let mut definitions = vec![Definition::Once; function.vreg_bytes.len()];
        for (inst, code) in function.insts.iter().enumerate() {
            if function.info[inst].role == Role::Plain && code.is_pure() {
                for operand in function.inst_operands(inst) {
                    if operand.kind() == OperandKind::Def {
                        definitions[operand.vreg().vreg()] = Definition::By(inst);
                    }
                }
            }
        }
        let known = vec![(0, false); definitions.len()];
        Points { definitions, known, point: 0 }
    }

    /// Bytes of the values that must be in memory where these live and `free`
    /// registers cost nothing.
    fn stored(&mut self, function: &MachFunction, live: &Set, free: usize) -> u32 {
        if free > 0 && live.0.iter().map(|word| word.count_ones()).sum::<u32>() as usize <= free {
            return 0;
        }
        self.point += 1;
        let (mut wide, mut narrow) = (0, 0);
        for vreg in live.iter() {
            if !self.follows(function, live, vreg) {
                match function.vreg_bytes[vreg] {
                    8 => wide += 1,
                    _ => narrow += 1,
                }
            }
        }
        let left = free - free.min(wide);
        8 * (wide - wide.min(free)) as u32 + 4 * (narrow - left.min(narrow)) as u32
    }

    /// Whether a value can be computed from others that live.
    fn follows(&mut self, function: &MachFunction, live: &Set, vreg: usize) -> bool {
        // Depth first, without recursion: chains can be long.
        let mut stack = vec![(vreg, false)];
        while let Some((vreg, inputs_done)) = stack.pop() {
            if self.known[vreg].0 == self.point {
                continue;
            }
            let Definition::By(inst) = self.definitions[vreg] else {
                self.known[vreg] = (self.point, false);
                continue;
            };
            let uses = function.inst_operands(inst).iter();
            let uses = uses.filter(|operand| operand.kind() == OperandKind::Use);
            let mut unknown = uses.map(|operand| operand.vreg().vreg());
            if inputs_done {
                let all = unknown.all(|input| live.contains(input) || self.known[input].1);
                self.known[vreg] = (self.point, all);
            } else {
                stack.push((vreg, true));
                stack.extend(unknown.filter(|input| !live.contains(*input)).map(|v| (v, false)));
            }
        }
        self.known[vreg].1
    }
}
