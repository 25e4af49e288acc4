//! Tests of `cfg` and `dom` on graphs given as lists of edges.

use crate::cfg::Cfg;
use crate::dom::DomTree;
use crate::{Block, BlockCall, Cond, FuncRef, Function, Terminator, Type};

/// A function whose block `i` has the edges `edges[i]` (two at most).
pub(crate) fn graph(edges: &[Vec<u32>]) -> Function {
    let mut function = Function::new(FuncRef::from_u32(0), "graph");
    let value = function.add_param(function.entry, Type::I64);
    for _ in 1..edges.len() {
        function.add_block();
    }
    for (block, targets) in edges.iter().enumerate() {
        let to = |index: usize| BlockCall::to(Block::from_u32(targets[index]));
        function.blocks[Block::from_u32(block as u32)].term = match targets.len() {
            0 => Terminator::Return(value),
            1 => Terminator::Jump(to(0)),
            _ => Terminator::Branch {
                cond: Cond::Ne,
                ty: Type::I64,
                lhs: value,
                rhs: value,
                then: to(0),
                other: to(1),
            },
        };
    }
    function
}

/// What can be reached from the entry without going through `without`.
pub(crate) fn reachable(edges: &[Vec<u32>], without: Option<u32>) -> Vec<bool> {
    let mut seen = vec![false; edges.len()];
    let mut todo = vec![0];
    while let Some(block) = todo.pop() {
        if Some(block) != without && !std::mem::replace(&mut seen[block as usize], true) {
            todo.extend(&edges[block as usize]);
        }
    }
    seen
}

fn check(edges: &[Vec<u32>]) {
    let function = graph(edges);
    let cfg = Cfg::new(&function);
    let dom = DomTree::new(&function, &cfg);
    let blocks: Vec<Block> = function.blocks.keys().collect();
    let seen = reachable(edges, None);
    for &a in &blocks {
        let i = a.as_u32();
        assert_eq!(cfg.is_reachable(a), seen[i as usize]);
        let avoiding = reachable(edges, Some(i));
        for &b in &blocks {
            let j = b.as_u32() as usize;
            let dominates = seen[i as usize] && seen[j] && !avoiding[j];
            assert_eq!(dom.dominates(a, b), dominates, "{a} {b} {edges:?}");
        }
        let strict = |b: Block| b != a && dom.dominates(b, a);
        let idom = blocks
            .iter()
            .copied()
            .find(|&b| strict(b) && blocks.iter().all(|&c| !strict(c) || dom.dominates(c, b)));
        assert_eq!(dom.idom(a), idom, "{a} {edges:?}");
        let children: Vec<Block> = dom.children(a).collect();
        let expected = blocks.iter().filter(|&&b| dom.idom(b) == Some(a)).count();
        assert_eq!(children.len(), expected);
        assert!(children.iter().all(|&b| dom.idom(b) == Some(a)));
        let incoming = edges.iter().flatten().filter(|&&t| t == i).count();
        assert_eq!(cfg.preds(a).len(), incoming);
        for pred in cfg.preds(a) {
            assert!(edges[pred.as_u32() as usize].contains(&i));
        }
    }
    assert_eq!(dom.preorder().len(), cfg.rpo().len());
    assert_eq!(cfg.rpo()[0], function.entry);
    for (index, &block) in cfg.rpo().iter().enumerate() {
        assert_eq!(cfg.rpo_index(block), Some(index));
    }
}

#[test]
fn dominators_are_what_cannot_be_avoided() {
    check(&[vec![]]);
    check(&[vec![1, 2], vec![3], vec![3], vec![]]);
    // Irreducible: a loop with two entries.
    check(&[vec![1, 2], vec![2, 3], vec![1, 3], vec![]]);
    // Unreachable blocks that lead to reachable ones.
    check(&[vec![2], vec![2, 1], vec![2, 4], vec![1], vec![]]);
    let mut state = 1u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as usize % below
    };
    for round in 0..3000 {
        let blocks = 1 + round % 14;
        let edges: Vec<Vec<u32>> =
            (0..blocks).map(|_| (0..random(3)).map(|_| random(blocks) as u32).collect()).collect();
        check(&edges);
    }
}

#[test]
fn reverse_post_order_puts_predecessors_first() {
    let function = graph(&[vec![3, 1], vec![2], vec![4], vec![2], vec![]]);
    let cfg = Cfg::new(&function);
    for &block in cfg.rpo() {
        for &pred in cfg.preds(block) {
            assert!(cfg.rpo_index(pred) < cfg.rpo_index(block));
        }
    }
}

/// Shapes that are quadratic in the textbook algorithm: they would take minutes.
#[test]
fn deep_shapes_are_fast() {
    let n = 200_000;
    let ladder = (0..n).map(|i| if i + 1 < n { vec![n - 1, i + 1] } else { vec![] });
    let other = (0..n).map(|i| if i + 1 < n { vec![i + 1, n - 1] } else { vec![] });
    // Checks go down on one side, clean-ups come back on the other.
    let half = n / 2;
    let cleanup = (0..n).map(|i| match i {
        _ if i + 1 < half => vec![i + 1, n - 1 - i],
        _ if i + 1 < n => vec![i + 1],
        _ => vec![],
    });
    let loops = (0..n).map(|i| if i + 1 < n { vec![i + 1, i / 2] } else { vec![] });
    let shapes: [Vec<Vec<u32>>; 4] =
        [ladder.collect(), other.collect(), cleanup.collect(), loops.collect()];
    for edges in shapes {
        let function = graph(&edges);
        let cfg = Cfg::new(&function);
        let dom = DomTree::new(&function, &cfg);
        assert!(dom.dominates(function.entry, Block::from_u32(n - 1)));
    }
}
