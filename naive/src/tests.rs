//! Byte sequences that the kernel is known to emit, and that every emitted
//! function decodes.

use iced_x86::{Decoder, DecoderOptions};
use tailor_bpf::cfg::{Cfg, is_tail_call};
use tailor_bpf::facts::{Facts, FunctionFacts, TailCall};
use tailor_bpf::text::parse_object;
use tailor_bpf::{Callee, FuncRef, MapRef, Object, Op};
use tailor_emit::{CompiledFunction, FunctionKind, Gpr, RelocKind, Symbol};

/// Facts as far as these tests need them; `stack_depth` is for all functions.
fn facts(object: &Object, stack_depth: u32, tail_call: TailCall) -> Facts {
    let reaches = |ops: &[Op]| ops.iter().any(is_tail_call);
    let functions = object.functions.values().map(|function| {
        let calls_such = function.ops.iter().any(|op| match op {
            Op::Call(Callee::Function(func)) => reaches(&object.functions[*func].ops),
            _ => false,
        });
        let slots = function.ops.iter().enumerate();
        FunctionFacts {
            cfg: Cfg::build(&function.ops),
            tail_calls: slots
                .filter(|(_, op)| is_tail_call(op))
                .map(|(pc, _)| (pc as u32, tail_call))
                .collect(),
            reaches_tail_call: calls_such || reaches(&function.ops),
            stack_depth,
            ..FunctionFacts::default()
        }
    });
    Facts { functions: functions.collect() }
}

fn compile(text: &str, stack_depth: u32, tail_call: TailCall) -> Vec<CompiledFunction> {
    let object = parse_object(text).expect("the test's object parses");
    let facts = facts(&object, stack_depth, tail_call);
    let kind = |func: FuncRef| match object.programs.values().any(|p| p.function == func) {
        true => FunctionKind::Program,
        false => FunctionKind::Subprogram,
    };
    let functions: Vec<_> = object
        .functions
        .keys()
        .map(|func| crate::compile(&object, &facts, func, kind(func)).expect("it compiles"))
        .collect();
    functions.iter().for_each(decodes);
    functions
}

/// Every byte belongs to a valid instruction.
fn decodes(function: &CompiledFunction) {
    let mut decoder = Decoder::new(64, &function.code, DecoderOptions::NONE);
    for insn in &mut decoder {
        let at = insn.ip() as usize..insn.next_ip() as usize;
        assert!(!insn.is_invalid(), "{}: {:x?}", function.name, &function.code[at]);
    }
}

/// The only function of a program without stack, as hex digits.
fn body(ops: &str) -> String {
    let functions =
        compile(&format!("program f0 \"main\" raw\n{ops}\nexit"), 0, TailCall::default());
    let code = &functions[0].code;
    let saved = functions[0].frame.saved.iter();
    let pushes: usize = saved.map(|reg| if *reg == Gpr::RBX { 1 } else { 2 }).sum();
    hex(&code[12 + pushes..code.len() - 2 - pushes])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn plain_prologue_and_epilogue() {
    let text = "program f0 \"main\" raw\nr0 = 0\nexit";
    let f = &compile(text, 0, TailCall::default())[0];
    assert_eq!(hex(&f.code), "0f1f4400000f1f00554889e531c0c9c3");
    assert_eq!((f.landing, f.frame.frame_bytes), (12, 8));
}
