//! Lifting control flow: blocks, edges, and how blocks end.

use tailor_ir::{Block, Cond, Opcode, Terminator, Type, Value};

use super::Lifter;
use crate::Error;
use crate::cfg::{CfgBlock, is_tail_call, last_slot};
use crate::insn::{Op, Reg, Src};

impl Lifter<'_> {
    /// Lifts all blocks, each before its successors as far as loops allow, so
    /// that most are sealed when they are read from.
    pub(super) fn blocks(&mut self) -> Result<(), Error> {
        self.make_blocks();
        for index in self.own.cfg.reverse_post_order() {
            self.block(index as usize)?;
        }
        if let Some(trap) = self.trap {
            self.b.seal_block(trap);
            self.b.switch_to(trap);
            self.b.terminate(Terminator::Trap);
        }
        Ok(())
    }

    /// Makes a block for each of the bytecode's. The first is the entry itself
    /// unless something jumps to it: the IR's entry has no predecessors.
    fn make_blocks(&mut self) {
        let cfg = &self.own.cfg;
        if cfg.blocks.is_empty() {
            let next = self.successor(&CfgBlock::default(), 0);
            return self.b.jump(next);
        }
        let predecessors = cfg.predecessors();
        let entry = self.b.current();
        let is_target = !predecessors.of(0).is_empty();
        for index in 0..cfg.blocks.len() {
            let block = match index {
                0 if !is_target => entry,
                _ => self.b.add_block(),
            };
            let frequency = self.own.frequency.get(index).copied().unwrap_or(1.0);
            self.b.set_frequency(block, frequency);
            self.blocks.push(block);
            self.missing_edges.push(predecessors.of(index as u32).len());
        }
        if is_target {
            self.missing_edges[0] += 1;
            self.b.jump(self.blocks[0]);
            self.edge_made(0);
        }
    }

    fn block(&mut self, index: usize) -> Result<(), Error> {
        self.b.switch_to(self.blocks[index]);
        let block = &self.own.cfg.blocks[index];
        let last = last_slot(&self.function.ops, block);
        for pc in block.start as usize..last {
            self.at(pc);
            self.instruction(self.function.ops[pc])?;
        }
        self.at(last);
        match self.function.ops[last] {
            Op::Exit => {
                let value = self.read(Reg::R0);
                self.b.ret(value);
            }
            Op::Branch { cond, w, dst, src, .. } => {
                let lhs = self.operand(w, Src::Reg(dst));
                let rhs = self.operand(w, src);
                let [other, then] = [0, 1].map(|edge| self.successor(block, edge));
                self.b.branch(cond, lhs, rhs, then, other);
            }
            Op::MayGoto { .. } => {
                let [next, out] = [0, 1].map(|edge| self.successor(block, edge));
                self.may_goto(next, out);
            }
            Op::IndirectJump { target } => {
                let value = self.read(target);
                let table = self.own.jump_targets(block);
                self.switch(value, &table);
            }
            op if is_tail_call(&op) => {
                let fail = self.successor(block, 0);
                self.tail_call(fail);
            }
            op => {
                self.instruction(op)?;
                let next = self.successor(block, 0);
                self.b.jump(next);
            }
        }
        for &succ in &block.succs {
            self.edge_made(succ as usize);
        }
        Ok(())
    }

    /// Goes to `out` once the budget is used up, else counts and goes to `next`.
    fn may_goto(&mut self, next: Block, out: Block) {
        let left = self.b.use_var(self.may_goto);
        let zero = self.b.iconst(Type::I32, 0);
        let counts = self.b.add_block();
        let frequency = self.b.func().blocks[next].frequency;
        let own = self.b.func().blocks[self.b.current()].frequency;
        self.b.set_frequency(counts, frequency.min(own));
        self.b.branch(Cond::Eq, left, zero, out, counts);
        self.b.seal_block(counts);
        self.b.switch_to(counts);
        let one = self.b.iconst(Type::I32, 1);
        let less = self.b.binary(Opcode::Isub, left, one);
        self.b.def_var(self.may_goto, less);
        self.b.jump(next);
    }

    /// Goes to the block whose slot the value is, by binary search; to any of
    /// them if it is none, which the verifier excludes. The blocks of the search
    /// share the frequency of what they lead to.
    fn switch(&mut self, value: Value, table: &[(u32, u32)]) {
        let (left, right) = match table {
            [] => return self.b.terminate(Terminator::Trap),
            [(_, block)] => return self.b.jump(self.blocks[*block as usize]),
            _ => table.split_at(table.len() / 2),
        };
        let middle = self.b.iconst(Type::I64, right[0].0.into());
        let own = self.b.func().blocks[self.b.current()].frequency;
        let [low, high] = [left, right].map(|part| {
            let block = self.b.add_block();
            self.b.set_frequency(block, own * part.len() as f64 / table.len() as f64);
            block
        });
        self.b.branch(Cond::Ult, value, middle, low, high);
        for (block, part) in [(low, left), (high, right)] {
            self.b.seal_block(block);
            self.b.switch_to(block);
            self.switch(value, part);
        }
    }

    fn at(&mut self, pc: usize) {
        self.pc = pc;
        self.b.set_origin(pc as u32);
    }

    /// A successor; one that traps where there is none (validation refuses code
    /// that falls off the end).
    fn successor(&mut self, block: &CfgBlock, edge: usize) -> Block {
        if let Some(&index) = block.succs.get(edge) {
            return self.blocks[index as usize];
        }
        *self.trap.get_or_insert_with(|| {
            let trap = self.b.add_block();
            self.b.set_frequency(trap, 0.0);
            trap
        })
    }

    /// Notes that an edge to a block exists now, and seals it after the last.
    fn edge_made(&mut self, index: usize) {
        self.missing_edges[index] -= 1;
        if self.missing_edges[index] == 0 {
            self.b.seal_block(self.blocks[index]);
        }
    }
}
