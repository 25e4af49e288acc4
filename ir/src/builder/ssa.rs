//! Variables while a function is being built: what they are where, and the
//! parameters made for them. See the parent module for the algorithm.

use cranelift_entity::packed_option::PackedOption;
use cranelift_entity::{EntityList, ListPool, PrimaryMap, SecondaryMap, entity_impl};
use smallvec::SmallVec;

use super::{Builder, Variable};
use crate::function::{InstData, Payload, ValueData, ValueDef};
use crate::opcode::{Opcode, Type};
use crate::{Block, Value};

/// A block parameter made for a variable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Phi(u32);
entity_impl!(Phi, "phi");

/// What the state of the construction is made of.
#[derive(Default)]
pub(super) struct Ssa {
    variables: PrimaryMap<Variable, Type>,
    /// What each variable is at the end of each block.
    defs: SecondaryMap<Variable, SecondaryMap<Block, Def>>,
    pub(super) blocks: SecondaryMap<Block, BlockState>,
    pub(super) phis: PrimaryMap<Phi, PhiData>,
    pub(super) phi_of: SecondaryMap<Value, PackedOption<Phi>>,
    pub(super) operands: ListPool<Value>,
    /// Parameters of sealed blocks that have no operands yet.
    pending: Vec<Phi>,
    /// Number of the lookup under way, for `BlockState::seen`.
    walk: u32,
}

/// What is known of a variable at the end of a block.
#[derive(Clone, Copy, Default)]
enum Def {
    /// Nothing: it is what it was before the block.
    #[default]
    Inherited,
    /// Undefined; becomes a constant when it is read.
    Undefined,
    Value(Value),
}

#[derive(Clone, Default)]
pub(super) struct BlockState {
    /// An edge each: the block and the position among its targets.
    pub(super) preds: SmallVec<[(Block, u32); 2]>,
    sealed: bool,
    /// Parameters made before the block was sealed.
    open: Vec<Phi>,
    /// The last lookup that came through here.
    seen: u32,
}

/// A block parameter made for a variable.
pub(super) struct PhiData {
    pub(super) block: Block,
    pub(super) variable: Variable,
    pub(super) value: Value,
    /// A value for each predecessor edge of the block.
    pub(super) operands: EntityList<Value>,
}

impl Ssa {
    pub(super) fn add_edge(&mut self, from: Block, position: u32, to: Block) {
        let state = &mut self.blocks[to];
        assert!(!state.sealed, "an edge to {to}, which is sealed");
        state.preds.push((from, position));
    }

    pub(super) fn sealed(&self, block: Block) -> bool {
        self.blocks[block].sealed
    }
}

/// Variables.
impl Builder {
    /// A new variable, undefined at first.
    pub fn declare_var(&mut self, ty: Type) -> Variable {
        self.ssa.variables.push(ty)
    }

    /// Assigns a variable in the current block.
    pub fn def_var(&mut self, var: Variable, value: Value) {
        debug_assert_eq!(self.func.ty(value), self.ssa.variables[var]);
        self.ssa.defs[var][self.current] = Def::Value(value);
    }

    /// Makes a variable undefined: until assigned again it reads as 0.
    pub fn undef_var(&mut self, var: Variable) {
        self.ssa.defs[var][self.current] = Def::Undefined;
    }

    /// What a variable is at the current point; 0 if it is undefined.
    pub fn use_var(&mut self, var: Variable) -> Value {
        let value = self.lookup(var, self.current);
        self.fill_pending();
        value
    }

    /// Says that all edges to a block exist now.
    pub fn seal_block(&mut self, block: Block) {
        let state = &mut self.ssa.blocks[block];
        assert!(!state.sealed, "{block} is sealed twice");
        state.sealed = true;
        let open = std::mem::take(&mut state.open);
        self.ssa.pending.extend(open);
        self.fill_pending();
    }

    /// The value of a variable at the (present) end of a block. Parameters that
    /// this makes in sealed blocks are left pending.
    fn lookup(&mut self, var: Variable, from: Block) -> Value {
        self.ssa.walk += 1;
        let mut path: SmallVec<[Block; 16]> = SmallVec::new();
        let mut block = from;
        let value = loop {
            match self.ssa.defs[var][block] {
                Def::Value(value) => break value,
                Def::Undefined => break self.zero_at_end(block, self.ssa.variables[var]),
                Def::Inherited => {}
            }
            let state = &mut self.ssa.blocks[block];
            let closes_cycle = state.seen == self.ssa.walk;
            state.seen = self.ssa.walk;
            match state.preds[..] {
                _ if !state.sealed => {
                    let phi = self.make_phi(var, block);
                    self.ssa.blocks[block].open.push(phi);
                    break self.ssa.phis[phi].value;
                }
                // The function's start, or a block that nothing reaches.
                [] => break self.zero_at_end(block, self.ssa.variables[var]),
                [(pred, _)] if !closes_cycle => {
                    path.push(block);
                    block = pred;
                }
                // A cycle that nothing enters.
                [_] => break self.zero_at_end(block, self.ssa.variables[var]),
                _ => {
                    let phi = self.make_phi(var, block);
                    self.ssa.pending.push(phi);
                    break self.ssa.phis[phi].value;
                }
            }
        };
        path.push(block);
        for block in path {
            self.ssa.defs[var][block] = Def::Value(value);
        }
        value
    }

    fn make_phi(&mut self, variable: Variable, block: Block) -> Phi {
        let value = self.func.values.push(ValueData {
            ty: self.ssa.variables[variable],
            // The position is known when all parameters are.
            def: ValueDef::Param(block, u32::MAX),
        });
        let phi =
            self.ssa.phis.push(PhiData { block, variable, value, operands: EntityList::new() });
        self.ssa.phi_of[value] = phi.into();
        phi
    }

    /// Looks the operands of pending parameters up, which may make more of them.
    fn fill_pending(&mut self) {
        while let Some(phi) = self.ssa.pending.pop() {
            let PhiData { block, variable, .. } = self.ssa.phis[phi];
            let mut operands = EntityList::new();
            for edge in 0..self.ssa.blocks[block].preds.len() {
                let (pred, _) = self.ssa.blocks[block].preds[edge];
                let value = self.lookup(variable, pred);
                operands.push(value, &mut self.ssa.operands);
            }
            self.ssa.phis[phi].operands = operands;
        }
    }

    /// A zero as the last instruction so far of a block, which may be terminated.
    fn zero_at_end(&mut self, block: Block, ty: Type) -> Value {
        let zero = self.make_zero(ty);
        self.func.blocks[block].insts.push(zero);
        self.func.results[zero].expect("a constant has a result")
    }

    pub(super) fn make_zero(&mut self, ty: Type) -> crate::Inst {
        self.func.make_inst(InstData {
            op: Opcode::Iconst,
            ty,
            args: SmallVec::new(),
            payload: Payload::Imm(0),
            origin: self.origin,
        })
    }
}
