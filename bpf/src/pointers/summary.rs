//! What a function does with its parameters, as its callers need to know it.
//!
//! How far a function goes from a pointer often depends on another parameter: a
//! size that it hands to a helper. Such accesses are kept apart, by parameter,
//! until a caller is met that knows the size; where nobody does, they have no
//! end. That a size is what its 32 bits say is what a verifier makes sure of.

use super::range::Range;
use super::value::{Bases, Val};

/// The effect of a function on what one parameter points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ParamUse {
    /// Bytes that may be read or written, relative to the parameter, as far as
    /// no size says so.
    touched: Option<Range>,
    /// Bytes of these that may be written.
    written: Option<Range>,
    /// What else may be, by the index of the parameter that is its size.
    sized: [Option<Sized>; 5],
    /// The pointer may live on after the call, or be followed in a way that is
    /// not known.
    pub kept: bool,
}

/// Accesses from somewhere upwards, as many bytes as a parameter says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sized {
    /// Where they start, relative to the pointer.
    at: Range,
    writes: bool,
}

impl Sized {
    /// The bytes, given the size.
    fn bytes(&self, size: Range) -> Range {
        Range::new(self.at.lo, self.at.hi.saturating_add(size.hi))
    }

    fn join(self, other: Sized) -> Sized {
        Sized { at: self.at.join(other.at), writes: self.writes || other.writes }
    }
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
    const ANYTHING: ParamUse = ParamUse::all(Range::ALL);

    /// From the pointer upwards anything, now or later.
    pub const KEPT: ParamUse = ParamUse::all(Range::new(0, i64::MAX));

    const fn all(bytes: Range) -> ParamUse {
        ParamUse { touched: Some(bytes), written: Some(bytes), sized: [None; 5], kept: true }
    }

    /// Bytes that may be read or written, relative to the parameter.
    pub fn touched(&self) -> Option<Range> {
        self.sized().fold(self.touched, |all, sized| join(all, Some(sized.bytes(Range::ALL))))
    }

    /// Bytes of these that may be written.
    pub fn written(&self) -> Option<Range> {
        let written = self.sized().filter(|sized| sized.writes);
        written.fold(self.written, |all, sized| join(all, Some(sized.bytes(Range::ALL))))
    }

    fn sized(&self) -> impl Iterator<Item = &Sized> {
        self.sized.iter().flatten()
    }

    /// Adds an access.
    pub fn touch(&mut self, bytes: Range, writes: bool) {
        self.touched = join(self.touched, Some(bytes));
        if writes {
            self.written = join(self.written, Some(bytes));
        }
    }

    /// Adds an access from the pointer upwards, as many bytes as `size` says.
    pub fn touch_sized(&mut self, size: Val, writes: bool) {
        self.add_sized(size, Sized { at: Range::exactly(0), writes });
    }

    fn add_sized(&mut self, size: Val, access: Sized) {
        match (size, size.as_param()) {
            (_, Some(param)) => {
                let sized = &mut self.sized[param];
                *sized = Some(sized.map_or(access, |known| known.join(access)));
            }
            (Val::Number(size), _) => {
                let bytes = access.bytes(size.low_half());
                if bytes.lo < bytes.hi {
                    self.touch(bytes, access.writes);
                }
            }
            _ => self.touch(access.bytes(Range::ALL), access.writes),
        }
    }

    /// The same in terms of a caller, who passes `args`.
    pub fn with(&self, args: &[Val; 5]) -> ParamUse {
        let mut usage = ParamUse { sized: [None; 5], ..*self };
        for (&size, access) in args.iter().zip(self.sized) {
            if let Some(access) = access {
                usage.add_sized(size, access);
            }
        }
        usage
    }

    /// Adds what a callee does with this parameter moved by `at`.
    pub fn pass(&mut self, at: Range, callee: &ParamUse) {
        let moved = |bytes: Option<Range>| bytes.map(|bytes| at.shift(bytes));
        self.touched = join(self.touched, moved(callee.touched));
        self.written = join(self.written, moved(callee.written));
        for (own, sized) in self.sized.iter_mut().zip(callee.sized) {
            if let Some(sized) = sized {
                let moved = Sized { at: at.shift(sized.at), ..sized };
                *own = Some(own.map_or(moved, |known| known.join(moved)));
            }
        }
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
            Val::LowHalf(index) => args[usize::from(index)].low_half(),
            other => other,
        }
    }
}
