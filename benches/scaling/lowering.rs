//! Lowering to machine instructions.

use std::fmt::Write;

use tailor_ir::text::parse_function;
use tailor_lower::{Options, lower};

use super::{Shape, Work};

fn work(text: &str) -> Work {
    let function = parse_function(text).expect("a function");
    Box::new(move || {
        lower(&function, &Options::default()).expect("it can be lowered");
    })
}

fn function(body: impl FnOnce(&mut String)) -> String {
    let mut text = String::from("function f0 \"f\" {\nblock0(v0: i64, v1: i64):\n");
    body(&mut text);
    text.push_str("}\n");
    text
}

/// `v{n}` is the sum of its predecessors, and everything is loaded from once.
fn chain(count: usize) -> String {
    function(|text| {
        for n in (2..count).step_by(2) {
            writeln!(text, "v{n} = iadd.i64 v{}, v{}", n - 1, n - 2).expect("a string");
            writeln!(text, "v{} = load.i64 u64 v{n}+8 any", n + 1).expect("a string");
        }
        writeln!(text, "return v{}", count / 2).expect("a string");
    })
}

/// Additions only, all of which look at those before them.
fn sums(count: usize) -> String {
    function(|text| {
        for n in 2..count {
            writeln!(text, "v{n} = iadd.i64 v{}, v1", n - 1).expect("a string");
        }
        writeln!(text, "return v{}", count - 1).expect("a string");
    })
}

/// Checks that all leave to one exit, with a constant each and parameters.
fn checks(count: usize) -> String {
    function(|text| {
        let blocks = count / 4;
        for n in 0..blocks {
            let (c, sum) = (2 * n + 2, 2 * n + 3);
            let previous = if n == 0 { 0 } else { sum - 2 };
            writeln!(text, "v{c} = iconst.i64 {n}").expect("a string");
            writeln!(text, "v{sum} = iadd.i64 v{previous}, v{c}").expect("a string");
            let end = blocks + 1;
            writeln!(text, "branch ult.i64 v1, v{c}, block{end}(v{sum}), block{}", n + 1)
                .expect("a string");
            writeln!(text, "block{}:", n + 1).expect("a string");
        }
        let (end, result) = (blocks + 1, 2 * blocks + 2);
        writeln!(text, "jump block{end}(v0)\nblock{end}(v{result}: i64):\nreturn v{result}")
            .expect("a string");
    })
}

/// Widened, narrowed, and widened again: all one register.
fn aliases(count: usize) -> String {
    function(|text| {
        text.push_str("v2 = trunc v0\nv3 = uext32 v2\n");
        for n in (4..count).step_by(2) {
            writeln!(text, "v{n} = trunc v{}\nv{} = uext32 v{n}", n - 1, n + 1).expect("a string");
        }
        writeln!(text, "return v{}", count / 2 * 2 - 1).expect("a string");
    })
}

/// Loops that follow each other, each with a parameter for its counter.
fn loops(count: usize) -> String {
    function(|text| {
        let blocks = count / 4;
        writeln!(text, "v2 = iconst.i64 1\njump block1(v0)").expect("a string");
        for n in 1..=blocks {
            let (i, next) = (2 * n + 1, 2 * n + 2);
            writeln!(text, "block{n}(v{i}: i64):\nv{next} = iadd.i64 v{i}, v2").expect("a string");
            let on = n + 1;
            writeln!(text, "branch ult.i64 v{next}, v1, block{n}(v{next}), block{on}(v{next})")
                .expect("a string");
        }
        let result = 2 * blocks + 3;
        writeln!(text, "block{}(v{result}: i64):\nreturn v{result}", blocks + 1).expect("a string");
    })
}

/// A name, and the function of a size.
type Row = (&'static str, fn(usize) -> String);

pub fn shapes() -> Vec<Shape> {
    let all: [Row; 5] = [
        ("chain", chain),
        ("sums", sums),
        ("checks", checks),
        ("aliases", aliases),
        ("loops", loops),
    ];
    let shape = |(name, text): Row| Shape {
        stage: "lowering",
        name,
        work: Box::new(move |size| work(&text(size))),
    };
    all.into_iter().map(shape).collect()
}
