//! `tailor explain`: what saved registers and slots are for.

mod elf;

use std::path::{Path, PathBuf};
use std::process::Command;

use elf::{Code, File, object};
use tailor::{Engine, Explanation, Unit, explain};

/// The explanations of all functions of an object that can be compiled.
fn all(path: &Path, engine: Engine) -> Vec<Explanation> {
    let Ok(object) = tailor::Object::open(path) else {
        return Vec::new();
    };
    let unit = Unit::new(object);
    let functions = unit.object.functions.keys();
    functions.filter_map(|func| explain(&unit, engine, func).ok()).collect()
}

/// What holds of every explanation: the parts make up the whole.
fn check(this: &Explanation) {
    let name = format!("{} of {} ({})", this.function, this.object, this.engine);
    let saves: f64 = this.registers.iter().map(|register| register.cost).sum();
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(1.0);
    assert!(near(saves, this.weighted.saves), "{name}: {saves}\n{this}");
    let slots: f64 = this.slots.iter().map(|slot| slot.cost).sum();
    assert!(saves + slots <= this.weighted.cost + 1e-6, "{name}\n{this}");
    for register in &this.registers {
        assert!(!register.holds.is_empty(), "{name}: {}\n{this}", register.name);
    }
    for slot in &this.slots {
        assert!(!slot.holds.is_empty(), "{name}: {}\n{this}", slot.name);
    }
    let frame = &this.frame;
    let parts = frame.saved + frame.frame_pointer + frame.counter + frame.slots + frame.objects;
    assert_eq!(
        parts + frame.gaps + frame.padding - frame.shared,
        frame.frame_bytes,
        "{name}\n{this}"
    );
}

/// Objects of the examples, and some of the corpus where it is built.
fn objects() -> Vec<PathBuf> {
    let folder = |name: &str, step: usize| {
        let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(name));
        let mut paths: Vec<_> = entries.into_iter().flatten().flatten().map(|e| e.path()).collect();
        paths.sort();
        paths.into_iter().step_by(step)
    };
    folder("examples/objects", 1)
        .chain(folder("corpus/cilium", 1))
        .chain(folder("corpus/outlined", 8))
        .chain(folder("corpus/selftests", 16))
        .collect()
}

#[test]
fn parts_make_up_the_whole() {
    let mut functions = 0;
    for path in objects() {
        for engine in [Engine::Tailor, Engine::TailorKernel] {
            let explanations = all(&path, engine);
            functions += explanations.len();
            explanations.iter().for_each(check);
        }
    }
    assert!(functions > 60, "{functions}");
}

/// The context lives across two calls and is used behind them, on every path.
const TWO_CALLS: &str = "r6 = r1
    call 5
    r7 = r0
    call 7
    if r0 > 9 goto +2
    r0 = *(u32 *)(r6 + 12)
    exit
    r0 = *(u32 *)(r6 + 16)
    r0 += r7
    exit";

const LINES: &[(u32, u32, &str)] = &[
    (0, 10, "int main(struct xdp_md *ctx)"),
    (1, 12, "  u64 now = bpf_ktime_get_ns();"),
    (3, 13, "  if (bpf_get_prandom_u32() > 9)"),
    (5, 14, "    return ctx->ingress_ifindex;"),
    (7, 15, "  return ctx->rx_queue_index + now;"),
];

