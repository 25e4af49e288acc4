//! Helpers of an embedder's own, under numbers that mean something else in the
//! kernel: they get five arguments, and may change what they are given.

use tailor::runtime::helpers::Table;
use tailor::{Compiler, Engine, Instance, Object, Trace, Unit, bpf};

/// The kernel's helper of this number takes no arguments.
const WEIGHTED_SUM: u32 = 5;
/// The kernel's helper of this number neither reads nor writes memory.
const INCREMENT: u32 = 8;

unsafe extern "C" fn weighted_sum(a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
    a + 10 * b + 100 * c + 1000 * d + 10_000 * e
}

unsafe extern "C" fn increment(address: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: the programs below pass the address of eight bytes of their stack.
    unsafe { *(address as *mut u64) += 1 };
    0
}

fn helpers() -> Table {
    Table::empty().with(WEIGHTED_SUM, weighted_sum).with(INCREMENT, increment)
}

/// The result of raw bytecode, from its text, in every engine.
fn results(text: &str) -> Vec<(Engine, u64)> {
    let ops = bpf::text::parse_ops(text).expect("the test's code parses");
    let bytecode = bpf::encode::encode("test", &ops).expect("and has an encoding");
    let run = |engine| {
        let object = Object::raw("test", &bytecode).expect("the bytecode is valid");
        let instance = Compiler::new().engine(engine).helpers(helpers()).compile(&object);
        let instance = instance.expect("it compiles");
        let program = instance.program("test").expect("it can run");
        // SAFETY: the program accesses its own stack only, and passes its
        // helpers what they take.
        (engine, unsafe { program.run(&mut [].as_mut_slice()) }.expect("it returns"))
    };
    Engine::ALL.into_iter().map(run).collect()
}

#[test]
fn all_five_arguments_arrive() {
    let call = "r1 = 1\n r2 = 2\n r3 = 3\n r4 = 4\n r5 = 5\n call 5\n exit";
    for (engine, result) in results(call) {
        assert_eq!(result, 54321, "{engine}");
    }
}

#[test]
fn arguments_pass_through_subprograms() {
    // The function is found to take what the helper takes.
    let call = "r1 = 1\n r2 = 2\n r3 = 3\n r4 = 4\n r5 = 5\n call +1\n exit\n call 5\n exit";
    for (engine, result) in results(call) {
        assert_eq!(result, 54321, "{engine}");
    }
}

#[test]
fn memory_may_have_changed() {
    let text = "*(u64 *)(r10 - 8) = 41
        r1 = r10
        r1 += -8
        call 8
        r0 = *(u64 *)(r10 - 8)
        exit";
    for (engine, result) in results(text) {
        assert_eq!(result, 42, "{engine}");
    }
}

#[test]
fn a_unit_made_without_the_helpers_is_refused() {
    let object = bpf::text::parse_object("program f0 \"p\" raw\n call 5\n exit").expect("parses");
    let unit = Unit::new(object);
    for engine in Engine::ALL {
        let made = Instance::with_helpers(&unit, engine, &mut Trace::checked(), helpers());
        let error = made.err().expect("refused").to_string();
        assert!(error.contains("helper 5 is not the kernel's"), "{engine}: {error}");
    }
}
