//! File tests: every file under tests/cases is a test of the stage that its
//! folder names, and every file under examples/cases and
//! benches/programs/cases is a run in all engines.
//!
//! `TAILOR_BLESS=1` rewrites the expected part of the cases that differ.

mod filetests {
    pub mod case;
    pub mod run;
    pub mod semantics;
    pub mod stages;
}

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};

/// The root of the checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// What a file's test does with it.
type Run = Box<dyn FnOnce(&Path) -> Result<(), Failed> + Send>;

/// The test of a file, by the folder it lies in.
fn trial(path: PathBuf) -> Option<Trial> {
    let root = root();
    let relative = path.strip_prefix(&root).ok()?.to_path_buf();
    let mut parts = relative.components().map(|part| part.as_os_str().to_string_lossy());
    let run: Run = match (parts.next()?.as_ref(), parts.next()?.as_ref(), parts.next()?.as_ref()) {
        ("examples", "cases", _) | ("benches", "programs", "cases") => {
            Box::new(filetests::run::example)
        }
        // Several tests each: see `filetests::semantics`.
        ("tests", "cases", "semantics") => return None,
        ("tests", "cases", "run") => Box::new(filetests::run::inline),
        ("tests", "cases", stage) => {
            let stage = filetests::stages::by_name(stage)?;
            Box::new(move |path| filetests::stages::compare(path, stage))
        }
        _ => return None,
    };
    let name = relative.to_string_lossy().into_owned();
    Some(Trial::test(name, move || run(&path)))
}

fn main() {
    let mut found = Vec::new();
    files(&root().join("tests/cases"), &mut found);
    files(&root().join("examples/cases"), &mut found);
    files(&root().join("benches/programs/cases"), &mut found);
    let mut trials: Vec<Trial> = found.into_iter().filter_map(trial).collect();
    trials.extend(filetests::semantics::trials(&root().join("tests/cases/semantics")));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
