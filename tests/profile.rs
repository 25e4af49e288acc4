//! Frequencies measured instead of estimated.

mod elf;

use std::process::Command;

use elf::{Code, File, object};
use tailor::report::Report;
use tailor::{Engine, Trace, Unit, profile};

fn report(text: &str, data: Option<&[u8]>, engine: Engine) -> Report {
    let mut unit = Unit::new(tailor::bpf::text::parse_object(text).expect("an object"));
    assert_eq!(unit.errors.first(), None);
    if let Some(data) = data {
        assert_eq!(profile::measure(&mut unit, data), []);
    }
    let mut report = Report::default();
    report.add(&unit, &[engine], &mut Trace::checked());
    assert_eq!(report.errors.len(), 0);
    report
}

fn cost(text: &str, data: Option<&[u8]>, engine: Engine) -> Option<f64> {
    report(text, data, engine).programs[0].weighted_cost
}

/// Packets that start with a 7 go ten times round a loop with a store and a load
/// of a slot; others never. The baseline saves and restores rbp, rbx and r13.
const ARM: &str = "r6 = *(u32 *)(r1 + 0)
    r7 = *(u32 *)(r1 + 4)
    r2 = r6
    r2 += 1
    if r2 > r7 goto +8
    r3 = *(u8 *)(r6 + 0)
    if r3 != 7 goto +6
    r4 = 10
    r5 = 0
    *(u64 *)(r10 - 8) = r4
    r4 = *(u64 *)(r10 - 8)
    r4 += -1
    if r4 != 0 goto -4
    r0 = 2
    exit";

#[test]
fn an_arm_counts_as_often_as_it_runs() {
    let text = format!("program f0 \"main\" xdp\n{ARM}");
    // Estimated: the arm in one of four runs, its loop eight times round.
    assert_eq!(cost(&text, None, Engine::Naive612), Some(6.0 + 2.0 * 8.0 / 4.0));
    assert_eq!(cost(&text, Some(&[7]), Engine::Naive612), Some(6.0 + 2.0 * 10.0));
    assert_eq!(cost(&text, Some(&[8]), Engine::Naive612), Some(6.0));
}

/// A value lives across the only call. Whether in a register that is saved and
/// restored or in a slot that is written and read: two operations where the call
/// runs, and none elsewhere.
#[test]
fn the_allocator_weighs_by_what_was_measured() {
    let text = "program f0 \"main\" xdp
        r2 = *(u32 *)(r1 + 0)
        r3 = *(u32 *)(r1 + 4)
        r4 = r2
        r4 += 2
        if r4 > r3 goto +6
        r5 = *(u8 *)(r2 + 0)
        if r5 != 7 goto +4
        r6 = *(u8 *)(r2 + 1)
        call 7
        r0 += r6
        exit
        r0 = 2
        exit";
    assert_eq!(cost(text, None, Engine::Tailor), Some(0.5));
    assert_eq!(cost(text, Some(&[7, 1]), Engine::Tailor), Some(2.0));
    assert_eq!(cost(text, Some(&[8, 1]), Engine::Tailor), Some(0.0));
    // Nothing of the packet is reached.
    assert_eq!(cost(text, Some(&[7]), Engine::Tailor), Some(0.0));
}

/// What a subprogram does counts per entry of it: three of ten.
#[test]
fn subprograms_count_per_entry() {
    let text = "program f0 \"main\" xdp
          r6 = 10
          r1 = r6
          call f1
          r6 += -1
          if r6 != 0 goto -4
          r0 = 2
          exit
        function f1 \"sub\"
          if r1 > 3 goto +2
          *(u64 *)(r10 - 8) = r1
          r1 = *(u64 *)(r10 - 8)
          r0 = 0
          exit";
    let report = report(text, Some(&[]), Engine::Naive612);
    let costs: Vec<_> = report.functions.iter().map(|row| row.weighted_cost).collect();
    // rbp in both, rbx in the program.
    assert_eq!(costs, [Some(4.0), Some(2.0 + 2.0 * 0.3)]);
    assert_eq!(report.programs[0].weighted_cost, Some(4.0 + 10.0 * 2.6));
}

/// Tail calls succeed as often as they did. However often that is, a function that is
/// entered once is left once.
#[test]
fn tail_calls_are_measured() {
    let text = |key: u32| {
        format!(
            "map map0 \"jmp\" prog_array key 4 value 4 entries 2 {{ 0 = \"target\" }}
            program f0 \"main\" xdp
              r6 = r1
              r2 = map0 ll
              r3 = {key}
              call 12
              r0 = *(u32 *)(r6 + 12)
              exit
            program f1 \"target\" xdp
              r0 = 2
              exit"
        )
    };
    for (key, data, leaves) in [(0, None, 0.5), (0, Some(&[][..]), 1.0), (1, Some(&[]), 0.0)] {
        let [naive, kernel] = [Engine::Naive612, Engine::TailorKernel]
            .map(|engine| report(&text(key), data, engine).functions[0].clone());
        assert_eq!(naive.weighted_tail_call_restores, Some(leaves));
        assert_eq!(naive.weighted_saves, Some(2.0));
        // The target gets the frame pointer as it is.
        assert_eq!(naive.weighted_frame_pointer, Some(2.0 - leaves));
        assert_eq!(kernel.weighted_frame_pointer, Some(2.0 - leaves));
    }
}

#[test]
fn what_cannot_run_stays_estimated() {
    let text = "program f0 \"traced\" opaque
          r0 = 0
          exit
        program f1 \"wild\" xdp
          r2 = 0
          r0 = *(u8 *)(r2 + 0)
          exit
        program f2 \"fine\" xdp
          r0 = 2
          exit";
    let mut unit = Unit::new(tailor::bpf::text::parse_object(text).expect("an object"));
    let errors = profile::measure(&mut unit, &[0; 64]);
    let errors: Vec<String> = errors.iter().map(|error| error.to_string()).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert_eq!(errors[0], "traced: its context is no packet");
    assert!(errors[1].starts_with("wild: wild+1: "), "{errors:?}");
    let measured: Vec<bool> = unit.facts.functions.values().map(|f| f.measured).collect();
    assert_eq!(measured, [false, false, true]);
}

#[test]
fn frames_takes_a_packet() {
    let programs = [
        Code { section: "xdp", name: "main", text: ARM, lines: &[] },
        Code { section: "kprobe/f", name: "probe", text: "r0 = 0\nexit", lines: &[] },
    ];
    let file = File::new("profile.o", &object(&programs));
    let data = File::new("profile.bin", &[7]);
    let output = Command::new(env!("CARGO_BIN_EXE_tailor"))
        .args(["frames", "--engine", "naive-6.12", "--json", "--profile"])
        .args([&data.0, &file.0])
        .output()
        .expect("the command starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    let path = file.0.display();
    let expected =
        format!("{path}: probe: its context is no packet: its frequencies are estimated\n");
    assert_eq!((output.status.code(), &*errors), (Some(0), &*expected));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let program = |row: &&serde_json::Value| row["program"] == "main";
    let programs = report["programs"].as_array().expect("programs");
    let main = programs.iter().find(program).expect("the program");
    assert_eq!(main["weighted_cost"], 26.0);
    let missing = Command::new(env!("CARGO_BIN_EXE_tailor"))
        .args(["frames", "--profile", "/nowhere/at/all"])
        .output()
        .expect("the command starts");
    assert_eq!(missing.status.code(), Some(1));
}
