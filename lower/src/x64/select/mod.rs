//! Instruction selection.
//!
//! Problem: cover the IR of a function with few machine instructions.
//!
//! Idea: blocks and instructions are visited backwards, so that all uses of a
//! value have been selected when its definition is met. A use asks for the
//! value's register, and the definition is selected only if somebody did; a
//! rule may instead take the definition of an operand into its own instruction
//! (an address, an immediate, a load), and then nobody asks. Constants have no
//! registers of their own: see `operands`.
//!
//! Invariants:
//! - A load is taken into another instruction only if that is its only use, in
//!   the same block, with nothing in between that may write memory.
//! - Anything else that is taken in is pure, so it may be computed twice.
//! - A 32-bit value's register has what `upper` promises in its upper half.
//! - Flags live from a comparison to the jump right behind it only: moves that
//!   the allocator puts between other instructions do not touch them, and
//!   constants are made before the comparison.
//!
//! The rules are in one file for each group of opcodes.

use cranelift_entity::SecondaryMap;
use regalloc2::VReg;
use tailor_ir::{Block, Function, Inst, InstData, Opcode, Terminator, Value};

use self::operands::Constants;
use self::output::Output;
use self::values::{Values, has_effect};
use crate::mach::{MachBlock, MachFunction};
use crate::options::{Error, Options};
use crate::order::{Order, Source};

mod address;
mod arith;
mod compare;
mod control;
mod extend;
mod memory;
mod multiply;
mod operands;
mod output;
mod shift;
mod upper;
mod values;

/// The allocator's limit on instructions, operands and registers, with a margin.
const LIMIT: usize = 1 << 28;

/// Selects instructions for a legal function.
pub fn select(
    function: &Function,
    order: &Order,
    options: &Options,
) -> Result<MachFunction, Error> {
    let mut selector = Selector {
        function,
        order,
        options,
        values: Values::new(function, order),
        out: Output::default(),
        vregs: SecondaryMap::with_capacity(function.values.len()),
        constants: Constants::default(),
        record: None,
        passed: Vec::new(),
        after_call: false,
        epoch: 0,
        depth: 0,
    };
    let mut blocks = make_blocks(order);
    for (index, block) in blocks.iter_mut().enumerate().rev() {
        selector.select_node(index, block)?;
    }
    selector.widen_arguments();
    let lists = selector.out.finish(&mut blocks);
    Ok(MachFunction {
        id: function.id,
        name: function.name.clone(),
        insts: lists.insts,
        info: lists.info,
        operands: lists.operands,
        blocks,
        vreg_bytes: lists.vreg_bytes,
        stack_slots: function.stack_slots.clone(),
        reaches_tail_call: function.reaches_tail_call,
        convention: options.convention,
    })
}

/// The state of selection.
struct Selector<'a> {
    function: &'a Function,
    order: &'a Order,
    options: &'a Options<'a>,
    values: Values,
    out: Output,
    /// The register of each root that somebody asked for.
    vregs: SecondaryMap<Value, Option<VReg>>,
    constants: Constants,
    /// The register with the invocation record, once somebody asked for it.
    record: Option<VReg>,
    /// Parameters with the arguments passed for them.
    passed: Vec<(Value, VReg)>,
    /// The sequence that is being written has a call in it.
    after_call: bool,
    /// The epoch of the instruction that is being selected.
    epoch: u32,
    /// Loops around it.
    depth: u32,
}

/// The blocks without their instructions.
fn make_blocks(order: &Order) -> Vec<MachBlock> {
    let name = |node: usize| regalloc2::Block::new(node);
    let mut blocks = vec![MachBlock::default(); order.nodes.len()];
    for (index, node) in order.nodes.iter().enumerate() {
        blocks[index].frequency = node.frequency;
        for &succ in &node.succs {
            blocks[index].succs.push(name(succ as usize));
            blocks[succ as usize].preds.push(name(index));
        }
    }
    blocks
}

