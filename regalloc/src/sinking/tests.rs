//! Random functions with few registers: regalloc2's checker proves what was made of
//! its output, and nothing is dearer.

use regalloc2::checker::Checker;
use regalloc2::{Algorithm, Output, RegallocOptions};
use tailor_lower::MachFunction;

use super::sink;
use crate::allocate::machine_env;
use crate::cost::spill_cost;
use crate::random::{self, Random};
use crate::steps::Located;

/// An allocation with so many callee-saved registers.
fn allocated(function: &MachFunction, registers: usize, algorithm: Algorithm) -> Output {
    let env = machine_env(&function.convention.callee_saved()[..registers]);
    let options = RegallocOptions { algorithm, ..RegallocOptions::default() };
    regalloc2::run(function, &env, &options).expect("an allocation")
}

fn cost(function: &MachFunction, output: &Output) -> f64 {
    spill_cost(&Located::new(function, &output.allocs, &output.edits, &[]))
}

#[test]
fn nothing_is_lost_or_dearer() {
    let mut random = Random(0x5eed_0008);
    let (mut before, mut after, mut more, mut fewer) = (0.0, 0.0, 0.0, 0);
    for _ in 0..6_000 {
        let function = random::function(&mut random);
        let registers = random.below(3);
        let algorithm = [Algorithm::Ion, Algorithm::Fastalloc][random.below(2)];
        let mut output = allocated(&function, registers, algorithm);
        let old = cost(&function, &output);
        fewer += output.num_spillslots;
        let listing = format!("{function}\n{:?}\n{:?}", output.allocs, output.edits);
        sink(&function, &mut output);
        fewer -= output.num_spillslots;
        let env = machine_env(&function.convention.callee_saved()[..registers]);
        let mut checker = Checker::new(&function, &env);
        checker.prepare(&output);
        let checked = checker.run();
        assert!(checked.is_ok(), "{checked:?}\n{listing}\n{:?}\n{:?}", output.allocs, output.edits);
        assert!(output.edits.is_sorted_by_key(|(point, _)| *point), "{listing}");
        let new = cost(&function, &output);
        assert!(new <= old, "{old} {new}\n{listing}\n{:?}\n{:?}", output.allocs, output.edits);
        before += old;
        after += new;
        sink(&function, &mut output);
        more += new - cost(&function, &output);
    }
    // These allocations leave much to gain, and one pass gets nearly all of it. (What
    // it takes away can be the only read of something else.)
    assert!(after < 0.8 * before, "{before} to {after}");
    assert!(more < 0.01 * after, "{after} to {}", after - more);
    assert!(fewer > 0);
}
