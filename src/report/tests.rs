//! Figures that can be found by hand.

use super::*;

#[test]
fn a_callback_may_name_itself() {
    let text = "map map0 \"timers\" array key 4 value 16 entries 1
        program f0 \"main\" xdp
          r1 = map0[0] ll
          r2 = f1 ll
          call 170
          r0 = 2
          exit
        function f1 \"again\"
          r1 = r3
          r2 = f1 ll
          call 170
          r0 = 0
          exit";
    let unit = Unit::new(tailor_bpf::text::parse_object(text).unwrap());
    let mut report = Report::default();
    report.add(&unit, &[Engine::Naive612, Engine::Tailor], &mut Trace::checked());
    assert_eq!(report.errors.len(), 0);
    assert_eq!(report.functions.len(), 4);
}

/// A buffer of no bytes needs none: no frame is below its bound for that, and
/// where nothing else is in it there is no frame.
#[test]
fn a_buffer_of_no_bytes() {
    let text = "program f0 \"main\" xdp
          r2 = r10
          r3 = 0
          r4 = -1
          call 67
          exit";
    let unit = Unit::new(tailor_bpf::text::parse_object(text).unwrap());
    assert_eq!(unit.errors.first(), None);
    let mut report = Report::default();
    let engines = [Engine::Naive510, Engine::Naive612, Engine::Tailor, Engine::TailorKernel];
    report.add(&unit, &engines, &mut Trace::checked());
    for row in report.functions.iter().filter(|row| row.kind == "program") {
        let pointer = if row.engine == "tailor" { 0 } else { 8 };
        let least = [row.lower_bound_bytes, row.lower_bound_lifted_bytes];
        assert_eq!(least, [Some(pointer); 2], "{}", row.engine);
        assert_eq!(row.frame_bytes - row.padding_bytes, pointer, "{}", row.engine);
    }
}

/// Ion looks at each argument of a jump for each parameter: too often with two
/// parameters of each of 12,000 loops.
#[test]
fn the_allocator_is_named() {
    let name = |loops: usize| {
        let text = "r2 = 0\nr0 += r2\nr2 += 1\nif r2 < 4 goto -3\n".repeat(loops);
        let text = format!("program f0 \"main\" raw\nr0 = 0\n{text}exit");
        let unit = Unit::new(tailor_bpf::text::parse_object(&text).unwrap());
        let mut report = Report::default();
        let mut trace = Trace::default();
        trace.check = false;
        report.add(&unit, &[Engine::Naive612, Engine::Tailor], &mut trace);
        report.functions.iter().map(|row| row.allocator).collect::<Vec<_>>()
    };
    assert_eq!(name(12), [None, Some("ion")]);
    assert_eq!(name(12_000), [None, Some("fastalloc")]);
}

/// What is entered once is left once, also where the ways out of a loop are
/// those of the whole function: no engine restores more often than it saves.
#[test]
fn ways_out_of_a_loop_add_up() {
    let text = "program f0 \"main\" xdp
          r6 = *(u32 *)(r1 + 12)
          r7 = 100
          r0 = 1
          if r6 == 7 goto +5
          call 7
          if r0 == r6 goto +3
          r7 += -1
          r0 = r7
          if r7 != 0 goto -5
          exit";
    let unit = Unit::new(tailor_bpf::text::parse_object(text).unwrap());
    assert_eq!(unit.errors.first(), None);
    let mut report = Report::default();
    let engines = [Engine::Naive612, Engine::TailorKernel, Engine::Tailor];
    report.add(&unit, &engines, &mut Trace::checked());
    for row in report.functions {
        let pointer = if row.engine == "tailor" { 0.0 } else { 2.0 };
        let found = row.weighted_frame_pointer.unwrap();
        assert!((found - pointer).abs() < 1e-9, "{}: {found}", row.engine);
    }
}

