//! What the interpreter computes, and the errors of what it refuses.

use std::collections::HashMap;

use crate::interp::{Cause, Host, MAX_DEPTH, run};
use crate::text::parse_module;
use crate::verifier::verify_module;
use crate::{FuncRef, MapRef, Size};

/// Frames and one buffer at [`DATA`] as memory, and a record of helper calls.
#[derive(Default)]
pub(crate) struct World {
    memory: HashMap<u64, u8>,
    frames: Vec<u32>,
    calls: Vec<(u32, [u64; 5])>,
    /// The program array: what every slot holds.
    target: Option<FuncRef>,
}

const DATA: u64 = 0x1000;
const STACK: u64 = 0x10_0000;
const MAP: u64 = 0x20_0000;

impl World {
    fn stack_end(&self) -> u64 {
        STACK + self.frames.iter().map(|&n| u64::from(n).next_multiple_of(16)).sum::<u64>()
    }

    fn check(&self, address: u64, size: Size) -> Result<(), String> {
        let inside =
            |start, end| start <= address && address.saturating_add(size.bytes().into()) <= end;
        match inside(DATA, DATA + 64) || inside(STACK, self.stack_end()) {
            true => Ok(()),
            false => Err(format!("access of {address:#x}")),
        }
    }
}

impl Host for World {
    fn push_frame(&mut self, bytes: u32) -> Result<u64, String> {
        let base = self.stack_end();
        self.frames.push(bytes);
        Ok(base)
    }
    fn pop_frame(&mut self) {
        self.frames.pop().unwrap();
    }
    fn load(&mut self, address: u64, size: Size) -> Result<u64, String> {
        self.check(address, size)?;
        let byte = |i: u64| self.memory.get(&(address + i)).copied().unwrap_or(0);
        Ok((0..size.bytes()).fold(0, |bits, i| bits | u64::from(byte(i.into())) << (8 * i)))
    }
    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), String> {
        self.check(address, size)?;
        for i in 0..u64::from(size.bytes()) {
            self.memory.insert(address + i, (value >> (8 * i)) as u8);
        }
        Ok(())
    }
    fn map_address(&mut self, map: MapRef) -> Result<u64, String> {
        Ok(MAP + u64::from(map.as_u32()))
    }
    fn map_value_address(&mut self, map: MapRef) -> Result<u64, String> {
        Ok(MAP + 0x1000 + u64::from(map.as_u32()))
    }
    fn func_address(&mut self, func: FuncRef) -> Result<u64, String> {
        Ok(u64::from(func.as_u32()) + 0x40_0000)
    }
    fn call_helper(&mut self, helper: u32, args: [u64; 5]) -> Result<u64, String> {
        self.calls.push((helper, args));
        Ok(args.iter().fold(0, |sum: u64, arg| sum.wrapping_add(*arg)))
    }
    fn tail_call_target(&mut self, array: u64, index: u32) -> Result<Option<FuncRef>, String> {
        match array == MAP {
            true => Ok(self.target.filter(|_| index == 7)),
            false => Err(format!("no program array at {array:#x}")),
        }
    }
    fn ctx_load(&mut self, kind: u8, field: u8, ctx: u64) -> Result<u64, String> {
        Ok(ctx.wrapping_add(u64::from(kind) * 100 + u64::from(field)))
    }
    fn ctx_store(&mut self, kind: u8, field: u8, ctx: u64, value: u64) -> Result<(), String> {
        self.calls.push((1000, [kind.into(), field.into(), ctx, value, 0]));
        Ok(())
    }
}

/// Runs `f0` of a module that the verifier accepts.
fn run_text(text: &str, args: &[u64], world: &mut World) -> Result<u64, String> {
    let module = parse_module(text).unwrap();
    verify_module(&module).unwrap();
    let result = run(&module, FuncRef::from_u32(0), args, world, 100_000);
    assert!(world.frames.is_empty(), "every frame is given back");
    result.map_err(|error| error.to_string())
}

/// The result of a function of two parameters that has these lines, and of the
/// helpers `fn0` (number 9) and the slots `ss0`, `ss1`.
fn body(lines: &str, args: &[u64]) -> Result<u64, String> {
    let text = format!(
        "function f0 \"main\" {{ ss0 = slot 9 align 1 ss1 = slot 8 align 8
         fn0 = helper 9 \"sum\" arity 3
         block0(v0: i64, v1: i64): {lines} }}"
    );
    run_text(&text, args, &mut World::default())
}

