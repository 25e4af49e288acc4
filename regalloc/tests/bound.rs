//! Lower bounds of frames, against bounds found by hand.

use std::fmt::Write;

use tailor_ir::text::parse_function;
use tailor_lower::{Options, lower};
use tailor_regalloc::bound::lower_bound;

fn bound(body: &str) -> u32 {
    let text = format!(
        "function f0 \"f\" {{
            ss0 = slot 16 align 8 escapes
            fn0 = helper 5 \"now\" arity 0
            fn1 = helper 112 \"writes\" arity 1 reads writes
        block0(v0: i64, v1: i64):
            {body}
        }}"
    );
    let function = parse_function(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    lower_bound(&lower(&function, &Options::default()).expect("it can be lowered"), &|_| false)
        .unwrap()
}

#[test]
fn nothing_lives_across_a_call() {
    assert_eq!(bound("v2 = call_ext fn0()\nreturn v2"), 0);
}

#[test]
fn values_across_a_call() {
    assert_eq!(bound("v2 = call_ext fn0()\nv3 = iadd.i64 v2, v0\nreturn v3"), 8);
    let both = "v2 = call_ext fn0()
        v3 = iadd.i64 v2, v0
        v4 = iadd.i64 v3, v1
        return v4";
    assert_eq!(bound(both), 16);
}

/// Two halves fit in eight bytes.
#[test]
fn narrow_values() {
    let narrow = "v2 = load.i32 u32 v0 any
        v3 = load.i32 u32 v1 any
        v4 = call_ext fn0()
        v5 = iadd.i32 v2, v3
        v6 = uext32 v5
        return v6";
    assert_eq!(bound(narrow), 8);
}

/// Two values that count whole before a call; behind it their low halves are passed on.
#[test]
fn values_that_become_narrow() {
    let passed = "store.i64 u64 v1, v0 any
        v2 = call_ext fn0()
        v3 = trunc v0
        v4 = trunc v1
        jump block1(v3, v4)
    block1(v5: i32, v6: i32):
        v7 = iadd.i32 v5, v6
        branch ne.i32 v7, v6, block1(v7, v5), block2
    block2:
        return v2";
    assert_eq!(bound(passed), 8);
}

/// A constant, an address, and what follows from a value that is kept anyway.
#[test]
fn what_can_be_computed_again() {
    let body = "v2 = iconst.i64 0x123456789
        v3 = map_addr map0
        v4 = imul.i64 v0, v0
        store.i64 u64 v3, v2 any
        store.i64 u64 v3, v4 any
        v5 = call_ext fn0()
        store.i64 u64 v3, v2 any
        store.i64 u64 v3, v4 any
        store.i64 u64 v3, v0 any
        return v5";
    assert_eq!(bound(body), 8);
    // The input is not live any more: its square must be kept.
    assert_eq!(bound(&body.replace("store.i64 u64 v3, v0 any", "")), 8);
    // What was loaded need not be there any more.
    let loaded = "v2 = load.i64 u64 v0 any
        store.i64 u64 v1, v2 any
        v3 = call_ext fn0()
        store.i64 u64 v0, v2 any
        return v3";
    assert_eq!(bound(loaded), 16);
}

#[test]
fn objects() {
    let body = "v2 = stack_addr ss0
        store.i64 u64 v2, v0 ss0
        v3 = call_ext fn1(v2)
        v4 = iadd.i64 v3, v1
        return v4";
    assert_eq!(bound(body), 16 + 8);
}

/// Twelve values loaded before a store, which takes two more: nine of the
/// fourteen fit in registers.
#[test]
fn pressure_without_calls() {
    let mut body = String::new();
    for n in 0..12 {
        writeln!(body, "v{} = load.i64 u64 v0+{} any", n + 2, 8 * n).unwrap();
    }
    writeln!(body, "store.i64 u64 v1, v0 any").unwrap();
    for n in 14..25 {
        let (sum, next) = (if n == 14 { 13 } else { n - 1 }, n - 12);
        writeln!(body, "v{n} = iadd.i64 v{sum}, v{next}").unwrap();
    }
    writeln!(body, "return v24").unwrap();
    assert_eq!(bound(&body), 8 * (14 - 9));
}

/// The end of a chain of additions, whose beginning is dead, lives across a call. How
/// it came about is followed for some hundred steps; then it may be recomputable for
/// all that is known.
#[test]
fn long_chains() {
    let chain = |length: usize| {
        let mut body = String::from("v2 = call_ext fn0()\n");
        for n in 3..3 + length {
            writeln!(body, "v{n} = iadd.i64 v{}, v0", n - 1).unwrap();
        }
        let (end, call) = (2 + length, 3 + length);
        writeln!(body, "v{call} = call_ext fn0()").unwrap();
        writeln!(body, "v{} = iadd.i64 v{call}, v{end}", call + 1).unwrap();
        writeln!(body, "v{} = iadd.i64 v{}, v0", call + 2, call + 1).unwrap();
        write!(body, "return v{}", call + 2).unwrap();
        bound(&body)
    };
    assert_eq!(chain(100), 16, "v0 and the end of the chain");
    assert_eq!(chain(2_000), 8, "v0");
}
