//! Twelve bugs that other implementations of tail calls had, a test each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tailor::Engine;
use tailor::bpf::ProgramKind;
use tailor::runtime::Runtime;

use crate::*;

/// Adds one to the number in a map of one; clobbers R2 and R3.
fn bump(map: &str) -> String {
    format!(
        "r2 = {map}[0] ll
        r3 = *(u64 *)(r2 + 0)
        r3 += 1
        *(u64 *)(r2 + 0) = r3"
    )
}

/// `bpf_tail_call(r1, jmp, key)`, map1.
fn tail_call(key: u32) -> String {
    format!("r2 = map1 ll\nr3 = {key}\ncall 12")
}

const RUNS: &str = "map map0 \"runs\" array key 4 value 8 entries 1";

/// A subprogram's sites stayed in the table after its program was gone, and
/// were patched in freed memory (CVE-2021-47303).
#[test]
fn bug_01_sites_of_a_subprogram_go_with_their_module() {
    let host = "map map0 \"jmp\" prog_array key 4 value 4 entries 1
        program f0 \"one\" xdp
          r0 = 1
          exit";
    let guest = "map map0 \"jmp\" prog_array key 4 value 4 entries 1
        program f0 \"main\" xdp
          call f1
          exit
        function f1 \"sub\"
          r2 = map0 ll
          r3 = 0
          call 12
          r0 = 9
          exit";
    let neighbour = "program f0 \"plain\" xdp
          r0 = 3
          r0 *= 5
          exit";
    for engine in NATIVE {
        for poking in BACK_ENDS {
            let runtime = Runtime::new().unwrap();
            let host = load_beside(host, engine, poking, &runtime, None);
            let used = runtime.code_bytes();
            let gone = load_beside(guest, engine, poking, &runtime, Some(&host));
            assert_eq!(run(&gone, "main"), 9);
            drop(gone);
            // What comes now lies where the subprogram was.
            let neighbours: Vec<_> =
                (0..4).map(|_| load_beside(neighbour, engine, poking, &runtime, None)).collect();
            let code = |i: usize| neighbours[i].module().unwrap().code_bytes();
            let before: Vec<_> = (0..4).map(code).collect();
            assert!(host.set_slot("jmp", 0, Some("one")).unwrap());
            assert!(host.set_slot("jmp", 0, None).unwrap());
            assert_eq!((0..4).map(code).collect::<Vec<_>>(), before);
            assert!(neighbours.iter().all(|instance| run(instance, "plain") == 15));
            drop(neighbours);
            assert_eq!(runtime.code_bytes(), used);
        }
    }
}

/// A slot changed while a program was loaded or unloaded, and a site was found
/// in another state than the slot. (Every poke looks at what it replaces.)
#[test]
fn bug_02_slots_change_while_modules_come_and_go() {
    let host = "map map0 \"jmp\" prog_array key 4 value 4 entries 1
        program f0 \"one\" xdp
          r0 = 1
          exit
        program f1 \"two\" xdp
          r0 = 2
          exit";
    let guest = "map map0 \"jmp\" prog_array key 4 value 4 entries 1
        program f0 \"main\" xdp
          r2 = map0 ll
          r3 = 0
          call 12
          r0 = 9
          exit";
    for engine in NATIVE {
        for poking in BACK_ENDS {
            let runtime = Runtime::new().unwrap();
            let host = load_beside(host, engine, poking, &runtime, None);
            let over = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        for program in [Some("one"), Some("two"), None] {
                            assert!(host.set_slot("jmp", 0, program).unwrap());
                        }
                    }
                });
                for _ in 0..50 {
                    let guest = load_beside(guest, engine, poking, &runtime, Some(&host));
                    assert!([1, 2, 9].contains(&run(&guest, "main")));
                }
                over.store(true, Ordering::Relaxed);
            });
            // The sites of one that stays say what the slot says.
            let guest = load_beside(guest, engine, poking, &runtime, Some(&host));
            assert_eq!(run(&guest, "main"), 9);
            host.set_slot("jmp", 0, Some("two")).unwrap();
            assert_eq!(run(&guest, "main"), 2);
        }
    }
}

