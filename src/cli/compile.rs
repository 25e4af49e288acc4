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
    #[arg(long, default_value = "tailor")]
    engine: Engine,
    /// Print what this stage of the optimizing pipeline makes of each function.
    #[arg(long)]
    stop_after: Option<Stage>,
    /// What to print.
    #[arg(long, default_value = "text")]
    emit: Emit,
    /// Where to print it.
    #[arg(short)]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Emit {
    /// A listing.
    Text,
}

pub fn main(arguments: Arguments) -> Result<(), Failed> {
    let Emit::Text = arguments.emit;
    let name = arguments.object.display().to_string();
    let unit = Unit::new(input::object(&arguments.object)?);
    let only = match &arguments.program {
        None => None,
        Some(program) => {
            let id = unit.object.program(program);
            Some(id.ok_or_else(|| format!("{name}: no program {program:?}"))?)
        }
    };
    let stage = arguments.stop_after.unwrap_or(Stage::Emit);
    let optimizing = matches!(arguments.engine.family(), Family::Optimizing(_));
    if !optimizing && stage != Stage::Emit {
        return Err(format!("{} has no stage {}", arguments.engine, stage.name()).into());
    }
    let compiled = crate::compile(&unit, arguments.engine, only, &mut Trace::from_environment());
    let text = match arguments.engine {
        Engine::Interp => return Err("the interpreter compiles nothing".into()),
        _ if stage == Stage::Emit => {
            let code = &compiled.code;
            let functions = code.stubs.values().chain(code.functions.values()).flatten();
            functions.map(|function| tailor_emit::listing::listing(function) + "\n").collect()
        }
        _ => {
            let (mut trace, listings) = Trace::collecting(stage);
            crate::compile(&unit, arguments.engine, only, &mut trace);
            listings.take()
        }
    };
    match &arguments.output {
        Some(path) => {
            std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?
        }
        None => super::output(&text)?,
    }
    let errors: Vec<String> =
        compiled.errors.values().map(|error| format!("{name}: {error}")).collect();
    if errors.is_empty() { Ok(()) } else { Err(Failed(errors)) }
}
