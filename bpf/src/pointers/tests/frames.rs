//! Depth and objects of frames.

use super::{errors, facts, function, objects_of};

/// Depth and objects of a raw program's only function.
fn frame(code: &str) -> (u32, String) {
    let facts = facts(&format!("program f0 \"main\" raw\n{code}"));
    (function(&facts, 0).stack_depth, objects_of(&facts))
}

fn check_frames(cases: &[(&str, u32, &str)]) {
    for (code, depth, objects) in cases {
        let got = frame(code);
        assert_eq!(got, (*depth, objects.to_string()), "{code}");
    }
}

#[test]
fn constant_accesses() {
    check_frames(&[
        ("exit", 0, ""),
        ("*(u64 *)(r10 - 8) = 1\n *(u32 *)(r10 - 12) = 1\n exit", 12, "-12..-8 -8..0"),
        // Parts of one thing, and a wider view of two.
        ("*(u64 *)(r10 - 8) = 1\n r0 = *(u8 *)(r10 - 3)\n exit", 8, "-8..0"),
        (
            "*(u32 *)(r10 - 8) = 1\n *(u32 *)(r10 - 4) = 1\n r0 = *(u64 *)(r10 - 8)\n exit",
            8,
            "-8..0",
        ),
        // Copies of R10 and constants.
        ("r2 = r10\n r2 += -16\n r3 = r2\n r3 -= -4\n *(u32 *)(r3 + 4) = 1\n exit", 8, "-8..-4"),
        // The same on two paths, and a loop that leaves the pointer alone.
        (
            "r2 = r10\n if r1 == 0 goto a\n r2 += -8\n goto b\n a: r2 += -8\n b: \
             *(u64 *)(r2 + 0) = 1\n r1 += -1\n if r1 != 0 goto b\n exit",
            8,
            "-8..0",
        ),
        // Reloaded after a spill: the address itself is used.
        (
            "r2 = r10\n r2 += -16\n *(u64 *)(r10 - 8) = r2\n r3 = *(u64 *)(r10 - 8)\n \
             *(u64 *)(r3 + 0) = 1\n exit",
            16,
            "-16..-8! -8..0",
        ),
        ("lock *(u64 *)(r10 - 8) += r1\n exit", 8, "-8..0!"),
    ]);
}

#[test]
fn variable_offsets() {
    check_frames(&[
        // An index below 16, by a mask and by comparisons.
        (
            "r1 &= 15\n r2 = r10\n r2 += -32\n r2 += r1\n *(u8 *)(r2 + 0) = 1\n \
             *(u64 *)(r10 - 8) = 1\n exit",
            32,
            "-32..-16! -8..0",
        ),
        (
            "r1 = *(u64 *)(r1 + 0)\n if r1 > 7 goto out\n r2 = r10\n r2 += r1\n \
             r0 = *(u8 *)(r2 - 16)\n *(u64 *)(r10 - 24) = 1\n out: exit",
            24,
            "-24..-16 -16..0!",
        ),
        (
            "r1 = *(u64 *)(r1 + 0)\n if r1 s> 3 goto out\n if r1 s< 0 goto out\n r1 <<= 2\n \
             r2 = r10\n r2 += -24\n r2 += r1\n *(u32 *)(r2 + 0) = 1\n out: exit",
            24,
            "-24..-8!",
        ),
        // Two places, one object; what lies beside is another.
        (
            "r2 = r10\n r2 += -16\n if r1 == 0 goto a\n r2 = r10\n r2 += -24\n a: \
             *(u64 *)(r2 + 0) = 1\n *(u64 *)(r10 - 8) = 1\n *(u64 *)(r10 - 32) = 1\n exit",
            32,
            "-32..-24 -24..-8! -8..0",
        ),
        // A loop over an array, tested for equality.
        (
            "r1 = 0\n a: r2 = r10\n r2 += -16\n r2 += r1\n *(u8 *)(r2 + 0) = 0\n r1 += 1\n \
             if r1 != 10 goto a\n *(u32 *)(r10 - 4) = 0\n exit",
            16,
            "-16..-6! -4..0",
        ),
        // The pointer itself goes up, and only its start is known.
        (
            "r1 = *(u64 *)(r1 + 0)\n r2 = r10\n r2 += -16\n a: *(u8 *)(r2 + 0) = 0\n r2 += 1\n \
             r1 += -1\n if r1 != 0 goto a\n *(u64 *)(r10 - 24) = 0\n exit",
            24,
            "-24..-16 -16..0!",
        ),
        // Nothing is known.
        (
            "r1 = *(u64 *)(r1 + 0)\n r2 = r10\n r2 += r1\n *(u8 *)(r2 + 0) = 1\n exit",
            512,
            "-512..0!",
        ),
        // A pointer that may be something else.
        (
            "r2 = r10\n r2 += -8\n if r1 == 0 goto a\n r2 = 0\n a: if r2 == 0 goto b\n \
             *(u32 *)(r2 + 0) = 1\n b: exit",
            8,
            "-8..-4!",
        ),
    ]);
}

