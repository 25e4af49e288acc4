//! Minimum cuts by maximum flows (Dinic's algorithm).
//!
//! Rounds: a breadth-first search numbers the nodes by their distance from the
//! sources; then flow is pushed along arcs that go one step further until no
//! path to the sink is left among these. When the sink is no longer reached,
//! what is reached is the smallest of the sides that a minimum cut can have.

/// The capacity of what must not be cut. Flows stay below: there are fewer than
/// 2^14 times 2^48 of others at any node that counts.
pub(super) const UNLIMITED: u64 = 1 << 62;

const NONE: u32 = u32::MAX;

pub(super) struct Network {
    /// Of each node, its first arc.
    first: Vec<u32>,
    /// Arcs in pairs that are each other's reverse.
    arcs: Vec<Arc>,
}

struct Arc {
    to: u32,
    /// The next arc of the same node.
    next: u32,
    /// What can still be pushed.
    capacity: u64,
}

impl Network {
    /// Without arcs; `arcs` is how many pairs there will be.
    pub(super) fn new(nodes: usize, arcs: usize) -> Network {
        Network { first: vec![NONE; nodes], arcs: Vec::with_capacity(2 * arcs) }
    }

    /// Adds an arc with its capacity and that of its reverse.
    pub(super) fn add(&mut self, from: usize, to: usize, forth: u64, back: u64) {
        for (from, to, capacity) in [(from, to, forth), (to, from, back)] {
            let arc = self.arcs.len() as u32;
            let next = std::mem::replace(&mut self.first[from], arc);
            self.arcs.push(Arc { to: to as u32, next, capacity });
        }
    }

    /// For each node, whether it is on the sources' side of the cut.
    pub(super) fn minimum_cut(mut self, sources: &[usize], sink: usize) -> Vec<bool> {
        loop {
            let levels = self.levels(sources);
            if levels[sink] == NONE {
                return levels.into_iter().map(|level| level != NONE).collect();
            }
            let mut current = self.first.clone();
            for &source in sources {
                while self.push(source, sink, &levels, &mut current) {}
            }
        }
    }

    /// The distance of each node from the sources over arcs with capacity left.
    fn levels(&self, sources: &[usize]) -> Vec<u32> {
        let mut levels = vec![NONE; self.first.len()];
        let mut queue = sources.to_vec();
        queue.iter().for_each(|&source| levels[source] = 0);
        let mut at = 0;
        while let Some(&node) = queue.get(at) {
            at += 1;
            let mut arc = self.first[node];
            while arc != NONE {
                let Arc { to, next, capacity } = self.arcs[arc as usize];
                if capacity > 0 && levels[to as usize] == NONE {
                    levels[to as usize] = levels[node] + 1;
                    queue.push(to as usize);
                }
                arc = next;
            }
        }
        levels
    }

    /// Pushes as much as goes along one path, level by level; `current` has the
    /// arc of each node up to which none leads to the sink any more. Says
    /// whether there was a path.
    fn push(&mut self, source: usize, sink: usize, levels: &[u32], current: &mut [u32]) -> bool {
        let mut path: Vec<u32> = Vec::new();
        let mut node = source;
        while node != sink {
            let arc = current[node];
            if arc == NONE {
                // A dead end: back, and on with the next arc.
                let Some(last) = path.pop() else { return false };
                node = self.arcs[last as usize ^ 1].to as usize;
                current[node] = self.arcs[last as usize].next;
                continue;
            }
            let Arc { to, next, capacity } = self.arcs[arc as usize];
            if capacity > 0 && levels[to as usize] == levels[node].wrapping_add(1) {
                path.push(arc);
                node = to as usize;
            } else {
                current[node] = next;
            }
        }
        let least = path.iter().map(|&arc| self.arcs[arc as usize].capacity).min().unwrap_or(0);
        for arc in path {
            self.arcs[arc as usize].capacity -= least;
            self.arcs[arc as usize ^ 1].capacity += least;
        }
        true
    }
}
