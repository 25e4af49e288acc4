//! The command line's contract: what is printed where, and exit statuses.

use std::process::{Command, Output};

const FIREWALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/objects/firewall.o");

fn tailor(arguments: &[&str], no: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tailor"));
    command.args(arguments).env("TAILOR_NO", no).output().expect("it runs")
}

/// Exit status, and lines of standard error.
fn failure(arguments: &[&str], no: &str) -> (Option<i32>, usize, String) {
    let output = tailor(arguments, no);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    (output.status.code(), text.lines().count(), text)
}

#[test]
fn an_object_that_is_not_there_is_a_line_and_status_1() {
    for command in ["frames", "check", "run", "compile"] {
        let (status, lines, text) = failure(&[command, "nowhere.o"], "");
        assert_eq!((status, lines), (Some(1), 1), "{command}: {text}");
        assert!(text.starts_with("nowhere.o: "), "{command}: {text}");
    }
}

#[test]
fn names_that_do_not_exist_are_status_2_and_say_which_do() {
    let (status, _, text) = failure(&["frames", "--no", "splitting"], "");
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("placement"), "{text}");
    let (status, _, text) = failure(&["run", FIREWALL, "--engine", "llvm"], "");
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("naive-6.12"), "{text}");
}

#[test]
fn so_are_those_in_the_environment() {
    for command in ["frames", "run", "compile"] {
        let (status, lines, text) = failure(&[command, FIREWALL], "split,splitting");
        assert_eq!((status, lines), (Some(2), 1), "{command}: {text}");
        assert!(text.contains("\"splitting\""), "{command}: {text}");
    }
}

#[test]
fn every_stage_heeds_the_levers_of_the_environment() {
    let listing = |stage: &str, no: &str| {
        let arguments = ["compile", FIREWALL, "--stop-after", stage];
        let output = tailor(&arguments, no);
        assert!(output.status.success());
        output.stdout
    };
    assert_eq!(listing("lower", ""), listing("lower", "exits"), "levers come later");
    assert_ne!(listing("prepare", ""), listing("prepare", "exits"));
    assert_ne!(listing("regalloc", ""), listing("regalloc", "descent,placement,split"));
}
