//! What is done for smaller and cheaper frames, each with a switch, so that its
//! gain can be measured.

use smallvec::SmallVec;
use tailor_lower::{Convention, Gpr};

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lever {
    /// Arguments that live on are copied before the call.
    Arguments,
    /// Allocation with fewer callee-saved registers where that is cheaper.
    Descent,
    /// Slots of four bytes for values of which no more counts.
    Packing,
    /// Values computed again instead of kept.
    Remat,
    /// Memory shared by stack objects and slots that are not live together.
    Sharing,
}

impl Lever {
    /// All levers.
    pub const ALL: [Lever; 5] =
        [Lever::Arguments, Lever::Descent, Lever::Packing, Lever::Remat, Lever::Sharing];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Lever::Arguments => "arguments",
            Lever::Descent => "descent",
            Lever::Packing => "packing",
            Lever::Remat => "remat",
            Lever::Sharing => "sharing",
        }
    }
}

/// The levers in use: all, unless some are switched off.
#[derive(Clone, Debug, Default)]
pub struct Levers {
    off: Vec<Lever>,
    /// Callee-saved registers that are not to be used.
    excluded: Vec<Gpr>,
}

impl Levers {
    /// All but these.
    pub fn without(off: &[Lever]) -> Levers {
        Levers { off: off.to_vec(), excluded: Vec::new() }
    }

    /// The same, but a callee-saved register is not to be used: to see what it is
    /// worth.
    pub fn excluding(mut self, reg: Gpr) -> Levers {
        self.excluded.push(reg);
        self
    }

    /// Whether a register is not to be used.
    pub fn excludes_any(&self) -> bool {
        !self.excluded.is_empty()
    }

    /// The callee-saved registers that a function may take, in the order of
    /// preference.
    pub fn callee_saved(&self, convention: Convention) -> SmallVec<[Gpr; 6]> {
        let all = convention.callee_saved().iter().copied();
        all.filter(|reg| !self.excluded.contains(reg)).collect()
    }

    /// Whether it is in use.
    pub fn has(&self, lever: Lever) -> bool {
        !self.off.contains(&lever)
    }
}