/// The counter lay at an odd offset when the stack's depth was no multiple of 8.
#[test]
fn bug_03_any_depth_of_the_stack() {
    for depth in [1, 2, 3, 4, 5, 7, 8, 9, 13, 31, 33, 509] {
        let text = format!(
            "{RUNS}
            map map1 \"jmp\" prog_array key 4 value 4 entries 1 {{ 0 = \"main\" }}
            program f0 \"main\" xdp
              *(u8 *)(r10 - {depth}) = 7
              {}
              {}
              r0 = *(u8 *)(r10 - {depth})
              exit",
            bump("map0"),
            tail_call(0),
        );
        everywhere(&text, |instance| {
            assert_eq!(run(instance, "main"), 7, "depth {depth}");
            assert_eq!(count(instance, "runs"), 34, "depth {depth}");
        });
    }
}

/// The counter's register was lost in a call of a helper: an endless loop.
#[test]
fn bug_04_helpers_keep_the_counter() {
    let text = format!(
        "{RUNS}
        map map1 \"jmp\" prog_array key 4 value 4 entries 1 {{ 0 = \"main\" }}
        program f0 \"main\" xdp
          r6 = r1
          {}
          call 7
          call 5
          r1 = r6
          call f1
          r0 = 4
          exit
        function f1 \"sub\"
          r6 = r1
          call 7
          r1 = r6
          {}
          call 7
          r0 = 0
          exit",
        bump("map0"),
        tail_call(0),
    );
    everywhere(&text, |instance| {
        assert_eq!(run(instance, "main"), 4);
        assert_eq!(count(instance, "runs"), 34);
    });
}

/// Two calls a level of subprograms that each tail-call the entry took
/// exponential time when the counter was passed by value.
#[test]
fn bug_05_two_subprograms_a_level_are_not_exponential() {
    let sub = |name: &str| format!("function {name} \"{name}\"\n{}\nr0 = 0\nexit", tail_call(0));
    let text = format!(
        "{RUNS}
        map map1 \"jmp\" prog_array key 4 value 4 entries 1 {{ 0 = \"main\" }}
        program f0 \"main\" xdp
          r6 = r1
          {}
          r1 = r6
          call f1
          r1 = r6
          call f2
          r0 = 0
          exit
        {}
        {}",
        bump("map0"),
        sub("f1"),
        sub("f2"),
    );
    everywhere(&text, |instance| {
        run(instance, "main");
        assert_eq!(count(instance, "runs"), 34);
    });
}

/// A program that extended another and tail-called it back ran for ever
/// (CVE-2024-47794). There are no extensions here; what comes closest are
/// programs of two modules that tail-call each other.
#[test]
fn bug_06_a_loop_through_two_modules_ends() {
    let side = |name: &str, own: u32, other: u32| {
        format!(
            "map map0 \"{name}_runs\" array key 4 value 8 entries 1
            map map1 \"jmp\" prog_array key 4 value 4 entries 2
            program f0 \"{name}\" xdp
              {}
              {}
              r0 = {own}
              exit",
            bump("map0"),
            tail_call(other),
        )
    };
    for engine in NATIVE {
        for poking in BACK_ENDS {
            let runtime = Runtime::new().unwrap();
            let a = load_beside(&side("a", 0, 1), engine, poking, &runtime, None);
            let b = load_beside(&side("b", 1, 0), engine, poking, &runtime, Some(&a));
            assert!(a.put("jmp", 0, &a.program("a").unwrap()).unwrap());
            assert!(a.put("jmp", 1, &b.program("b").unwrap()).unwrap());
            assert_eq!(run(&a, "a"), 1, "33 tail calls from a end in b");
            assert_eq!((count(&a, "a_runs"), count(&b, "b_runs")), (17, 17));
        }
    }
}

