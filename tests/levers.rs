//! What single levers do to a function.

use tailor::emit::CompiledFunction;
use tailor::emit::frame::decode;
use tailor::{Engine, Lever, Levers, Trace, Unit, compile};

/// The first function of an object.
fn compiled(text: &str, engine: Engine, off: &[Lever]) -> CompiledFunction {
    let unit = Unit::new(tailor::bpf::text::parse_object(text).expect("an object"));
    let mut trace = Trace::default();
    trace.levers = Levers::without(off);
    let code = compile(&unit, engine, None, &mut trace).code;
    code.functions.values().flatten().next().expect("a function").clone()
}

fn cost(text: &str, engine: Engine, off: &[Lever]) -> f64 {
    let facts = decode(&compiled(text, engine, off)).expect("it can be decoded");
    facts.weighted.expect("a program's").cost
}

/// Steps of a hash in which everything follows from what lives anyway, beside
/// values that only wait: where few registers are left, regalloc2 made something
/// dearer of it when values were computed again.
const STEPS: &str = "program f0 \"main\" raw
    w7 = w2
    w7 += -559038705
    r9 = *(u32 *)(r1 + 4)
    r6 = *(u32 *)(r1 + 8)
    r2 = *(u32 *)(r1 + 12)
    *(u32 *)(r10 - 32) = r2
    *(u32 *)(r10 - 8) = r1
    w8 = w7
    call f1
    w8 ^= w0
    w9 += w7
    w1 = w8
    call f1
    r1 = *(u32 *)(r10 - 8)
    w6 += w9
    r9 = *(u32 *)(r10 - 32)
    w9 += w6
    w1 += w8
    w7 = w1
    call f1
    w7 ^= w0
    w7 += w9
    w1 = w7
    call f1
    w0 = w8
    exit
  function f1 \"rotated\"
    w0 = w1
    w0 <<= 7
    exit
";

#[test]
fn values_computed_again_never_cost_more() {
    for engine in [Engine::Tailor, Engine::TailorKernel] {
        let (with, without) = (cost(STEPS, engine, &[]), cost(STEPS, engine, &[Lever::Remat]));
        assert!(with <= without, "{engine}: {with}, {without} without");
    }
}

/// A leaf whose object cannot be taken apart: 8 bytes that lie below rsp, or for
/// which rsp is moved.
#[test]
fn a_leaf_without_the_red_zone_moves_rsp() {
    let text = "program f0 \"main\" raw
        *(u64 *)(r10 - 8) = r2
        r3 = r10
        r4 = *(u64 *)(r1 + 0)
        r4 &= 7
        r3 += r4
        r0 = *(u8 *)(r3 - 8)
        exit";
    for (off, red_zone) in [(&[][..], 8), (&[Lever::RedZone][..], 0)] {
        let function = compiled(text, Engine::Tailor, off);
        let facts = decode(&function).expect("it can be decoded");
        assert_eq!((facts.frame_bytes, function.frame.red_zone), (8, red_zone), "{off:?}");
        // sub rsp, 8
        let moves = function.code.windows(4).any(|bytes| bytes == [0x48, 0x83, 0xec, 8]);
        assert_eq!(moves, red_zone == 0, "{off:?}");
    }
}
