//! Golden tests: a stage's text for the input that stands above it.

use std::path::Path;

use libtest_mimic::Failed;
use similar::TextDiff;
use tailor::trace::Stage;
use tailor::{Engine, Trace, Unit, bpf, ir};
use tailor_ir::Size;
use tailor_lower::{Convention, CtxField, Features, Options, Poking};

/// From the input's text to the text that the stage prints.
pub type Print = fn(&str) -> Result<String, String>;

/// The line between input and expectation.
const SEPARATORS: [&str; 2] = ["--- expected", "; expect"];

/// The stage that a folder of tests/cases names.
pub fn by_name(folder: &str) -> Option<Print> {
    Some(match folder {
        "text" => text,
        "lift" => |input| stage(input, Stage::Lift),
        "lower" => lower,
        "prepare" => |input| stage(input, Stage::Prepare),
        "regalloc" => |input| stage(input, Stage::Regalloc),
        "emit" => |input| stage(input, Stage::Emit),
        "ir" => ir_text,
        "passes" => passes,
        _ => return None,
    })
}

/// Compares what `print` makes of the input with the expected part of the file.
pub fn compare(path: &Path, print: Print) -> Result<(), Failed> {
    let text = std::fs::read_to_string(path)?;
    let separator = text.lines().find(|line| SEPARATORS.contains(&line.trim()));
    let separator = separator.ok_or("no line `--- expected` or `; expect`")?;
    let (input, expected) = text.split_once(&format!("\n{separator}\n")).unwrap_or((&text, ""));
    let printed = print(input)?;
    if printed.trim_end() == expected.trim_end() {
        return Ok(());
    }
    if std::env::var_os("TAILOR_BLESS").is_some() {
        std::fs::write(path, format!("{input}\n{separator}\n{}\n", printed.trim_end()))?;
        return Ok(());
    }
    let diff = TextDiff::from_lines(expected, &printed)
        .unified_diff()
        .header("expected", "printed")
        .to_string();
    Err(diff.into())
}

fn text(input: &str) -> Result<String, String> {
    let object = bpf::text::parse_object(input).map_err(|error| error.to_string())?;
    let printed = bpf::text::print_object(&object);
    let again = bpf::text::parse_object(&printed).map_err(|error| error.to_string())?;
    match bpf::text::print_object(&again) == printed {
        true => Ok(printed),
        false => Err(format!("printing and parsing again changes it:\n{printed}")),
    }
}

/// The listings of a stage of the pipeline for all functions of an object;
/// `; engine: NAME` and `; poking: patch` on lines of their own ask for others
/// than usual.
fn stage(input: &str, stage: Stage) -> Result<String, String> {
    let object = bpf::text::parse_object(input).map_err(|error| error.to_string())?;
    let unit = Unit::new(object);
    let (mut trace, listings) = Trace::collecting(stage);
    let asked = |key: &str| input.lines().find_map(|line| line.strip_prefix(key));
    let engine = asked("; engine: ").map_or(Ok(Engine::Tailor), str::parse)?;
    trace.poking = match asked("; poking: ") {
        None => None,
        Some("patch") => Some(Poking::Patch),
        Some("data") => Some(Poking::Data),
        Some(other) => return Err(format!("no poking {other:?}")),
    };
    let compiled = tailor::compile(&unit, engine, None, &mut trace);
    match compiled.errors.values().next() {
        Some(error) => Err(error.to_string()),
        None => Ok(listings.take()),
    }
}

fn ir_text(input: &str) -> Result<String, String> {
    let module = ir::text::parse_module(input).map_err(|error| error.to_string())?;
    ir::verifier::verify_module(&module).map_err(|errors| errors.to_string())?;
    Ok(module.to_string())
}

/// First line `; pass: NAME[,NAME]`, then a function.
fn passes(input: &str) -> Result<String, String> {
    let first = input.lines().next().unwrap_or("");
    let names = first.strip_prefix("; pass:").ok_or("the first line must be `; pass: NAME`")?;
    let mut module = ir::text::parse_module(input).map_err(|error| error.to_string())?;
    let mut context = ir::passes::Context { verify: true, ..Default::default() };
    for function in module.functions.values_mut() {
        for name in names.split(',') {
            let run = ir::passes::run_named(name.trim(), function, &mut context);
            run.ok_or_else(|| format!("no pass {name:?}"))?
                .map_err(|broken| format!("{broken:?}"))?;
        }
    }
    Ok(module.to_string())
}

/// A module; `; features bmi2` on a line of its own asks for instructions
/// beyond the baseline, `; convention kernel` for the kernel's, and `; poking
/// patch` for patched sites. Context fields 0 to 2 are pointers at 0, 8 and 16,
/// further ones four bytes each from 24 on.
fn lower(input: &str) -> Result<String, String> {
    let module = ir::text::parse_module(input).map_err(|error| error.to_string())?;
    let wants_record =
        |callee| module.functions.get(callee).is_some_and(|callee| callee.reaches_tail_call);
    let ctx_field = |_, field| match i32::from(field) {
        field @ 0..=2 => CtxField { offset: 8 * field, size: Size::D },
        field => CtxField { offset: 24 + 4 * (field - 3), size: Size::W },
    };
    let has = |wanted: &str| input.lines().any(|line| line == wanted);
    let options = Options {
        features: Features { bmi2: has("; features bmi2") },
        convention: match has("; convention kernel") {
            true => Convention::Kernel { landing: 12 },
            false => Convention::Saving,
        },
        poking: if has("; poking patch") { Poking::Patch } else { Poking::Data },
        wants_record: &wants_record,
        ctx_field: &ctx_field,
    };
    let mut out = String::new();
    for function in module.functions.values() {
        out += &match tailor_lower::lower(function, &options) {
            Ok(mach) => mach.to_string(),
            Err(error) => format!("error: {error}\n"),
        };
    }
    Ok(out)
}
