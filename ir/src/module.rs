//! A module: the functions that call each other, numbered as they refer to
//! each other.

use cranelift_entity::PrimaryMap;

use crate::{FuncRef, Function};

/// Functions by number: an object's programs and subprograms.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// Each function's `id` is its key.
    pub functions: PrimaryMap<FuncRef, Function>,
}

impl Module {
    /// A module without functions.
    pub fn new() -> Module {
        Module::default()
    }

    /// Adds an empty function, and numbers it.
    pub fn add_function(&mut self, name: impl Into<String>) -> FuncRef {
        let id = self.functions.next_key();
        self.functions.push(Function::new(id, name))
    }
}
