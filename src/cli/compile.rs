//! `tailor compile`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::{Failed, input};
use crate::engine::Family;
use crate::trace::Stage;
use crate::{Engine, Trace, Unit};

#[derive(clap::Args)]
pub struct Arguments {
    /// An eBPF object.
    object: PathBuf,
    /// The only program to compile.
    #[arg(long)]
    program: Option<String>,
    /// The engine that compiles it.
    #[arg(
        long,
        default_value = "tailor",
        value_parser = super::engines(|family| family != Family::Interpreter)
    )]
    engine: Engine,
    /// Print what this stage of the optimizing pipeline makes of each function.
    #[arg(long)]
    stop_after: Option<Stage>,
    /// What to make.
    #[arg(long, default_value = "text")]
    emit: Emit,
    /// Where to write it.
    #[arg(short, required_if_eq("emit", "obj"))]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Emit {
    /// A listing.
    Text,
    /// A relocatable ELF file, to be linked with C.
    Obj,
}

pub fn main(arguments: Arguments, trace: Trace) -> Result<(), Failed> {
    let stage = arguments.stop_after.unwrap_or(Stage::Emit);
    let optimizing = matches!(arguments.engine.family(), Family::Optimizing(_));
    if !optimizing && stage != Stage::Emit {
        super::usage(format!("{} has no stage {}", arguments.engine, stage.name()));
    }
    if stage != Stage::Emit && matches!(arguments.emit, Emit::Obj) {
        super::usage(format!("{} makes no code", stage.name()));
    }
    let name = arguments.object.display().to_string();
    let unit = Unit::new(input::object(&arguments.object)?);
    let only = match &arguments.program {
        None => None,
        Some(program) => {
            let id = unit.object.program(program);
            Some(id.ok_or_else(|| format!("{name}: no program {program:?}"))?)
        }
    };
    let (mut trace, listings) = match stage {
        Stage::Emit => (trace, None),
        _ => {
            let (trace, listings) = trace.collect(stage);
            (trace, Some(listings))
        }
    };
    let compiled = crate::compile(&unit, arguments.engine, only, &mut trace);
    let made = match (arguments.emit, listings) {
        (Emit::Obj, _) => {
            crate::relocatable(&unit, &compiled).map_err(|error| format!("{name}: {error}"))?
        }
        (Emit::Text, Some(listings)) => listings.take().into(),
        (Emit::Text, None) => {
            let code = &compiled.code;
            let functions = code.stubs.values().chain(code.functions.values()).flatten();
            let listings = functions.map(|f| tailor_emit::listing::listing(f) + "\n");
            listings.collect::<String>().into()
        }
    };
    match &arguments.output {
        Some(path) => {
            std::fs::write(path, made).map_err(|error| format!("{}: {error}", path.display()))?
        }
        None => super::output(&made)?,
    }
    let errors: Vec<String> =
        compiled.errors.values().map(|error| format!("{name}: {error}")).collect();
    if errors.is_empty() { Ok(()) } else { Err(Failed(errors)) }
}
