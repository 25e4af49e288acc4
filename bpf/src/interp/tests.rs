//! What instructions compute, and the errors of those that cannot go on.

use super::*;
use crate::MapRef;
use crate::facts::FunctionFacts;
use crate::host::FlatHost;
use crate::text::parse_object;

const LIMIT: u64 = 100_000;

fn object(text: &str) -> Object {
    parse_object(text).expect("the test's object parses")
}

fn run_on(object: &Object, facts: &Facts, host: &mut FlatHost) -> Result<u64, String> {
    let (entry, args) = (FuncRef::from_u32(0), host.args());
    run(object, facts, entry, args, host, LIMIT).map_err(|error| error.to_string())
}

/// Runs one raw program on memory.
fn raw(code: &str, memory: &[u8]) -> (Result<u64, String>, FlatHost) {
    let object = object(&format!("program f0 \"main\" raw\n{code}"));
    let mut host = FlatHost::new(&object, memory.to_vec());
    (run_on(&object, &Facts::default(), &mut host), host)
}

/// The result of an object's first function, without memory or facts.
fn result(text: &str) -> Result<u64, String> {
    let object = object(text);
    let mut host = FlatHost::new(&object, Vec::new());
    run_on(&object, &Facts::default(), &mut host)
}

#[test]
fn values() {
    // The cases of the instruction set that are easily got wrong; those of
    // arithmetic alone are with the arithmetic.
    let cases: &[(&str, u64)] = &[
        ("w0 = -1", 0xffff_ffff),
        ("r0 = -1", u64::MAX),
        ("r0 = -1\n w0 = w0", 0xffff_ffff),
        ("r0 = -1\n w0 += 0", 0xffff_ffff),
        ("r0 = -1\n w0 <<= 0", 0xffff_ffff),
        ("r0 = 5\n r0 <<= r0", 5 << 5),
        ("r0 = 0x80 ll\n w0 = (s8)w0", 0xffff_ff80),
        ("r0 = 0x8000 ll\n r0 = (s16)r0", -0x8000i64 as u64),
        ("r0 = 0x80000000 ll\n r0 = (s32)r0", -0x8000_0000i64 as u64),
        ("r0 = 0x80000000 ll", 0x8000_0000),
        ("r0 = 0x1ffffffff ll", 0x1_ffff_ffff),
        ("r0 = 0x1122334455667788 ll\n r0 = be16 r0", 0x8877),
        ("r0 = 0x1122334455667788 ll\n r0 = le32 r0", 0x5566_7788),
        ("r0 = -5\n r0 = -r0", 5),
        ("r0 = 1\n w0 = -w0", 0xffff_ffff),
        ("r0 = 100\n r0 /= -2", 0),
        ("r0 = 100\n r0 s/= -2", -50i64 as u64),
        ("r0 = 100\n r1 = 0\n r0 s%= r1", 100),
        ("r0 = r6\n r0 += r9", 0),
    ];
    for (code, expected) in cases {
        let got = raw(&format!("{code}\n exit"), &[]).0;
        assert_eq!(got, Ok(*expected), "{code}");
    }
}

#[test]
fn jumps() {
    let cases: &[(&str, bool)] = &[
        ("r1 = 0xffffffff80000000 ll\n if r1 == -2147483648", true),
        ("r1 = 0x80000000 ll\n if r1 == -2147483648", false),
        ("r1 = 0x100000000 ll\n if r1 & -2147483648", true),
        ("r1 = 0x100000000 ll\n if w1 & -2147483648", false),
        ("r1 = 0x180000000 ll\n if w1 s< 0", true),
        ("r1 = 0x180000000 ll\n if r1 s< 0", false),
        ("r1 = 1\n if r1 < -1", true),
        ("r1 = 0x100000001 ll\n if w1 == 1", true),
    ];
    for (code, taken) in cases {
        let text = format!("{code} goto yes\n r0 = 0\n exit\n yes: r0 = 1\n exit");
        assert_eq!(raw(&text, &[]).0, Ok(u64::from(*taken)), "{code}");
    }
    let loops = "r1 = 3\n goto in\n back: r0 += r1\n in: r1 += -1\n if r1 != 0 goto back\n exit";
    assert_eq!(raw(loops, &[]).0, Ok(3));
    assert_eq!(raw("r0 = 7\n gotol +1\n r0 = 8\n exit", &[]).0, Ok(7));
}

