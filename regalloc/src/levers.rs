//! What is done for smaller and cheaper frames, each with a switch, so that its
//! gain can be measured.

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lever {
    /// Allocation with fewer callee-saved registers where that is cheaper.
    Descent,
    /// Values computed again instead of kept.
    Remat,
    /// Other registers where values cross calls on cold paths alone.
    Split,
    /// Memory shared by stack objects and slots that are not live together.
    Sharing,
}

impl Lever {
    /// All levers.
    pub const ALL: [Lever; 4] = [Lever::Descent, Lever::Remat, Lever::Split, Lever::Sharing];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Lever::Descent => "descent",
            Lever::Remat => "remat",
            Lever::Split => "split",
            Lever::Sharing => "sharing",
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
