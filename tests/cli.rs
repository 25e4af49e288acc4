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

/// Whatever the object, these can never be.
#[test]
fn what_cannot_be_asked_for_is_status_2() {
    for arguments in [
        &["frames", "--engine", "interp"][..],
        &["compile", "nowhere.o", "--engine", "interp"],
        &["compile", "nowhere.o", "--engine", "naive-6.12", "--stop-after", "lift"],
        &["compile", "nowhere.o", "--emit", "obj", "--stop-after", "opt", "-o", "x.o"],
        &["run", "nowhere.o", "--data-hex", "0"],
        &["run", "nowhere.o", "--data-hex", "zz"],
        &["run", "nowhere.o", "--map", "counters:00"],
        &["run", "nowhere.o", "--map", "counters:=one:00"],
        &["run", "nowhere.o", "--map", "counters:=0:=18446744073709551616"],
        &["run", "nowhere.o", "--prog-array", "programs:first=main"],
    ] {
        let (status, _, text) = failure(arguments, "");
        assert_eq!(status, Some(2), "{arguments:?}: {text}");
    }
}

/// What maps there are, and their sizes, the object says.
#[test]
fn maps_that_do_not_fit_are_a_line_and_status_1() {
    for (arguments, start) in [
        (["--map", "none:00:00"], FIREWALL),
        (["--prog-array", "none:0=xdp_firewall"], FIREWALL),
        (["--dump", "none"], FIREWALL),
        (["--map", "counters:00:00"], "--map counters:00:00: key: "),
    ] {
        let (status, lines, text) = failure(&["run", FIREWALL, arguments[0], arguments[1]], "");
        assert_eq!((status, lines), (Some(1), 1), "{arguments:?}: {text}");
        assert!(text.starts_with(start), "{arguments:?}: {text}");
    }
}

/// Names of a map of each shape, and what is in them, beside the contract's keys.
#[test]
fn a_run_with_dumps_prints_one_json_document() {
    let run = ["run", FIREWALL, "--data-hex", "00", "--json", "--dump", "counters"];
    let output = tailor(&[&run[..], &["--dump", "counters"]].concat(), "");
    assert!(output.status.success());
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    for key in ["engine", "program", "retval", "ns_per_run", "runs", "data_out"] {
        assert!(value.get(key).is_some(), "{key}: {value}");
    }
    let first = &value["maps"]["counters"][0];
    assert_eq!(first["key"], "00000000", "{value}");
    assert!(first["value"].is_string(), "{value}");
}

#[test]
fn an_object_named_twice_counts_once() {
    let frames = |objects: &[&str]| {
        let output = tailor(&[&["frames"], objects, &["--engine", "naive-6.12"]].concat(), "");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(frames(&[FIREWALL, FIREWALL]), frames(&[FIREWALL]));
}

#[test]
fn an_engine_named_twice_is_compared_once() {
    let frames = |engines: &str| {
        let output = tailor(&["frames", FIREWALL, "--engine", engines], "");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(frames("naive-6.12,tailor,naive-6.12"), frames("naive-6.12,tailor"));
}

/// Readers of either output may go away: nothing panics for that.
#[cfg(unix)]
#[test]
fn closed_pipes_change_no_status() {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;
    let closed = || Stdio::from(std::io::pipe().expect("a pipe").1);
    let status = |arguments: &[&str], dump: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tailor"));
        if dump {
            command.env("TAILOR_DUMP", "1");
        }
        let status = command.args(arguments).stdout(closed()).stderr(closed()).status();
        let status = status.expect("it runs");
        assert_eq!(status.signal(), None, "{arguments:?}");
        status.code()
    };
    assert_eq!(status(&["check", "nowhere.o"], false), Some(1));
    assert_eq!(status(&["compile", FIREWALL], true), Some(0));
    let packet = ["explain", FIREWALL, "--function", "xdp_firewall", "--profile", "/dev/null"];
    assert_eq!(status(&packet, false), Some(0));
}
