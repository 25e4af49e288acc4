//! The typed indices of the IR. Each prints as it is written in the text form.

use cranelift_entity::entity_impl;

macro_rules! entity {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u32);
        entity_impl!($name, $prefix);
    };
}

entity!(
    /// An SSA value: the result of an instruction or a block parameter.
    Value, "v"
);
entity!(
    /// An instruction that is not a terminator.
    Inst, "inst"
);
entity!(
    /// A basic block.
    Block, "block"
);
entity!(
    /// An object in the function's stack frame.
    StackSlot, "ss"
);
entity!(
    /// A helper as this function declares it.
    ExtFunc, "fn"
);
entity!(
    /// A function of the module (an object's programs and subprograms).
    FuncRef, "f"
);
entity!(
    /// A map of the module; .rodata, .data and .bss are maps too.
    MapRef, "map"
);