/// Costs that can be added up by hand: naive pushes rbp and rbx in the entry,
/// and stores and loads one slot; the subprogram, entered half the time,
/// pushes rbp. The object that a helper gets is no slot.
#[test]
fn weighted_costs_of_programs() {
    let text = "map map0 \"m\" hash key 8 value 8 entries 1
        program f0 \"main\" xdp
          r6 = *(u32 *)(r1 + 0)
          *(u64 *)(r10 - 8) = r6
          *(u64 *)(r10 - 16) = r6
          r1 = map0 ll
          r2 = r10
          r2 += -16
          call 1
          r0 = *(u64 *)(r10 - 8)
          if r0 == 7 goto +1
          call f1
          r0 = r6
          exit
        function f1 \"half\"
          r0 = 2
          exit";
    let unit = Unit::new(tailor_bpf::text::parse_object(text).unwrap());
    assert_eq!(unit.errors.first(), None);
    let mut report = Report::default();
    report.add(&unit, &[Engine::Naive612], &mut Trace::checked());
    let costs: Vec<_> = report.functions.iter().map(|row| row.weighted_cost).collect();
    assert_eq!(costs, [Some(6.0), Some(2.0)]);
    assert_eq!(report.programs[0].weighted_cost, Some(7.0));
    assert_eq!(report.totals["naive-6.12"].weighted_saves, Some(2.0));
}

/// The counter's traffic, added up by hand. Before 6.12 it lies in the frame:
/// a push, a load before each call (of helpers too), a load and a store at a
/// site, and a pop where the site leaves, which is half the time. Since then a
/// pointer to it does, pushed with it by a program.
#[test]
fn weighted_costs_of_counters() {
    let text = "map map0 \"jt\" prog_array key 4 value 4 entries 2
        program f0 \"main\" xdp
          r6 = r1
          call 7
          call f1
          r1 = r6
          r2 = map0 ll
          r3 = 0
          call 12
          r0 = 1
          exit
        function f1 \"sub\"
          r2 = map0 ll
          r3 = 1
          call 12
          r0 = 2
          exit";
    let unit = Unit::new(tailor_bpf::text::parse_object(text).unwrap());
    assert_eq!(unit.errors.first(), None);
    let mut report = Report::default();
    let engines = [Engine::Naive510, Engine::Naive612];
    report.add(&unit, &engines, &mut Trace::checked());
    // rbp; in the entry rbx and the counter; before the calls; at the site;
    // rbx and the counter, or rbx and rbp.
    let main = 1.0 + 2.0 + 2.0 + 2.0 + 0.5 * 2.0 + 0.5 * 2.0;
    // rbp and the counter; at the site; the counter, or rbp.
    let sub = 2.0 + 2.0 + 0.5 + 0.5;
    // Both words; before the one call that hands it on; the site's load.
    let main_by_pointer = 1.0 + 3.0 + 1.0 + 1.0 + 0.5 * 3.0 + 0.5 * 2.0;
    let sub_by_pointer = 3.0 + 1.0 + 0.5 * 2.0 + 0.5;
    let costs: Vec<_> = report.functions.iter().map(|row| row.weighted_cost).collect();
    assert_eq!(costs, [main, sub, main_by_pointer, sub_by_pointer].map(Some));
    let programs: Vec<_> = report.programs.iter().map(|row| row.weighted_cost).collect();
    assert_eq!(programs, [Some(main + sub), Some(main_by_pointer + sub_by_pointer)]);
}

/// A callback in reach of a tail call is entered through its stub, which counts
/// as often: half the time here.
#[test]
fn stubs_of_callbacks_count() {
    let text = "map map0 \"jt\" prog_array key 4 value 4 entries 1
        program f0 \"main\" xdp
          r0 = *(u32 *)(r1 + 12)
          if r0 == 0 goto +5
          r1 = 1
          r2 = f1 ll
          r4 = 0
          call 181
          exit
        function f1 \"again\"
          r1 = r2
          r2 = map0 ll
          r3 = 0
          call 12
          r0 = 0
          exit";
    let unit = Unit::new(tailor_bpf::text::parse_object(text).unwrap());
    assert_eq!(unit.errors.first(), None);
    for engine in [Engine::Naive612, Engine::Tailor] {
        let mut report = Report::default();
        report.add(&unit, &[engine], &mut Trace::checked());
        let of = |name: &str, kind: &str| {
            let mut rows = report.functions.iter();
            let row = rows.find(|row| row.function == name && row.kind == kind);
            row.and_then(|row| row.weighted_cost).unwrap()
        };
        let [main, again, stub] = [("main", "program"), ("again", "subprogram"), ("again", "stub")]
            .map(|(name, kind)| of(name, kind));
        assert!(stub > 0.0, "{engine}");
        let found = report.programs[0].weighted_cost.unwrap();
        assert!((found - main - (again + stub) / 2.0).abs() < 1e-9, "{engine}: {found}");
    }
}
