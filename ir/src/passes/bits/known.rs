//! Which bits of each value are known.
//!
//! Idea: block parameters start with every claim there is, and lose claims that
//! some argument contradicts, until nothing changes. That finds what loops
//! keep: a counter of 32 bits never grows an upper half.
//!
//! Invariants: a parameter only ever loses claims. After [`CHANGES`] changes
//! it keeps only those on high bits, at the granularity of an access, so that
//! an addition in a loop does not lose them one by one. The work is the number
//! of uses times a constant.

use std::collections::VecDeque;
use std::mem;

use cranelift_entity::SecondaryMap;

use super::solve::Dependents;
use super::{Bits, low_ones, transfer};
use crate::passes::edges::Edges;
use crate::{Function, InstData, Type, Value, ValueDef};

/// Changes of a parameter before it is coarsened.
const CHANGES: u8 = 3;

/// What is known of the values of a function.
pub(in crate::passes) struct Known {
    of: SecondaryMap<Value, Bits>,
}

impl Known {
    /// Finds it out.
    pub fn new(function: &Function) -> Known {
        let mut solver = Solver {
            function,
            edges: Edges::new(function),
            dependents: Dependents::new(function),
            known: Known { of: SecondaryMap::with_default(Bits::NONE) },
            changes: SecondaryMap::new(),
            todo: VecDeque::new(),
            pending: SecondaryMap::with_default(Bits::NONE),
        };
        solver.solve();
        solver.known
    }

    /// What is known of a value.
    pub fn of(&self, function: &Function, value: Value) -> Bits {
        match self.of[value] {
            Bits::NONE => Bits::any(function.ty(value)),
            known => known,
        }
    }

    /// Takes note of a value made or computed otherwise than before.
    pub fn update(&mut self, function: &Function, value: Value) {
        if let Some(data) = function.def(value) {
            let new = self.result(function, data);
            self.of[value] = match self.of[value] {
                Bits::NONE => new,
                old => old.both(new),
            };
        }
    }

    fn result(&self, function: &Function, data: &InstData) -> Bits {
        transfer::result(function, data, |value| self.of[value])
    }
}

struct Solver<'f> {
    function: &'f Function,
    edges: Edges,
    dependents: Dependents,
    known: Known,
    changes: SecondaryMap<Value, u8>,
    /// Values to compute again.
    todo: VecDeque<Value>,
    /// What the arguments that changed claim now, of each parameter in `todo`. A
    /// loop's header may have an edge from each block, too many to look at again.
    pending: SecondaryMap<Value, Bits>,
}

impl Solver<'_> {
    fn solve(&mut self) {
        let function = self.function;
        for &block in &function.layout {
            let data = &function.blocks[block];
            let results = data.insts.iter().filter_map(|&inst| function.result(inst));
            for value in data.params.iter().copied().chain(results) {
                self.known.of[value] = self.compute(value);
                self.tell(value);
            }
        }
        while let Some(value) = self.todo.pop_front() {
            let new = match function.values[value].def {
                ValueDef::Result(_) => self.compute(value),
                ValueDef::Param(..) => {
                    let met = mem::replace(&mut self.pending[value], Bits::NONE);
                    self.narrow(value, met)
                }
            };
            if new != self.known.of[value] {
                self.known.of[value] = new;
                self.tell(value);
            }
        }
    }

    /// Tells those who depend on a value that it changed.
    fn tell(&mut self, value: Value) {
        for &other in self.dependents.of(value) {
            // It will be visited, and only loop headers have been before their arguments.
            if self.known.of[other] == Bits::NONE {
                continue;
            }
            if let ValueDef::Param(..) = self.function.values[other].def {
                let before = self.pending[other];
                self.pending[other] = before.meet(self.known.of[value]);
                if before != Bits::NONE {
                    continue;
                }
            }
            self.todo.push_back(other);
        }
    }

    /// What is known of a value, of all that it depends on.
    fn compute(&self, value: Value) -> Bits {
        let function = self.function;
        match function.values[value].def {
            ValueDef::Result(inst) => self.known.result(function, &function.insts[inst]),
            ValueDef::Param(block, _) if block == function.entry => Bits::any(function.ty(value)),
            ValueDef::Param(block, position) => {
                let args = self.edges.args(function, block, position as usize);
                args.fold(Bits::NONE, |met, arg| met.meet(self.known.of[arg]))
            }
        }
    }

    /// What a parameter keeps of what it claimed before.
    fn narrow(&mut self, value: Value, met: Bits) -> Bits {
        let old = self.known.of[value];
        let new = old.meet(met);
        if new == old || old == Bits::NONE {
            return new;
        }
        let changes = &mut self.changes[value];
        *changes = changes.saturating_add(1);
        if *changes < CHANGES {
            return new;
        }
        coarse(self.function.ty(value), new)
    }
}