#[test]
fn memory() {
    let bytes = [0x80, 0xff, 3, 4, 5, 6, 7, 0x88, 9];
    let cases: &[(&str, u64)] = &[
        ("r0 = *(u8 *)(r1 + 0)", 0x80),
        ("r0 = *(s8 *)(r1 + 0)", -0x80i64 as u64),
        ("r0 = *(s16 *)(r1 + 0)", -0x80i64 as u64),
        ("r0 = *(u32 *)(r1 + 1)", 0x0504_03ff),
        ("r0 = *(s32 *)(r1 + 4)", 0xffff_ffff_8807_0605),
        ("r0 = *(u64 *)(r1 + 1)", 0x0988_0706_0504_03ff),
        ("*(u64 *)(r1 + 0) = -2\n r0 = *(u64 *)(r1 + 0)", -2i64 as u64),
        ("*(u16 *)(r1 + 0) = -2\n r0 = *(u32 *)(r1 + 0)", 0x0403_fffe),
        // Overlapping accesses to the frame.
        (
            "r2 = 0x1122334455667788 ll\n *(u64 *)(r10 - 8) = r2\n *(u8 *)(r10 - 5) = 0\n \
             r0 = *(u32 *)(r10 - 6)",
            0x3344_0066,
        ),
        ("r2 = r10\n r2 += -16\n *(u8 *)(r2 + 3) = 9\n r0 = *(u8 *)(r10 - 13)", 9),
        ("r0 = *(u64 *)(r10 - 512)", 0),
    ];
    for (code, expected) in cases {
        let got = raw(&format!("{code}\n exit"), &bytes).0;
        assert_eq!(got, Ok(*expected), "{code}");
    }
}

#[test]
fn atomics() {
    let high = 0xaaaa_aaaa_0000_0005u64;
    let cases: &[(&str, u64, u64)] = &[
        ("lock *(u64 *)(r1 + 0) += r2", 3, high + 3),
        ("lock *(u32 *)(r1 + 0) += w2", 3, high + 3),
        ("r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)", high, high + 3),
        ("w2 = atomic_fetch_or((u32 *)(r1 + 0), w2)", 5, high | 3),
        ("w2 = xchg32_32(r1 + 0, w2)", 5, high & !0xffff_ffff | 3),
        ("r2 = xchg_64(r1 + 0, r2)", high, 3),
    ];
    for (code, r2, left) in cases {
        let text = format!("r2 = 3\n {code}\n r0 = r2\n exit");
        let (got, host) = raw(&text, &high.to_le_bytes());
        assert_eq!(got, Ok(*r2), "{code}");
        assert_eq!(host.memory(), left.to_le_bytes(), "{code}");
    }
    // Compare and exchange: R0 is the old value, whether it hit or not.
    let cases: &[(&str, u64, u64, u64)] = &[
        ("r0 = cmpxchg_64(r1 + 0, r0, r2)", high, high, 3),
        ("r0 = cmpxchg_64(r1 + 0, r0, r2)", 5, high, high),
        ("w0 = cmpxchg32_32(r1 + 0, w0, w2)", 0xbbbb_bbbb_0000_0005, 5, high & !0xffff_ffff | 3),
        ("w0 = cmpxchg32_32(r1 + 0, w0, w2)", 6, 5, high),
    ];
    for (code, r0, expected, left) in cases {
        let text = format!("r2 = 3\n r0 = {r0:#x} ll\n {code}\n exit");
        let (got, host) = raw(&text, &high.to_le_bytes());
        assert_eq!(got, Ok(*expected), "{code}");
        assert_eq!(host.memory(), left.to_le_bytes(), "{code}");
    }
    // Operands that are R0 or the address itself.
    let text = "r0 = 3\n r0 = atomic_fetch_add((u64 *)(r1 + 0), r0)\n exit";
    assert_eq!(raw(text, &high.to_le_bytes()).0, Ok(high));
    let text = "r3 = r1\n r1 = xchg_64(r1 + 0, r1)\n r0 = *(u64 *)(r3 + 0)\n r0 -= r3\n exit";
    assert_eq!(raw(text, &high.to_le_bytes()).0, Ok(0));
}

#[test]
fn calls() {
    let text = "
program f0 \"main\" raw
  r6 = 1
  *(u64 *)(r10 - 8) = 5
  r1 = r10
  r1 += -8
  r2 = 2
  call f1
  r0 += r6
  r2 = *(u64 *)(r10 - 8)
  r0 += r2
  r0 += r1
  exit
function f1 \"sub\"
  r6 = 100
  *(u64 *)(r10 - 8) = 1000
  *(u64 *)(r1 + 0) = 50
  r0 = r2
  exit";
    assert_eq!(result(text), Ok(53));
    // The helper of the conformance suite, called by number and by register.
    let code = "r1 = 77\n r6 = 5\n call 5\n r1 = r0\n callx r6\n r0 += r3\n exit";
    assert_eq!(raw(code, &[]).0, Ok(77));
    // What is no helper, the tail call included, is an error of the call's.
    for number in ["12", "-1", "4"] {
        let code = format!("r1 = {number}\n callx r1\n exit");
        assert_eq!(raw(&code, &[]).0, Ok(-22i64 as u64), "{number}");
    }
}

