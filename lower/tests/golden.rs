//! Listings of machine functions against the files in `tests/cases/lower`.
//!
//! A file holds a module in the IR's text form, a line `; expect`, and the
//! listings of its functions. A line `; features bmi2` in the module asks for
//! instructions beyond the baseline. Callees that reach a tail call take the
//! record; context fields 0 to 2 are pointers at 0, 8 and 16, further ones four
//! bytes each from 24 on. `TAILOR_BLESS=1` rewrites what is expected.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use tailor_ir::text::parse_module;
use tailor_ir::{FuncRef, Size};
use tailor_lower::{CtxField, Features, Options, lower};

mod check;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/lower");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of cases")
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ir"))
        .collect();
    cases.sort();
    cases
}

fn ctx_field(_kind: u8, field: u8) -> CtxField {
    match i32::from(field) {
        field @ 0..=2 => CtxField { offset: 8 * field, size: Size::D },
        field => CtxField { offset: 24 + 4 * (field - 3), size: Size::W },
    }
}

/// The listings of all functions of a module.
fn listing(text: &str) -> Result<String, String> {
    let module = parse_module(text).map_err(|error| error.to_string())?;
    let wants_record = |callee: FuncRef| {
        let callee = module.functions.get(callee);
        callee.is_some_and(|function| function.reaches_tail_call)
    };
    let options = Options {
        features: Features { bmi2: text.lines().any(|line| line == "; features bmi2") },
        wants_record: &wants_record,
        ctx_field: &ctx_field,
    };
    let mut out = String::new();
    for function in module.functions.values() {
        match lower(function, &options) {
            Ok(mach) => {
                check::check(&mach)?;
                write!(out, "{mach}").expect("a string");
            }
            Err(error) => writeln!(out, "error: {error}").expect("a string"),
        }
    }
    Ok(out)
}

#[test]
fn listings() {
    let bless = std::env::var_os("TAILOR_BLESS").is_some();
    let mut failures = String::new();
    for path in cases() {
        let text = std::fs::read_to_string(&path).expect("a case");
        let (input, expected) = text.split_once("; expect\n").unwrap_or((&text, ""));
        let actual = match listing(input) {
            Ok(listing) => listing,
            Err(error) => format!("error: {error}\n"),
        };
        if actual == expected {
            continue;
        }
        if bless {
            std::fs::write(&path, format!("{input}; expect\n{actual}")).expect("a case");
        } else {
            write!(failures, "{}:\n{actual}\n", path.display()).expect("a string");
        }
    }
    assert!(failures.is_empty(), "differs from what is expected:\n{failures}");
}
