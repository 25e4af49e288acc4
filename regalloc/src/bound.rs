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
//! Halves of values count as they are known: where a value is passed on as a half,
//! it is taken to be one everywhere.
//! Invariants: it is computed before the allocator changes anything, and no
//! frame without its padding is smaller. What is recomputable follows from
//! definitions, which do not go round in circles: if every input of a value is
//! live or can be computed, so can it, whatever else is left out. Where finding
//! that out takes too many steps (`MOST_STEPS`), a value is left out too: that
//! makes the bound lower, never wrong. Taken for granted is that a parameter is used
//! somewhere (selection drops others) and that no two values are always the same: the
//! passes join most such values, though not all; the allocator may find out, and need
//! less.
//! Source: the design's definition of `lower_bound_bytes`.

use regalloc2::{Block, OperandKind, VReg};
use tailor_lower::{Gpr, MachFunction, Role, StackSlot, objects};

use crate::liveness::{Live, Liveness};
use crate::sharing::live_objects;

/// The least bytes of the function's frame, or `None` if it is too large to
/// tell. `keeps` says of a helper whether it may keep an address.
pub fn lower_bound(function: &MachFunction, keeps: &dyn Fn(u32) -> bool) -> Option<u32> {
    Some(tightest(function, keeps)?.map_or(0, |point| point.bytes))
}

/// A point of a function where something must be in memory.
#[derive(Clone, Debug)]
pub struct Point {
    /// All that must be.
    pub bytes: u32,
    /// The instruction.
    pub inst: usize,
    /// Values that live there and cannot be computed again.
    pub values: Vec<VReg>,
    /// Registers for these values that cost nothing.
    pub free: usize,
    /// Objects that live there.
    pub objects: Vec<StackSlot>,
}

/// The point that determines the bound; none if nothing need be in memory
/// anywhere. `None` if the function is too large to tell.
pub fn tightest(function: &MachFunction, keeps: &dyn Fn(u32) -> bool) -> Option<Option<Point>> {
    let objects = live_objects(function, &objects::accesses(function, keeps)?);
    let liveness = Liveness::new(function)?;
    let mut live = Live::new(function);
    let mut points = Points::new(function);
    let mut most: Option<Point> = None;
    for block in 0..function.blocks.len() {
        liveness.for_each_point(function, Block::new(block), &mut live, |inst, around| {
            let is_call = function.info[inst].role.is_call();
            let free = if is_call { 0 } else { Gpr::CALLER_SAVED.len() + 1 };
            let values = points.stored(function, around, free);
            let bytes = values.next_multiple_of(8) + objects.bytes(inst);
            if bytes > most.as_ref().map_or(0, |point| point.bytes) {
                let values = points.stored.clone();
                most = Some(Point { bytes, inst, values, free, objects: objects.at(inst) });
            }
        });
    }
    Some(most)
}

/// Definitions that are looked at for one point of the program. Chains of pure
/// instructions can be as long as the function, and would be followed at each of
/// its points.
const MOST_STEPS: u32 = 250;

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
    /// By virtual register, the bytes that count wherever it lives.
    bytes: Vec<u8>,
    /// What is known of each value at the point of this number.
    known: Vec<(u32, bool)>,
    point: u32,
    /// How many more definitions are looked at for it.
    steps: u32,
    /// The values that must be somewhere at that point, if there may be too many.
    stored: Vec<VReg>,
}

/// The bytes that count of each value where it counts least. Of one that is passed to
/// a parameter of four bytes, no more counts behind its other uses.
fn least_bytes(function: &MachFunction) -> Vec<u8> {
    let mut bytes = function.vreg_bytes.clone();
    for block in &function.blocks {
        for succ in &block.succs {
            let params = &function.blocks[succ.index()].params;
            for (arg, param) in block.args.iter().zip(params) {
                let least = &mut bytes[arg.vreg()];
                *least = (*least).min(function.vreg_bytes[param.vreg()]);
            }
        }
    }
    bytes
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
        let bytes = least_bytes(function);
        Points { definitions, bytes, known, point: 0, steps: 0, stored: Vec::new() }
    }

    /// Bytes of the values that must be in memory where these live and `free`
    /// registers cost nothing.
    fn stored(&mut self, function: &MachFunction, live: &Live, free: usize) -> u32 {
        self.stored.clear();
        if free > 0 && live.members().len() <= free {
            return 0;
        }
        self.point += 1;
        self.steps = MOST_STEPS;
        let (mut wide, mut narrow) = (0, 0);
        for &vreg in live.members() {
            if !self.follows(function, live, vreg) {
                self.stored.push(vreg);
                match self.bytes[vreg.vreg()] {
                    8 => wide += 1,
                    _ => narrow += 1,
                }
            }
        }
        let left = free - free.min(wide);
        8 * (wide - wide.min(free)) as u32 + 4 * (narrow - left.min(narrow)) as u32
    }

    /// Whether a value can be computed from others that live, or may be for all that
    /// is known after so many steps.
    fn follows(&mut self, function: &MachFunction, live: &Live, vreg: VReg) -> bool {
        // Depth first, without recursion: chains can be long.
        let mut stack = vec![(vreg, false)];
        while let Some((vreg, inputs_done)) = stack.pop() {
            let number = vreg.vreg();
            if self.known[number].0 == self.point {
                continue;
            }
            let Definition::By(inst) = self.definitions[number] else {
                self.known[number] = (self.point, false);
                continue;
            };
            let uses = function.inst_operands(inst).iter();
            let uses = uses.filter(|operand| operand.kind() == OperandKind::Use);
            let inputs = uses.map(|operand| operand.vreg());
            let mut missing = inputs.filter(|&input| !live.contains(input));
            if inputs_done {
                let all = missing.all(|input| self.known[input.vreg()].1);
                self.known[number] = (self.point, all);
                continue;
            }
            let is_lost = |input: VReg| {
                self.known[input.vreg()] == (self.point, false)
                    || matches!(self.definitions[input.vreg()], Definition::Once)
            };
            if missing.clone().any(is_lost) {
                self.known[number] = (self.point, false);
                continue;
            }
            if self.steps == 0 {
                return true;
            }
            self.steps -= 1;
            stack.push((vreg, true));
            stack.extend(missing.map(|input| (input, false)));
        }
        self.known[vreg.vreg()].1
    }
}
