//! The library as an embedder uses it.

use tailor::bpf::{encode, text};
use tailor::{
    Compiler, Engine, Error, Features, Instance, Lever, Levers, Object, Trace, Unit, Xdp, raw,
};

fn bytecode(text: &str) -> Vec<u8> {
    let ops = text::parse_ops(text).expect("the test's code parses");
    encode::encode("test", &ops).expect("and has an encoding")
}

/// A shift by a variable: one instruction with BMI2, and one through cl without.
const SHIFT: &str = "r0 = 3\n r0 <<= r2\n exit";

#[test]
fn raw_bytecode_is_a_function_of_memory_and_length() {
    let add = raw::compile(&bytecode("r0 = *(u8 *)(r1 + 1)\n r0 += r2\n exit")).unwrap();
    let function: unsafe extern "C" fn(*mut u8, u64) -> u64 = add.as_fn();
    let mut memory = [1, 40];
    // SAFETY: the program reads the second of two bytes.
    assert_eq!(unsafe { function(memory.as_mut_ptr(), 2) }, 42);
}

#[test]
fn errors_of_a_file_name_it() {
    let error = Object::open("no/such.o").unwrap_err().to_string();
    assert!(error.starts_with("no/such.o: "), "{error}");
    let error = Object::open("Cargo.toml").unwrap_err().to_string();
    assert!(error.starts_with("Cargo.toml: ELF header: "), "{error}");
}

#[test]
fn what_is_no_bytecode_is_an_error() {
    for bytes in [&bytecode(SHIFT)[..7], &[0xff; 8], &[]] {
        assert!(raw::compile(bytes).is_err(), "{bytes:?}");
    }
}

/// The result and the code of the shift by 4.
fn shifted(compiler: &Compiler) -> (u64, Vec<u8>) {
    let object = Object::raw("test", &bytecode(SHIFT)).unwrap();
    let module = compiler.compile(&object).unwrap();
    let entry = module.program("test").unwrap().entry().expect("it is native");
    // SAFETY: the program accesses no memory.
    let result = unsafe { entry(std::ptr::null_mut(), 4) };
    (result, module.module().expect("it is native").code_bytes())
}

#[test]
fn without_bmi2_its_shifts_are_not_used() {
    // Opcode F7 of map 2 behind a VEX prefix of three bytes; it is no part of
    // anything else in so short a function.
    let is_shlx = |code: &[u8]| code.windows(4).any(|w| w[0] == 0xc4 && w[3] == 0xf7);
    let (result, code) = shifted(&Compiler::new());
    assert_eq!(result, 48);
    assert_eq!(is_shlx(&code), tailor::runtime::module::has_bmi2());
    let (result, code) = shifted(&Compiler::new().features(Features { bmi2: false }));
    assert_eq!(result, 48);
    assert!(!is_shlx(&code));
}

/// A value that lives across calls in one arm alone: the entry pushes nothing for
/// it, unless no lever says so.
#[test]
fn levers_can_be_left_out() {
    let code = "r6 = r1
        if r2 == 0 goto +4
        call 5
        call 5
        r0 += r6
        exit
        r0 = 0
        exit";
    let object = Object::raw("test", &bytecode(code)).unwrap();
    let pushes = |compiler: Compiler| {
        let module = compiler.compile(&object).unwrap();
        // With a prefix for r12 and above.
        let code = module.module().expect("it is native").code_bytes();
        matches!(code[..], [0x50..=0x57, ..] | [0x41, 0x50..=0x57, ..])
    };
    assert!(!pushes(Compiler::new()));
    assert!(!pushes(Compiler::new().levers(Levers::default())));
    assert!(pushes(Compiler::new().levers(Levers::without(&Lever::ALL))));
}

#[test]
fn a_profile_changes_code_and_no_result() {
    // A value that lives across calls in an arm that packets with a 7 take.
    let text = "program f0 \"main\" xdp
        r6 = *(u32 *)(r1 + 0)
        r7 = *(u32 *)(r1 + 4)
        r2 = r6
        r2 += 1
        if r2 > r7 goto +9
        r8 = *(u8 *)(r6 + 0)
        if r8 != 7 goto +7
        call 5
        call 5
        call 5
        r0 = r8
        r0 += r8
        r0 += r8
        exit
        r0 = 2
        exit";
    let object = text::parse_object(text).unwrap();
    let run = |compiler: Compiler| {
        let module = compiler.compile(&object)?;
        let program = module.program("main")?;
        let result = |first: u8| {
            // SAFETY: the program compares with the packet's end before it reads.
            unsafe { program.run(&mut Xdp::new(&mut [first; 20])) }
        };
        Ok::<_, Error>((result(7)?, result(8)?))
    };
    for engine in [Engine::Interp, Engine::Tailor, Engine::TailorKernel, Engine::Naive612] {
        let compiler = Compiler::new().engine(engine);
        assert_eq!(run(compiler.clone()).unwrap(), (21, 2), "{engine}");
        for data in [[7], [8]] {
            assert_eq!(run(compiler.clone().profile(&data)).unwrap(), (21, 2), "{engine}");
        }
    }
}

/// Objects that the embedder makes itself may name what they do not have: that is
/// said, in all engines, and what has nothing to do with it runs.
#[test]
fn objects_that_name_nothing() {
    use tailor::bpf::{Callee, FuncRef, Imm64, MapRef, Op, ProgId, Reg};
    let text = "map map0 \"jmp\" prog_array key 4 value 4 entries 2
        map map1 \"outer\" array_of_maps key 4 value 4 entries 2
        program f0 \"one\" raw
          r0 = 1
          exit
        program f1 \"two\" raw
          r0 = 2
          exit";
    let whole = tailor::bpf::text::parse_object(text).unwrap();
    let (one, nobody) = (FuncRef::from_u32(0), u32::MAX - 1);
    let change = |change: &dyn Fn(&mut Object)| {
        let mut object = whole.clone();
        change(&mut object);
        object
    };
    let code = |op: Op| {
        change(&|object| {
            let hi = (op.slots() == 2).then_some(Op::LoadImmHi);
            object.functions[one].ops = [op].into_iter().chain(hi).chain([Op::Exit]).collect();
        })
    };
    let address = |value| code(Op::LoadImm { dst: Reg::R1, value });
    let broken = [
        change(&|object| {
            let program = object.programs.values_mut().next().unwrap();
            program.function = FuncRef::from_u32(nobody);
        }),
        change(&|object| {
            let map = object.maps.values_mut().next().unwrap();
            map.slots.push((0, ProgId::from_u32(nobody)));
        }),
        change(&|object| {
            let map = object.maps.values_mut().next_back().unwrap();
            map.inner_maps.push((0, MapRef::from_u32(nobody)));
        }),
        code(Op::Call(Callee::Function(FuncRef::from_u32(nobody)))),
        address(Imm64::Function(FuncRef::from_u32(nobody))),
        address(Imm64::Map(MapRef::from_u32(nobody))),
    ];
    for (index, object) in broken.into_iter().enumerate() {
        let unit = Unit::new(object);
        assert_eq!(unit.errors.len(), 1, "{index}: {:?}", unit.errors);
        for engine in Engine::ALL {
            let instance = Instance::new(&unit, engine, &mut Trace::checked()).unwrap();
            let is_map = index == 1 || index == 2;
            assert_eq!(instance.program("one").is_ok(), is_map, "{index} in {engine}");
            assert!(instance.program("two").is_ok(), "{index} in {engine}");
        }
    }
}
