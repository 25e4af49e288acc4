//! Lifting: control flow that is hard on the making of SSA form.

use tailor_bpf::{FuncRef, lift, text};

use super::{Shape, Work};

fn work(code: &str) -> Work {
    let object = text::parse_object(&format!("program f0 \"main\" raw\n{code}"));
    let object = object.expect("an object");
    let (facts, errors) = tailor_bpf::analyze(&object);
    assert_eq!(errors, []);
    Box::new(move || {
        lift::lift(&object, &facts, FuncRef::from_u32(0)).expect("it can be lifted");
    })
}

/// Loops that leave to a common exit, within a large one, and a register that is
/// live through all of it.
fn loops(size: usize) -> String {
    let mut code = String::from("r6 = r1\nr0 = 0\ntop:\n");
    for block in 0..size / 8 {
        code += &format!("b{block}:\nr0 += 1\nr3 = r0\nw3 ^= w2\nr3 += r6\nr7 ^= r3\n");
        code += &format!("if r3 == {block} goto b{block}\nif r3 != 7 goto +1\ngotol out\n");
    }
    code + "if r0 != 0 goto +1\nexit\ngotol top\nout:\nr0 += r7\nexit\n"
}

/// Jumps from everywhere to one exit that reads registers which differ.
fn exits(size: usize) -> String {
    let mut code = String::new();
    for block in 0..size / 4 {
        code += &format!("r0 = {block}\nr2 += r1\nif r2 != {block} goto +1\ngotol out\n");
    }
    code + "out:\nr0 += r2\nr0 += r6\nexit\n"
}

/// Nested loops, so that what their headers are given is known last, inside out.
fn nest(size: usize) -> String {
    let mut code = String::from("r0 = 0\n");
    let depth = size / 4;
    for block in 0..depth {
        code += &format!("b{block}:\nr0 += r1\n");
    }
    for block in (0..depth).rev() {
        code += &format!("r2 += r0\nif r2 != {block} goto +1\ngotol b{block}\n");
    }
    code + "exit\n"
}

/// One block.
fn straight(size: usize) -> String {
    "r0 += r1\nw0 *= 3\nr1 ^= r0\nw1 = w0\n".repeat(size / 4) + "exit\n"
}

/// A name, and the function of a size.
type Row = (&'static str, fn(usize) -> String);

pub fn shapes() -> Vec<Shape> {
    let all: [Row; 4] =
        [("straight", straight), ("exits", exits), ("loops", loops), ("nest", nest)];
    let shape = |(name, code): Row| Shape {
        stage: "lifting",
        name,
        work: Box::new(move |size| work(&code(size))),
    };
    all.into_iter().map(shape).collect()
}
