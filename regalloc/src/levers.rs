//! What is done for smaller and cheaper frames, each with a switch, so that its
//! gain can be measured.

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lever {
    /// Allocation with fewer callee-saved registers where that is cheaper.
    Descent,
    /// Registers saved and restored only around where they are used.
    Placement,
    /// Values computed again instead of kept.
    Remat,
    /// Other registers where values cross calls on cold paths alone.
    Split,
    /// Memory shared by stack objects and slots that are not live together.
    Sharing,
    /// Restores at tail calls weighed like those at returns.
    TailPricing,
}

impl Lever {
    /// All levers.
    pub const ALL: [Lever; 6] = [
        Lever::Descent,
        Lever::Placement,
        Lever::Remat,
        Lever::Sharing,
        Lever::Split,
        Lever::TailPricing,
    ];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Lever::Descent => "descent",
            Lever::Placement => "placement",
            Lever::Remat => "remat",
            Lever::Split => "split",
            Lever::Sharing => "sharing",
            Lever::TailPricing => "tail-pricing",
        }
    }
}

/// The levers in use: all, unless some are switched off.
#[derive(Clone, Debug, Default)]
pub struct Levers {
    off: Vec<Lever>,
}

impl Levers {
    /// All but these.
    pub fn without(off: &[Lever]) -> Levers {
        Levers { off: off.to_vec() }
    }

    /// Whether it is in use.
    pub fn has(&self, lever: Lever) -> bool {
        !self.off.contains(&lever)
    }
}
