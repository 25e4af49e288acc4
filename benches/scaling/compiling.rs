//! The whole pipeline, lower bounds, and reports of objects.

use tailor::bounds::bounds;
use tailor::bpf::text::parse_object;
use tailor::report::Report;
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

/// Compiles an object and reports its frames.
fn report(object: &str) -> Work {
    let unit = object_unit(object);
    Box::new(move || {
        let mut report = Report::default();
        report.add(&unit, &[Engine::Naive612, Engine::Tailor], &mut Trace::default());
        assert!(report.errors.is_empty());
    })
}

fn unit(body: &str) -> Unit {
    object_unit(&format!("program f0 \"main\" raw\n{body}r0 = r7\nexit\n"))
}

fn object_unit(text: &str) -> Unit {
    let unit = Unit::new(parse_object(text).expect("an object"));
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

/// One program that calls every function.
fn subprograms(size: usize) -> String {
    let functions = size / 5;
    let calls: String = (1..=functions).map(|func| format!("call f{func}\nr1 = r0\n")).collect();
    let function = |func| format!("function f{func} \"s{func}\"\nr0 = r1\nr0 *= {func}\nexit\n");
    let functions: String = (1..=functions).map(function).collect();
    format!("program f0 \"main\" raw\n{calls}exit\n{functions}")
}

/// Programs with a function each.
fn programs(size: usize) -> String {
    let pair = |number: usize| {
        let (program, function) = (2 * number, 2 * number + 1);
        format!(
            "program f{program} \"p{number}\" raw\ncall f{function}\nexit
             function f{function} \"s{number}\"\nr0 = r1\nr0 *= {function}\nexit\n"
        )
    };
    (0..size / 5).map(pair).collect()
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
        of("reporting", "callees", report, subprograms),
        of("reporting", "programs", report, programs),
    ]
}
