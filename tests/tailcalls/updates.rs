//! Updates: what they change, and what a bad one leaves as it was.

use std::sync::Arc;

use tailor::bpf::text::parse_object;
use tailor::runtime::{Map, Runtime};
use tailor::{Engine, Instance, Poking, Setup, Trace, Unit};

use crate::*;

const HOST: &str = "map map0 \"jmp\" prog_array key 4 value 4 entries 3
    map map1 \"numbers\" array key 4 value 4 entries 1
    map map2 \"outer\" array_of_maps key 4 value 4 entries 2
    program f0 \"main\" xdp
      r6 = r1
      r2 = map0 ll
      r3 = 0
      call 12
      r1 = r6
      r2 = map0 ll
      r3 = 1
      call 12
      r1 = r6
      r2 = map0 ll
      r3 = 0
      call 12
      r0 = 9
      exit
    program f1 \"one\" xdp
      r0 = 1
      exit
    program f2 \"two\" xdp
      r0 = 2
      exit
    program f3 \"filter\" socket_filter
      r0 = 3
      exit
    program f4 \"helpless\" xdp
      r2 = 0
      r3 = 0
      r4 = 0
      r5 = 0
      call 9999
      r0 = 0
      exit";

/// Programs and what they are of go from thread to thread.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Instance>();
    shared::<tailor::instance::Program<'_>>();
    shared::<tailor::runtime::ProgArray>();
};

/// All sites of a slot change, and the other slot's do not.
#[test]
fn set_replace_clear() {
    everywhere(HOST, |instance| {
        let set = |index, program| instance.set_slot("jmp", index, program).unwrap();
        assert_eq!(run(instance, "main"), 9);
        assert!(set(1, Some("two")));
        assert_eq!(run(instance, "main"), 2);
        assert!(set(0, Some("one")));
        assert_eq!(run(instance, "main"), 1);
        assert!(!set(0, Some("one")), "it is there already");
        assert!(set(0, Some("two")));
        assert!(set(1, Some("one")));
        assert_eq!(run(instance, "main"), 2);
        assert!(set(0, None));
        assert_eq!(run(instance, "main"), 1);
        assert!(set(1, None));
        assert!(!set(1, None), "it is empty already");
        assert_eq!(run(instance, "main"), 9);
    });
}

/// All that a bad update could have changed.
fn state(instances: &[&Instance], map: &Map) -> (Vec<u64>, Vec<Vec<u8>>, Vec<u64>) {
    let code = instances.iter().filter_map(|i| i.module()).map(|module| module.code_bytes());
    let results = instances.iter().map(|instance| run(instance, "main")).collect();
    (map.slot_values(), code.collect(), results)
}

/// Each kind of bad update is an error that says what is wrong, and leaves the
/// array and the code as they were.
#[test]
fn bad_updates_change_nothing() {
    let foreign = "program f0 \"main\" xdp\nr0 = 5\nexit";
    for engine in NATIVE {
        for poking in BACK_ENDS {
            let runtime = Runtime::new().unwrap();
            let host = load_beside(HOST, engine, poking, &runtime, None);
            let elsewhere = load(foreign, engine, poking);
            let other = if engine == Engine::Tailor { Engine::Naive612 } else { Engine::Tailor };
            let foreign = load_beside(foreign, other, poking, &runtime, None);
            let map = host.map("jmp").unwrap();
            for slots in [[None, None], [Some("one"), Some("two")]] {
                for (index, program) in slots.into_iter().enumerate() {
                    host.set_slot("jmp", index as u32, program).unwrap();
                }
                let all = [&host, &elsewhere, &foreign];
                let before = state(&all, &map);
                let check = |result: Result<bool, tailor::Error>, what: &str| {
                    let error = result.unwrap_err().to_string();
                    assert!(error.contains(what), "{error:?} does not contain {what:?}");
                    assert_eq!(state(&all, &map), before, "{engine} {poking:?}: {what}");
                };
                check(host.set_slot("jmp", 3, Some("one")), "index 3 is out of range");
                check(host.set_slot("jmp", u32::MAX, None), "is out of range (max_entries 3)");
                check(host.set_slot("jmp", 0, Some("filter")), "program type is SocketFilter");
                check(host.set_slot("jmp", 0, Some("helpless")), "helper 9999");
                check(host.set_slot("jmp", 0, Some("missing")), "no program \"missing\"");
                check(host.set_slot("numbers", 0, Some("one")), "not a program array");
                check(host.set_slot("absent", 0, Some("one")), "no map \"absent\"");
                let program = elsewhere.program("main").unwrap();
                check(host.put("jmp", 0, &program), "code of another runtime");
                let program = foreign.program("main").unwrap();
                check(host.put("jmp", 0, &program), "its convention is ");
                let reading = tailor::runtime::readers::enter();
                let result = host.set_slot("jmp", 0, Some("two"));
                drop(reading);
                check(result, "a thread that runs a program cannot change program arrays");
                let outer = host.map("outer").unwrap();
                assert_eq!(outer.insert_map(&[0; 4], &map, 0), -22, "EINVAL");
                assert!(outer.inner_maps().is_empty());
                // What maps have in common does not reach a program array's slots.
                assert_eq!(map.update(&[0; 4], &[1, 0, 0, 0], 0), -22, "EINVAL");
                assert_eq!(map.delete(&[0; 4]), -22, "EINVAL");
                assert_eq!(state(&all, &map), before);
            }
        }
    }
}