#[test]
fn helpers_access_what_their_rows_say() {
    check_frames(&[
        // Key and value of a known map.
        (
            "r1 = map0 ll\n r2 = r10\n r2 += -8\n r3 = r10\n r3 += -40\n r4 = 0\n call 2\n \
             *(u64 *)(r10 - 16) = r0\n exit",
            40,
            "-40..-16! -16..-8 -8..0!",
        ),
        // A map whose sizes are not known.
        (
            "r1 = map3 ll\n r2 = r10\n r2 += -8\n r3 = r10\n r3 += -16\n r4 = 0\n call 2\n exit",
            16,
            "-16..0!",
        ),
        // A size in a register: constant, bounded, unknown, zero.
        ("r1 = r10\n r1 += -32\n r2 = 16\n r3 = 0\n call 113\n exit", 32, "-32..-16!"),
        (
            "r2 = *(u32 *)(r1 + 0)\n if r2 > 16 goto out\n r1 = r10\n r1 += -64\n r3 = 0\n \
             call 113\n out: exit",
            64,
            "-64..-48!",
        ),
        (
            "r2 = *(u32 *)(r1 + 0)\n *(u64 *)(r10 - 40) = 1\n r1 = r10\n r1 += -32\n r3 = 0\n \
             call 113\n exit",
            40,
            "-40..-32 -32..0!",
        ),
        ("r1 = r10\n r1 += -32\n r2 = 0\n r3 = 0\n call 113\n exit", 0, "-32..-31!"),
        // Not in the table.
        (
            "*(u64 *)(r10 - 32) = 1\n r1 = r10\n r1 += -8\n r2 = 0\n r3 = 0\n r4 = 0\n r5 = 0\n \
             call 5000\n exit",
            32,
            "-32..0!",
        ),
    ]);
}

#[test]
fn pointers_that_cannot_be_followed_freeze_the_frame() {
    check_frames(&[
        // Stored in memory.
        (
            "*(u64 *)(r10 - 32) = 1\n r2 = r10\n r2 += -8\n *(u64 *)(r1 + 0) = r2\n exit",
            32,
            "-32..0!",
        ),
        // One of two bases.
        (
            "r2 = r10\n r2 += -8\n if r1 == 0 goto a\n r2 = r1\n a: *(u64 *)(r2 + 0) = 1\n exit",
            8,
            "-8..0!",
        ),
        // Computed with, and then followed.
        (
            "*(u64 *)(r10 - 16) = 1\n r2 = r10\n r2 |= 8\n *(u64 *)(r2 + 0) = 1\n exit",
            512,
            "-512..0!",
        ),
        // Stored, but never followed: 32 bits are no pointer; nor a difference.
        ("*(u64 *)(r10 - 16) = 1\n w2 = w10\n *(u32 *)(r1 + 0) = w2\n exit", 16, "-16..-8 -1..0!"),
        (
            "r2 = r10\n r2 += -16\n r3 = r10\n r3 += -8\n r3 -= r2\n *(u64 *)(r1 + 0) = r3\n \
             *(u64 *)(r10 - 24) = 1\n exit",
            24,
            "-24..-16 -16..-7!",
        ),
        // Returned: nobody can follow it any more.
        ("*(u64 *)(r10 - 16) = 1\n r0 = r10\n r0 += -8\n exit", 16, "-16..-8 -8..-7!"),
    ]);
}

