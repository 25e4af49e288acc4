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
//! The same holds of a parameter of the function that crosses no call but is
//! passed to the first, in another register than it arrived in: torn apart, it
//! ends in a slot even where registers are free. (One that crosses calls is in a
//! slot or a callee-saved register by then, and best passed from there.)
//! Invariants: any other value that dies at the call is passed as it is. No more
//! is executed than the allocator would have to put in.
//! Source: calling conventions as explicit copies, as in Chaitin 1982; here only
//! where coalescing could never undo them.

use regalloc2::{Block, Operand, OperandConstraint, OperandKind, PReg, VReg};
use tailor_lower::edit::{Editor, Place};
use tailor_lower::{MachBlock, MachFunction, Role};

use crate::liveness::Liveness;

/// A use by a call: the instruction and the number of the operand.
struct Argument {
    inst: usize,
    operand: usize,
}

/// A parameter of the function.
struct Param {
    value: VReg,
    /// That it arrives in.
    register: PReg,
    crosses_calls: bool,
}

/// Puts them in.
pub fn arguments(function: MachFunction) -> MachFunction {
    let found = to_copy(&function);
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

/// The arguments whose values are used again later, and the parameters that
/// change registers; none if the function is too large to tell.
fn to_copy(function: &MachFunction) -> Vec<Argument> {
    let mut found = Vec::new();
    // Only what is passed somewhere counts.
    let mut is_passed = vec![false; function.vreg_bytes.len()];
    let mut has_calls = vec![false; function.blocks.len()];
    for (block, has_calls) in function.blocks.iter().zip(&mut has_calls) {
        for inst in calls(function, block) {
            *has_calls = true;
            let operands = function.inst_operands(inst).iter();
            let passed = operands.filter(|operand| fixed_use(operand).is_some());
            passed.for_each(|operand| is_passed[operand.vreg().vreg()] = true);
        }
    }
    if !is_passed.contains(&true) {
        return found;
    }
    let Some(liveness) = Liveness::of(function, |vreg| is_passed[vreg.vreg()]) else {
        return found;
    };
    let mut params = params(function);
    let mut passed_on: Vec<(usize, Argument)> = Vec::new();
    // By virtual register, the block that a use was seen in last, from its end on.
    let mut used_in = vec![usize::MAX; function.vreg_bytes.len()];
    for (number, block) in function.blocks.iter().enumerate().filter(|(at, _)| has_calls[*at]) {
        for inst in (block.start as usize..block.end as usize).rev() {
            let operands = function.inst_operands(inst);
            if function.info[inst].role.is_call() {
                let lives_on = |vreg: VReg| {
                    used_in[vreg.vreg()] == number
                        || is_passed[vreg.vreg()]
                            && liveness.is_live_at_end(function, Block::new(number), vreg)
                };
                for param in &mut params {
                    param.crosses_calls |= lives_on(param.value);
                }
                for (number, operand) in operands.iter().enumerate() {
                    let Some(register) = fixed_use(operand) else {
                        continue;
                    };
                    let argument = Argument { inst, operand: number };
                    let arrives_elsewhere =
                        |param: &Param| param.value == operand.vreg() && param.register != register;
                    if lives_on(operand.vreg()) {
                        found.push(argument);
                    } else if let Some(param) = params.iter().position(arrives_elsewhere) {
                        passed_on.push((param, argument));
                    }
                }
            }
            let uses = operands.iter().filter(|operand| operand.kind() == OperandKind::Use);
            uses.for_each(|operand| used_in[operand.vreg().vreg()] = number);
        }
    }
    passed_on.retain(|&(param, _)| !params[param].crosses_calls);
    found.extend(passed_on.into_iter().map(|(_, argument)| argument));
    found
}

/// The calls of a block.
fn calls(function: &MachFunction, block: &MachBlock) -> impl Iterator<Item = usize> {
    let insts = block.start as usize..block.end as usize;
    insts.filter(|&inst| function.info[inst].role.is_call())
}

/// The parameters of the function, which its first instruction defines.
fn params(function: &MachFunction) -> Vec<Param> {
    let operands = function.inst_operands(0).iter();
    let param = |operand: &Operand| match operand.constraint() {
        OperandConstraint::FixedReg(register) if operand.kind() == OperandKind::Def => {
            Some(Param { value: operand.vreg(), register, crosses_calls: false })
        }
        _ => None,
    };
    match function.info[0].role {
        Role::Plain => operands.filter_map(param).collect(),
        _ => Vec::new(),
    }
}

fn fixed_use(operand: &Operand) -> Option<PReg> {
    match operand.constraint() {
        OperandConstraint::FixedReg(register) if operand.kind() == OperandKind::Use => {
            Some(register)
        }
        _ => None,
    }
}