fn tailor(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tailor")).args(arguments).output();
    let output = output.expect("the command starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn two_calls() -> File {
    let main = Code { section: "xdp", name: "main", text: TWO_CALLS, lines: LINES };
    let other = Code { section: "tc", name: "other", text: "r0 = 0\nexit", lines: &[] };
    File::new("explain.o", &object(&[main, other]))
}

#[test]
fn a_value_across_two_calls() {
    let file = two_calls();
    let unit = Unit::new(tailor::Object::open(&file.0).expect("an object"));
    let main = unit.object.programs[unit.object.program("main").expect("it")].function;
    let this = explain(&unit, Engine::TailorKernel, main).expect("it compiles");
    // The context is needed behind both calls whichever way it goes: somewhere it
    // must be, in a register or in a slot.
    let holds = this.registers.iter().flat_map(|register| &register.holds);
    let holds = holds.chain(this.slots.iter().flat_map(|slot| &slot.holds));
    let context = |held: &&tailor::explain::Held| held.value.what == ["the context (argument 1)"];
    let context = holds.clone().find(context).expect("the context");
    let crosses: Vec<(&str, u32, u32)> = context
        .crosses
        .iter()
        .map(|(callee, at)| (&**callee, at.insn, at.line.as_ref().map_or(0, |line| line.1)))
        .collect();
    let expected = [("bpf_ktime_get_ns", 1, 12), ("bpf_get_prandom_u32", 3, 13)];
    assert_eq!(crosses, expected);
    let mut uses: Vec<(u32, f64)> = context.uses.iter().map(|at| (at.insn, at.frequency)).collect();
    uses.dedup();
    assert_eq!(uses, [(5, 0.5), (7, 0.5)]);
    // The time lives across the second call, and is used in one of two runs.
    let time = |held: &&tailor::explain::Held| held.value.what == ["result of bpf_ktime_get_ns"];
    let time = holds.clone().find(time).expect("the time");
    assert_eq!(time.crosses.len(), 1);
    assert_eq!(time.crosses[0].0, "bpf_get_prandom_u32");
    // Both are 8 bytes that nothing can compute again, across the second call.
    let tightest = this.tightest.expect("a bound");
    assert_eq!((tightest.at.insn, tightest.values.len(), tightest.fixed), (3, 2, 8));
    assert_eq!(this.bounds.optimised, Some(8 + 16));
}

/// All that is said of it can be read off the program.
#[test]
fn the_command_names_calls_and_lines() {
    let file = two_calls();
    let path = file.0.display().to_string();
    let (status, text, errors) = tailor(&["explain", &path, "--function", "main"]);
    assert_eq!((status, &*errors), (Some(0), ""));
    for expected in [
        "the context (argument 1)",
        "bpf_ktime_get_ns +1 line 12 x1",
        "bpf_get_prandom_u32 +3 line 13 x1",
        "result of bpf_ktime_get_ns, +1 line 12 x1 \"u64 now = bpf_ktime_get_ns();\"",
        "+5 line 14 x0.5",
        "lines are those of a.c",
        "bound  16 bytes",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

/// The context lives across two calls in a loop that is estimated to go round
/// eight times. In a register it costs a save and a restore, of rbx, which comes
/// first; in a slot a store, and a load in each round.
#[test]
fn a_register_and_what_it_is_worth() {
    let text = "r6 = r1
        call 5
        call 7
        r1 = *(u32 *)(r6 + 12)
        if r0 != r1 goto -4
        exit";
    let code = Code { section: "xdp", name: "main", text, lines: LINES };
    let file = File::new("loop.o", &object(&[code]));
    let path = file.0.display().to_string();
    let (status, text, errors) = tailor(&["explain", &path, "--function", "main"]);
    assert_eq!((status, &*errors), (Some(0), ""));
    let expected = "
saves  rbx
cost   2 memory operations in a run: 2 saves and restores
frame  8 bytes: 8 saved registers
bound  8 bytes, reached but for padding
       as these must be kept across bpf_get_prandom_u32 +2 line 12 x8
         %0 = the context (argument 1)

rbx costs 2
  saved    entry x1
  restored exit after +3 line 13 x1
  holds %0 = the context (argument 1)
    across bpf_ktime_get_ns +1 line 12 x8, bpf_get_prandom_u32 +2 line 12 x8
    used   +3 line 13 x8
  without rbx the function costs ";
    let start = text.find("\nsaves").expect("the figures");
    let rest = text[start..].strip_prefix(expected).unwrap_or_else(|| panic!("{text}"));
    let without: f64 = rest.split(' ').next().and_then(|n| n.parse().ok()).expect("a cost");
    assert!(without >= 9.0, "{text}");
    let difference =
        format!("{without} ({} more), in a frame of 8 bytes (the same)\n", without - 2.0);
    assert_eq!(rest, difference);
}

/// A merged return is taken apart, and each exit is where its own path ends.
#[test]
fn exits_are_where_their_paths_end() {
    let text = "r6 = r1
        call 5
        call 7
        r1 = *(u32 *)(r6 + 12)
        if r0 != r1 goto -4
        if r0 > 9 goto +2
        r0 = *(u32 *)(r6 + 12)
        goto +1
        r0 = *(u32 *)(r6 + 16)
        exit";
    let code = Code { section: "xdp", name: "main", text, lines: &[] };
    let file = File::new("exits.o", &object(&[code]));
    let this = all(&file.0, Engine::TailorKernel).remove(0);
    let restores = this.registers[0].saves.iter().filter(|save| save.restores);
    let places: Vec<u32> = restores.filter_map(|save| Some(save.at.as_ref()?.insn)).collect();
    assert_eq!(places, [6, 8], "{this}");
}

/// The arguments are used on one of two ways, which leaves by a tail call every
/// other time. A register for one of them is saved at entry, and restored once
/// whichever way the function is left; by a tail call for nothing, if these are
/// not priced.
#[test]
fn a_further_register_is_priced_as_the_allocator_was_told() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/objects/subparser.o");
    for (off, price) in [("placement", "2"), ("placement,tail-pricing", "1.75")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tailor"));
        command.arg("explain").arg(&path).args(["--function", "parse_record"]);
        let output = command.env("TAILOR_NO", off).output().expect("the command starts");
        let text = String::from_utf8(output.stdout).expect("text");
        let further = text.lines().filter(|line| line.contains("further register"));
        let prices: Vec<&str> = further.filter_map(|line| line.rsplit(' ').next()).collect();
        assert!(!prices.is_empty() && prices.iter().all(|&each| each == price), "{off}: {text}");
    }
}

#[test]
fn names_that_are_none() {
    let file = two_calls();
    let path = file.0.display().to_string();
    let (status, text, errors) = tailor(&["explain", &path, "--function", "mian"]);
    assert_eq!((status, &*text), (Some(1), ""));
    assert_eq!(errors, format!("{path}: no function \"mian\"; there are main, other\n"));
    let (status, ..) = tailor(&["explain", &path]);
    assert_eq!(status, Some(2));
    let naive = ["explain", &path, "--function", "main", "--engine", "naive-6.12"];
    let (status, _, errors) = tailor(&naive);
    assert_eq!(status, Some(2));
    assert!(errors.contains("possible values: tailor-kernel, tailor]"), "{errors}");
}

/// As `check` says it: with the program.
#[test]
fn a_function_that_is_wrong() {
    let text = "r0 = *(u64 *)(r1 + 3)\nexit";
    let code = Code { section: "xdp", name: "main", text, lines: &[] };
    let file = File::new("wrong.o", &object(&[code]));
    let path = file.0.display().to_string();
    let (status, text, errors) = tailor(&["explain", &path, "--function", "main"]);
    assert_eq!((status, &*text), (Some(1), ""));
    assert_eq!(errors, tailor(&["check", &path]).2);
    assert!(errors.starts_with(&format!("{path}: main: main+0: ")), "{errors}");
}
