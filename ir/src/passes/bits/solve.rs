//! Who uses whom: values, and the values that depend on them.

use cranelift_entity::EntityRef;

use super::super::edges::group;
use crate::{Function, Value};

/// For each value, the results of instructions that use it and the block
/// parameters that it is passed for.
pub(super) struct Dependents {
    starts: Vec<u32>,
    values: Vec<Value>,
}

impl Dependents {
    /// Looks at all blocks of the layout.
    pub fn new(function: &Function) -> Dependents {
        let mut keyed = Vec::new();
        for &block in &function.layout {
            let data = &function.blocks[block];
            for &inst in &data.insts {
                if let Some(result) = function.result(inst) {
                    let args = function.insts[inst].args.iter();
                    keyed.extend(args.map(|arg| (arg.index(), result)));
                }
            }
            for target in data.term.targets() {
                let params = &function.blocks[target.block].params;
                let pairs = target.args.iter().zip(params);
                keyed.extend(pairs.map(|(arg, &param)| (arg.index(), param)));
            }
        }
        let (starts, values) = group(function.values.len(), &keyed);
        Dependents { starts, values }
    }

    /// What depends on a value.
    pub fn of(&self, value: Value) -> &[Value] {
        let index = value.index();
        &self.values[self.starts[index] as usize..self.starts[index + 1] as usize]
    }
}
