//! Which of the parameters made for variables receive one value only.
//!
//! Problem: a parameter whose arguments are all the same value, or itself, is
//! that value. Replacing it may make others trivial, those it is an argument
//! of. Checking all arguments again each time is quadratic: an exit block may
//! have 100,000 predecessors that each pass another soon-replaced parameter.
//!
//! Idea: a parameter is safe as long as two of its arguments, the first and
//! the one at its cursor, differ from each other and from itself. It is
//! watched by these two, and looked at again only when they may have become
//! one; everything before the cursor has been seen to equal the first
//! argument, and merging values never undoes that, so cursors only advance.
//!
//! Invariants: a replaced value's root is its replacement, transitively (path
//! compression). When a root merges into another, the shorter of the two
//! lists of watchers is looked at: a parameter watched by both is in either.
//! So each argument is passed once and each watch moves O(log n) times.

use cranelift_entity::packed_option::PackedOption;
use cranelift_entity::{PrimaryMap, SecondaryMap};

use super::ssa::{Phi, Ssa};
use crate::Value;

/// Which values stand for which others.
#[derive(Default)]
pub(super) struct Replacements {
    parent: SecondaryMap<Value, PackedOption<Value>>,
}

impl Replacements {
    /// The value to use instead of this one (itself if it was not replaced).
    pub(super) fn root(&mut self, value: Value) -> Value {
        let mut root = value;
        while let Some(next) = self.parent[root].expand() {
            root = next;
        }
        let mut at = value;
        while at != root {
            let next = self.parent[at].expand().unwrap_or(root);
            self.parent[at] = root.into();
            at = next;
        }
        root
    }

    pub(super) fn replace(&mut self, value: Value, with: Value) {
        debug_assert!(self.parent[value].is_none() && value != with);
        self.parent[value] = with.into();
    }
}

/// How far a parameter's arguments have been looked through.
#[derive(Clone, Default)]
struct Progress {
    /// The first argument that is not the parameter itself.
    first: Option<Value>,
    /// Arguments before this one equal `first` or the parameter.
    cursor: usize,
}

struct Finder<'a> {
    ssa: &'a Ssa,
    replaced: Replacements,
    progress: PrimaryMap<Phi, Progress>,
    watchers: SecondaryMap<Value, Vec<Phi>>,
    queue: Vec<Phi>,
    /// Parameters that receive nothing but themselves.
    empty: Vec<Phi>,
}

/// Finds the parameters that can be replaced and by what; and those in cycles
/// that nothing enters, which receive nothing but themselves.
pub(super) fn find(ssa: &Ssa) -> (Replacements, Vec<Phi>) {
    let mut finder = Finder {
        ssa,
        replaced: Replacements::default(),
        progress: ssa.phis.values().map(|_| Progress::default()).collect(),
        watchers: SecondaryMap::new(),
        queue: ssa.phis.keys().rev().collect(),
        empty: Vec::new(),
    };
    while let Some(phi) = finder.queue.pop() {
        finder.look_at(phi);
    }
    (finder.replaced, finder.empty)
}

impl Finder<'_> {
    fn look_at(&mut self, phi: Phi) {
        let own = self.ssa.phis[phi].value;
        if self.replaced.root(own) != own {
            return;
        }
        match self.two_arguments(phi) {
            (Some(a), Some(b)) => {
                self.watchers[a].push(phi);
                self.watchers[b].push(phi);
            }
            (Some(only), None) => self.replace(own, only),
            (None, _) => self.empty.push(phi),
        }
    }

    /// Two arguments that differ from each other and the parameter, as far as
    /// there are any, starting from where the last look stopped.
    fn two_arguments(&mut self, phi: Phi) -> (Option<Value>, Option<Value>) {
        let own = self.ssa.phis[phi].value;
        let arguments = self.ssa.phis[phi].operands.as_slice(&self.ssa.operands);
        let progress = &mut self.progress[phi];
        let mut first = progress.first.map(|v| self.replaced.root(v));
        first = first.filter(|&v| v != own);
        while let Some(&argument) = arguments.get(progress.cursor) {
            let value = self.replaced.root(argument);
            match first {
                _ if value == own => {}
                None => first = Some(value),
                Some(first_value) if first_value == value => {}
                Some(_) => {
                    progress.first = first;
                    return (first, Some(value));
                }
            }
            progress.cursor += 1;
        }
        progress.first = first;
        (first, None)
    }

    fn replace(&mut self, value: Value, with: Value) {
        self.replaced.replace(value, with);
        let mut short = std::mem::take(&mut self.watchers[value]);
        let mut long = std::mem::take(&mut self.watchers[with]);
        if short.len() > long.len() {
            std::mem::swap(&mut short, &mut long);
        }
        for phi in short {
            if self.has_two_arguments(phi) {
                long.push(phi);
            } else {
                self.queue.push(phi);
            }
        }
        self.watchers[with] = long;
        // `with` may be one of the watchers in the long list: it is its own argument now.
        if let Some(phi) = self.ssa.phi_of[with].expand() {
            self.queue.push(phi);
        }
    }

    /// Whether the two watched arguments are still distinct and not the parameter.
    fn has_two_arguments(&mut self, phi: Phi) -> bool {
        let own = self.ssa.phis[phi].value;
        let arguments = self.ssa.phis[phi].operands.as_slice(&self.ssa.operands);
        let Progress { first, cursor } = self.progress[phi];
        let first = first.map(|v| self.replaced.root(v));
        let second = arguments.get(cursor).map(|&v| self.replaced.root(v));
        match (first, second) {
            (Some(a), Some(b)) => a != b && a != own && b != own,
            _ => false,
        }
    }
}