#[test]
fn memory_has_sizes_signs_and_offsets() {
    let stored = "v2 = iconst.i64 0xfedcba9876543281 store.i64 u64 v0+8, v2 any";
    let loaded = |load: &str| body(&format!("{stored} {load} return v9"), &[DATA]);
    assert_eq!(loaded("v9 = load.i64 u64 v0+8 any"), Ok(0xfedc_ba98_7654_3281));
    assert_eq!(loaded("v9 = load.i64 u8 v0+8 any"), Ok(0x81));
    assert_eq!(loaded("v9 = sload.i64 u8 v0+8 any"), Ok(0xffff_ffff_ffff_ff81));
    assert_eq!(loaded("v8 = sload.i32 u8 v0+8 any v9 = uext32 v8"), Ok(0xffff_ff81));
    assert_eq!(loaded("v9 = load.i64 u16 v0+15 any"), Ok(0xfe));
    assert_eq!(loaded("v9 = load.i64 u64 v0+57 any"), Err("main+0: access of 0x1039".into()));
    let split = "store.i64 u16 v0+9, v0 any v9 = load.i64 u32 v0+8 any";
    assert_eq!(loaded(split), Ok(0x7610_0081));
}

#[test]
fn atomics_return_the_old_value() {
    let atomic = |line: &str| {
        let text = format!(
            "v2 = iconst.i64 0x10000 store.i64 u64 v0, v2 any {line}
             v8 = load.i64 u64 v0 any v9 = iadd.i64 v7, v8 return v9"
        );
        body(&text, &[DATA, 3])
    };
    assert_eq!(atomic("v7 = atomic_fetch.i64 add v0, v1 any"), Ok(0x20003));
    assert_eq!(atomic("v7 = atomic_fetch.i64 xchg v0, v1 any"), Ok(0x10003));
    assert_eq!(atomic("v7 = iconst.i64 0 atomic.i64 or v0, v1 any"), Ok(0x10003));
    assert_eq!(atomic("v7 = atomic_cas.i64 u64 v0, v2, v1 any"), Ok(0x10003));
    assert_eq!(atomic("v7 = atomic_cas.i64 u64 v0, v1, v1 any"), Ok(0x20000));
    let narrow = "v4 = iconst.i32 -1 v5 = atomic_fetch.i32 add v0, v4 any v7 = uext32 v5";
    assert_eq!(atomic(narrow), Ok(0x1ffff));
}

#[test]
fn addresses_contexts_and_helpers_are_the_hosts() {
    assert_eq!(body("v9 = map_addr map3 return v9", &[]), Ok(MAP + 3));
    assert_eq!(body("v9 = map_value map3+16 return v9", &[]), Ok(MAP + 0x1013));
    assert_eq!(body("v9 = stack_addr ss1+1 return v9", &[]), Ok(STACK + 17));
    assert_eq!(body("v9 = ctx_load.i64 2.3 v0 return v9", &[5]), Ok(208));
    assert_eq!(body("v9 = call_ext fn0(v0, v1, v1) return v9", &[5, 7]), Ok(19));
    let slot = "v2 = stack_addr ss1+9 store.i64 u64 v2, v0 ss1 return v0";
    let beyond = format!("main+0: access of {:#x}", STACK + 25);
    assert_eq!(body(slot, &[1]), Err(beyond));
    let mut world = World::default();
    let text = "function f0 \"main\" { block0(v0: i64): v1 = func_addr f0
        ctx_store.i64 1.2 v0, v1 return v1 }";
    assert_eq!(run_text(text, &[9], &mut world), Ok(0x40_0000));
    assert_eq!(world.calls, [(1000, [1, 2, 9, 0x40_0000, 0])]);
}

#[test]
fn blocks_take_their_arguments_all_at_once() {
    // Fibonacci: each round sets (a, b) to (b, a + b).
    let fib = "v2 = iconst.i64 0 v3 = iconst.i64 1 jump block1(v2, v3, v0)
        block1(v4: i64, v5: i64, v6: i64):
            v7 = iadd.i64 v4, v5 v8 = isub.i64 v6, v3
            branch ne.i64 v6, v2, block1(v5, v7, v8), block2
        block2: return v4";
    assert_eq!(body(fib, &[50]), Ok(12_586_269_025));
}

