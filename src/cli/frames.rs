//! `tailor frames`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::ProgressBar;
use tailor_regalloc::Lever;

use super::{Failed, input, table};
use crate::engine::Family;
use crate::report::Report;
use crate::{Engine, Object, Trace, Unit};

#[derive(clap::Args)]
pub struct Arguments {
    /// eBPF objects; the built-in examples if there are none.
    objects: Vec<PathBuf>,
    /// Engines to compare.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "naive-fixed,naive-6.12,tailor",
        value_parser = super::engines(|family| family != Family::Interpreter)
    )]
    engine: Vec<Engine>,
    /// Levers to leave out.
    #[arg(long, value_delimiter = ',', value_name = "LEVER", value_parser = levers())]
    no: Vec<Lever>,
    /// Weigh by what runs on this packet or context execute, from a file.
    #[arg(long, value_name = "DATA")]
    profile: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values, one line per function and engine.
    #[arg(long)]
    csv: bool,
}

/// Levers by name.
fn levers() -> impl TypedValueParser<Value = Lever> {
    let names = PossibleValuesParser::new(Lever::ALL.map(Lever::name));
    names.try_map(|name| name.parse::<Lever>())
}

pub fn main(mut arguments: Arguments, mut trace: Trace) -> Result<(), Failed> {
    // What is named twice counts once, or totals would be doubled.
    super::keep_first(&mut arguments.engine);
    super::keep_first(&mut arguments.objects);
    let mut report = Report::default();
    trace.levers = trace.levers.and_without(&arguments.no);
    let data = arguments.profile.as_deref().map(input::data).transpose()?;
    let mut add = |name: &str, object: Result<Object, Failed>| match object {
        Ok(object) => {
            let mut unit = Unit::new(object);
            if let Some(data) = &data {
                super::measure(&mut unit, data);
            }
            report.add(&unit, &arguments.engine, &mut trace);
        }
        Err(Failed(errors)) => {
            for error in errors {
                let error = error.strip_prefix(&format!("{name}: ")).unwrap_or(&error);
                report.error(name, None, None, &crate::Error::new(error));
            }
        }
    };
    if arguments.objects.is_empty() {
        for (name, bytes) in input::EXAMPLES {
            add(name, Object::parse(name, bytes).map_err(Failed::from));
        }
    } else {
        let bar = progress(arguments.objects.len());
        for path in &arguments.objects {
            add(&path.display().to_string(), input::object(path));
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    print(&report, &arguments)?;
    let line = |row: &crate::report::ErrorRow| match &row.engine {
        Some(engine) => format!("{}: {} ({engine})", row.object, row.error),
        None => format!("{}: {}", row.object, row.error),
    };
    let (limits, faults): (Vec<_>, Vec<_>) =
        report.errors.iter().partition(|row| row.beyond_engine);
    // An engine's limit is worth a line, but it is not the input's fault.
    for row in limits {
        super::complain(line(row));
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Failed(faults.into_iter().map(line).collect())),
    }
}

/// A bar that shows up on a terminal once work has taken a second.
fn progress(objects: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::hidden();
    bar.set_length(objects as u64);
    let shown = bar.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        if !shown.is_finished() {
            shown.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
    });
    bar
}

fn print(report: &Report, arguments: &Arguments) -> Result<(), Failed> {
    let text = if arguments.json {
        serde_json::to_string(report)?
    } else if arguments.csv {
        table::csv(report)
    } else {
        table::text(report, &arguments.engine)
    };
    super::output(&text)
}
