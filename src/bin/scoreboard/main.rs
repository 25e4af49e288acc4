//! The figures by which the allocator is judged: `tailor-scoreboard items` prints
//! the acceptance items of frames and costs, `tailor-scoreboard levers FILE`
//! writes the table of levers into a document. Both compile the objects that
//! they are given with naive-6.12 and tailor, and read off the report that
//! `tailor frames` prints.

mod figures;
mod items;
mod levers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tailor::report::Report;
use tailor::{Engine, Levers, Object, Trace, Unit};

/// Figures of the allocator.
#[derive(Parser)]
#[command(name = "tailor-scoreboard")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print a line for each acceptance item; exit status 1 if one failed.
    Items {
        /// eBPF objects.
        objects: Vec<PathBuf>,
    },
    /// Write the table of each lever alone and left out.
    Levers {
        /// Only say whether the table is current; exit status 1 if it is not.
        #[arg(long)]
        check: bool,
        /// The document that has it.
        document: PathBuf,
        /// eBPF objects.
        objects: Vec<PathBuf>,
    },
}

/// Parses and analyses objects; those that are not well formed are left out,
/// as they have no functions in any engine.
fn units(paths: &[PathBuf]) -> Vec<Unit> {
    let objects = paths.iter().filter_map(|path| {
        let bytes = std::fs::read(path).ok()?;
        Object::parse(&path.display().to_string(), &bytes).ok()
    });
    objects.map(Unit::new).collect()
}

/// The report of `tailor frames --engine naive-6.12,tailor`.
fn report(units: &[Unit], levers: Levers) -> Report {
    let mut report = Report::default();
    let mut trace = Trace::default();
    trace.levers = levers;
    units.iter().for_each(|unit| report.add(unit, &[Engine::Naive612, Engine::Tailor], &mut trace));
    report
}

/// Prints what broke in the compiler itself, as opposed to in an object.
fn sound(report: &Report) -> bool {
    let broken = report.errors.iter().filter(|row| row.error.contains("internal error"));
    broken.clone().for_each(|row| println!("{}: {}", row.object, row.error));
    broken.count() == 0
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Items { objects } => {
            let report = report(&units(&objects), Levers::default());
            items::print(&report) & sound(&report)
        }
        Command::Levers { check, document, objects } => {
            match levers::update(&document, &units(&objects), check) {
                Ok(current) => current,
                Err(error) => {
                    eprintln!("{}: {error}", document.display());
                    false
                }
            }
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