const CHAIN: &str = "
map map0 \"jmp\" prog_array key 4 value 4 entries 4
program f0 \"main\" raw
  r6 = r1
  r2 = map0 ll
  r3 = 1
  call f1
  r0 += 1000
  exit
function f1 \"sub\"
  r2 = map0 ll
  r3 = 0x700000001 ll
  call 12
  r0 = 1
  exit
program f2 \"target\" raw
  lock *(u64 *)(r1 + 0) += r0
  r2 = *(u64 *)(r1 + 0)
  r2 += 1
  *(u64 *)(r1 + 0) = r2
  r7 = r1
  r2 = map0 ll
  r3 = 1
  call 12
  r0 = *(u64 *)(r7 + 0)
  exit";

#[test]
fn tail_calls() {
    let object = object(CHAIN);
    let facts = Facts::default();
    let mut host = FlatHost::new(&object, vec![0; 8]);
    assert_eq!(run_on(&object, &facts, &mut host), Ok(1001), "empty slot");
    // A subprogram's tail call returns to the program that called it, and 33
    // tail calls succeed before the target falls through.
    host.set_slot(MapRef::from_u32(0), 1, FuncRef::from_u32(2));
    assert_eq!(run_on(&object, &facts, &mut host), Ok(1033));
    assert_eq!(host.memory(), 33u64.to_le_bytes());
}

#[test]
fn context_fields_are_read_at_their_native_place() {
    let text = "
program f0 \"main\" xdp
  r6 = r1
  r6 += 4
  r2 = *(u32 *)(r1 + 0)
  r3 = *(u32 *)(r6 + 0)
  r0 = r3
  r0 -= r2
  r4 = *(u8 *)(r2 + 1)
  r0 += r4
  r4 = *(u8 *)(r1 + 13)
  r0 += r4
  exit";
    let object = object(text);
    let mut own = FunctionFacts::default();
    for (slot, field, part) in [(2, 0, 0), (3, 1, 0), (8, 3, 1)] {
        let kind = crate::ctx::XDP;
        own.ctx_accesses.insert(slot, CtxAccess { kind, field, part });
    }
    let mut facts = Facts::default();
    facts.functions.push(own);
    let mut host = FlatHost::xdp(&object, vec![0, 20, 0]);
    let address = host.args()[0];
    host.store(address + 24, Size::W, 0x400).expect("the field is there");
    assert_eq!(run_on(&object, &facts, &mut host), Ok(3 + 20 + 4));
}

#[test]
fn profiles_count_entries_and_executions() {
    let text = "program f0 \"main\" raw\n r1 = 4\n again: r1 += -1\n if r1 != 0 goto again\n exit";
    let object = object(text);
    let mut profile = Profile::default();
    let entry = FuncRef::from_u32(0);
    for _ in 0..2 {
        let mut host = FlatHost::new(&object, Vec::new());
        let (facts, profile) = (Facts::default(), Some(&mut profile));
        run_profiled(&object, &facts, entry, [0; 2], &mut host, LIMIT, profile).expect("it runs");
    }
    assert_eq!(profile.entries(entry), 2);
    assert_eq!(profile.executions(entry, 1), 8);
    let cfg = crate::cfg::Cfg::build(&object.functions[entry].ops);
    assert_eq!(profile.frequency(entry, &cfg), Some(vec![1.0, 4.0, 1.0]));
    assert_eq!(profile.frequency(FuncRef::from_u32(7), &cfg), None);
}

#[test]
fn errors_name_function_and_instruction() {
    let main = |code: &str| format!("program f0 \"main\" raw\n{code}");
    let cases = [
        (main("goto -1"), "main+0: still running after 100000"),
        (main("r0 = 1"), "main+1: execution falls off the end"),
        (main("r0 = *(u8 *)(r1 + 0)\n exit"), "main+0: access of 1 bytes at 0x0"),
        (main("*(u64 *)(r10 - 4) = 1\n exit"), "main+0: access of 8 bytes"),
        (main("*(u8 *)(r10 - 513) = 1\n exit"), "main+0: access of 1 bytes"),
        (main("r0 = 0\n call 99\n exit"), "main+1: there is no helper 99"),
        (main("call f0\n exit"), "main+0: calls nested deeper than 272"),
        (main("call +1\n exit"), "main+0: the call was not linked"),
        (main("call kfunc 7\n exit"), "main+0: kernel function 7"),
        (main("r0 = *(u8 *)skb[0]\n exit"), "main+0: there is no helper 2147483648"),
        (main("r1 = pseudo(1, 2, 3) ll\n exit"), "main+0: the immediate was not linked"),
        (
            main("r0 = 0\n call f1\n exit\nfunction f1 \"bad\" refused 3 \"no way\"\n exit"),
            "bad+3: no way",
        ),
    ];
    for (text, expected) in cases {
        let error = result(&text).expect_err(&text);
        assert!(error.starts_with(expected), "{text}\n{error}");
    }
}
