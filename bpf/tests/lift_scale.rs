//! Lifting takes programs of a million instructions: deep graphs do not exhaust
//! the stack. How long it takes is measured by the bench `scaling`.

use tailor_bpf::{FuncRef, lift, text};
use tailor_ir::Function;

fn lifted(code: &str) -> Function {
    let object = text::parse_object(&format!("program f0 \"main\" raw\n{code}")).unwrap();
    let (facts, errors) = tailor_bpf::analyze(&object);
    assert_eq!(errors, []);
    lift::lift(&object, &facts, FuncRef::from_u32(0)).unwrap()
}

/// A million instructions in 200,000 blocks, with a common exit, loops within a
/// large one, and a register that is live through all of it.
#[test]
fn a_million_instructions_in_many_blocks() {
    let mut code = String::from("r6 = r1\nr0 = 0\ntop:\n");
    for block in 0..100_000 {
        code += &format!("b{block}:\nr0 += 1\n*(u64 *)(r10 - {}) = r0\n", 8 + block % 64 * 8);
        code += "r3 = r0\nw3 ^= w2\nr3 += r6\n";
        code += &match block % 4 {
            0 => format!("if r3 == {block} goto b{block}\n"),
            1 => format!("if r3 == {block} goto +2\nr7 = r3\nr8 = r7\n"),
            2 => "if r3 s> 5 goto +0\n".into(),
            _ => format!("r3 = *(u64 *)(r10 - {})\nr0 ^= r3\n", 8 + block % 64 * 8),
        };
        if block % 1000 == 999 {
            code += "if r3 == 7 goto +1\ngoto +1\nexit\n";
        }
    }
    let function = lifted(&(code + "gotol end\nend:\nif r0 != 0 goto +1\nexit\ngotol top\n"));
    assert!(function.layout.len() > 100_000);
}

/// Jumps from everywhere to one exit that reads registers which differ.
#[test]
fn an_exit_with_many_predecessors() {
    let mut code = String::new();
    for block in 0..30_000 {
        code += &format!("r0 = {block}\nr2 += r1\nif r2 != {block} goto +1\ngotol out\n");
    }
    let function = lifted(&(code + "out:\nr0 += r2\nr0 += r6\nexit\n"));
    assert!(function.layout.len() > 60_000);
}

/// Straight code that defines and reads registers a million times.
#[test]
fn a_million_instructions_in_one_block() {
    let code = "r0 += r1\nw0 *= 3\nr1 ^= r0\nw1 = w0\n".repeat(250_000);
    let function = lifted(&(code + "exit\n"));
    assert_eq!(function.layout.len(), 1);
}
