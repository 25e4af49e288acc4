//! Context accesses, found through moves, spills and calls.

use super::{errors, facts, function};
use crate::MapRef;
use crate::facts::CtxAccess;

fn accesses(text: &str, index: u32) -> Vec<(u32, u8, u8)> {
    let facts = facts(text);
    let own = &function(&facts, index).ctx_accesses;
    let triple = |(&slot, access): (&u32, &CtxAccess)| (slot, access.field, access.part);
    own.iter().map(triple).collect()
}

#[test]
fn context_fields() {
    let xdp = |code: &str| accesses(&format!("program f0 \"main\" xdp\n{code}"), 0);
    assert_eq!(
        xdp("r2 = *(u32 *)(r1 + 0)\n r3 = *(u32 *)(r1 + 4)\n r0 = *(u8 *)(r2 + 0)\n exit"),
        [(0, 0, 0), (1, 1, 0)]
    );
    // Moved, spilled, offset, after a branch and a call.
    assert_eq!(
        xdp("r6 = r1\n r6 += 4\n *(u64 *)(r10 - 8) = r6\n call 7\n if r0 == 0 goto +0\n \
             r1 = *(u64 *)(r10 - 8)\n r2 = *(u32 *)(r1 + 4)\n r2 = *(u32 *)(r6 + 0)\n exit"),
        [(6, 2, 0), (7, 1, 0)]
    );
    // Parts of numbers.
    assert_eq!(
        xdp("r2 = *(u16 *)(r1 + 14)\n r2 = *(s8 *)(r1 + 16)\n exit"),
        [(0, 3, 2), (1, 4, 0)]
    );
    // Without a declared context accesses are plain.
    for kind in ["raw", "opaque"] {
        let text = format!("program f0 \"main\" {kind}\n r2 = *(u32 *)(r1 + 0)\n exit");
        assert_eq!(accesses(&text, 0), []);
    }
}

#[test]
fn contexts_reach_subprograms() {
    let text = "
program f0 \"main\" xdp
  r6 = r1
  r2 = r1
  r1 = 5
  call f1
  r1 = r6
  call f3
  exit
function f1 \"middle\"
  *(u64 *)(r10 - 8) = r2
  r1 = r2
  r1 += 8
  call f2
  exit
function f2 \"leaf\"
  r0 = *(u32 *)(r1 + 4)
  exit
function f3 \"identity\"
  r0 = *(u32 *)(r1 + 20)
  exit";
    assert_eq!(accesses(text, 2), [(0, 3, 0)]);
    assert_eq!(accesses(text, 3), [(0, 5, 0)]);
    // A context that comes back.
    let back = "
program f0 \"main\" xdp
  call f1
  r0 = *(u32 *)(r0 + 12)
  exit
function f1 \"identity\"
  r0 = r1
  exit";
    assert_eq!(accesses(back, 0), [(1, 3, 0)]);
}

/// A structure with the context goes down two levels of calls, in one of two
/// parameters, and to a callback.
const IN_MEMORY: &str = "
program f0 \"main\" xdp
  *(u64 *)(r10 - 24) = 1
  *(u64 *)(r10 - 16) = r1
  *(u64 *)(r10 - 8) = 2
  r1 = r10
  r1 += -32
  r2 = r10
  r2 += -24
  call f1
  r1 = 4
  r2 = f3 ll
  r3 = r10
  r3 += -16
  r4 = 0
  call 181
  exit
function f1 \"middle\"
  *(u64 *)(r1 + 0) = 5
  r6 = *(u64 *)(r2 + 8)
  r0 = *(u32 *)(r6 + 12)
  r1 = 1
  r3 = r2
  r3 += 8
  r2 = 0
  call f2
  exit
function f2 \"leaf\"
  r1 = *(u64 *)(r3 + 0)
  *(u64 *)(r3 + 8) = 7
  r1 += 4
  r0 = *(u32 *)(r1 + 0)
  exit
function f3 \"callback\"
  r3 = *(u64 *)(r2 + 0)
  r0 = *(u32 *)(r3 + 0)
  exit";

#[test]
fn contexts_travel_in_memory() {
    assert_eq!(accesses(IN_MEMORY, 1), [(2, 3, 0)]);
    assert_eq!(accesses(IN_MEMORY, 2), [(3, 1, 0)]);
    assert_eq!(accesses(IN_MEMORY, 3), [(1, 0, 0)]);
    // Another call has a number there: fine as long as it is not followed.
    let other = "
  *(u64 *)(r10 - 40) = 0
  r3 = r10
  r3 += -40
  r1 = 0
  r2 = 0
  call f2
  r1 = 4";
    let twice = IN_MEMORY.replacen("\n  r1 = 4", other, 1);
    let errors = errors(&twice);
    assert!(
        errors[0].starts_with("main: leaf+3: access through a pointer that may be"),
        "{errors:?}"
    );
    let passive = twice.replace("r0 = *(u32 *)(r1 + 0)", "r2 = 0\n  call 44");
    assert_eq!(accesses(&passive, 2), []);
}