/// In the interpreter too.
#[test]
fn bad_updates_of_interpreted_objects() {
    let host = load(HOST, Engine::Interp, Poking::Data);
    host.set_slot("jmp", 0, Some("one")).unwrap();
    let map = host.map("jmp").unwrap();
    let before = map.slot_values();
    for (array, index, program, what) in [
        ("jmp", 3, Some("one"), "index 3 is out of range"),
        ("jmp", 3, None, "index 3 is out of range"),
        ("jmp", 0, Some("filter"), "program type is SocketFilter"),
        ("numbers", 0, Some("one"), "not a program array"),
    ] {
        let error = host.set_slot(array, index, program).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        assert_eq!((map.slot_values(), run(&host, "main")), (before.clone(), 1));
    }
}

/// An array that another engine's programs own is of no use to a module.
#[test]
fn arrays_are_compared_when_loaded() {
    let runtime = Runtime::new().unwrap();
    let host = load_beside(HOST, Engine::Tailor, Poking::Patch, &runtime, None);
    let guest = "map map0 \"jmp\" prog_array key 4 value 4 entries 3
        program f0 \"main\" xdp
          r2 = map0 ll
          r3 = 0
          call 12
          r0 = 4
          exit
        program f1 \"aside\" xdp
          r0 = 6
          exit";
    let guest = load_beside(guest, Engine::Naive612, Poking::Patch, &runtime, Some(&host));
    let error = guest.program("main").map(|_| ()).unwrap_err().to_string();
    let expected = "its convention is a kernel's that lands 12 bytes behind the entry, \
                    the array's is tailor's";
    assert!(error.contains(expected), "{error}");
    assert_eq!(run(&guest, "aside"), 6, "what does not use it runs");
    // A change of the slot leaves the sites of the other engine's code alone.
    let code = guest.module().unwrap().code_bytes();
    host.set_slot("jmp", 0, Some("one")).unwrap();
    assert_eq!(guest.module().unwrap().code_bytes(), code);
}

/// A program stays in a slot when its module is gone, and its memory is free
/// once the slot changes.
#[test]
fn a_program_in_a_slot_outlives_its_module() {
    let guest = "map map0 \"jmp\" prog_array key 4 value 4 entries 3
        program f0 \"guest\" xdp
          r2 = map0 ll
          r3 = 2
          call 12
          r0 = 21
          exit";
    for engine in NATIVE {
        for poking in BACK_ENDS {
            let runtime = Runtime::new().unwrap();
            let host = load_beside(HOST, engine, poking, &runtime, None);
            let used = runtime.code_bytes();
            let instance = load_beside(guest, engine, poking, &runtime, Some(&host));
            host.put("jmp", 0, &instance.program("guest").unwrap()).unwrap();
            drop(instance);
            assert_eq!(run(&host, "main"), 21);
            // Its own site changes as long as it is there.
            host.set_slot("jmp", 2, Some("two")).unwrap();
            assert_eq!(run(&host, "main"), 2);
            assert!(runtime.code_bytes() > used);
            host.set_slot("jmp", 0, Some("one")).unwrap();
            assert_eq!((run(&host, "main"), runtime.code_bytes()), (1, used));
        }
    }
}

/// An array with a program in it that uses it would keep itself for ever; it is
/// emptied with its last user.
#[test]
fn arrays_are_emptied_with_their_last_user() {
    let text = "map map0 \"jmp\" prog_array key 4 value 4 entries 1 { 0 = \"main\" }
        program f0 \"main\" xdp
          r2 = map0 ll
          r3 = 0
          call 12
          r0 = 1
          exit";
    for engine in NATIVE {
        let runtime = Runtime::new().unwrap();
        let used = runtime.code_bytes();
        let instance = load_beside(text, engine, Poking::Patch, &runtime, None);
        let module = instance.module().unwrap();
        let array = module.prog_array(tailor::bpf::MapRef::from_u32(0)).unwrap();
        let map: Arc<Map> = array.map().clone();
        drop(instance);
        assert_eq!(array.filled().unwrap().len(), 1, "the handle is a user");
        assert!(runtime.code_bytes() > used);
        drop(array);
        assert_eq!((map.slot_values(), runtime.code_bytes()), (vec![0], used));
    }
}

