//! The last step of building: parameters for variables that are needed become
//! real ones with arguments on every edge, and values are numbered densely in
//! the order of the layout.

use cranelift_entity::{EntityRef, PrimaryMap, SecondaryMap};

use super::ssa::Phi;
use super::trivial::{self, Replacements};
use super::{Builder, Terminator};
use crate::function::ValueDef;
use crate::{Function, Value};

impl Builder {
    /// The finished function.
    pub fn finish(mut self) -> Function {
        for &block in &self.func.layout {
            assert!(self.ssa.sealed(block), "{block} is not sealed");
            let open = matches!(self.func.blocks[block].term, Terminator::None);
            assert!(!open, "{block} has no terminator");
        }
        let (mut replaced, empty) = trivial::find(&self.ssa);
        for phi in empty {
            let value = self.ssa.phis[phi].value;
            if replaced.root(value) == value {
                let zero = self.zero_in_place_of(phi);
                replaced.replace(value, zero);
            }
        }
        self.add_params(&mut replaced);
        renumber(&mut self.func, &mut replaced);
        self.func
    }

    fn zero_in_place_of(&mut self, phi: Phi) -> Value {
        let block = self.ssa.phis[phi].block;
        let zero = self.make_zero(self.func.ty(self.ssa.phis[phi].value));
        self.func.blocks[block].insts.insert(0, zero);
        self.func.results[zero].expect("a constant has a result")
    }

    /// Turns parameters that were not replaced into real ones, those of a
    /// block in the order of their variables.
    fn add_params(&mut self, replaced: &mut Replacements) {
        let is_needed = |phi: &Phi| {
            let value = self.ssa.phis[*phi].value;
            replaced.root(value) == value
        };
        let mut needed: Vec<Phi> = self.ssa.phis.keys().filter(is_needed).collect();
        needed.sort_by_key(|&phi| (self.ssa.phis[phi].block, self.ssa.phis[phi].variable));
        for phi in needed {
            let data = &self.ssa.phis[phi];
            let params = &mut self.func.blocks[data.block].params;
            let position = params.len() as u32;
            params.push(data.value);
            self.func.values[data.value].def = ValueDef::Param(data.block, position);
            let arguments = data.operands.as_slice(&self.ssa.operands);
            for (&(pred, target), &argument) in
                std::iter::zip(&self.ssa.blocks[data.block].preds, arguments)
            {
                let mut targets = self.func.blocks[pred].term.targets_mut();
                targets[target as usize].args.push(argument);
            }
        }
    }
}

/// Numbers the values that are left in the order of their definitions and
/// replaces uses of the others.
fn renumber(func: &mut Function, replaced: &mut Replacements) {
    let mut values = PrimaryMap::with_capacity(func.values.len());
    let mut number: SecondaryMap<Value, Value> = SecondaryMap::with_default(Value::new(0));
    for &block in &func.layout {
        let data = &mut func.blocks[block];
        for param in &mut data.params {
            let new = values.push(func.values[*param]);
            number[*param] = new;
            *param = new;
        }
        for &inst in &data.insts {
            if let Some(old) = func.results[inst].expand() {
                number[old] = values.push(func.values[old]);
                func.results[inst] = number[old].into();
            }
        }
    }
    func.values = values;
    let mut rename = |value: &mut Value| *value = number[replaced.root(*value)];
    for &block in &func.layout {
        for &inst in &func.blocks[block].insts {
            func.insts[inst].args.iter_mut().for_each(&mut rename);
        }
        func.blocks[block].term.for_each_use_mut(&mut rename);
    }
}
