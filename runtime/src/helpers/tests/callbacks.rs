//! Helpers that call functions back.

use super::*;

/// Runs a body with `f1`, which the body may name.
fn with_function(maps: &str, body: &str, function: &str) -> Outcome {
    let body = format!("{body}\nr0 = 0\nexit\nfunction f1 \"called\"\n{function}\nexit");
    run(Case { kind: "xdp", maps, body: &body, packet: &[0; 20], ..Case::default() })
}

fn looped(rounds: i64, flags: u32, function: &str) -> Outcome {
    let body = format!(
        "r1 = {rounds} ll\nr2 = f1 ll\nr3 = r9\nr3 += 8\nr4 = {flags}\ncall 181
        *(u64 *)(r9 + 0) = r0"
    );
    with_function("", &body, function)
}

#[test]
fn loops() {
    let sum = "r3 = *(u64 *)(r2 + 0)\nr3 += r1\n*(u64 *)(r2 + 0) = r3\nr0 = 0";
    let outcome = looped(5, 0, sum);
    assert_eq!((outcome.result.clone(), outcome.at(0), outcome.at(8)), (Ok(0), 5, 10));
    let until = "r0 = 0\nif r1 != 3 goto +1\nr0 = 7";
    assert_eq!(looped(100, 0, until).at(0), 4);
    assert_eq!(looped(0, 0, until).at(0), 0);
    assert_eq!(looped(5, 1, until).at(0), -22);
    assert_eq!(looped((1 << 23) + 1, 0, until).at(0), -7);
}

#[test]
fn what_a_loop_calls_is_checked() {
    let error = looped(5, 0, "r1 = *(u64 *)(r2 + 300)\nr0 = 0").result.unwrap_err();
    assert!(error.starts_with("called+0: access of 8 bytes"), "{error}");
    let endless = looped(1 << 20, 0, "r0 = 0").result.unwrap_err();
    assert!(endless.contains("still running after 10000 instructions"), "{endless}");
    let deeper = looped(1, 0, "r1 = 1\nr2 = f1 ll\nr3 = 0\nr4 = 0\ncall 181\nr0 = 0");
    assert!(deeper.result.unwrap_err().contains("nested deeper than 272 frames"));
    let nothing = run(Case {
        kind: "xdp",
        body: "r1 = 5\nr2 = 5\nr3 = 0\nr4 = 0\ncall 181",
        ..Case::default()
    });
    assert!(nothing.result.unwrap_err().contains("0x5 is no function"));
}

#[test]
fn elements_of_maps() {
    let maps = "map map1 \"m\" hash key 4 value 8 entries 4";
    let insert = |key: u32| {
        format!(
            "*(u32 *)(r10 - 4) = {key}\n*(u64 *)(r10 - 16) = {}\nr1 = map1 ll\nr2 = r10\nr2 += -4
            r3 = r10\nr3 += -16\nr4 = 0\ncall 2\n",
            10 * key
        )
    };
    let each = "r1 = map1 ll\nr2 = f1 ll\nr3 = r9\nr4 = 0\ncall 164\n*(u64 *)(r9 + 0) = r0";
    let body = insert(3) + &insert(1) + &insert(2) + each;
    // Note key and value at eight times the key; remove element 2 at element 1.
    let function = "r6 = *(u32 *)(r2 + 0)\nr7 = *(u64 *)(r3 + 0)\nr8 = r6\nr8 *= 8\nr8 += r4
        *(u64 *)(r8 + 0) = r7\nr0 = 0\nif r6 != 1 goto +6
        *(u32 *)(r10 - 4) = 2\nr2 = r10\nr2 += -4\ncall 3\nr0 = 0";
    let outcome = with_function(maps, &body, function);
    assert_eq!(outcome.result, Ok(0));
    assert_eq!([0, 8, 16, 24].map(|at| outcome.at(at)), [2, 10, 0, 30]);
    let stopping = with_function(maps, &body, "r0 = 1");
    assert_eq!(stopping.at(0), 1);
    let writing = with_function(maps, &body, "*(u32 *)(r2 + 0) = 1\nr0 = 0");
    assert!(writing.result.unwrap_err().contains("no memory of the program"));
}

/// As compiled code calls them: the function is a C function.
#[test]
fn native_functions() {
    unsafe extern "C" fn add(round: u64, sum: u64, c: u64, d: u64, e: u64) -> u64 {
        assert_eq!((c, d, e), (0, 0, 0));
        // SAFETY: the test passes the address of its own number.
        unsafe { *(sum as *mut u64) += round };
        u64::from(round == 3)
    }
    unsafe extern "C" fn visit(_: u64, key: u64, value: u64, sum: u64, _: u64) -> u64 {
        // SAFETY: the helper passes a key and a value of 4 bytes, the test its number.
        unsafe { *(sum as *mut u64) += u64::from(*(key as *const u32) * *(value as *const u32)) };
        0
    }
    let table = crate::helpers::Table::default();
    let mut sum = 0u64;
    let passed = &raw mut sum as u64;
    let add: crate::helpers::Helper = add;
    // SAFETY: a function as it is to be, and a number that lives.
    let rounds = unsafe { table.get(181).unwrap()(10, add as usize as u64, passed, 0, 0) };
    assert_eq!((rounds, sum), (4, 6));

    let def = tailor_bpf::MapDef {
        key_size: 4,
        value_size: 4,
        max_entries: 3,
        ..tailor_bpf::MapDef::new("m", tailor_bpf::MapKind::Array)
    };
    let map = Map::new(&def, SlotLayout { max_entries: 0, slots: 16 }).unwrap();
    for key in 0..3u32 {
        map.update(&key.to_le_bytes(), &(10 * key).to_le_bytes(), 0);
    }
    let visit: crate::helpers::Helper = visit;
    let (address, visit) = (map.address(), visit as usize as u64);
    // SAFETY: a map, a function as it is to be, and a number that lives.
    let visited = unsafe { table.get(164).unwrap()(address, visit, passed, 0, 0) };
    assert_eq!((visited, sum), (3, 6 + 10 + 40));
}
