//! naive-6.12 against the running kernel's figures of one run, which
//! `scripts/kernel-compare --csv tests/snapshots/kernel.csv` wrote: functions
//! that were equal then stay equal. Objects of the corpus take part where it is built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tailor::emit::frame;
use tailor::{Engine, Object, Trace, Unit};

/// Objects are named by their folder, which lies in one of these, and their own name.
const FOLDERS: [&str; 2] = ["examples", "corpus"];

fn find(root: &Path, object: &str) -> Option<PathBuf> {
    let mut names = FOLDERS.iter().flat_map(|folder| {
        ["o", "elf"].map(|suffix| root.join(folder).join(format!("{object}.{suffix}")))
    });
    names.find(|path| path.exists())
}

/// Saved registers, frame_bytes, pop_sites and tail_call_sites of each function.
fn figures(path: &Path) -> Result<Vec<(String, [String; 4])>, tailor::Error> {
    let unit = Unit::new(Object::open(path)?);
    let compiled = tailor::compile(&unit, Engine::Naive612, None, &mut Trace::checked());
    let functions = compiled.code.functions.values().flatten().map(|function| {
        let facts = frame::check(function).expect("the frame is as believed");
        let mut saved = facts.saved.to_vec();
        saved.sort();
        let saved: Vec<&str> = saved.iter().map(|reg| reg.name()).collect();
        let counts = [facts.frame_bytes, facts.pop_sites, facts.tail_call_sites];
        let [bytes, pops, sites] = counts.map(|count| count.to_string());
        (function.name.clone(), [saved.join(" "), bytes, pops, sites])
    });
    Ok(functions.collect())
}

#[test]
fn frames_are_the_kernels() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let reference = std::fs::read_to_string(root.join("tests/snapshots/kernel.csv"))?;
    let mut objects: BTreeMap<&str, Vec<Vec<&str>>> = BTreeMap::new();
    for line in reference.lines().skip(1).filter(|line| line.ends_with(",equal")) {
        let fields: Vec<&str> = line.split(',').collect();
        objects.entry(fields[0]).or_default().push(fields);
    }
    let mut compared = 0;
    for (object, rows) in objects {
        let Some(path) = find(&root, object) else {
            continue;
        };
        let ours = figures(&path)?;
        for row in rows {
            // A program's entry goes by the program's name there.
            let same = |name: &str| ours.iter().any(|(own, f)| own == name && f[..] == row[4..8]);
            assert!(same(row[2]) || same(row[1]), "{row:?}");
            compared += 1;
        }
    }
    assert!(compared >= 19, "only {compared} functions compared");
    Ok(())
}
