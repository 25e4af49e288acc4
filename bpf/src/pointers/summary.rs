//! What a function does with its parameters, as its callers need to know it.

use super::range::Range;
use super::value::{Bases, Val};

/// The effect of a function on what one parameter points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ParamUse {
    /// Bytes that may be read or written, relative to the parameter.
    pub touched: Option<Range>,
    /// Bytes of these that may be written.
    pub written: Option<Range>,
    /// The pointer may live on after the call, or be followed in a way that is
    /// not known.
    pub kept: bool,
}

/// The effect of a function.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Summary {
    pub params: [ParamUse; 5],
    /// What it returns, in terms of its own parameters.
    pub result: Val,
}

impl ParamUse {
    /// Anything at all.
    const ANYTHING: ParamUse =
        ParamUse { touched: Some(Range::ALL), written: Some(Range::ALL), kept: true };

    /// From the pointer upwards anything, now or later.
    pub const KEPT: ParamUse = ParamUse {
        touched: Some(Range::new(0, i64::MAX)),
        written: Some(Range::new(0, i64::MAX)),
        kept: true,
    };

    /// Adds an access.
    pub fn touch(&mut self, bytes: Range, writes: bool) {
        self.touched = join(self.touched, Some(bytes));
        if writes {
            self.written = join(self.written, Some(bytes));
        }
    }

    /// Adds what a callee does with this parameter moved by `at`.
    pub fn pass(&mut self, at: Range, callee: &ParamUse) {
        let moved = |bytes: Option<Range>| bytes.map(|bytes| at.shift(bytes));
        self.touched = join(self.touched, moved(callee.touched));
        self.written = join(self.written, moved(callee.written));
        self.kept |= callee.kept;
    }
}

fn join(a: Option<Range>, b: Option<Range>) -> Option<Range> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.join(b)),
        (a, b) => a.or(b),
    }
}

impl Summary {
    /// Of a function of which nothing is known.
    pub fn unknown() -> Summary {
        Summary { params: [ParamUse::ANYTHING; 5], result: Val::Mixed(Bases::PARAMS) }
    }

    /// The result in terms of the caller, who passes `args`.
    pub fn result_with(&self, args: &[Val; 5]) -> Val {
        match self.result {
            Val::Pointer(pointer) => {
                let Some(index) = Bases::of(pointer.base).params().next() else {
                    // The frame of a function that has ended.
                    return Val::ANY;
                };
                let result = match args[index] {
                    Val::Pointer(arg) => Val::Pointer(arg.shift(pointer.at)),
                    other => Val::tainted(other.bases()),
                };
                if pointer.sure { result } else { result.join(Val::ANY) }
            }
            Val::Mixed(bases) => {
                let from = bases.params().map(|index| args[index].bases());
                Val::tainted(from.fold(Bases::NONE, Bases::union)).join(Val::ANY)
            }
            other => other,
        }
    }
}
