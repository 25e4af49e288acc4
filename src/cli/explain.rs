//! `tailor explain`.

use std::path::PathBuf;

use super::{Failed, input};
use crate::engine::Family;
use crate::{Engine, Unit};

#[derive(clap::Args)]
pub struct Arguments {
    /// An eBPF object.
    object: PathBuf,
    /// The function: a program or a subprogram.
    #[arg(long)]
    function: String,
    /// The engine that compiles it.
    #[arg(
        long,
        default_value = "tailor",
        value_parser = super::engines(|family| matches!(family, Family::Optimizing(_)))
    )]
    engine: Engine,
    /// Weigh by what runs on this packet or context execute, from a file.
    #[arg(long, value_name = "DATA")]
    profile: Option<PathBuf>,
}

pub fn main(arguments: Arguments) -> Result<(), Failed> {
    let name = arguments.object.display().to_string();
    let mut unit = Unit::new(input::object(&arguments.object)?);
    let named = unit.object.functions.iter().find(|(_, f)| f.name == arguments.function);
    let Some((func, _)) = named else {
        let all: Vec<&str> = unit.object.functions.values().map(|f| &*f.name).collect();
        let what = format!("no function {:?}; there are {}", arguments.function, all.join(", "));
        return Err(format!("{name}: {what}").into());
    };
    if let Some(path) = &arguments.profile {
        super::measure(&mut unit, &input::data(path)?);
    }
    let in_object = |error: crate::Error| {
        // Of a function that is wrong, with a program that needs it.
        let same =
            |told: &&crate::Error| crate::Error { program: None, ..(*told).clone() } == error;
        format!("{name}: {}", unit.errors.iter().find(same).unwrap_or(&error))
    };
    let explanation = crate::explain(&unit, arguments.engine, func).map_err(in_object)?;
    super::output(explanation.to_string())
}
