//! What whoever patches code relies on, in the code of the examples: see
//! "Patching" in docs/abi.md.

mod units;

use tailor::emit::{CompiledCode, Poking};
use tailor::engine::Family;
use tailor::{Engine, Trace, Unit};
use units::examples;

const NOP: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];
/// Opcode of a jump with a distance of four bytes.
const JMP: u8 = 0xe9;

fn compile(unit: &Unit, engine: Engine, poking: Poking) -> CompiledCode {
    let mut trace = Trace::checked();
    trace.poking = Some(poking);
    let compiled = tailor::compile(unit, engine, None, &mut trace);
    assert!(compiled.errors.is_empty(), "{engine}: {:?}", compiled.errors);
    compiled.code
}

/// The site is empty at first, and in the pipeline's code each of its two
/// instructions lies in one aligned word.
fn check_sites(unit: &Unit, engine: Engine, code: &CompiledCode) -> usize {
    for poke in code.pokes() {
        let owner = code.functions[poke.owner].as_ref().expect("the owner is compiled");
        let bytes = |at: u32| &owner.code[at as usize..at as usize + 5];
        let [bypass, target] = [poke.poke.bypass, poke.poke.target].map(bytes);
        let place = format!("{engine}, {} at {:#x}", owner.name, poke.poke.bypass);
        assert_eq!(bypass[0], JMP, "{place}");
        let distance = i32::from_le_bytes(bypass[1..].try_into().expect("four bytes"));
        let goal = i64::from(poke.poke.bypass) + 5 + i64::from(distance);
        assert_eq!(goal, i64::from(poke.poke.out), "{place}");
        assert_eq!(target, NOP, "{place}");
        assert_eq!(poke.poke.out, poke.poke.target + 5, "{place}");
        assert!(poke.key < unit.object.maps[poke.map].max_entries, "{place}");
        if let Family::Optimizing(_) = engine.family() {
            for at in [poke.poke.bypass, poke.poke.target] {
                assert_eq!(at / 8, (at + 4) / 8, "{place}: crosses a word at {at:#x}");
            }
        }
    }
    code.pokes().count()
}

#[test]
fn sites_are_as_the_abi_says() {
    let engines = [Engine::Naive510, Engine::Naive612, Engine::TailorKernel, Engine::Tailor];
    let mut counts = [0; 4];
    for unit in examples() {
        for (count, engine) in counts.iter_mut().zip(engines) {
            *count += check_sites(&unit, engine, &compile(&unit, engine, Poking::Patch));
        }
    }
    // All engines have the same sites, as the decision is not theirs.
    assert_ne!(counts[0], 0);
    assert_eq!(counts, [counts[0]; 4]);
}

#[test]
fn without_patching_there_is_nothing_to_patch() {
    for unit in examples() {
        for engine in [Engine::TailorKernel, Engine::Tailor] {
            assert_eq!(compile(&unit, engine, Poking::Data).pokes().count(), 0);
        }
    }
}
