//! Sites made by hand, wherever their instructions lie: what a function looks
//! like that pads them, and one whose every instruction needs a veneer. Behind
//! a target lies a trap, so that falling through unwound ends the test.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tailor_bpf::text::parse_object;
use tailor_bpf::{FuncRef, MapRef, Object};
use tailor_emit::{
    ARCHITECTURE, CompiledCode, CompiledFunction, Convention, FrameBelief, FunctionKind, Poke,
    Poking, TailSite, Unwound, Weights,
};

use crate::module::{make_maps, slot_layout};
use crate::{Module, Runtime, barrier};

/// Functions by number.
const MAIN: u32 = 0;
const A: u32 = 1;
const B: u32 = 2;

const SLOTS: u32 = 2;

fn function(name: &str, code: Vec<u8>, tail_sites: Vec<TailSite>) -> Option<CompiledFunction> {
    Some(CompiledFunction {
        name: name.into(),
        kind: FunctionKind::Program,
        code,
        relocs: Vec::new(),
        landing: 0,
        tail_sites,
        insns: 1,
        frame: FrameBelief::default(),
        weights: Weights::default(),
    })
}

/// `mov eax, value; ret`
fn returns(value: u8) -> Vec<u8> {
    vec![0xb8, value, 0, 0, 0, 0xc3]
}

/// Adds five bytes, zeros but for the first, where their offset modulo 8 is so much.
fn spot(code: &mut Vec<u8>, at: usize, first: u8) -> u32 {
    while code.len() % 8 != at {
        code.push(0x90);
    }
    code.extend([first, 0, 0, 0, 0]);
    code.len() as u32 - 5
}

/// A frame of eight bytes, two sites for each slot, and a result of 100. Their
/// instructions lie at these offsets modulo 8.
fn main(bypasses: usize, targets: usize) -> (Vec<u8>, Vec<TailSite>) {
    // push 42
    let mut code = vec![0x6a, 42];
    let mut sites = Vec::new();
    for slot in [0, 1, 1, 0] {
        let bypass = spot(&mut code, bypasses, 0xe9);
        // add rsp, 8
        code.extend([0x48, 0x83, 0xc4, 8]);
        let target = spot(&mut code, targets, 0xe9);
        // ud2
        code.extend([0x0f, 0x0b]);
        let out = code.len() as u32;
        let poke = Some(Poke { bypass, target, out });
        sites.push(TailSite {
            offset: bypass,
            exit: target,
            direct: Some((jmp(), slot)),
            poke,
            unwinds: Unwound::default(),
        });
    }
    code.extend([0x48, 0x83, 0xc4, 8]);
    code.extend(returns(100));
    (code, sites)
}

fn load(bypasses: usize, targets: usize, poking: Poking) -> Module {
    let (code, sites) = main(bypasses, targets);
    let functions = [
        function("main", code, sites),
        function("a", returns(1), Vec::new()),
        function("b", returns(2), Vec::new()),
    ];
    let code = CompiledCode {
        architecture: ARCHITECTURE,
        convention: Convention::Saving,
        poking,
        functions: functions.into_iter().collect(),
        stubs: Default::default(),
    };
    let object = object();
    let maps = make_maps(&object, slot_layout(Convention::Saving));
    Runtime::new().unwrap().load(&object, &code, maps, poking).unwrap()
}

/// The object as far as loading looks at it.
fn object() -> Object {
    let program = |n: u32, name: &str| format!("program f{n} \"{name}\" raw\nr0 = 0\nexit\n");
    let map = format!("map map0 \"jmp\" prog_array key 4 value 4 entries {SLOTS}\n");
    parse_object(&(map + &program(0, "main") + &program(1, "a") + &program(2, "b"))).unwrap()
}

fn jmp() -> MapRef {
    MapRef::from_u32(0)
}

fn set(module: &Module, index: u32, func: Option<u32>) -> bool {
    module.set_slot(jmp(), index, func.map(FuncRef::from_u32)).unwrap()
}

fn run(module: &Module) -> u64 {
    let mut memory: &mut [u8] = &mut [];
    // SAFETY: the code above touches nothing but its own eight bytes of stack.
    unsafe { module.program(FuncRef::from_u32(MAIN)).unwrap().run(&mut memory) }
}

/// Every alignment of the two instructions, and both back ends.
fn everywhere(body: impl Fn(&Module)) {
    for poking in [Poking::Patch, Poking::Data] {
        for (bypasses, targets) in [(0, 3), (3, 0), (4, 1), (2, 5), (7, 6), (6, 4)] {
            body(&load(bypasses, targets, poking));
        }
    }
}

#[test]
fn aligned_sites_change_in_place() {
    if !barrier::can_synchronize_cores() {
        return;
    }
    for (bypasses, targets, veneers) in [(0, 0, 0), (3, 3, 0), (1, 3, 0)] {
        assert_eq!(load(bypasses, targets, Poking::Patch).veneers(), veneers);
    }
    assert_eq!(load(0, 0, Poking::Data).veneers(), 8);
    // A function is placed so that few of its instructions need a veneer: four
    // modulo 8 apart, one of the two always does.
    assert_eq!(load(5, 6, Poking::Patch).veneers(), 0);
    assert_eq!(load(0, 4, Poking::Patch).veneers(), 4);
}

#[test]
fn slots_change() {
    everywhere(|module| {
        let set = |index, func| set(module, index, func);
        let empty = module.code_bytes();
        assert_eq!(run(module), 100);
        assert!(set(1, Some(B)));
        assert_eq!(run(module), 2);
        assert!(set(0, Some(A)));
        assert_eq!(run(module), 1);
        assert!(set(0, Some(B)) && set(1, Some(A)));
        assert_eq!(run(module), 2);
        assert!(set(0, None));
        assert_eq!(run(module), 1);
        assert!(set(1, None) && !set(1, None));
        assert_eq!(run(module), 100);
        assert_eq!(module.code_bytes(), empty);
    });
}

/// Two threads run through the sites while two others change a slot each.
#[test]
fn slots_change_under_running_threads() {
    everywhere(|module| {
        let (over, updates) = (AtomicBool::new(false), AtomicU64::new(0));
        let over = &over;
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let result = run(module);
                        assert!([1, 2, 100].contains(&result), "{result}");
                    }
                });
            }
            let writers = [0, SLOTS - 1].map(|slot| {
                let updates = &updates;
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        for func in [Some(A), Some(B), None] {
                            assert!(set(module, slot, func));
                            updates.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            });
            let failed = || writers.iter().all(|writer| writer.is_finished());
            while updates.load(Ordering::Relaxed) < 1000 && !failed() {
                thread::yield_now();
            }
            over.store(true, Ordering::Relaxed);
        });
    });
}
