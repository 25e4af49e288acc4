//! The cases of `tests/cases/passes`: the passes that the first line names turn
//! the functions before `; expect` into those after it.
//! `TAILOR_BLESS=1` writes what they give instead.

use std::fs;
use std::path::Path;

use tailor_ir::passes::{Context, run_named};
use tailor_ir::text::parse_module;
use tailor_ir::verifier::verify_module;

/// What the passes make of a case's input.
fn optimise(input: &str) -> Result<String, String> {
    let first = input.lines().next().unwrap_or_default();
    let names = first.strip_prefix("; pass: ").ok_or("no line `; pass:`")?;
    let mut module = parse_module(input).map_err(|error| error.to_string())?;
    verify_module(&module).map_err(|errors| errors.to_string())?;
    let mut context = Context { verify: true, ..Context::default() };
    for function in module.functions.values_mut() {
        for name in names.split(',').map(str::trim) {
            run_named(name, function, &mut context)
                .ok_or(format!("no pass {name}"))?
                .map_err(|broken| format!("{broken}\n{}", broken.listing))?;
        }
    }
    Ok(module.to_string())
}

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/passes");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let bless = std::env::var_os("TAILOR_BLESS").is_some();
    let mut failures = String::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (input, expected) = text.split_once("; expect\n").unwrap_or((&text, ""));
        match optimise(input) {
            Ok(output) if output == expected => {}
            Ok(output) if bless => fs::write(&file, format!("{input}; expect\n{output}")).unwrap(),
            Ok(output) => failures += &format!("{}: got\n{output}\n", file.display()),
            Err(error) => failures += &format!("{}: {error}\n", file.display()),
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
