//! The whole pipeline, and lower bounds.

use tailor::bounds::bounds;
use tailor::bpf::text::parse_object;
use tailor::{Engine, Trace, Unit, compile};

use super::{Shape, Work};

/// Compiles a program of these instructions with nothing shown or checked.
fn whole(body: &str) -> Work {
    let unit = unit(body);
    Box::new(move || {
        let compiled = compile(&unit, Engine::Tailor, None, &mut Trace::default());
        assert_eq!(compiled.errors.values().next(), None);
    })
}

fn bound(body: &str) -> Work {
    let unit = unit(body);
    let func = unit.object.programs.values().next().expect("it has a program").function;
    Box::new(move || {
        bounds(&unit, Engine::Tailor, func, &mut Trace::default());
    })
}

fn unit(body: &str) -> Unit {
    let text = format!("program f0 \"main\" raw\n{body}r0 = r7\nexit\n");
    let unit = Unit::new(parse_object(&text).expect("an object"));
    assert_eq!(unit.errors.first(), None);
    unit
}

/// `body` as often as makes so many instructions, behind a beginning.
fn repeat(size: usize, body: &str) -> String {
    let lines = body.lines().count();
    format!("r6 = r1\nr7 = 1\nr8 = 2\nr9 = 3\n{}", body.repeat(size / lines))
}

/// A value that lives across one call after the other.
const CALLS: &str = "call 7\nr7 += r0\nr8 = r7\nr7 *= 3\n";
/// Calls that are rarely reached, with values that live across them.
const COLD_CALLS: &str = "r7 += r8\nif r7 != 12345 goto +3\ncall 7\nr8 += r0\nr9 ^= r0\nr7 ^= r9\n";
/// Joins of two paths.
const DIAMONDS: &str = "if r6 > 77 goto +2\nr7 += 2\ngoto +1\nr7 ^= 7\nr6 += r7\nr0 = r6\n";
/// One loop behind the other, with a value that goes through all of them.
const LOOPS: &str = "r2 = 0\nr9 += r2\nr2 += 1\nif r2 < 4 goto -3\nr7 ^= r9\n";

/// More slots than registers, written and read.
fn stack(size: usize) -> String {
    let slot = |number: usize| 8 * (number % 60 + 1);
    let start: String =
        (0..60).map(|number| format!("*(u64 *)(r10 - {}) = r1\n", slot(number))).collect();
    let body = (0..size / 4).map(|number| {
        let (to, from) = (slot(number), slot(7 * number));
        format!("*(u64 *)(r10 - {to}) = r7\nr1 = *(u64 *)(r10 - {from})\nr7 += r1\nr7 *= 5\n")
    });
    format!("r7 = 1\n{start}{}", body.collect::<String>())
}

pub fn shapes() -> Vec<Shape> {
    let of = |stage, name, work: fn(&str) -> Work, text: fn(usize) -> String| Shape {
        stage,
        name,
        work: Box::new(move |size| work(&text(size))),
    };
    vec![
        of("compiling", "calls", whole, |size| repeat(size, CALLS)),
        of("compiling", "cold calls", whole, |size| repeat(size, COLD_CALLS)),
        of("compiling", "diamonds", whole, |size| repeat(size, DIAMONDS)),
        of("compiling", "loops", whole, |size| repeat(size, LOOPS)),
        of("compiling", "stack", whole, stack),
        of("bounds", "calls", bound, |size| repeat(size, CALLS)),
        of("bounds", "stack", bound, stack),
    ]
}