/// A tail call entered a program for another hook (CVE-2024-50063,
/// CVE-2025-40123). See also `updates`.
#[test]
fn bug_07_programs_of_another_hook_are_not_taken() {
    let text = "map map0 \"jmp\" prog_array key 4 value 4 entries 1
        program f0 \"main\" xdp
          r2 = map0 ll
          r3 = 0
          call 12
          r0 = 9
          exit
        program f1 \"filter\" socket_filter
          r0 = 1
          exit
        program f2 \"later\" xdp section \"xdp/devmap\"
          r0 = 2
          exit
        program f3 \"user\" sched_cls
          r2 = map0 ll
          r3 = 0
          call 12
          r0 = 3
          exit";
    everywhere(text, |instance| {
        let what = |error: tailor::Error| error.to_string();
        let error = instance.set_slot("jmp", 0, Some("filter")).map_err(what).unwrap_err();
        assert!(error.contains("program type is SocketFilter, the array's is Xdp"), "{error}");
        let error = instance.set_slot("jmp", 0, Some("later")).map_err(what).unwrap_err();
        assert!(error.contains("attach type is \"devmap\", the array's is \"\""), "{error}");
        assert_eq!(run(instance, "main"), 9);
        let run = instance.program("user").and_then(|program| {
            let packet = [0; 64];
            let mut context = tailor::Skb::new(ProgramKind::SchedCls, &packet);
            // SAFETY: it reads nothing.
            unsafe { program.run(&mut context) }
        });
        let error = run.map_err(what).unwrap_err();
        assert!(error.contains("program type is SchedCls, the array's is Xdp"), "{error}");
    });
}

/// A caller went on with packet pointers that the target of a tail call in its
/// subprogram had made invalid (CVE-2024-58237): nothing of the context is
/// known after such a call.
#[test]
fn bug_08_the_packet_may_move_in_a_target() {
    let text = format!(
        "map map1 \"jmp\" prog_array key 4 value 4 entries 1 {{ 0 = \"pull\" }}
        program f0 \"main\" xdp
          r6 = r1
          r7 = *(u32 *)(r1 + 0)
          r2 = *(u32 *)(r1 + 4)
          r0 = 0
          r3 = r7
          r3 += 20
          if r3 > r2 goto out
          r8 = *(u8 *)(r7 + 0)
          call f1
          r7 = *(u32 *)(r6 + 0)
          r2 = *(u32 *)(r6 + 4)
          r0 = 0
          r3 = r7
          r3 += 1
          if r3 > r2 goto out
          r0 = *(u8 *)(r7 + 0)
          r0 <<= 8
          r0 |= r8
        out:
          exit
        function f1 \"sub\"
          {}
          r0 = 0
          exit
        program f2 \"pull\" xdp
          r2 = 14
          call 44
          r0 = 0
          exit",
        tail_call(0),
    )
    .replace("map1 \"jmp\"", "map0 \"jmp\"")
    .replace("r2 = map1 ll", "r2 = map0 ll");
    everywhere(&text, |instance| {
        let mut packet: Vec<u8> = (1..=64).collect();
        assert_eq!(run_on(instance, "main", &mut packet), 15 << 8 | 1);
    });
}

/// Analyses took what a subprogram returns for what its own code says, though
/// it may return through the target (two fixes of November 2025).
#[test]
fn bug_09_a_subprogram_may_return_through_the_target() {
    let text = format!(
        "map map1 \"jmp\" prog_array key 4 value 4 entries 1
        program f0 \"main\" xdp
          *(u64 *)(r10 - 8) = 1
          r6 = r1
          r1 = r10
          r1 += -8
          r2 = r6
          call f1
          r1 = *(u64 *)(r10 - 8)
          r1 <<= 8
          r0 |= r1
          if r0 == 0x300 goto always
          exit
        always:
          r0 = 77
          exit
        function f1 \"sub\"
          *(u64 *)(r1 + 0) = 2
          r3 = r1
          r1 = r2
          r6 = r3
          {}
          *(u64 *)(r6 + 0) = 3
          r0 = 0
          exit
        program f2 \"leaf\" xdp
          r0 = 5
          exit",
        tail_call(0),
    )
    .replace("map1", "map0");
    everywhere(&text, |instance| {
        assert_eq!(run(instance, "main"), 77);
        instance.set_slot("jmp", 0, Some("leaf")).unwrap();
        // The store before the tail call has happened, the one after it has not.
        assert_eq!(run(instance, "main"), 2 << 8 | 5);
    });
}

