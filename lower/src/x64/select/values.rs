//! What selection must know of values before it starts.
//!
//! *Roots.* Some values are only another name for the register of another one:
//! the low half of a wide value, a zero-extension of what is zero-extended
//! already, a parameter for which only one argument is ever passed. Registers,
//! uses and everything below belong to the root.
//!
//! *Use counts* are of roots, by instructions that are needed: those with an
//! effect, terminators, and what these use.
//!
//! *Epochs* number the stretches of a block without a write to memory: a load may
//! move down to a place with the same epoch.

use cranelift_entity::EntityRef;
use tailor_ir::function::ValueDef;
use tailor_ir::opcode::Effect;
use tailor_ir::{Block, Function, Inst, InstData, Opcode, Value};

use super::upper::zero_uppers;
use crate::order::{Order, Source};

/// Facts about values, by number.
pub(super) struct Values {
    root: Vec<Value>,
    zero_upper: Vec<bool>,
    uses: Vec<u32>,
    epochs: Vec<u32>,
    homes: Vec<Option<Block>>,
    /// The epoch at the end of each block.
    block_epochs: Vec<u32>,
}

impl Values {
    pub fn new(function: &Function, order: &Order) -> Values {
        let mut values = Values {
            root: function.values.keys().collect(),
            zero_upper: zero_uppers(function, order),
            uses: vec![0; function.values.len()],
            epochs: vec![0; function.insts.len()],
            homes: vec![None; function.values.len()],
            block_epochs: vec![0; function.blocks.len()],
        };
        values.find_roots(function, order);
        let needed = values.find_needed(function, order);
        values.count_uses(function, order, &needed);
        values
    }

    /// The value whose register holds this one.
    pub fn root(&self, value: Value) -> Value {
        self.root[value.index()]
    }

    /// Whether bits 32 to 63 of the value's register are known to be zero.
    pub fn zero_upper(&self, value: Value) -> bool {
        self.zero_upper[value.index()]
    }

    /// How often the value's root is used.
    pub fn uses(&self, value: Value) -> u32 {
        self.uses[self.root(value).index()]
    }

    /// The number of the stretch in which an instruction is: one more for each block,
    /// and behind each write to memory.
    pub fn epoch(&self, inst: Inst) -> u32 {
        self.epochs[inst.index()]
    }

    /// That of the end of a block.
    pub fn epoch_at_end(&self, block: Block) -> u32 {
        self.block_epochs[block.index()]
    }

    /// The block in which the value's root is defined.
    pub fn home(&self, value: Value) -> Option<Block> {
        self.homes[self.root(value).index()]
    }

    fn find_roots(&mut self, function: &Function, order: &Order) {
        let mut epoch = 0;
        for node in &order.nodes {
            let Source::Block(block) = node.source else {
                continue;
            };
            epoch += 1;
            let data = &function.blocks[block];
            for &param in &data.params {
                self.homes[param.index()] = Some(block);
            }
            for &inst in &data.insts {
                self.epochs[inst.index()] = epoch;
                let data = &function.insts[inst];
                if matches!(data.op.info().effect, Effect::Store | Effect::Call) {
                    epoch += 1;
                }
                if let Some(result) = function.result(inst) {
                    self.homes[result.index()] = Some(block);
                    self.define(result, data);
                }
            }
            self.block_epochs[block.index()] = epoch;
            for target in data.term.targets() {
                if order.edges_in[target.block] == 1 {
                    let params = &function.blocks[target.block].params;
                    for (param, &arg) in params.iter().zip(&target.args) {
                        self.root[param.index()] = self.root(arg);
                    }
                }
            }
        }
    }

    fn define(&mut self, result: Value, data: &InstData) {
        let same_register = match data.op {
            Opcode::Trunc => true,
            Opcode::Uext32 => self.zero_upper[data.args[0].index()],
            _ => false,
        };
        if same_register {
            self.root[result.index()] = self.root(data.args[0]);
        }
    }

    /// Which roots anything needed uses.
    fn find_needed(&self, function: &Function, order: &Order) -> Vec<bool> {
        let mut needed = vec![false; self.root.len()];
        let mut work = Vec::new();
        for_each_block(order, |block| {
            let data = &function.blocks[block];
            for &inst in &data.insts {
                if has_effect(&function.insts[inst]) {
                    work.extend_from_slice(&function.insts[inst].args);
                }
            }
            for_each_direct_use(&data.term, |value| work.push(value));
        });
        while let Some(value) = work.pop() {
            let root = self.root(value);
            if std::mem::replace(&mut needed[root.index()], true) {
                continue;
            }
            match function.values[root].def {
                ValueDef::Result(inst) => work.extend_from_slice(&function.insts[inst].args),
                ValueDef::Param(block, position) => {
                    for &pred in order.cfg.preds(block) {
                        if !order.cfg.is_reachable(pred) {
                            continue;
                        }
                        for target in function.blocks[pred].term.targets() {
                            if target.block == block {
                                work.extend(target.args.get(position as usize));
                            }
                        }
                    }
                }
            }
        }
        needed
    }

    fn count_uses(&mut self, function: &Function, order: &Order, needed: &[bool]) {
        for_each_block(order, |block| {
            let data = &function.blocks[block];
            for &inst in &data.insts {
                let data = &function.insts[inst];
                let wanted =
                    function.result(inst).is_some_and(|v| self.root(v) == v && needed[v.index()]);
                if wanted || has_effect(data) {
                    data.args.iter().for_each(|&arg| self.count(arg));
                }
            }
            for_each_direct_use(&data.term, |value| self.count(value));
            for target in data.term.targets() {
                let params = &function.blocks[target.block].params;
                for (&param, &arg) in params.iter().zip(&target.args) {
                    if self.root(param) == param && needed[param.index()] {
                        self.count(arg);
                    }
                }
            }
        });
    }

    fn count(&mut self, value: Value) {
        let root = self.root(value);
        self.uses[root.index()] += 1;
    }
}

/// Whether an instruction happens even if its result is not used.
pub(super) fn has_effect(data: &InstData) -> bool {
    matches!(data.op.info().effect, Effect::Store | Effect::Call)
}

fn for_each_block(order: &Order, mut f: impl FnMut(Block)) {
    for node in &order.nodes {
        if let Source::Block(block) = node.source {
            f(block);
        }
    }
}

/// The values that a terminator itself uses, not those that it passes on.
fn for_each_direct_use(term: &tailor_ir::Terminator, mut f: impl FnMut(Value)) {
    use tailor_ir::Terminator::*;
    match *term {
        Branch { lhs, rhs, .. } => {
            f(lhs);
            f(rhs);
        }
        Return(value) => f(value),
        TailCall { ctx, array, index, direct, .. } => {
            f(ctx);
            if direct.is_none() {
                f(array);
                f(index);
            }
        }
        None | Jump(_) | Trap => {}
    }
}