#[test]
fn context_errors_name_their_place() {
    let xdp = |code: &str| format!("program f0 \"main\" xdp\n{code}");
    let sub = "
program f0 \"main\" xdp
  r6 = r1
  call f1
  r1 = 0
  call f1
  exit
function f1 \"sub\"
  r0 = *(u32 *)(r1 + 0)
  exit";
    let shared = "
program f0 \"one\" xdp
  call f2
  exit
program f1 \"two\" opaque
  call f2
  exit
function f2 \"sub\"
  r0 = *(u32 *)(r1 + 0)
  exit";
    let in_memory = "
program f0 \"main\" xdp
  *(u64 *)(r10 - 8) = r1
  r1 = r10
  r1 += -8
  call f1
  exit
function f1 \"sub\"
  r2 = *(u64 *)(r1 + 0)
  *(u64 *)(r1 + 0) = 0
  r0 = *(u32 *)(r2 + 0)
  exit";
    let cases = [
        (xdp("r0 = *(u64 *)(r1 + 0)\n exit"), "main: main+0: xdp_md has no field of 8 bytes"),
        (xdp("r0 = *(u32 *)(r1 + 2)\n exit"), "main: main+0: xdp_md has no field of 4 bytes"),
        (xdp("r0 = *(u32 *)(r1 + 24)\n exit"), "main: main+0: xdp_md has no field"),
        (xdp("r0 = *(u32 *)(r1 - 4)\n exit"), "main: main+0: xdp_md has no field"),
        (xdp("r0 = *(u16 *)(r1 + 0)\n exit"), "main: main+0: load of a part of field `data`"),
        (
            xdp("*(u32 *)(r1 + 12) = 1\n exit"),
            "main: main+0: field `ingress_ifindex` of xdp_md is read-only",
        ),
        (xdp("lock *(u32 *)(r1 + 12) += w2\n exit"), "main: main+0: atomic access to field"),
        (
            xdp("r2 = *(u8 *)(r1 + 12)\n r1 += r2\n r0 = *(u32 *)(r1 + 0)\n exit"),
            "main: main+2: access at a variable offset",
        ),
        (
            xdp(
                "r2 = r1\n if r1 == 0 goto +2\n r2 = r10\n r2 += -8\n r0 = *(u32 *)(r2 + 0)\n exit",
            ),
            "main: main+4: access through a pointer that may be the context",
        ),
        (
            xdp("r2 = r1\n if r1 == 0 goto +1\n r2 = 0\n r0 = *(u32 *)(r2 + 0)\n exit"),
            "main: main+3: access through a pointer that may be the context",
        ),
        (
            xdp("r2 = map3 ll\n *(u64 *)(r2 + 0) = r1\n exit"),
            "main: main+2: the context pointer is stored",
        ),
        (sub.into(), "main: sub+0: access through a pointer that may be"),
        (shared.into(), "one: sub+0: access through a pointer that may be"),
        (in_memory.into(), "main: main+3: the context pointer is passed in memory"),
    ];
    for (text, expected) in cases {
        let errors = errors(&text);
        assert!(errors[0].starts_with(expected), "{text}\n{errors:?}");
        assert_eq!(errors.len(), 1, "{text}\n{errors:?}");
    }
}

#[test]
fn what_never_happens_is_no_error() {
    // R6 is a context wherever it is followed, but not on every path to there.
    let text = "
program f0 \"main\" xdp
  r7 = *(u32 *)(r1 + 12)
  if r7 == 0 goto skip
  r6 = r1
  *(u64 *)(r10 - 8) = r1
skip:
  if r7 == 0 goto out
  r0 = *(u32 *)(r6 + 16)
  r1 = *(u64 *)(r10 - 8)
  r0 = *(u32 *)(r1 + 20)
out:
  exit";
    assert_eq!(accesses(text, 0), [(0, 3, 0), (5, 4, 0), (7, 5, 0)]);
}

#[test]
fn spilled_pointers_survive_what_does_not_touch_them() {
    // A helper and a callee that write elsewhere, and one that writes there.
    let text = |low: i32| {
        format!(
            "
program f0 \"main\" xdp
  *(u64 *)(r10 - 8) = r1
  r1 = r10
  r1 += {low}
  r2 = 8
  r3 = 0
  call 113
  r1 = *(u64 *)(r10 - 8)
  r0 = *(u32 *)(r1 + 0)
  exit"
        )
    };
    assert_eq!(accesses(&text(-16), 0), [(7, 0, 0)]);
    let errors = errors(&text(-12));
    assert!(
        errors[0].starts_with("main: main+7: access through a pointer that may be"),
        "{errors:?}"
    );
}

