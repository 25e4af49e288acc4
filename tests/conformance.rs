//! The public conformance suite's cases, where the folder with them is there:
//! beside the checkout, or where `TAILOR_CONFORMANCE` says.

mod conformance {
    pub mod asm;
}

use std::path::{Path, PathBuf};

use conformance::asm;
use libtest_mimic::{Arguments, Failed, Trial};
use tailor::runtime::helpers::Table;
use tailor::{Engine, Instance, Object, Trace, Unit};

/// A case: bytecode, memory and the expected result.
struct Case {
    bytecode: Vec<u8>,
    memory: Vec<u8>,
    result: u64,
}

fn parse(text: &str) -> Result<Case, String> {
    let mut sections: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("-- ") {
            sections.push((name.trim(), String::new()));
        } else if let Some((_, body)) = sections.last_mut() {
            *body += line.split('#').next().unwrap_or("");
            body.push('\n');
        }
    }
    let section = |name| sections.iter().find(|(n, _)| *n == name).map(|(_, body)| body.as_str());
    let number = |token: &str| asm::number(token).ok_or_else(|| format!("{token:?} is no number"));
    let bytecode = match (section("raw"), section("asm")) {
        (Some(raw), _) => {
            let words = raw.split_whitespace().map(|word| Ok((number(word)? as u64).to_le_bytes()));
            words.collect::<Result<Vec<_>, String>>()?.concat()
        }
        (None, Some(asm)) => asm::assemble(asm)?,
        (None, None) => return Err("no program".into()),
    };
    let byte = |token: &str| u8::from_str_radix(token, 16).map_err(|error| error.to_string());
    let memory =
        section("mem").unwrap_or("").split_whitespace().map(byte).collect::<Result<_, _>>()?;
    let result =
        number(section("result").ok_or("no result")?.trim().to_lowercase().as_str())? as u64;
    Ok(Case { bytecode, memory, result })
}

/// Helper 5 of the suite returns its first argument.
unsafe extern "C" fn unwind(r1: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    r1
}

fn run(path: &Path, engine: Engine) -> Result<(), Failed> {
    let case = parse(&std::fs::read_to_string(path)?)?;
    let helpers = Table::empty().with(5, unwind);
    let unit = Unit::with_helpers(Object::raw("case", &case.bytecode)?, &helpers);
    let instance = Instance::with_helpers(&unit, engine, &mut Trace::checked(), helpers)?;
    let name = &unit.object.programs.values().next().ok_or("no program")?.name;
    let program = instance.program(name)?;
    let mut memory = case.memory;
    // SAFETY: the suite's cases are valid programs; the interpreter, which
    // checks every access, runs each of them too.
    let result = unsafe { program.run(&mut memory.as_mut_slice()) }?;
    match result == case.result {
        true => Ok(()),
        false => Err(format!("{result:#x}, expected {:#x}", case.result).into()),
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let folder = std::env::var_os("TAILOR_CONFORMANCE").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/tests")
    });
    let mut trials = Vec::new();
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "data") {
            continue;
        }
        for engine in Engine::ALL {
            let name =
                format!("{}/{engine}", path.file_stem().unwrap_or_default().to_string_lossy());
            let path = path.clone();
            trials.push(Trial::test(name, move || run(&path, engine)));
        }
    }
    if trials.is_empty() && !arguments.list {
        eprintln!("conformance: skipped, no cases at {}", folder.display());
    }
    libtest_mimic::run(&arguments, trials).exit();
}