impl Selector<'_> {
    fn select_node(&mut self, index: usize, out: &mut MachBlock) -> Result<(), Error> {
        let node = &self.order.nodes[index];
        self.depth = node.depth;
        match node.source {
            Source::Edge(block, target) => {
                let targets = self.function.blocks[block].term.targets();
                self.out.origin = self.origin_at_end(block);
                out.args = self.jump(targets[target as usize]);
                self.finish_sequence();
            }
            Source::Block(block) => self.select_block(block, index == 0, out)?,
        }
        self.place_constants();
        self.out.finish_block();
        let limit = |what, count| match count {
            LIMIT.. => Err(Error::TooLarge { what, count }),
            _ => Ok(()),
        };
        limit("instructions", self.out.insts())?;
        limit("values", self.out.vregs())
    }

    fn select_block(
        &mut self,
        block: Block,
        is_entry: bool,
        out: &mut MachBlock,
    ) -> Result<(), Error> {
        let function = self.function;
        let data = &function.blocks[block];
        self.epoch = self.values.epoch_at_end(block);
        self.out.origin = self.origin_at_end(block);
        out.args = self.select_terminator(&data.term);
        if let Terminator::TailCall { succeeds, .. } = data.term {
            out.leaves = succeeds;
        }
        self.finish_sequence();
        for &inst in data.insts.iter().rev() {
            self.epoch = self.values.epoch(inst);
            self.out.origin = function.insts[inst].origin;
            self.select_inst(inst)?;
            self.finish_sequence();
            if std::mem::take(&mut self.after_call) {
                self.forget_constants();
            }
        }
        let mut params = Vec::new();
        for (position, &param) in data.params.iter().enumerate() {
            let wanted = !is_entry || self.requested(param);
            if self.has_register(param) && wanted {
                params.push((position, self.vreg_of(param)));
            }
        }
        if is_entry {
            self.place_constants();
            self.define_args(&params);
            self.finish_sequence();
        } else {
            out.params = params.into_iter().map(|(_, vreg)| vreg).collect();
        }
        Ok(())
    }

    /// Selects an instruction, if it does anything that is wanted.
    fn select_inst(&mut self, inst: Inst) -> Result<(), Error> {
        let function = self.function;
        let data = &function.insts[inst];
        let wanted = match function.result(inst) {
            Some(result) if self.values.root(result) == result => self.vregs[result],
            _ => None,
        };
        if has_effect(data) {
            return self.select_effect(data, wanted);
        }
        if let Some(dst) = wanted {
            self.select_value(inst, data, dst);
        }
        Ok(())
    }

    fn select_effect(&mut self, data: &InstData, wanted: Option<VReg>) -> Result<(), Error> {
        match data.op {
            Opcode::Store | Opcode::StoreRelease => self.select_store(data),
            Opcode::Atomic | Opcode::AtomicFetch => self.select_atomic(data, wanted),
            _ => {
                let dst = wanted.unwrap_or_else(|| self.out.new_vreg());
                match data.op {
                    Opcode::AtomicCas => self.select_cas(data, dst),
                    Opcode::CallExt => self.select_call_helper(data, dst),
                    Opcode::LoadAcquire => self.select_load_acquire(data, dst),
                    Opcode::CallNumber => self.select_call_number(data, dst),
                    _ => return self.select_call_local(data, dst),
                }
            }
        }
        Ok(())
    }

    fn select_value(&mut self, inst: Inst, data: &InstData, dst: VReg) {
        use Opcode::*;
        match data.op {
            Iadd | Isub | And | Or | Xor | Neg => self.select_arith(data, dst),
            Imul | Udiv | Urem | Sdiv | Srem => self.select_multiply(data, dst),
            Shl | Lshr | Ashr => self.select_shift(data, dst),
            Sext8 | Sext16 | Sext32 | Uext32 | Bswap16 | Bswap => self.select_extend(data, dst),
            Load | Sload => self.select_load(inst, dst),
            // Constants are made where they are used, `trunc` is never a root,
            // and context accesses are loads by now.
            Iconst | MapAddr | MapValue | FuncAddr | StackAddr | Trunc | CtxLoad => {}
            Store | AtomicFetch | Atomic | AtomicCas | LoadAcquire | StoreRelease | CtxStore
            | CallExt | CallNumber | Call => {}
        }
    }

    /// The bytecode instruction that a terminator comes from, nearly: the last one
    /// of its block, or else of a block before it. (Passes make constants that come
    /// from nowhere.)
    fn origin_at_end(&self, mut block: Block) -> u32 {
        // Few blocks without any follow upon each other.
        for _ in 0..8 {
            let insts = self.function.blocks[block].insts.iter().rev();
            let mut origins = insts.map(|&inst| self.function.insts[inst].origin);
            if let Some(origin) = origins.find(|origin| *origin != 0) {
                return origin;
            }
            let Some(&pred) = self.order.cfg.preds(block).first() else {
                break;
            };
            block = pred;
        }
        0
    }

    /// What is passed for a parameter whose upper half is meaningful is
    /// meaningful in its upper half too.
    fn widen_arguments(&mut self) {
        let mut args_of = std::collections::HashMap::<VReg, Vec<VReg>>::new();
        let mut work = Vec::new();
        for &(param, arg) in &self.passed {
            if let Some(param) = self.vregs[param] {
                args_of.entry(param).or_default().push(arg);
                work.push(param);
            }
        }
        while let Some(param) = work.pop() {
            if !self.out.is_wide(param) {
                continue;
            }
            for arg in args_of.remove(&param).unwrap_or_default() {
                self.out.widen(arg);
                work.push(arg);
            }
        }
    }
}
