//! Edits of machine functions, and what the lists look like then.

use regalloc2::{Block, OperandKind};
use tailor_ir::text::parse_function;
use tailor_lower::edit::Place;
use tailor_lower::x64::inst::Flags;
use tailor_lower::{Editor, MInst, MachFunction, Options, lower};

fn function(body: &str) -> MachFunction {
    let text = format!(
        "function f0 \"f\" {{
            fn0 = helper 5 \"now\" arity 0
        block0(v0: i64, v1: i64):
            {body}
        }}"
    );
    let function = parse_function(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    lower(&function, &Options::default()).expect("it can be lowered")
}

/// The listing of the instructions and blocks, without indentation.
fn lines(function: &MachFunction) -> Vec<String> {
    let text = function.to_string();
    let lines = text.lines().map(|line| line.trim().to_string());
    lines.filter(|line| !line.starts_with("function") && line != "}").collect()
}

/// The number of the only instruction that satisfies this.
fn find(function: &MachFunction, wanted: impl Fn(&MInst) -> bool) -> usize {
    let mut found = function.insts.iter().enumerate().filter(|(_, inst)| wanted(inst));
    let (at, _) = found.next().expect("an instruction");
    assert!(found.next().is_none(), "more than one");
    at
}

/// The position of an instruction's first use among its operands.
fn first_use(function: &MachFunction, inst: usize) -> usize {
    let mut operands = function.inst_operands(inst).iter();
    operands.position(|operand| operand.kind() == OperandKind::Use).expect("a use")
}

const ACROSS: &str = "v2 = iadd.i64 v0, v1
    v3 = call_ext fn0()
    v4 = iadd.i64 v3, v2
    return v4";

#[test]
fn nothing_edited() {
    let before = function(ACROSS);
    assert_eq!(lines(&Editor::new(before.clone()).finish()), lines(&before));
}

/// A value is computed behind a call instead of before it.
#[test]
fn computed_again() {
    let before = function(ACROSS);
    let call = find(&before, |inst| matches!(inst, MInst::CallHelper(_)));
    let sum = call - 1;
    let result = before.inst_operands(sum)[0].vreg();
    let uses = before.inst_operands(call + 1).iter();
    let used = uses.clone().position(|operand| operand.vreg() == result).expect("a use");

    let mut editor = Editor::new(before.clone());
    let again = editor.compute_again(Place::after(call), sum, true, |input| input);
    editor.set_operand(call + 1, used, again);
    editor.remove(sum);
    let after = editor.finish();

    assert_eq!(after.insts.len(), before.insts.len());
    assert_eq!((after.insts[call - 1], after.insts[call]), (before.insts[call], before.insts[sum]));
    assert!(after.info[call].recomputed && !after.info[call - 1].recomputed);
    assert_eq!(after.info[call].origin, before.info[sum].origin);
    let inputs = |function: &MachFunction, inst: usize| {
        let uses = function.inst_operands(inst).iter().filter(|op| op.kind() == OperandKind::Use);
        uses.map(|operand| operand.vreg()).collect::<Vec<_>>()
    };
    assert_eq!(inputs(&after, call), inputs(&before, sum));
    assert_eq!(after.inst_operands(call)[0].vreg(), again);
    assert_eq!(after.inst_operands(call + 1)[used].vreg(), again);
    assert_ne!(again, result);
    assert_eq!(after.blocks[0].end as usize, after.insts.len());
}

/// Instructions at one place stand in the order in which they were put in, and
/// what is after one comes before what is before the next.
#[test]
fn order_of_insertions() {
    let before = function(ACROSS);
    let call = find(&before, |inst| matches!(inst, MInst::CallHelper(_)));
    let value = before.inst_operands(call + 1)[1].vreg();
    let mut editor = Editor::new(before);
    let third = editor.copy(Place::before(call + 1), value);
    let fourth = editor.copy(Place::before(call + 1), third);
    let first = editor.copy(Place::after(call), value);
    let second = editor.copy(Place::after(call), first);
    let after = editor.finish();
    let made: Vec<_> =
        (call + 1..call + 5).map(|inst| after.inst_operands(inst)[0].vreg()).collect();
    assert_eq!(made, [first, second, third, fourth]);
}

const BRANCH: &str = "branch ult.i64 v0, v1, block1(v0), block1(v1)
    block1(v2: i64):
    v3 = iadd.i64 v2, v0
    return v3";

#[test]
fn ends_of_blocks() {
    let before = function(BRANCH);
    let comparison = find(&before, |inst| inst.flags() == Flags::Compares);
    assert_eq!(before.comparison(Block::new(0)), Some(comparison));
    assert!(!before.flags_awaited(comparison));
    assert!(before.flags_awaited(comparison + 1));
    assert!(!before.flags_awaited(comparison + 2));

    let argument = before.inst_operands(0)[0].vreg();
    let mut editor = Editor::new(before.clone());
    assert_eq!(editor.end_of(Block::new(0)), Place::before(comparison));
    assert_eq!(editor.start_of(Block::new(0)), Place::after(0));
    let join = Block::new(before.blocks.len() - 1);
    let first = before.blocks[join.index()].start as usize;
    assert_eq!(editor.start_of(join), Place::before(first));
    // At the start of a block, not at the end of the one before it.
    editor.copy(editor.start_of(join), argument);
    let after = editor.finish();
    assert_eq!(after.blocks[join.index()].start, before.blocks[join.index()].start);
    assert_eq!(after.blocks[join.index()].end, before.blocks[join.index()].end + 1);
    assert!(matches!(after.insts[first], MInst::Mov(_)));
}

#[test]
fn one_more_parameter() {
    let before = function(BRANCH);
    let join = Block::new(before.blocks.len() - 1);
    let [a, b] = [0, 1].map(|n| before.inst_operands(0)[n].vreg());
    let mut editor = Editor::new(before.clone());
    let (param, position) = editor.add_parameter(join, 8);
    assert_eq!(position, 1);
    let preds = before.blocks[join.index()].preds.clone();
    for (&pred, value) in preds.iter().zip([a, b]) {
        editor.set_argument(pred, position, value);
    }
    let sum = before.blocks[join.index()].start as usize;
    editor.set_operand(sum, first_use(&before, sum), param);
    let after = editor.finish();
    assert_eq!(after.blocks[join.index()].params[1], param);
    assert_eq!(after.blocks[preds[0].index()].args[1], a);
    assert_eq!(after.blocks[preds[1].index()].args[1], b);
    assert_eq!(after.vreg_bytes.len(), before.vreg_bytes.len() + 1);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "would change flags")]
fn arithmetic_before_a_branch() {
    let before = function(&format!("v9 = xor.i64 v0, v1\nstore.i64 u64 v0+0, v9 any\n{BRANCH}"));
    let comparison = find(&before, |inst| inst.flags() == Flags::Compares);
    let sum = (0..comparison).find(|&inst| matches!(before.insts[inst], MInst::Alu(..)));
    let mut editor = Editor::new(before);
    editor.compute_again(Place::after(comparison), sum.expect("a sum"), true, |input| input);
}
