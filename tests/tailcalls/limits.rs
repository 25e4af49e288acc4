//! What programs may not do with tail calls.

use tailor::bpf::text::parse_object;
use tailor::{Engine, Instance, Trace, Unit};

/// The worst that is allowed, run to its end: seven calls of functions with
/// frames as large as may be above a tail call of the entry, 33 times over.
#[test]
fn the_deepest_chains_run() {
    let mut text = String::from(
        "map map0 \"jmp\" prog_array key 4 value 4 entries 1 { 0 = \"main\" }
        program f0 \"main\" xdp\n",
    );
    // Seven frames of 32 bytes are 224; the last may have 512.
    for level in 1..=7 {
        text += "r6 = r1\n*(u64 *)(r10 - 32) = 1\nr7 = 1\nr8 = 1\nr9 = 1\n";
        text += &format!("call f{level}\nr0 += r7\nr0 += r8\nr0 += r9\nr0 &= 0xff\nexit\n");
        text += &format!("function f{level} \"f{level}\"\n");
    }
    text += "*(u64 *)(r10 - 512) = 1\nr2 = map0 ll\nr3 = 0\ncall 12\nr0 = 0\nexit";
    let unit = Unit::new(parse_object(&text).unwrap());
    assert!(unit.errors.is_empty(), "{:?}", unit.errors);
    for engine in crate::ENGINES {
        let instance = Instance::new(&unit, engine, &mut Trace::checked()).unwrap();
        // 34 levels of seven frames that each add three.
        assert_eq!(crate::run(&instance, "main"), (34 * 7 * 3) & 0xff, "{engine}");
    }
}

#[test]
fn too_much_stack_above_a_tail_call_is_refused() {
    let text = "map map0 \"jmp\" prog_array key 4 value 4 entries 1
        program f0 \"main\" xdp
          *(u64 *)(r10 - 256) = 1
          call f1
          exit
        function f1 \"sub\"
          r2 = map0 ll
          r3 = 0
          call 12
          r0 = 7
          exit
        program f2 \"other\" xdp
          call f1
          exit";
    let unit = Unit::new(parse_object(text).unwrap());
    let expected = "main: sub+3: a tail call in main -> sub: the callers' frames take 256 bytes \
                    of stack, which up to 33 tail calls pile up; less than 256 are allowed";
    let errors: Vec<_> = unit.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, [expected]);
    for engine in Engine::ALL {
        if engine == Engine::NaiveFixed {
            continue; // refuses tail calls in subprograms altogether
        }
        let instance = Instance::new(&unit, engine, &mut Trace::checked()).unwrap();
        let error = instance.program("main").map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), expected, "{engine}");
        assert_eq!(crate::run(&instance, "other"), 7, "{engine}");
    }
}
