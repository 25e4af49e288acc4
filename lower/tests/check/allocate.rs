//! A machine function through regalloc2 and its checker.

use regalloc2::checker::Checker;
use regalloc2::{MachineEnv, PRegSet, RegAllocError, RegallocOptions, run};
use tailor_lower::{Gpr, MachFunction};

/// Allocates registers and checks the result.
pub fn allocate(f: &MachFunction) -> Result<(), String> {
    let pregs = |regs: &[Gpr]| {
        let mut set = PRegSet::empty();
        regs.iter().for_each(|reg| set.add(reg.preg()));
        set
    };
    let none = PRegSet::empty();
    let env = MachineEnv {
        preferred_regs_by_class: [pregs(&Gpr::CALLER_SAVED), none, none],
        non_preferred_regs_by_class: [pregs(&Gpr::CALLEE_SAVED), none, none],
        scratch_by_class: [Some(Gpr::SCRATCH.preg()), None, None],
        fixed_stack_slots: vec![],
    };
    let options = RegallocOptions { validate_ssa: true, ..Default::default() };
    let output = run(f, &env, &options).map_err(|error: RegAllocError| error.to_string())?;
    let mut checker = Checker::new(f, &env);
    checker.prepare(&output);
    checker.run().map_err(|errors| format!("{errors:?}"))
}