/// The counter was not written back after a call of a subprogram, and landing
/// was off by an instruction (arm64, s390, riscv, loongarch).
#[test]
fn bug_10_calls_that_return_have_counted() {
    let text = format!(
        "{RUNS}
        map map1 \"jmp\" prog_array key 4 value 4 entries 2 {{ 0 = \"leaf\", 1 = \"again\" }}
        program f0 \"main\" xdp
          r6 = r1
          r7 = 20
        more:
          r1 = r6
          call f1
          r7 -= 1
          if r7 != 0 goto more
          r1 = r6
          {}
          r0 = 0
          exit
        function f1 \"sub\"
          {}
          r0 = 1
          exit
        program f2 \"leaf\" xdp
          *(u64 *)(r10 - 8) = 6
          r0 = *(u64 *)(r10 - 8)
          exit
        program f3 \"again\" xdp
          *(u64 *)(r10 - 24) = 5
          r6 = r1
          {}
          r1 = r6
          {}
          r0 = *(u64 *)(r10 - 24)
          exit",
        tail_call(1),
        tail_call(0),
        bump("map0"),
        tail_call(1),
    );
    everywhere(&text, |instance| {
        assert_eq!(run(instance, "main"), 5);
        // 20 of 33 were used up by the subprogram's.
        assert_eq!(count(instance, "runs"), 13);
    });
}

/// Unwinding jumped to the exit without restoring the stack (ubpf, issue 284).
#[test]
fn bug_11_the_stack_is_as_it_was() {
    let text = format!(
        "map map0 \"jmp\" prog_array key 4 value 4 entries 1
        program f0 \"main\" xdp
          *(u64 *)(r10 - 8) = 1
          *(u64 *)(r10 - 200) = 2
          r6 = r1
          r7 = 30
        more:
          r1 = r6
          r2 = r7
          call f1
          r7 -= 1
          if r7 != 0 goto more
          r0 = *(u64 *)(r10 - 8)
          r1 = *(u64 *)(r10 - 200)
          r0 += r1
          exit
        function f1 \"sub\"
          *(u64 *)(r10 - 400) = r2
          *(u64 *)(r10 - 8) = r2
          {}
          r0 = *(u64 *)(r10 - 400)
          exit
        program f2 \"leaf\" xdp
          *(u64 *)(r10 - 512) = 9
          r0 = *(u64 *)(r10 - 512)
          exit",
        tail_call(0),
    )
    .replace("map1", "map0");
    everywhere(&text, |instance| {
        assert_eq!(run(instance, "main"), 3);
        instance.set_slot("jmp", 0, Some("leaf")).unwrap();
        assert_eq!(run(instance, "main"), 3);
    });
}

/// What a function had saved was not restored before its tail call.
#[test]
fn bug_12_saved_registers_are_restored() {
    let clobber = "r6 = 61\nr7 = 71\nr8 = 81\nr9 = 91";
    let text = format!(
        "map map0 \"jmp\" prog_array key 4 value 4 entries 1
        program f0 \"main\" xdp
          r6 = 6
          r7 = 7
          r8 = 8
          r9 = 9
          call f1
          r0 += r6
          r0 += r7
          r0 += r8
          r0 += r9
          exit
        function f1 \"sub\"
          {clobber}
          {}
          r0 = r6
          r0 += r7
          r0 += r8
          r0 += r9
          exit
        program f2 \"leaf\" xdp
          {clobber}
          call 7
          r0 = r9
          exit",
        tail_call(0),
    )
    .replace("map1", "map0");
    everywhere(&text, |instance| {
        assert_eq!(run(instance, "main"), 61 + 71 + 81 + 91 + 30);
        instance.set_slot("jmp", 0, Some("leaf")).unwrap();
        assert_eq!(run(instance, "main"), 91 + 30);
    });
}

/// The engines of kernels before 6.12 take these programs too, with counts of
/// their own; registers and stack are the same in them.
#[test]
fn older_generations_restore_too() {
    let text = "map map0 \"jmp\" prog_array key 4 value 4 entries 1 { 0 = \"leaf\" }
        program f0 \"main\" xdp
          r6 = 6
          call f1
          r0 += r6
          exit
        function f1 \"sub\"
          r6 = 7
          *(u64 *)(r10 - 13) = 1
          r2 = map0 ll
          r3 = 0
          call 12
          r0 = r6
          exit
        program f2 \"leaf\" xdp
          r6 = 8
          r0 = r6
          exit";
    for poking in BACK_ENDS {
        let instance = load(text, Engine::Naive510, poking);
        assert_eq!(run(&instance, "main"), 14);
        assert!(instance.set_slot("jmp", 0, None).unwrap());
        assert_eq!(run(&instance, "main"), 13);
    }
}
