//! A case as a file for `tests/cases/run`, with what is expected of it.

use std::fmt::Write;

use tailor_bpf::text::print_object;
use tailor_bpf::{MapKind, Object, ProgramKind};

use crate::compare::{CLOCK, Outcome, RANDOM};
use crate::program::{Case, Helper, Stmt, TestMap};

/// The file's text; `why` becomes its first line.
pub fn file_test(case: &Case, object: &Object, outcome: &Outcome, why: &str) -> String {
    let mut out = String::new();
    for line in why.lines() {
        // A colon would make it a directive.
        let _ = writeln!(out, "; {}", line.replace(": ", " - "));
    }
    let main = object.programs.values().next().map_or("", |program| &program.name);
    let _ = writeln!(out, "; program: {main}");
    if !case.off.is_empty() {
        let off: Vec<&str> = case.off.iter().map(|lever| lever.name()).collect();
        let _ = writeln!(out, "; no: {}", off.join(", "));
    }
    let raw = case.kind == ProgramKind::Raw;
    let key = if raw { "mem" } else { "packet" };
    bytes(&mut out, key, &case.data);
    if outcome.data != case.data {
        bytes(&mut out, "packet-out", &outcome.data);
    }
    let asks = |stmt: &&Stmt| {
        let Stmt::Helper(helper, ..) = stmt else {
            return false;
        };
        matches!(helper, Helper::Time | Helper::Random | Helper::RandomOrProcessor(_))
    };
    if case.functions.iter().any(|f| f.statements().iter().any(asks)) {
        let _ = writeln!(out, "; clock: {CLOCK:#x}\n; prandom: {RANDOM:#x}");
    }
    let _ = writeln!(out, "; retval: {:#x}", outcome.retval);
    let tables = object.maps.values().filter(|map| map.kind == MapKind::InsnArray);
    let tables: Vec<&String> = tables.map(|map| &map.name).collect();
    for (map, entries) in outcome.maps.iter().filter(|(map, _)| !tables.contains(&map)) {
        let input: Vec<u8> = case.input.iter().flat_map(|word| word.to_le_bytes()).collect();
        let unchanged = |value: &Vec<u8>| map == TestMap::Input.name() && *value == input;
        for (key, value) in entries.iter().filter(|(_, value)| !unchanged(value)) {
            let _ = writeln!(out, "; map-out: {map}:{}:{}", hex(key), hex(value));
        }
    }
    let text = print_object(object);
    // The name of the object says nothing.
    out += text.strip_prefix("object \"generated\"\n").unwrap_or(&text);
    out
}

fn bytes(out: &mut String, key: &str, bytes: &[u8]) {
    for line in bytes.chunks(32) {
        let _ = writeln!(out, "; {key}: {}", hex(line));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
