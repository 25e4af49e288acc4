//! A smoke run of each fuzz target: what it starts from, and damage to that.

use std::path::Path;

use tailor_fuzz::source::{Source, seed_bytes};
use tailor_fuzz::targets;

/// Changes some bytes, or cuts them off.
fn damaged(start: &[u8], seed: u64) -> Vec<u8> {
    let bytes = seed_bytes(seed);
    let mut s = Source::new(&bytes);
    let mut damaged = start.to_vec();
    if damaged.is_empty() {
        return damaged;
    }
    for _ in 0..1 + s.below(4) {
        let at = s.below(damaged.len());
        match s.below(4) {
            0 => damaged[at] = s.bits() as u8,
            1 => damaged[at] ^= 1 << s.below(8),
            2 => damaged[at] = start[s.below(start.len())],
            _ => {
                let end = (at + s.below(16)).min(damaged.len());
                damaged.drain(at..end);
            }
        }
        if damaged.is_empty() {
            break;
        }
    }
    damaged
}

fn smoke(starts: &[Vec<u8>], count: u64, target: fn(&[u8])) {
    assert!(starts.len() >= 10);
    for start in starts {
        target(start);
    }
    for seed in 0..count {
        target(&damaged(&starts[seed as usize % starts.len()], seed));
    }
}

fn generated(target: &str) -> Vec<Vec<u8>> {
    let starts = (0..200).filter_map(|seed| targets::starts(target, seed));
    starts.filter(|start| start.len() < 4000).collect()
}

#[test]
fn bytecode() {
    smoke(&generated("bytecode"), 300, targets::bytecode);
}

#[test]
fn elf() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/objects");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("the examples").flatten().map(|e| e.path()).collect();
    paths.sort();
    let objects: Vec<Vec<u8>> =
        paths.iter().map(|path| std::fs::read(path).expect("an example")).collect();
    smoke(&objects, 200, targets::elf);
}

#[test]
fn ir() {
    let mut starts = generated("ir");
    starts.retain(|start| !start.is_empty());
    smoke(&starts, 500, targets::ir);
}

#[test]
fn programs() {
    smoke(&generated("programs"), 300, targets::programs);
}
