//! The command line: a thin dispatcher.

mod check;
mod compile;
mod explain;
mod frames;
mod input;
mod run;
mod table;

use std::collections::HashSet;
use std::hash::Hash;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::engine::Family;
use crate::{Engine, Trace, Unit};

/// An optimizing eBPF compiler that saves as few registers as it can.
#[derive(Parser)]
#[command(name = "tailor", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Saves and frames per function and in total, engines side by side.
    Frames(frames::Arguments),
    /// Run a program.
    Run(run::Arguments),
    /// Say everything that is wrong with objects, without compiling them.
    Check(check::Arguments),
    /// Say what a function's saved registers and slots are for, and what they cost.
    Explain(explain::Arguments),
    /// Compile programs: a listing, a relocatable file, or what a stage makes of them.
    Compile(compile::Arguments),
}

/// Errors of the input, one line each.
pub struct Failed(pub Vec<String>);

impl<T: std::fmt::Display> From<T> for Failed {
    fn from(error: T) -> Failed {
        Failed(vec![error.to_string()])
    }
}

/// Runs the command that the process was started with. Exit status: 0 done,
/// 1 the input is at fault, 2 usage, what the environment says included.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let trace = match Trace::from_environment() {
        Ok(trace) => trace,
        Err(error) => {
            complain(error);
            return ExitCode::from(2);
        }
    };
    let result = match arguments.command {
        Command::Frames(arguments) => frames::main(arguments, trace),
        Command::Run(arguments) => run::main(arguments, trace),
        Command::Check(arguments) => check::main(arguments),
        Command::Explain(arguments) => explain::main(arguments),
        Command::Compile(arguments) => compile::main(arguments, trace),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(errors)) => {
            errors.iter().for_each(complain);
            ExitCode::from(1)
        }
    }
}

/// Drops what equals something before it.
fn keep_first<T: Eq + Hash + Clone>(values: &mut Vec<T>) {
    let mut seen = HashSet::new();
    values.retain(|value| seen.insert(value.clone()));
}

/// Measures the frequencies of a unit's functions; says for which programs it
/// cannot.
fn measure(unit: &mut Unit, data: &[u8]) {
    for error in crate::profile::measure(unit, data) {
        complain(format!("{}: {error}: its frequencies are estimated", unit.object.name));
    }
}

/// Ends the process: what is asked for cannot be, whatever the input is.
fn usage(what: impl std::fmt::Display) -> ! {
    Arguments::command().error(ErrorKind::ArgumentConflict, what).exit()
}

/// The engines of those families that a command works with, by name.
fn engines(works: fn(Family) -> bool) -> impl TypedValueParser<Value = Engine> {
    let names = Engine::ALL.into_iter().filter(|engine| works(engine.family())).map(Engine::name);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Engine>())
}

/// Writes a line to standard error; a reader that went away is no error.
fn complain(line: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes to standard output; a reader that went away is no error.
fn output(text: impl AsRef<[u8]>) -> Result<(), Failed> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_ref()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