/// What an object puts into its own arrays is compared too: programs that use
/// such an array do not run, others do.
#[test]
fn an_object_can_be_at_odds_with_itself() {
    let text = "map map0 \"jmp\" prog_array key 4 value 4 entries 1 { 0 = \"filter\" }
        program f0 \"main\" xdp
          r2 = map0 ll
          r3 = 0
          call 12
          r0 = 1
          exit
        program f1 \"filter\" socket_filter
          r0 = 1
          exit
        program f2 \"aside\" xdp
          r0 = 6
          exit";
    let unit = Unit::new(parse_object(text).unwrap());
    for engine in NATIVE {
        let instance = Instance::new(&unit, engine, &mut Trace::checked()).unwrap();
        let error = instance.program("main").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("program type is SocketFilter, the array's is Xdp"), "{error}");
        assert_eq!(run(&instance, "aside"), 6);
    }
}

/// A shared map must be what the object says.
#[test]
fn shared_maps_are_compared() {
    let runtime = Runtime::new().unwrap();
    let host = load_beside(HOST, Engine::Tailor, Poking::Patch, &runtime, None);
    let guest = unit(
        "map map0 \"jmp\" prog_array key 4 value 4 entries 4
        program f0 \"main\" xdp\nr0 = 0\nexit",
    );
    let shared = vec![host.map("jmp").unwrap()];
    let setup = Setup { shared, ..Setup::default() };
    let error = Instance::with(&guest, Engine::Tailor, &mut Trace::checked(), setup);
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "map jmp: the object defines it otherwise");
}

/// Where slots lie differs between conventions: an array that is nobody's yet
/// must not become one in which code reads elsewhere, behind its end.
#[test]
fn shared_arrays_are_laid_out_for_their_engine() {
    let text = "map map0 \"jmp\" prog_array key 4 value 4 entries 1
        program f0 \"main\" xdp
          r2 = map0 ll
          r3 = *(u32 *)(r1 + 12)
          call 12
          r0 = 1
          exit
        program f1 \"aside\" xdp
          r0 = 6
          exit";
    let unused = unit(
        "map map0 \"jmp\" prog_array key 4 value 4 entries 1
        program f0 \"main\" xdp\nr0 = 0\nexit",
    );
    for (own, other) in [(Engine::Tailor, Engine::Naive612), (Engine::Naive612, Engine::Tailor)] {
        let host = Instance::new(&unused, own, &mut Trace::checked()).unwrap();
        let setup = Setup { shared: vec![host.map("jmp").unwrap()], ..Setup::default() };
        let guest = Instance::with(&unit(text), other, &mut Trace::checked(), setup).unwrap();
        let error = guest.program("main").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("its slots do not lie where code"), "{error}");
        assert_eq!(run(&guest, "aside"), 6);
    }
}

/// The interpreter leaves alone what others put into an array that it shares.
#[test]
fn an_interpreter_clears_its_own_slots_alone() {
    let text = "map map0 \"jmp\" prog_array key 4 value 4 entries 1 { 0 = \"aside\" }
        program f0 \"main\" xdp
          r2 = map0 ll
          r3 = *(u32 *)(r1 + 16)
          call 12
          r0 = 1
          exit
        program f1 \"aside\" xdp
          r0 = 6
          exit";
    let unit = unit(text);
    let native = Instance::new(&unit, Engine::Tailor, &mut Trace::checked()).unwrap();
    let map = native.map("jmp").unwrap();
    let before = map.slot_values();
    let setup = Setup { shared: vec![map.clone()], ..Setup::default() };
    let guest = Instance::with(&unit, Engine::Interp, &mut Trace::checked(), setup).unwrap();
    assert!(guest.program("main").is_ok());
    assert_eq!(guest.set_slot("jmp", 0, None), Ok(false));
    assert_eq!((map.slot_values(), run(&native, "main")), (before, 6));
}

/// The convention is what counts: programs of the baseline and of the optimizing
/// pipeline under the same kernel's constraints tail-call each other.
#[test]
fn engines_of_one_convention_mix() {
    let side = |own: u32, other: u32| {
        format!(
            "map map0 \"jmp\" prog_array key 4 value 4 entries 3
            map map1 \"runs\" array key 4 value 8 entries 1
            program f0 \"main\" xdp
              r6 = r1
              r7 = 7
              r2 = map1[0] ll
              r3 = *(u64 *)(r2 + 0)
              r3 += 1
              *(u64 *)(r2 + 0) = r3
              call f1
              r0 += r7
              exit
            function f1 \"sub\"
              r7 = 8
              r8 = 9
              *(u64 *)(r10 - 24) = 1
              r2 = map0 ll
              r3 = {other}
              call 12
              r0 = {own}
              exit"
        )
    };
    for poking in BACK_ENDS {
        let runtime = Runtime::new().unwrap();
        let naive = load_beside(&side(0, 1), Engine::Naive612, poking, &runtime, None);
        let other = load_beside(&side(1, 0), Engine::TailorKernel, poking, &runtime, Some(&naive));
        naive.put("jmp", 0, &naive.program("main").unwrap()).unwrap();
        naive.put("jmp", 1, &other.program("main").unwrap()).unwrap();
        // 34 levels that each add 7; the last subprogram is the other's.
        assert_eq!(run(&naive, "main"), 34 * 7 + 1);
        assert_eq!((count(&naive, "runs"), count(&other, "runs")), (17, 17));
    }
}
