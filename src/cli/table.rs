//! Frames as text and as comma-separated values.

use std::collections::HashMap;
use std::fmt::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use crate::Engine;
use crate::report::{FunctionRow, Report, Totals};

/// Engine columns of the table.
const COLUMNS: [&str; 6] = ["saved", "pops", "frame", "bound", "cost", "code"];

/// A table per object, with engines side by side, then totals and ratios.
pub fn text(report: &Report, engines: &[Engine]) -> String {
    let mut out = String::new();
    for rows in report.functions.chunk_by(|a, b| a.object == b.object) {
        let _ = writeln!(out, "{}\n{}", rows[0].object, functions(rows, engines).trim_fmt());
        for row in rows.iter().filter(|row| row.allocator == Some("fastalloc")) {
            let (name, engine) = (&row.function, &row.engine);
            let _ = writeln!(
                out,
                "   {name} is very large: in {engine} the linear-time allocator, without levers"
            );
        }
        out.push('\n');
    }
    if !report.functions.is_empty() {
        let _ = writeln!(out, "total\n{}", totals(report, engines).trim_fmt());
    }
    out
}

fn table(header: Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// One line for each function: the engines' figures side by side.
fn functions(rows: &[FunctionRow], engines: &[Engine]) -> Table {
    let mut header = vec!["\n  function".to_string(), "\ninsns".into()];
    for engine in engines {
        header.extend(COLUMNS.iter().enumerate().map(|(i, column)| match i {
            0 => format!("{engine}\n{column}"),
            _ => format!("\n{column}"),
        }));
    }
    let mut table = table(header);
    let mut places = HashMap::new();
    let mut lines: Vec<Vec<Option<&FunctionRow>>> = Vec::new();
    for row in rows {
        let place = *places.entry((&row.function, row.kind)).or_insert_with(|| {
            lines.push(vec![None; engines.len()]);
            lines.len() - 1
        });
        if let Some(engine) = engines.iter().position(|engine| engine.name() == row.engine) {
            lines[place][engine] = Some(row);
        }
    }
    for line in lines {
        let Some(row) = line.iter().copied().flatten().next() else { continue };
        let label = if row.kind == "stub" { " (entry stub)" } else { "" };
        let mut cells = vec![format!("  {}{label}", row.function), row.insns.to_string()];
        for row in line {
            cells.extend(row.map_or(COLUMNS.map(|_| "-".to_string()), figures));
        }
        table.add_row(cells);
    }
    table
}

fn figures(row: &FunctionRow) -> [String; 6] {
    [
        row.saved.len().to_string(),
        row.pop_sites.to_string(),
        row.frame_bytes.to_string(),
        row.lower_bound_bytes.map_or("-".into(), |bound| bound.to_string()),
        cost(row.weighted_cost),
        row.code_bytes.to_string(),
    ]
}

/// Memory operations, to a tenth.
fn cost(weighted: Option<f64>) -> String {
    weighted.map_or("-".into(), |weighted| format!("{weighted:.1}"))
}

/// One line for each engine, and its ratio to the baseline: naive-6.12, or else
/// the first.
fn totals(report: &Report, engines: &[Engine]) -> Table {
    let figures_of =
        ["functions", "saved", "pushes", "pops", "frame", "bound", "cost", "code", "chain"];
    let header = std::iter::once("  engine").chain(figures_of);
    let mut table = table(header.map(String::from).collect());
    let figures = |totals: &Totals| {
        [
            f64::from(totals.functions),
            totals.saved as f64,
            totals.push_sites as f64,
            totals.pop_sites as f64,
            totals.frame_bytes as f64,
            totals.lower_bound_bytes.map_or(f64::NAN, |bound| bound as f64),
            totals.weighted_cost.unwrap_or(f64::NAN),
            totals.code_bytes as f64,
            totals.chain_bytes as f64,
        ]
    };
    let all: Vec<(&Engine, [f64; 9])> = engines
        .iter()
        .filter_map(|engine| Some((engine, figures(report.totals.get(engine.name())?))))
        .collect();
    for (engine, figures) in &all {
        let mut cells = vec![format!("  {engine}")];
        cells.extend(figures.iter().map(|figure| match figure.fract() {
            _ if figure.is_nan() => "-".into(),
            0.0 => figure.to_string(),
            _ => format!("{figure:.1}"),
        }));
        table.add_row(cells);
    }
    let baseline = all.iter().find(|(engine, _)| **engine == Engine::Naive612);
    let Some((base, of_base)) = baseline.or(all.first()) else {
        return table;
    };
    for (engine, figures) in all.iter().filter(|(engine, _)| engine != base) {
        let ratio = |(a, b): (&f64, &f64)| match a / b {
            ratio if ratio.is_finite() => format!("{ratio:.2}"),
            _ => "-".to_string(),
        };
        let mut cells = vec![format!("  {engine} / {base}")];
        cells.extend(figures.iter().zip(of_base).map(ratio));
        table.add_row(cells);
    }
    table
}

/// One line per function and engine.
pub fn csv(report: &Report) -> String {
    let mut out = String::from(
        "object,program,function,engine,kind,insns,code_bytes,saved,frame_pointer,push_sites,\
         pop_sites,tail_call_sites,frame_bytes,body_push_bytes,padding_bytes,lower_bound_bytes,\
         lower_bound_lifted_bytes,weighted_cost,weighted_saves,weighted_tail_call_restores,\
         weighted_frame_pointer,inlined,allocator\n",
    );
    for row in &report.functions {
        let _ = writeln!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
            field(&row.object),
            field(row.program.as_deref().unwrap_or("")),
            field(&row.function),
            row.engine,
            row.kind,
            row.insns,
            row.code_bytes,
            row.saved.join(" "),
            row.frame_pointer,
            row.push_sites,
            row.pop_sites,
            row.tail_call_sites,
            row.frame_bytes,
            row.body_push_bytes,
            row.padding_bytes,
            number(row.lower_bound_bytes),
            number(row.lower_bound_lifted_bytes),
            number(row.weighted_cost),
            number(row.weighted_saves),
            number(row.weighted_tail_call_restores),
            number(row.weighted_frame_pointer),
            row.inlined,
            row.allocator.unwrap_or(""),
        );
    }
    out
}

/// A figure, or nothing where there is none.
fn number(figure: Option<impl ToString>) -> String {
    figure.map_or_else(String::new, |figure| figure.to_string())
}

/// A field, quoted where it must be (RFC 4180).
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.into(),
    }
}
