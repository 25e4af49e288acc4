//! What the analyses on bytecode found out: the figures and decisions that
//! every engine must agree on, computed once and kept beside the code.

use std::collections::BTreeMap;

use cranelift_entity::PrimaryMap;
use tailor_ir::TAIL_CALL_SUCCEEDS;

use crate::callgraph::CallGraph;
use crate::cfg::{Cfg, CfgBlock};
use crate::interp::Profile;
use crate::{FuncRef, MapRef};

/// Facts about the functions of an object.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// One for each function of the object, in the same order.
    pub functions: PrimaryMap<FuncRef, FunctionFacts>,
    /// Who calls whom.
    pub calls: CallGraph,
}

/// Facts about one function.
#[derive(Clone, Debug, Default)]
pub struct FunctionFacts {
    /// Blocks and edges.
    pub cfg: Cfg,
    /// Executions of each block per execution of the entry: estimated by a fixed
    /// rule ([`crate::frequency`]), all of them positive then, or measured.
    pub frequency: Vec<f64>,
    /// The frequencies were measured.
    pub measured: bool,
    /// Context accesses by instruction slot.
    pub ctx_accesses: BTreeMap<u32, CtxAccess>,
    /// Tail calls by instruction slot.
    pub tail_calls: BTreeMap<u32, TailCall>,
    /// A tail call can be reached from here, in this function or a callee.
    pub reaches_tail_call: bool,
    /// Bytes below R10 that the function may touch, as the kernel's verifier
    /// counts them (not rounded), subprograms excluded.
    pub stack_depth: u32,
    /// The frame cut into objects that no access crosses, ascending, disjoint.
    pub stack_objects: Vec<StackObject>,
    /// Instructions whose result is R10 plus this constant on every path
    /// (moves, additions, reloads of a spilled pointer), by slot. A pointer
    /// that lies in no object of the frame is never followed or compared.
    pub frame_pointers: BTreeMap<u32, i32>,
    /// Loads, stores and atomic operations at R10 plus a constant, by slot, and
    /// the first byte that they access relative to R10.
    pub frame_accesses: BTreeMap<u32, i32>,
    /// How many of R1 to R5 the function reads before it writes them.
    pub arity: u8,
    /// How many of them it takes: those that it reads, and what its programs are given.
    pub parameters: u8,
}

/// A load or store of a context field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CtxAccess {
    /// Index into [`crate::ctx::KINDS`].
    pub kind: u8,
    /// Index into that kind's fields.
    pub field: u8,
    /// The byte of the field where the access starts. A load that is narrower
    /// than the field (a number, never a pointer) gets the field's value
    /// shifted right by 8 times this and truncated; else it is 0.
    pub part: u8,
}

/// A tail-call site.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TailCall {
    /// The array, where it is the same on every path.
    pub map: Option<MapRef>,
    /// The key, where it is the same constant on every path.
    pub key: Option<u32>,
    /// The chance that it happens.
    pub succeeds: f64,
}

impl Default for TailCall {
    fn default() -> TailCall {
        TailCall { map: None, key: None, succeeds: TAIL_CALL_SUCCEEDS }
    }
}

/// A range of the frame that is accessed as one object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StackObject {
    /// First byte, relative to R10 (negative).
    pub lo: i32,
    /// One past the last byte, relative to R10 (at most 0).
    pub hi: i32,
    /// Its address is used other than by a load or store at a constant offset.
    pub escapes: bool,
    /// Something may access it. Else there are only addresses, say of a buffer of no
    /// bytes, and it takes none.
    pub touched: bool,
}

impl Facts {
    /// Takes measured frequencies for the functions that were entered, and measured
    /// chances for their tail calls; a block that was never reached gets 0.
    pub fn measure(&mut self, profile: &Profile) {
        for (function, own) in self.functions.iter_mut() {
            if let Some(frequency) = profile.frequency(function, &own.cfg) {
                own.frequency = frequency;
                own.measured = true;
                for (&slot, site) in &mut own.tail_calls {
                    if let Some(succeeds) = profile.succeeds(function, slot) {
                        site.succeeds = succeeds;
                    }
                }
            }
        }
    }
}

impl FunctionFacts {
    /// The slots that an indirect jump, which ends this block, may lead to, in
    /// ascending order, with the blocks that start there.
    pub fn jump_targets(&self, block: &CfgBlock) -> Vec<(u32, u32)> {
        let start = |succ: &u32| (self.cfg.blocks[*succ as usize].start, *succ);
        block.succs.iter().map(start).collect()
    }

    /// Of a function that is not looked at: no blocks, and all arguments.
    pub(crate) fn of_refused() -> FunctionFacts {
        FunctionFacts { arity: 5, parameters: 5, ..FunctionFacts::default() }
    }

    /// Whether the load, store or atomic operation at a slot accesses a slot of
    /// the frame, which weighted costs count, for every engine: R10 plus a
    /// constant, in an object whose address does not escape. Any other memory
    /// is the program's.
    pub fn accesses_slot(&self, pc: u32) -> bool {
        let offset = self.frame_accesses.get(&pc);
        let object = offset.and_then(|&offset| self.stack_object_at(offset));
        object.is_some_and(|object| !self.stack_objects[object].escapes)
    }

    /// The index of the object that a byte of the frame lies in. R10 itself is
    /// one past the last byte, and counts as part of the object that ends there.
    pub fn stack_object_at(&self, offset: i32) -> Option<usize> {
        let byte = if offset == 0 { -1 } else { offset };
        let index = self.stack_objects.partition_point(|o| o.hi <= byte);
        let object = self.stack_objects.get(index)?;
        (object.lo <= byte).then_some(index)
    }
}

impl TailCall {
    /// Map and key, if both are known: the site can be a direct one.
    pub fn direct(&self) -> Option<(MapRef, u32)> {
        Some((self.map?, self.key?))
    }
}
