//! What is done for smaller and cheaper frames, each with a switch, so that its
//! gain can be measured.

use std::str::FromStr;

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lever {
    /// Allocation with fewer callee-saved registers where that is cheaper.
    Descent,
    /// Memory shared by stack objects and slots that are not live together.
    Sharing,
}

impl Lever {
    /// All levers.
    pub const ALL: [Lever; 2] = [Lever::Descent, Lever::Sharing];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Lever::Descent => "descent",
            Lever::Sharing => "sharing",
        }
    }
}

impl FromStr for Lever {
    type Err = String;

    fn from_str(name: &str) -> Result<Lever, String> {
        let named = Lever::ALL.into_iter().find(|lever| lever.name() == name);
        named.ok_or_else(|| format!("the levers are {}", Lever::ALL.map(Lever::name).join(", ")))
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
