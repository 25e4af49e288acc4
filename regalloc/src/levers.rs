//! What is done for smaller and cheaper frames, each with a switch, so that its
//! gain can be measured.

use std::str::FromStr;

use smallvec::SmallVec;
use tailor_lower::{Convention, Gpr};

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lever {
    /// Arguments that live on are copied before the call.
    Arguments,
    /// Allocation with fewer callee-saved registers where that is cheaper.
    Descent,
    /// A return for each way out.
    Exits,
    /// Slots of four bytes for values of which no more counts.
    Packing,
    /// Registers saved and restored only around where they are used.
    Placement,
    /// What leaves need lies below the stack pointer.
    RedZone,
    /// Values computed again instead of kept.
    Remat,
    /// Memory shared by stack objects and slots that are not live together.
    Sharing,
    /// Stores of spilled values only where and when that is needed.
    Sinking,
    /// Other registers where values cross calls on cold paths alone.
    Split,
    /// Restores at tail calls weighed like those at returns.
    TailPricing,
}

impl Lever {
    /// All levers.
    pub const ALL: [Lever; 11] = [
        Lever::Arguments,
        Lever::Descent,
        Lever::Exits,
        Lever::Packing,
        Lever::Placement,
        Lever::RedZone,
        Lever::Remat,
        Lever::Sharing,
        Lever::Sinking,
        Lever::Split,
        Lever::TailPricing,
    ];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Lever::Arguments => "arguments",
            Lever::Descent => "descent",
            Lever::Exits => "exits",
            Lever::Packing => "packing",
            Lever::Placement => "placement",
            Lever::RedZone => "red-zone",
            Lever::Remat => "remat",
            Lever::Sharing => "sharing",
            Lever::Sinking => "sinking",
            Lever::Split => "split",
            Lever::TailPricing => "tail-pricing",
        }
    }
}

impl FromStr for Lever {
    type Err = String;

    fn from_str(name: &str) -> Result<Lever, String> {
        let named = Lever::ALL.into_iter().find(|lever| lever.name() == name);
        let known = || Lever::ALL.map(Lever::name).join(", ");
        named.ok_or_else(|| format!("no lever {name:?}; there are {}", known()))
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

    /// The same, but for these.
    pub fn and_without(mut self, off: &[Lever]) -> Levers {
        self.off.extend_from_slice(off);
        self
    }

    /// Whether it is in use.
    pub fn has(&self, lever: Lever) -> bool {
        !self.off.contains(&lever)
    }
}