#[test]
fn callees_touch_what_they_are_given() {
    let with = |main: &str, sub: &str| {
        let text = format!("program f0 \"main\" raw\n{main}\nfunction f1 \"sub\"\n{sub}");
        let facts = facts(&text);
        (function(&facts, 0).stack_depth, objects_of(&facts))
    };
    let main = "*(u64 *)(r10 - 64) = 1\n r1 = r10\n r1 += -32\n r2 = 3\n call f1\n exit";
    let cases = [
        // Reads and writes at constants; the parameter moved and spilled.
        ("*(u32 *)(r1 + 4) = 1\n exit", 64, "-64..-56 -32..-24!"),
        (
            "*(u64 *)(r10 - 8) = r1\n r3 = *(u64 *)(r10 - 8)\n r3 += 8\n r0 = *(u64 *)(r3 + 8)\n exit",
            64,
            "-64..-56 -32..-8!",
        ),
        // Below what was passed.
        ("r0 = *(u64 *)(r1 - 8)\n exit", 64, "-64..-56 -40..-31!"),
        // An index.
        ("r2 &= 7\n r1 += r2\n *(u8 *)(r1 + 0) = 0\n exit", 64, "-64..-56 -32..-24!"),
        ("r2 = *(u64 *)(r2 + 0)\n r1 += r2\n *(u8 *)(r1 + 0) = 0\n exit", 512, "-512..0!"),
        // Given to a helper.
        ("r2 = 12\n r3 = 0\n call 113\n exit", 64, "-64..-56 -32..-20!"),
        // Kept, or not used at all.
        ("*(u64 *)(r2 + 0) = r1\n exit", 64, "-64..0!"),
        ("r0 = r1\n r0 &= 1\n exit", 64, "-64..-56 -32..-31!"),
        ("r0 = r2\n exit", 64, "-64..-56 -32..-31!"),
    ];
    for (sub, depth, objects) in cases {
        assert_eq!(with(main, sub), (depth, objects.to_string()), "{sub}");
    }
    // Two levels, and recursion.
    let deep = "
program f0 \"main\" raw
  *(u64 *)(r10 - 64) = 1
  r1 = r10
  r1 += -32
  call f1
  exit
function f1 \"middle\"
  r1 += 8
  call f2
  exit
function f2 \"leaf\"
  *(u64 *)(r1 + 8) = 0
  exit";
    let facts1 = facts(deep);
    assert_eq!(objects_of(&facts1), "-64..-56 -32..-8!");
    let facts2 = facts(&deep.replace("*(u64 *)(r1 + 8) = 0", "call f1"));
    assert_eq!(objects_of(&facts2), "-512..0!");
}

#[test]
fn results_that_are_parameters_are_followed() {
    let text = "
program f0 \"main\" raw
  r1 = r10
  r1 += -32
  call f1
  *(u64 *)(r0 + 8) = 1
  *(u64 *)(r10 - 64) = 1
  r0 = 0
  exit
function f1 \"identity\"
  r0 = r1
  r0 += 4
  exit";
    let facts1 = facts(text);
    assert_eq!(objects_of(&facts1), "-64..-56 -32..-31! -20..-12");
    assert_eq!(function(&facts1, 0).frame_accesses[&3], -20);
    // With a tail call in it the result may come from anywhere.
    let tail =
        text.replace("r0 = r1\n", "r6 = r1\n r1 = 0\n r2 = map1 ll\n r3 = 0\n call 12\n r0 = r6\n");
    let facts2 = facts(&tail);
    assert!(function(&facts2, 0).reaches_tail_call);
    assert!(!function(&facts2, 0).frame_accesses.contains_key(&3));
    assert_eq!(objects_of(&facts2), "-64..-56 -32..-31! -28..-12!");
}

