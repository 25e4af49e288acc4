//! What a lever must never do to a function.

use tailor::emit::frame::decode;
use tailor::{Engine, Lever, Levers, Trace, Unit, compile};

/// What the first function of an object costs.
fn cost(text: &str, engine: Engine, off: &[Lever]) -> f64 {
    let unit = Unit::new(tailor::bpf::text::parse_object(text).expect("an object"));
    let mut trace = Trace::default();
    trace.levers = Levers::without(off);
    let code = compile(&unit, engine, None, &mut trace).code;
    let function = code.functions.values().flatten().next().expect("a function");
    decode(function).expect("it can be decoded").weighted.expect("a program's").cost
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