/// Only what is known of whole parts of a value.
fn coarse(ty: Type, bits: Bits) -> Bits {
    let fits = [8, 16, 32].into_iter().find(|&width| bits.max() <= low_ones(width));
    let zero = fits.map_or(0, |width| !low_ones(width));
    let signs = [57, 49, 33, 25, 17].into_iter().find(|&sign| bits.sign >= sign);
    Bits::new(ty, zero, 0, signs.unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::eval;
    use crate::passes::bits::random::Random;
    use crate::{Block, BlockCall, Cond, FuncRef, Opcode, Payload, Terminator};

    const OPS: [Opcode; 12] = {
        use Opcode::*;
        [Iadd, Isub, Imul, Udiv, Urem, And, Or, Xor, Shl, Lshr, Ashr, Bswap16]
    };

    /// Blocks that each compute something from parameters and constants, and go on to
    /// the next or back to any before, with any values.
    fn function(random: &mut Random) -> Function {
        let mut function = Function::new(FuncRef::from_u32(0), "loops");
        let count = 2 + random.next() as u32 % 5;
        let params = 1 + random.next() as usize % 4;
        for _ in 0..count {
            let block = function.add_block();
            for _ in 0..params {
                function.add_param(block, Type::I64);
            }
        }
        for number in 0..=count {
            let block = Block::from_u32(number);
            let mut values = function.blocks[block].params.to_vec();
            for _ in 0..1 + random.next() % 4 {
                let data = match random.next() as usize % 20 {
                    _ if values.is_empty() => constant(random),
                    0..6 => constant(random),
                    op => {
                        let op = OPS[op % OPS.len()];
                        let arity = op.info().args.map_or(0, <[_]>::len);
                        let args = [0; 2].map(|_| pick(random, &values));
                        InstData::new(op, Type::I64, &args[..arity], Payload::None)
                    }
                };
                let inst = function.make_inst(data);
                function.blocks[block].insts.push(inst);
                values.extend(function.result(inst));
            }
            let mut call = |number: u32| BlockCall {
                block: Block::from_u32(number),
                args: (0..params).map(|_| pick(random, &values)).collect(),
            };
            let (lhs, rhs) = (values[0], values[0]);
            let (next, back) = (call(number % count + 1), call(number / 2 + 1));
            let (cond, ty) = (Cond::Eq, Type::I64);
            function.blocks[block].term =
                Terminator::Branch { cond, ty, lhs, rhs, then: next, other: back };
        }
        function
    }

    fn constant(random: &mut Random) -> InstData {
        let number =
            if random.next().is_multiple_of(2) { random.next() % 5 } else { random.number() };
        InstData::new(Opcode::Iconst, Type::I64, &[], Payload::Imm(number))
    }

    fn pick(random: &mut Random, values: &[Value]) -> Value {
        values[random.next() as usize % values.len()]
    }

    /// Whatever way is taken through loops, what is known of each value holds.
    #[test]
    fn nothing_false_is_known_in_loops() {
        let mut random = Random(3);
        for _ in 0..2000 {
            let function = function(&mut random);
            let known = Known::new(&function);
            let mut now = SecondaryMap::<Value, u64>::new();
            let mut block = function.entry;
            for _ in 0..200 {
                let insts = &function.blocks[block].insts;
                for &inst in insts {
                    let data = &function.insts[inst];
                    let args: Vec<u64> = data.args.iter().map(|&arg| now[arg]).collect();
                    now[function.result(inst).unwrap()] = match data.payload {
                        Payload::Imm(bits) => bits,
                        _ => eval(data.op, data.ty, &args).unwrap(),
                    };
                }
                let results = insts.iter().filter_map(|&inst| function.result(inst));
                for value in function.blocks[block].params.iter().copied().chain(results) {
                    let exact = Bits::constant(Type::I64, now[value]);
                    let known = known.of(&function, value);
                    assert_eq!(known.both(exact), exact, "{value} is {:x}\n{function}", now[value]);
                }
                let targets = function.blocks[block].term.targets();
                let target = targets[random.next() as usize % 2];
                let args: Vec<u64> = target.args.iter().map(|&arg| now[arg]).collect();
                block = target.block;
                for (&param, arg) in function.blocks[block].params.iter().zip(args) {
                    now[param] = arg;
                }
            }
        }
    }
}
