//! The text form prints as it was parsed; what is wrong is named with its line.

use super::{parse_function, parse_module};

const EVERYTHING: &str = r#"function f0 "main" reaches_tail_call {
    ss0 = slot 16 align 8
    ss1 = slot 3 align 1
    fn0 = helper 1 "map_lookup_elem" arity 2 reads
    fn1 = helper 5 "ktime\n\"get\" \u{7f}" arity 0
block7(v0: i64, v31: i32):
    v2 = iconst.i64 42
    v3 = iconst.i32 -1
    v4 = iconst.i64 0xdeadbeefcafebabe @3
    v5 = load.i32 u8 v0+4 packet @7
    v6 = sload.i64 u32 v0-2147483648 map3
    store.i64 u64 v0-8, v2 ss0
    v7 = stack_addr ss0+8
    v8 = stack_addr ss1-1
    v9 = map_addr map0
    v10 = map_value map1+4294967295
    v11 = func_addr f1
    v12 = call_ext fn0(v9, v7)
    v13 = call_ext fn1()
    v14 = call f1(v0) @4294967295
    v15 = atomic_fetch.i64 add v0+8, v2 any
    atomic.i32 xor v0, v3 ctx
    v16 = atomic_cas.i64 u64 v0+16, v2, v4 any
    v17 = ctx_load.i32 0.1 v0
    ctx_store.i64 255.255 v0, v2
    v18 = uext32 v5
    v19 = trunc v18
    branch slt.i32 v5, v3, block2(v2, v0), block3
block2(v20: i64, v21: i64) freq 0.5:
    tail_call v0, v9, v20, direct map0[4294967295], block3
block5 freq 1e-300:
    tail_call v0, v9, v2, block2(v0, v0)
block3 freq 4096.0:
    return v2
block8:
    jump block3
block9:
    trap
block10:
    unterminated
}
"#;

#[test]
fn printing_what_was_read_gives_the_same_text() {
    let function = parse_function(EVERYTHING).unwrap();
    assert_eq!(function.to_string(), EVERYTHING);
    assert_eq!(function.values.len(), 32);
}

#[test]
fn a_module_is_its_functions() {
    let text =
        "function f0 \"a\" {\nblock0:\n    trap\n}\n\nfunction f1 \"b\" {\nblock0:\n    trap\n}\n";
    assert_eq!(parse_module(text).unwrap().to_string(), text);
    assert_eq!(parse_module("").unwrap().to_string(), "");
}

fn error(text: &str) -> String {
    parse_function(text).unwrap_err().to_string()
}

/// The error of a function with that one line in its block, which is line 3.
fn line_error(line: &str) -> String {
    error(&format!("function f0 \"x\" {{\nblock0(v0: i64):\n{line}\n    return v0\n}}\n"))
}

#[test]
fn errors_say_where_and_what() {
    assert_eq!(error(""), "1:1: expected `function`, found the end of the text");
    assert_eq!(
        error("function f0 \"x\" { }"),
        "1:20: expected a block before the end of the function, found the end of the text"
    );
    assert_eq!(
        line_error("v1 = iadd v0, v0"),
        "3:6: expected an instruction or a terminator, found `iadd`"
    );
    assert_eq!(line_error("v1 = iadd.i64 v0 v0"), "3:18: expected `,`, found `v0`");
    assert_eq!(
        line_error("v1 = iconst.i32 0x100000000"),
        "3:17: expected a constant of type i32, found `0x100000000`"
    );
    assert_eq!(line_error("iadd.i64 v0, v0"), "3:1: expected `vN =`: iadd has a result");
    assert_eq!(line_error("v1 = store.i64 u64 v0, v0 any"), "3:6: store has no result");
    assert_eq!(line_error("v0 = trunc v0"), "3:1: v0 is defined twice");
    assert_eq!(
        line_error("v1 = load.i64 u64 v0+2147483648 any"),
        "3:22: expected an offset of 32 bits, found `2147483648`"
    );
    assert_eq!(
        line_error("v1 = trunc v4294967294"),
        "3:12: this number leaves too many others out"
    );
    assert_eq!(line_error("trap block0: trap"), "3:6: block0 stands here twice");
    assert_eq!(line_error("\"abc"), "3:1: this string has no end");
    assert_eq!(line_error("\"\\x\""), "3:2: expected an escape sequence");
}

/// What becomes of a text by a small change: an error or a function whose
/// printed form is stable, and never a panic.
#[test]
fn damaged_texts_are_errors_or_functions() {
    let texts = (0..EVERYTHING.len()).flat_map(|at| {
        let cut = EVERYTHING[..at].to_string();
        let changed = ["", "9", "v", ",", "(", "\"", "-", "\u{e9}"].map(|new| {
            let mut text = EVERYTHING.to_string();
            text.replace_range(at..=at, new);
            text
        });
        [cut].into_iter().chain(changed)
    });
    for text in texts {
        if let Ok(function) = parse_function(&text) {
            let printed = function.to_string();
            let again = parse_function(&printed).unwrap();
            assert_eq!(again.to_string(), printed);
        }
    }
}
