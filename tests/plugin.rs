//! `tailor-conformance` as the conformance suite's runner starts it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use tailor::{Engine, bpf};

/// Runs the plugin on a program's text.
fn plugin(arguments: &[&str], text: &str) -> Output {
    let ops = bpf::text::parse_ops(text).expect("the test's code parses");
    let bytes = bpf::encode::encode("test", &ops).expect("and has an encoding");
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    start(arguments, &hex.join(" "))
}

fn start(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tailor-conformance"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A child that refuses its arguments reads nothing.
    let _ = writeln!(stdin, "{input}");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn result(output: &Output) -> u64 {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    u64::from_str_radix(text.trim(), 16).unwrap_or_else(|_| panic!("{text:?} is no hex"))
}

#[test]
fn memory_and_its_length() {
    let text = "r0 = *(u32 *)(r1 + 1)\n r2 <<= 32\n r0 |= r2\n exit";
    for engine in Engine::ALL {
        let output = plugin(&["01 02 03 04 05 ff", "--engine", engine.name()], text);
        assert_eq!(result(&output), 0x6_0504_0302, "{engine}");
    }
    assert_eq!(result(&plugin(&[], "r0 = r1\n r0 |= r2\n exit")), 0);
    assert_eq!(result(&plugin(&[""], "r0 = r1\n r0 |= r2\n exit")), 0);
}

#[test]
fn the_only_helper_returns_its_argument() {
    for engine in Engine::ALL {
        let arguments = ["--engine", engine.name()];
        assert_eq!(result(&plugin(&arguments, "r1 = 77\n call 5\n exit")), 77, "{engine}");
        let text = "r1 = 78\n r6 = 5\n callx r6\n exit";
        assert_eq!(result(&plugin(&arguments, text)), 78, "{engine}");
    }
}

#[test]
fn failures_are_a_line_and_a_status() {
    let unknown = [0xff, 0, 0, 0, 0, 0, 0, 0].map(|byte: u8| format!("{byte:02x}")).join(" ");
    let cases = [
        (start(&[], &unknown), "unknown opcode 0xff"),
        (start(&[], "9"), "odd number of hex digits"),
        (start(&["0x"], ""), "'x' is no hex digit"),
        (plugin(&[], "call 6\n exit"), "helper 6"),
    ];
    for (output, expected) in cases {
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(expected) && error.lines().count() == 1, "{error}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(start(&["--engine", "no"], "").status.code(), Some(2));
}
