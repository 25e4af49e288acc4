//! Saves, frames and code of the examples, exactly, against the committed
//! figures. They change only on purpose: `TAILOR_BLESS=1` writes the new ones,
//! and the commit says why a worse one is worth it.

use std::fmt::Write;
use std::path::PathBuf;

use tailor::report::Report;
use tailor::{Engine, Lever, Levers, Object, Trace, Unit};

/// The sums of an object's functions, a line for each engine.
fn totals(name: &str, bytes: &[u8]) -> Result<String, tailor::Error> {
    let unit = Unit::new(Object::parse(name, bytes)?);
    let mut out = String::new();
    for engine in [Engine::Naive612, Engine::TailorKernel, Engine::Tailor] {
        let mut report = Report::default();
        report.add(&unit, &[engine], &mut Trace::checked());
        assert!(report.errors.is_empty(), "{name}: {:?}", report.errors);
        for row in &report.functions {
            let bound = row.lower_bound_bytes.unwrap_or(0);
            let least = row.frame_bytes - row.padding_bytes;
            assert!(bound <= least, "{name}: {}: {bound} > {least}", row.function);
        }
        let totals = &report.totals[engine.name()];
        let _ = writeln!(
            out,
            "{name},{engine},{},{},{},{},{},{},{},{:.3}",
            totals.functions,
            totals.saved,
            totals.push_sites,
            totals.pop_sites,
            totals.frame_bytes,
            totals.padding_bytes,
            totals.code_bytes,
            totals.weighted_cost.unwrap_or(f64::NAN),
        );
    }
    Ok(out)
}

#[test]
fn examples() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut found =
        "object,engine,functions,saved,pushes,pops,frame,padding,code,cost\n".to_string();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root.join("examples/objects"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        found += &totals(&name, &std::fs::read(&path)?)?;
    }
    let snapshot = root.join("tests/snapshots/examples.csv");
    if std::env::var_os("TAILOR_BLESS").is_some() {
        std::fs::write(&snapshot, &found)?;
    }
    let expected = std::fs::read_to_string(&snapshot).unwrap_or_default();
    let diff = similar::TextDiff::from_lines(&expected, &found);
    assert!(found == expected, "{}", diff.unified_diff().header("committed", "found"));
    Ok(())
}

/// Each lever gains what it is for, on the examples together.
#[test]
fn levers() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let objects: Vec<Unit> = std::fs::read_dir(root.join("examples/objects"))?
        .map(|entry| Ok(Unit::new(Object::open(entry?.path())?)))
        .collect::<Result<_, Box<dyn std::error::Error>>>()?;
    let without = |off: &[Lever]| {
        let mut report = Report::default();
        let mut trace = Trace::checked();
        trace.levers = Levers::without(off);
        objects.iter().for_each(|unit| report.add(unit, &[Engine::Tailor], &mut trace));
        let totals = &report.totals["tailor"];
        (totals.weighted_cost.unwrap_or(f64::NAN), totals.frame_bytes)
    };
    let (cost, bytes) = without(&[]);
    assert!(cost < without(&[Lever::Descent]).0);
    assert!(cost < without(&[Lever::Placement]).0);
    assert!(cost < without(&[Lever::Split]).0);
    assert!(bytes < without(&[Lever::Sharing]).1);
    Ok(())
}