#[test]
fn callbacks_touch_what_they_are_given() {
    let text = "
program f0 \"main\" raw
  *(u64 *)(r10 - 64) = 1
  r1 = 8
  r2 = f1 ll
  r3 = r10
  r3 += -32
  r4 = 0
  call 181
  exit
function f1 \"callback\"
  *(u64 *)(r2 + 0) = 1
  exit";
    assert_eq!(objects_of(&facts(text)), "-64..-56 -32..-24!");
}

#[test]
fn exact_pointers_and_accesses_are_listed() {
    let code = "
program f0 \"main\" raw
  r2 = r10
  r2 += -16
  *(u64 *)(r10 - 24) = r2
  r3 = *(u64 *)(r10 - 24)
  *(u8 *)(r3 + 1) = 1
  r3 += r1
  *(u8 *)(r3 + 0) = 1
  exit";
    let facts = facts(code);
    let own = function(&facts, 0);
    let pointers: Vec<(u32, i32)> = own.frame_pointers.clone().into_iter().collect();
    assert_eq!(pointers, [(0, 0), (1, -16), (3, -16)]);
    let accesses: Vec<(u32, i32)> = own.frame_accesses.clone().into_iter().collect();
    assert_eq!(accesses, [(2, -24), (3, -24), (4, -15)]);
}

#[test]
fn accesses_outside_of_the_frame_are_errors() {
    let raw = |code: &str| format!("program f0 \"main\" raw\n{code}");
    let cases = [
        ("*(u8 *)(r10 - 513) = 0\n exit", "main: main+0: access of 1 bytes at r10-513"),
        ("*(u64 *)(r10 - 4) = 0\n exit", "main: main+0: access of 8 bytes at r10-4"),
        ("r0 = *(u8 *)(r10 + 0)\n exit", "main: main+0: access of 1 bytes at r10+0"),
        (
            "r1 = map0 ll\n r2 = r1\n r3 = 0\n r1 = r10\n call 12\n exit",
            "main: main+5: tail call on map `h`",
        ),
    ];
    for (code, expected) in cases {
        let errors = errors(&raw(code));
        assert!(errors[0].starts_with(expected), "{code}\n{errors:?}");
    }
    // The error names a program that needs the function.
    let text = "
program f0 \"good\" raw
  exit
program f1 \"bad\" raw
  call f2
  exit
function f2 \"sub\"
  r0 = *(u8 *)(r10 + 0)
  exit";
    assert!(errors(text)[0].starts_with("bad: sub+0: "));
}

#[test]
fn a_million_instructions_with_loops() {
    let mut code = String::from("program f0 \"main\" xdp\n r6 = r1\n");
    for block in 0..50_000 {
        code += &format!(
            "r1 = 0\n a{block}: r2 = r10\n r2 += -64\n r2 += r1\n *(u8 *)(r2 + 0) = r1\n \
             *(u64 *)(r10 - {}) = r6\n r7 = *(u64 *)(r10 - {})\n r0 = *(u32 *)(r7 + 4)\n \
             r1 += 1\n if r1 != 16 goto a{block}\n if r0 == {block} goto +0\n",
            72 + 8 * (block % 40),
            72 + 8 * (block % 40),
        );
    }
    code += "exit";
    let facts = facts(&code);
    assert_eq!(function(&facts, 0).ctx_accesses.len(), 50_000);
    assert!(objects_of(&facts).ends_with(" -64..-48!"), "{}", objects_of(&facts));
}
