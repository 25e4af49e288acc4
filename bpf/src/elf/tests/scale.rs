//! Objects that name the same things over and over: what they hold is not
//! multiplied, and reading them takes time in proportion to their size. Without
//! that each of these takes minutes, or more memory than there is.

use std::time::{Duration, Instant};

use super::*;
use crate::validate::validate;

const MANY: usize = 20_000;

/// Reads an object and looks for what is wrong with it; far more time than that
/// takes, also in a debug build on a machine that is busy.
fn soon(elf: &Elf) -> (Object, Vec<String>) {
    let start = Instant::now();
    let object = parse(elf);
    let errors = validate(&object).iter().map(|error| error.to_string()).collect();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    (object, errors)
}

#[test]
fn functions_of_one_name() {
    let mut elf = Elf::new();
    let xdp = elf.code("xdp", &"r0 = 0\nexit\n".repeat(2 * MANY));
    for function in 0..2 * MANY {
        elf.local("f", xdp, 2 * function as u64);
    }
    let (object, errors) = soon(&elf);
    assert_eq!(errors, [""; 0]);
    let names = object.functions.values().map(|function| function.name.as_str());
    let first: Vec<&str> = names.take(3).collect();
    assert_eq!(first, ["f", "f.1", "f.2"]);
}

#[test]
fn numbered_names_that_are_taken() {
    let mut elf = Elf::new();
    let xdp = elf.code("xdp", &"exit\n".repeat(5));
    for (slot, name) in ["f.1", "f", "f", "f.1", "f"].into_iter().enumerate() {
        elf.local(name, xdp, slot as u64);
    }
    let object = parse(&elf);
    let names: Vec<&str> = object.functions.values().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["f.1", "f", "f.2", "f.1.1", "f.3"]);
}

#[test]
fn sections_of_one_name() {
    let mut elf = Elf::new();
    for _ in 0..MANY {
        elf.code("xdp", "r0 = 0\nexit");
    }
    let mut btf = BtfWriter::default();
    let xdp = btf.string("xdp");
    let ty = btf.add("s", 4, 0, 0, &[]);
    // All lines are of the first instruction; CO-RE relocations go up.
    let mut lines = vec![16, xdp, MANY as u32];
    let mut relocations = lines.clone();
    for index in 0..MANY as u32 {
        lines.extend([0, xdp, xdp, (index + 1) << 10]);
        relocations.extend([8 * index + 8, ty, 0, 0]);
    }
    let [lines_len, relocations_len] = [&lines, &relocations].map(|part| 4 * part.len() as u32);
    let mut ext = header(&[0, 0, 0, lines_len, lines_len, relocations_len]);
    ext.extend(lines.iter().chain(&relocations).flat_map(|word| word.to_le_bytes()));
    elf.data(".BTF", &btf.bytes());
    elf.data(".BTF.ext", &ext);
    let (object, errors) = soon(&elf);
    assert_eq!(errors.len(), MANY);
    assert!(errors[0].ends_with("+1: needs the offset of s  in a kernel (CO-RE)"), "{}", errors[0]);
    let function = object.functions.values().next_back().unwrap();
    assert_eq!(function.lines.at(0).unwrap().number, MANY as u32);
}

#[test]
fn types_with_one_long_name() {
    let mut elf = Elf::new();
    elf.code("xdp", "exit");
    let maps = elf.data(".maps", &[0; 8]);
    elf.variable("m", maps, 0, 8);
    let mut btf = BtfWriter::default();
    let name = btf.string(&"x".repeat(100 * MANY));
    for _ in 0..2 * MANY {
        btf.add_named(name, 15, 0, 0, &[]);
    }
    elf.data(".BTF", &btf.bytes());
    assert_eq!(soon(&elf).0.maps.len(), 1);
}

#[test]
fn tables_within_tables() {
    let mut elf = Elf::new();
    let xdp = elf.code("xdp", &("r1 = 0 ll\n".repeat(MANY) + "gotox r1\nexit"));
    let entry = (8 * 2 * MANY as u64 + 8).to_le_bytes();
    let tables = elf.data(".jumptables", &entry.repeat(MANY));
    let whole = elf.variable("whole", tables, 0, 8 * MANY as u64);
    for index in 1..MANY as u64 {
        elf.variable("part", tables, 8 * index, 8 * (MANY as u64 - index));
    }
    for index in 0..MANY as u64 {
        elf.relocate(xdp, 16 * index, whole);
    }
    let (object, errors) = soon(&elf);
    assert_eq!(errors, [""; 0]);
    let bytes: usize = object.maps.values().map(|map| map.initial.len()).sum();
    assert_eq!(bytes, 8 * MANY);
}

#[test]
fn recursion_everywhere() {
    // Each function calls the first and the next.
    let mut text = String::new();
    for function in 0..MANY {
        let next = if function + 1 < MANY { "call +1" } else { "r0 = 0" };
        text += &format!("call -{}\n{next}\nexit\n", 3 * function + 1);
    }
    let mut elf = Elf::new();
    elf.code("xdp", &text);
    let (_, errors) = soon(&elf);
    assert_eq!(errors.len(), MANY);
    let longest = errors.iter().map(String::len).max().unwrap();
    assert!(longest < 1000, "{longest}");
    let cut = "xdp@42 -> xdp@45 -> ... -> xdp@0";
    assert!(errors.iter().any(|error| error.ends_with(cut)), "{}", errors[MANY / 2]);
}
