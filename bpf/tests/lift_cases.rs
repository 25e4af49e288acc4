//! The file tests of lifting: `tests/cases/lift/*.bpf` hold an object and, after
//! a line `--- expected`, what its functions are lifted to. With `TAILOR_BLESS` set
//! in the environment the expectations are written anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use tailor_bpf::{Object, lift, text};
use tailor_ir::text::parse_function;
use tailor_ir::verifier::verify_function;

const SEPARATOR: &str = "--- expected\n";

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/lift");
    let entries = std::fs::read_dir(&directory).expect("the folder of cases");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "bpf"));
    paths.sort();
    paths
}

/// What the functions of an object are lifted to, one after the other.
fn lifted(object: &Object) -> String {
    assert_eq!(tailor_bpf::validate::validate(object), []);
    let (facts, errors) = tailor_bpf::analyze(object);
    assert_eq!(errors, []);
    let mut out = String::new();
    for id in object.functions.keys() {
        if !out.is_empty() {
            out.push('\n');
        }
        let function = lift::lift(object, &facts, id).expect("everything is supported");
        let printed = function.to_string();
        if let Err(errors) = verify_function(&function) {
            panic!("{errors}\n{printed}");
        }
        let parsed = parse_function(&printed).expect("what is printed can be parsed");
        assert_eq!(parsed.to_string(), printed);
        out.push_str(&printed);
    }
    out
}

#[test]
fn cases_are_lifted_as_expected() {
    let bless = std::env::var_os("TAILOR_BLESS").is_some();
    let paths = cases();
    assert!(!paths.is_empty());
    let mut failures = String::new();
    for path in paths {
        let case = std::fs::read_to_string(&path).unwrap();
        let (input, expected) = case.split_once(SEPARATOR).unwrap_or((&case, ""));
        let object =
            text::parse_object(input).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let actual = lifted(&object);
        if bless && actual != expected {
            std::fs::write(&path, format!("{input}{SEPARATOR}{actual}")).unwrap();
        } else if actual != expected {
            writeln!(failures, "{}:\n{actual}", path.display()).unwrap();
        }
    }
    assert!(failures.is_empty(), "not as expected (TAILOR_BLESS=1 accepts):\n{failures}");
}
