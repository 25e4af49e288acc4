//! The order in which things were used last: a doubly linked list over small
//! numbers, so that a use costs the same however many there are.

/// Numbers with something of their own, the least recently used first.
pub(super) struct Recency<T> {
    nodes: Vec<Node<T>>,
}

/// A place in the ring; that of [`HEAD`] stands between newest and oldest.
struct Node<T> {
    older: usize,
    newer: usize,
    own: Option<T>,
}

/// The node that is no number's. Number n has node n + 1.
const HEAD: usize = 0;

impl<T> Default for Recency<T> {
    fn default() -> Recency<T> {
        Recency { nodes: vec![Node { older: HEAD, newer: HEAD, own: None }] }
    }
}

impl<T> Recency<T> {
    /// What is the number's that was used least recently.
    pub fn oldest(&self) -> Option<&T> {
        self.nodes[self.nodes[HEAD].newer].own.as_ref()
    }

    /// Adds a number, as the one used last; it must not be there yet.
    pub fn push(&mut self, number: usize, own: T) {
        let node = number + 1;
        while self.nodes.len() <= node {
            self.nodes.push(Node { older: HEAD, newer: HEAD, own: None });
        }
        self.nodes[node].own = Some(own);
        self.link(node);
    }

    /// Makes a number the one used last.
    pub fn touch(&mut self, number: usize) {
        self.unlink(number + 1);
        self.link(number + 1);
    }

    /// Takes a number out.
    pub fn remove(&mut self, number: usize) {
        self.unlink(number + 1);
        self.nodes[number + 1].own = None;
    }

    fn link(&mut self, node: usize) {
        let newest = self.nodes[HEAD].older;
        self.nodes[node].older = newest;
        self.nodes[node].newer = HEAD;
        self.nodes[newest].newer = node;
        self.nodes[HEAD].older = node;
    }

    fn unlink(&mut self, node: usize) {
        let Node { older, newer, .. } = self.nodes[node];
        self.nodes[older].newer = newer;
        self.nodes[newer].older = older;
    }
}

#[cfg(test)]
mod tests {
    use super::Recency;

    #[test]
    fn order_of_use() {
        let mut recency = Recency::default();
        assert_eq!(recency.oldest(), None);
        for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
            recency.push(number, name);
        }
        recency.touch(0);
        assert_eq!(recency.oldest(), Some(&"b"));
        recency.remove(1);
        assert_eq!(recency.oldest(), Some(&"c"));
        recency.touch(2);
        recency.remove(0);
        recency.remove(2);
        assert_eq!(recency.oldest(), None);
        recency.push(1, "d");
        assert_eq!(recency.oldest(), Some(&"d"));
    }
}
