//! The examples, analysed.

use std::path::PathBuf;

use tailor::{Object, Unit};

/// All of them, in the order of their names.
pub fn examples() -> Vec<Unit> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/objects");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the examples are there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| Unit::new(Object::open(path).expect("an object"))).collect()
}