#[test]
fn calls_have_their_own_values_and_frames() {
    let factorial = "function f0 \"factorial\" { ss0 = slot 8 align 8
        block0(v0: i64): v1 = stack_addr ss0 store.i64 u64 v1, v0 ss0
            v2 = iconst.i64 1 branch ule.i64 v0, v2, block1, block2
        block1: return v2
        block2: v3 = isub.i64 v0, v2 v4 = call f0(v3) v5 = load.i64 u64 v1 ss0
            v6 = imul.i64 v4, v5 return v6 }";
    let mut world = World::default();
    assert_eq!(run_text(factorial, &[10], &mut world), Ok(3_628_800));
    let deep = MAX_DEPTH as u64 + 2;
    assert_eq!(
        run_text(factorial, &[deep], &mut world),
        Err(format!("factorial+0: more than {MAX_DEPTH} calls are open"))
    );
}

#[test]
fn runs_end() {
    assert_eq!(
        body("v2 = iadd.i64 v0, v0 @7 trap", &[]),
        Err("main+7: execution reaches a trap".into())
    );
    assert_eq!(
        body("jump block1 block1: jump block1", &[]),
        Err("main+0: no end after the given number of steps".into())
    );
}

/// What a module counts with its one helper: how often each number was given.
fn ticks(text: &str, target: Option<u32>) -> HashMap<u64, usize> {
    let mut world = World { target: target.map(FuncRef::from_u32), ..World::default() };
    let text = text.replace("{", "reaches_tail_call { fn0 = helper 1 \"tick\" arity 1").replace(
        "TAIL_CALL",
        "v10 = map_addr map0 v11 = iconst.i64 0x100000007 tail_call v0, v10, v11,",
    );
    assert_eq!(run_text(&text, &[3], &mut world), Ok(3));
    let mut counts = HashMap::new();
    for (_, args) in world.calls {
        *counts.entry(args[0]).or_default() += 1;
    }
    counts
}

/// The figures were measured on a kernel.
#[test]
fn thirty_three_tail_calls_succeed_in_a_run() {
    let chain = "function f0 \"main\" { block0(v0: i64): v1 = iconst.i64 1 v2 = call_ext fn0(v1)
        TAIL_CALL block1 block1: v3 = iconst.i64 2 v4 = call_ext fn0(v3) return v0 }";
    assert_eq!(ticks(chain, Some(0)), [(1, 34), (2, 1)].into());
    // An empty slot falls through and does not count.
    assert_eq!(ticks(chain, None), [(1, 1), (2, 1)].into());

    let sub = "function f1 \"sub\" { block0(v0: i64): TAIL_CALL block1
        block1: v3 = iconst.i64 2 v4 = call_ext fn0(v3) return v0 }
        function f2 \"leaf\" { block0(v0: i64): v1 = iconst.i64 3 v2 = call_ext fn0(v1)
        return v0 }";
    let main = |calls: u32| {
        let calls: String = (0..calls).map(|n| format!("v{} = call f1(v0) ", 20 + n)).collect();
        format!(
            "function f0 \"main\" {{ block0(v0: i64): v1 = iconst.i64 1
             v2 = call_ext fn0(v1) {calls} return v20 }} {sub}"
        )
    };
    assert_eq!(ticks(&main(1), Some(0)), [(1, 34), (2, 1)].into());
    assert_eq!(ticks(&main(2), Some(0)), [(1, 34), (2, 35)].into());
    assert_eq!(ticks(&main(50), Some(2)), [(1, 1), (2, 17), (3, 33)].into());
}

/// Functions that the verifier refuses end in an error.
#[test]
fn invalid_functions_end_in_an_error() {
    let bodies = [
        "return v9",
        "jump block7",
        "unterminated",
        "v1 = call f8() return v1",
        "v1 = call_ext fn8() return v1",
        "v1 = stack_addr ss7 return v1",
    ];
    let mut world = World::default();
    for body in bodies {
        let text = format!("function f0 \"bad\" {{ block0: {body} }}");
        let mut module = parse_module(&text).unwrap();
        let main = FuncRef::from_u32(0);
        let result = run(&module, main, &[], &mut world, 10);
        let invalid = matches!(result, Err(ref e) if matches!(e.cause, Cause::Invalid(_)));
        // The number v9 stands for a value of an instruction in no block.
        assert!(invalid || body == "return v9", "{body}: {result:?}");
        module.functions[main].insts.clear();
        module.functions[main].values.clear();
        assert!(run(&module, main, &[], &mut world, 10).is_err(), "{body}");
        assert!(world.frames.is_empty());
    }
    let none = parse_module("").unwrap();
    let error = run(&none, FuncRef::from_u32(3), &[], &mut world, 10).unwrap_err();
    assert_eq!(error.to_string(), "f3+0: invalid IR: no such function");
}
