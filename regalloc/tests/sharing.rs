//! Which stack objects may share memory.

use regalloc2::Allocation;
use tailor_ir::text::parse_function;
use tailor_lower::objects::{MOST, accesses};
use tailor_lower::{MachFunction, Options, lower};
use tailor_regalloc::sharing::{Interference, Thing, place};
use tailor_regalloc::steps::Located;

/// Helper 112 writes where it is told; helper 170 keeps what it is given.
const KEEPS: u32 = 170;

/// Whether the two objects of a function are live together.
fn together(body: &str) -> bool {
    let text = format!(
        "function f0 \"f\" {{
            ss0 = slot 8 align 8 escapes
            ss1 = slot 8 align 8 escapes
            fn0 = helper 112 \"writes\" arity 1 reads writes
            fn1 = helper {KEEPS} \"keeps\" arity 1 reads writes
        block0(v0: i64):
            {body}
        }}"
    );
    let function = parse_function(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let function = lower(&function, &Options::default()).expect("it can be lowered");
    let accesses = accesses(&function, &|helper| helper == KEEPS);
    let found =
        Interference::new(&Located::new(&function, &locations(&function), &[], &[]), accesses);
    assert!(found.between(0, 0));
    assert_eq!(found.between(0, 1), found.between(1, 0));
    found.between(0, 1)
}

/// Nothing in spill slots.
fn locations(function: &MachFunction) -> Vec<Allocation> {
    vec![Allocation::none(); function.operands.len()]
}

#[test]
fn one_after_the_other() {
    assert!(!together(
        "v1 = stack_addr ss0
        store.i64 u64 v1, v0 ss0
        v2 = call_ext fn0(v1)
        v3 = stack_addr ss1
        store.i64 u64 v3, v2 ss1
        v4 = call_ext fn0(v3)
        return v4"
    ));
}

#[test]
fn read_after_the_other_was_written() {
    assert!(together(
        "v1 = stack_addr ss0
        store.i64 u64 v1, v0 ss0
        v2 = stack_addr ss1
        store.i64 u64 v2, v0 ss1
        v3 = call_ext fn0(v2)
        v4 = load.i64 u64 v1 ss0
        return v4"
    ));
}

#[test]
fn a_store_that_nobody_reads() {
    assert!(together(
        "v1 = stack_addr ss0
        store.i64 u64 v1, v0 ss0
        v2 = stack_addr ss1
        store.i64 u64 v2, v0 ss1
        v3 = load.i64 u64 v1 ss0
        return v3"
    ));
}

/// Each is done with before the other starts, but the next round reads it.
#[test]
fn carried_round_a_loop() {
    let looping = |first: &str| {
        format!(
            "v1 = stack_addr ss0
            v2 = stack_addr ss1
            jump block1(v0)
        block1(v3: i64) freq 8:
            {first}
            v5 = load.i64 u64 v1 ss0
            store.i64 u64 v1, v5 ss0
            v8 = stack_addr ss1
            store.i64 u64 v8, v5 ss1
            v6 = call_ext fn0(v8)
            branch ne.i64 v6, v3, block1(v6), block2
        block2:
            return v6"
        )
    };
    assert!(together(&looping("")));
    assert!(!together(&looping("store.i64 u64 v1, v3 ss0")));
}

/// Through arithmetic and a block parameter.
#[test]
fn the_address_goes_on() {
    assert!(together(
        "v1 = stack_addr ss0
        store.i64 u64 v1, v0 ss0
        v2 = iadd.i64 v1, v0
        jump block1(v2)
    block1(v3: i64):
        v4 = stack_addr ss1
        store.i64 u64 v4, v0 ss1
        v5 = call_ext fn0(v4)
        v6 = load.i64 u64 v3 any
        return v6"
    ));
}

#[test]
fn the_address_is_kept() {
    let after = |helper: &str| {
        format!(
            "v1 = stack_addr ss0
            store.i64 u64 v1, v0 ss0
            v2 = call_ext {helper}(v1)
            v3 = stack_addr ss1
            store.i64 u64 v3, v0 ss1
            v4 = call_ext fn0(v3)
            return v4"
        )
    };
    assert!(!together(&after("fn0")));
    assert!(together(&after("fn1")));
}

#[test]
fn the_address_is_in_memory() {
    assert!(together(
        "v1 = stack_addr ss0
        store.i64 u64 v1, v0 ss0
        store.i64 u64 v0, v1 any
        v3 = stack_addr ss1
        store.i64 u64 v3, v0 ss1
        v4 = call_ext fn0(v3)
        return v4"
    ));
}

/// On different paths.
#[test]
fn either_or() {
    assert!(!together(
        "v1 = iconst.i64 7
        branch eq.i64 v0, v1, block1, block2
    block1:
        v2 = stack_addr ss0
        store.i64 u64 v2, v0 ss0
        v3 = call_ext fn0(v2)
        jump block3(v3)
    block2:
        v4 = stack_addr ss1
        store.i64 u64 v4, v0 ss1
        v5 = call_ext fn0(v4)
        jump block3(v5)
    block3(v6: i64):
        return v6"
    ));
}

/// What interferes is apart, what does not may not be; alignment holds.
#[test]
fn places() {
    let sizes = [(16, 8), (4, 4), (8, 8), (1, 1), (6, 2)];
    let things = sizes.map(|(size, align)| Thing { size, align, is_half: false });
    let (offsets, end) = place(&things, &Interference::default());
    assert_eq!(end, 16 + 4 + 8 + 1 + 6, "the most aligned first, so there are no gaps");
    for (a, first) in offsets.iter().enumerate() {
        assert_eq!(first % things[a].align, 0);
        for (b, second) in offsets.iter().enumerate().skip(a + 1) {
            assert!(first + things[a].size <= *second || second + things[b].size <= *first);
        }
    }
}

/// A function of a million instructions may have that many slots: all apart, none
/// compared with each other one.
#[test]
fn very_many_places() {
    let slot = Thing { size: 8, align: 8, is_half: false };
    let (mut offsets, end) = place(&vec![slot; 1_000_000], &Interference::default());
    offsets.sort();
    assert!(offsets.windows(2).all(|pair| pair[0] + 8 == pair[1]));
    assert_eq!((offsets[0], end), (0, 8_000_000));
}

/// Two halves share a word, and an object is not put beside one.
#[test]
fn halves() {
    let half = Thing { size: 4, align: 4, is_half: true };
    let object = Thing { size: 4, align: 4, is_half: false };
    let (offsets, end) = place(&[half, half, object], &Interference::default());
    assert_eq!((offsets[0] ^ offsets[1], end), (4, 12), "the halves lie in one word");
    let (offsets, end) = place(&[half, object], &Interference::default());
    assert_ne!(offsets[0] / 8, offsets[1] / 8);
    assert_eq!(end, 12);
    assert_eq!(place(&[half], &Interference::default()).1, 8);
    let mut many = vec![Thing { size: 8, align: 8, is_half: false }; MOST];
    many.push(half);
    assert_eq!(place(&many, &Interference::default()).1 as usize, 8 * (MOST + 1));
}
