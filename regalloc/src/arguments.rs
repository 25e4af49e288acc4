//! Copies of arguments that live on.
//!
//! Problem: an argument must be in one register, which the call destroys. A
//! value that is passed and lives on can therefore not stay where it is, and the
//! allocator, which gives each value one place if it can, tears it apart at every
//! such call and places the pieces one by one. Pieces of one value end in
//! different places, and what lies between two calls cannot have the callee-saved
//! register that the next one was given.
//! Idea: such a value must be copied to the argument's register in any case. As
//! an instruction before the call, the copy takes the constraint with it, and
//! the value can have one place for all of its life. The copy can be made from a
//! slot.
//! Invariants: a value that dies at the call is passed as it is. No more is
//! executed than the allocator would have to put in.
//! Source: calling conventions as explicit copies, as in Chaitin 1982; here only
//! where coalescing could never undo them.

use regalloc2::{Block, Operand, OperandConstraint, OperandKind};
use tailor_lower::MachFunction;
use tailor_lower::edit::{Editor, Place};

use crate::liveness::{Live, Liveness};

/// A use by a call: the instruction and the number of the operand.
struct Argument {
    inst: usize,
    operand: usize,
}

/// Puts them in.
pub fn arguments(function: MachFunction) -> MachFunction {
    let found = that_live_on(&function);
    if found.is_empty() {
        return function;
    }
    let mut editor = Editor::new(function);
    for Argument { inst, operand } in found {
        let value = editor.function().inst_operands(inst)[operand].vreg();
        let copy = editor.load_or_copy(Place::before(inst), value);
        editor.set_operand(inst, operand, copy);
    }
    editor.finish()
}

/// The arguments whose values are used again later; none if the function is too
/// large to tell.
fn that_live_on(function: &MachFunction) -> Vec<Argument> {
    let mut found = Vec::new();
    let has_calls = function.info.iter().any(|info| info.role.is_call());
    let Some(liveness) = has_calls.then(|| Liveness::new(function)).flatten() else {
        return found;
    };
    let mut live = Live::new(function);
    for block in 0..function.blocks.len() {
        liveness.for_each_point(function, Block::new(block), &mut live, |inst, live| {
            if !function.info[inst].role.is_call() {
                return;
            }
            for (number, operand) in function.inst_operands(inst).iter().enumerate() {
                if is_fixed_use(operand) && live.contains(operand.vreg()) {
                    found.push(Argument { inst, operand: number });
                }
            }
        });
    }
    found
}

fn is_fixed_use(operand: &Operand) -> bool {
    let fixed = matches!(operand.constraint(), OperandConstraint::FixedReg(_));
    operand.kind() == OperandKind::Use && fixed
}
