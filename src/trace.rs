//! What a compilation is to show and check on its way.

use tailor_ir::passes;
use tailor_lower::Features;

/// A stage of the optimizing pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Stage {
    Lift,
    Opt,
    Lower,
    Regalloc,
    Emit,
}

impl Stage {
    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Lift => "lift",
            Stage::Opt => "opt",
            Stage::Lower => "lower",
            Stage::Regalloc => "regalloc",
            Stage::Emit => "emit",
        }
    }
}

/// Options of a compilation, and where listings go.
pub struct Trace {
    /// Called with the stage (or pass), the function and its listing.
    pub sink: Option<Box<dyn FnMut(&str, &str, &str)>>,
    /// Check each stage's result: verifier after every pass, allocation proved.
    pub check: bool,
    /// Rewrites left before optimisation stops (`TAILOR_BISECT`).
    pub bisect: Option<u64>,
    /// Instructions of the processor that may be used.
    pub features: Features,
}
