//! Byte sequences that the kernel is known to emit, and that every emitted
//! function decodes.

use iced_x86::{Decoder, DecoderOptions};
use tailor_bpf::cfg::{Cfg, is_tail_call};
use tailor_bpf::facts::{Facts, FunctionFacts, TailCall};
use tailor_bpf::text::parse_object;
use tailor_bpf::{Callee, Error, FuncRef, Object, Op};
use tailor_emit::{CompiledFunction, FunctionKind, Gpr, frame};

use crate::Variant;

mod encodings;
mod frames;
mod jumps;
mod variants;

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
    Facts { functions: functions.collect(), ..Facts::default() }
}

fn try_compile(
    variant: Variant,
    text: &str,
    depth: u32,
    tail_call: TailCall,
) -> Result<Vec<CompiledFunction>, Error> {
    let object = parse_object(text).expect("the test's object parses");
    let facts = facts(&object, depth, tail_call);
    let kind = |func: FuncRef| match object.programs.values().any(|p| p.function == func) {
        true => FunctionKind::Program,
        false => FunctionKind::Subprogram,
    };
    object
        .functions
        .keys()
        .map(|func| crate::compile(variant, &object, &facts, func, kind(func)))
        .collect()
}

fn compile(text: &str, stack_depth: u32, tail_call: TailCall) -> Vec<CompiledFunction> {
    compile_as(Variant::V612, text, stack_depth, tail_call)
}

fn compile_as(
    variant: Variant,
    text: &str,
    stack_depth: u32,
    tail_call: TailCall,
) -> Vec<CompiledFunction> {
    let functions =
        try_compile(variant, text, stack_depth, tail_call).expect("the test's object compiles");
    functions.iter().for_each(decodes);
    functions
}

/// Every byte belongs to a valid instruction, and the frame is the believed one.
fn decodes(function: &CompiledFunction) {
    let mut decoder = Decoder::new(64, &function.code, DecoderOptions::NONE);
    for insn in &mut decoder {
        let at = insn.ip() as usize..insn.next_ip() as usize;
        assert!(!insn.is_invalid(), "{}: {:x?}", function.name, &function.code[at]);
    }
    frame::check(function).expect("the frame is as believed");
}

/// The code of a program between prologue and epilogue.
fn body(ops: &str) -> String {
    let text = format!("program f0 \"main\" raw\n{ops}\nexit");
    let (depth, sub) = if ops.contains("r10") { (256, 7) } else { (0, 0) };
    let function = &compile(&text, depth, TailCall::default())[0];
    let size = |reg: &Gpr| if *reg == Gpr::RBX { 1 } else { 2 };
    let pushes: usize = function.frame.saved.iter().map(size).sum();
    hex(&function.code[12 + sub + pushes..function.code.len() - 2 - pushes])
}

/// Why a program does not compile.
fn error(ops: &str) -> String {
    let text = format!("program f0 \"main\" raw\n{ops}");
    match try_compile(Variant::V612, &text, 0, TailCall::default()) {
        Ok(_) => panic!("it compiles"),
        Err(error) => error.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_is_not_supported_is_named() {
    assert_eq!(error("call kfunc 7\nexit"), "main+0: kernel function 7 is not available");
    assert_eq!(error("call +1\nexit"), "main+0: the call was not linked");
    assert_eq!(error("r1 = pseudo(1, 5, 0) ll\nexit"), "main+0: the load was not linked");
}

/// As the verifier of 6.12 rewrites it: a slot below the stack of the function,
/// filled at its entry; AX is r10.
#[test]
fn may_goto_counts_in_a_slot() {
    let text = "program f0 \"main\" raw\nr0 = 0\nmay_goto +1\nr0 = 1\nexit";
    let function = &compile(text, 12, TailCall::default())[0];
    let expected = [
        "0f1f440000 0f1f00 55 4889e5 4881ec18000000", // the prologue, 12 + 8 bytes of stack
        "48c745ec00008000",                           // mov qword [rbp-20], 0x800000
        "31c0",                                       // xor eax, eax
        "4c8b55ec",                                   // mov r10, [rbp-20]
        "4d85d2",                                     // test r10, r10
        "740d",                                       // je, over the rest
        "4983ea01",                                   // sub r10, 1
        "4c8955ec",                                   // mov [rbp-20], r10
        "b801000000",                                 // mov eax, 1
        "c9c3",
    ];
    assert_eq!(hex(&function.code), expected.concat().replace(' ', ""));
    assert_eq!((function.frame.frame_bytes, function.frame.padding_bytes), (32, 4));
}

#[test]
fn invalid_control_flow_is_an_error() {
    assert_eq!(error("gotox r1"), "main+0: the jump has no table");
    assert_eq!(error(""), "main+0: the function has no code");
    let falls = "execution falls off the end of the function";
    assert_eq!(error("r0 = 1"), format!("main+0: {falls}"));
    assert_eq!(error("r0 = 1 ll"), format!("main+0: {falls}"));
    assert_eq!(error("call 12"), format!("main+0: {falls}"));
    assert_eq!(error("if r1 == 0 goto -1"), format!("main+0: {falls}"));
    assert_eq!(error("goto +7\nexit"), "main+0: the jump leaves the function");
    assert_eq!(error("if r1 == 0 goto -9\nexit"), "main+0: the jump leaves the function");
}
