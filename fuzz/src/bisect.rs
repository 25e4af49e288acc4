//! Finds the rewrite of the optimiser that makes a case wrong.

use std::cell::RefCell;
use std::rc::Rc;

use tailor::{Engine, Trace, Unit};

/// More rewrites than any generated program sees.
const MANY: u64 = 1 << 24;

/// Where a wrong result comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Culprit {
    /// The rewrite of this number (`TAILOR_BISECT` counts so), made by this
    /// pass in this function.
    Rewrite {
        /// The first number that makes the result wrong.
        number: u64,
        /// The pass.
        pass: String,
        /// The function.
        function: String,
    },
    /// It is wrong without any rewrite: lifting, lowering, allocation or
    /// emission, or the engine does not optimise.
    NoRewrite,
}

/// Bisects: `wrong` says whether the result is wrong if so many rewrites are
/// made. (All optimizing engines make the same.)
pub fn bisect(unit: &Unit, wrong: &mut dyn FnMut(u64) -> bool) -> Culprit {
    if wrong(0) || !wrong(MANY) {
        return Culprit::NoRewrite;
    }
    let (mut right, mut number) = (0, MANY);
    while number - right > 1 {
        let middle = right + (number - right) / 2;
        match wrong(middle) {
            true => number = middle,
            false => right = middle,
        }
    }
    let (before, after) = (listings(unit, number - 1), listings(unit, number));
    let first = after.into_iter().zip(before).find(|(after, before)| after != before);
    let ((pass, function, _), _) = first.unwrap_or_default();
    Culprit::Rewrite { number, pass, function }
}

/// What made it, in which function, and what it looks like.
type Listing = (String, String, String);

/// What each pass leaves behind with so many rewrites.
fn listings(unit: &Unit, rewrites: u64) -> Vec<Listing> {
    let all = Rc::new(RefCell::new(Vec::new()));
    let into = all.clone();
    let mut trace = Trace::default().limited(rewrites).showing(move |by, function, listing| {
        into.borrow_mut().push((by.to_string(), function.to_string(), listing.to_string()));
    });
    tailor::compile(unit, Engine::Tailor, None, &mut trace);
    all.take()
}

impl std::fmt::Display for Culprit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Culprit::Rewrite { number, pass, function } => {
                write!(f, "rewrite {number}, by pass {pass} in {function} (TAILOR_BISECT={number})")
            }
            Culprit::NoRewrite => f.write_str("no rewrite: wrong with TAILOR_BISECT=0 too"),
        }
    }
}
