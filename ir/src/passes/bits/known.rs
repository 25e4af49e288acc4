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
