//! The table of what each lever gains: alone, and left out of all. It stands in
//! a document between two marks; what is between them is made here.

use std::fmt::Write;
use std::io;
use std::path::Path;

use tailor::{Lever, Levers, Unit};

use crate::figures::Pairs;
use crate::report;

const START: &str = "<!-- the table, made by scripts/levers -->\n";
const END: &str = "<!-- end of the table -->\n";

/// Writes the table into the document, or only looks whether it is what it
/// should be. Whether it was current.
pub fn update(document: &Path, units: &[Unit], check: bool) -> io::Result<bool> {
    let text = std::fs::read_to_string(document)?;
    let marked = text.split_once(START).and_then(|(before, rest)| {
        let (table, after) = rest.split_once(END)?;
        Some((before, table, after))
    });
    let Some((before, old, after)) = marked else {
        return Err(io::Error::other("there are no marks for the table"));
    };
    let described = |lever: &Lever| text.contains(&format!("\n## {}\n", lever.name()));
    if let Some(lever) = Lever::ALL.iter().find(|lever| !described(lever)) {
        return Err(io::Error::other(format!("it does not say what {} is", lever.name())));
    }
    let new = table(units);
    if check {
        return Ok(old == new);
    }
    std::fs::write(document, format!("{before}{START}{new}{END}{after}"))?;
    Ok(true)
}

/// Levers in use, and what the row is called.
fn rows() -> Vec<(String, Levers)> {
    let mut rows = vec![
        ("all".to_string(), Levers::default()),
        ("none".to_string(), Levers::without(&Lever::ALL)),
    ];
    for lever in Lever::ALL {
        let others: Vec<Lever> = Lever::ALL.into_iter().filter(|other| *other != lever).collect();
        rows.push((format!("{} alone", lever.name()), Levers::without(&others)));
    }
    for lever in Lever::ALL {
        rows.push((format!("all but {}", lever.name()), Levers::without(&[lever])));
    }
    rows
}

fn table(units: &[Unit]) -> String {
    let mut out = String::from(
        "\n| levers | weighted cost | mean ratio | frame bytes | code bytes | saved | at bound |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for (name, levers) in rows() {
        let report = report(units, levers);
        let pairs = Pairs::new(&report);
        let against = pairs.bounds();
        let _ = writeln!(
            out,
            "| {name} | {:.1} | {:.3} | {} | {} | {} | {:.1} % |",
            pairs.cost_sums()[1],
            pairs.cost_mean().0,
            pairs.frame_sums()[1],
            pairs.code_bytes(),
            pairs.saved(),
            100.0 * against.at_bound as f64 / against.bounded as f64
        );
    }
    out.push('\n');
    out
}