#[test]
fn sizes_come_from_callers() {
    // Two functions pass on where and how much a helper writes.
    let text = |size: &str, passed_on: &str| {
        format!(
            "
program f0 \"main\" xdp
  *(u64 *)(r10 - 8) = r1
  r1 = r10
  r1 += -16
  r2 = {size}
  call f1
  r1 = *(u64 *)(r10 - 8)
  r0 = *(u32 *)(r1 + 0)
  exit
function f1 \"outer\"
  r6 = r1
  w1 = w2
  r2 = r6
  call f2
  exit
function f2 \"inner\"
  r3 = r1
  r1 = r2
  r2 = {passed_on}
  r3 = 0
  call 113
  exit"
        )
    };
    for size in ["8", "0", "1"] {
        assert_eq!(accesses(&text(size, "r3"), 0), [(6, 0, 0)]);
    }
    // The first byte of the context's pointer is overwritten: by the size, or
    // because nobody knows it.
    let too_large = [("9", "r3"), ("8", "r3\n  r2 <<= 1"), ("8", "*(u32 *)(r3 + 0)")];
    for (size, passed_on) in too_large {
        let errors = errors(&text(size, passed_on));
        let expected = "main: main+6: access through a pointer that may be";
        assert!(errors[0].starts_with(expected), "{errors:?}");
    }
}

#[test]
fn a_refused_callee_is_the_only_error() {
    // The callback is refused: what it does with the context does not matter.
    let text = "
program f0 \"main\" xdp
  *(u64 *)(r10 - 8) = r1
  r1 = 4
  r2 = f1 ll
  r3 = r10
  r3 += -8
  r4 = 0
  call 181
  exit
function f1 \"callback\"
  r3 = *(u64 *)(r2 + 0)
  r0 = *(u32 *)(r3 + 0)
  exit";
    let mut object = crate::text::parse_object(text).unwrap();
    let (_, id) = object.functions.iter().map(|(id, f)| (&*f.name, id)).nth(1).unwrap();
    object.functions[id].refused = Some(crate::Error::at("callback", 0, "refused"));
    assert_eq!(crate::analyze(&object).1, []);
}

#[test]
fn tail_call_sites() {
    let (map1, map2) = (Some(MapRef::from_u32(1)), Some(MapRef::from_u32(2)));
    let cases: &[(&str, Option<MapRef>, Option<u32>)] = &[
        ("r2 = map1 ll\n r3 = 3\n call 12", map1, Some(3)),
        ("r2 = map2 ll\n r3 = 0x500000003 ll\n call 12", map2, Some(3)),
        ("r2 = map1 ll\n r3 = *(u32 *)(r1 + 0)\n call 12", map1, None),
        // The same, and not the same, on two paths.
        ("r2 = map1 ll\n r3 = 3\n if r1 == 0 goto +1\n r3 = 3\n call 12", map1, Some(3)),
        ("r2 = map1 ll\n r3 = 3\n if r1 == 0 goto +1\n r3 = 4\n call 12", map1, None),
        ("r2 = map1 ll\n r3 = 3\n if r1 == 0 goto +2\n r2 = map2 ll\n call 12", None, Some(3)),
        // Through other registers, the frame and arithmetic.
        (
            "r6 = map1 ll\n r7 = 2\n *(u64 *)(r10 - 8) = r6\n *(u64 *)(r10 - 16) = r7\n call 7\n \
             r2 = *(u64 *)(r10 - 8)\n r3 = *(u64 *)(r10 - 16)\n w3 += 1\n r1 = 0\n call 12",
            map1,
            Some(3),
        ),
        ("r2 = *(u64 *)(r1 + 0)\n r3 = 1\n call 12", None, Some(1)),
        // Others have the address of the frame, and may write what is spilled.
        (
            "r7 = r10\n r7 += -8\n *(u64 *)(r1 + 0) = r7\n r6 = 3\n *(u64 *)(r10 - 16) = r6\n \
             call 7\n r3 = *(u64 *)(r10 - 16)\n r2 = map1 ll\n call 12",
            map1,
            None,
        ),
    ];
    for (code, map, key) in cases {
        let facts = facts(&format!("program f0 \"main\" raw\n{code}\n r0 = 0\n exit"));
        let own = function(&facts, 0);
        let site = own.tail_calls.values().next().expect("a site");
        assert_eq!((site.map, site.key), (*map, *key), "{code}");
        assert!(own.reaches_tail_call);
    }
}
