//! Tests of `loops` on random graphs, against the definitions.

use std::collections::BTreeSet;

use crate::Block;
use crate::cfg::Cfg;
use crate::cfg_tests::{graph, reachable};
use crate::dom::DomTree;
use crate::loops::Loops;

/// The blocks from which a back edge to the header can be reached without
/// going through it, and the header, if there is such an edge.
fn natural_loop(
    edges: &[Vec<u32>],
    cfg: &Cfg,
    dom: &DomTree,
    header: Block,
) -> Option<BTreeSet<Block>> {
    let back = |&&pred: &&Block| dom.dominates(header, pred);
    let latches: Vec<u32> = cfg.preds(header).iter().filter(back).map(|b| b.as_u32()).collect();
    if latches.is_empty() {
        return None;
    }
    let reversed: Vec<Vec<u32>> = (0..edges.len() as u32)
        .map(|to| {
            (0..edges.len() as u32).filter(|&from| edges[from as usize].contains(&to)).collect()
        })
        .collect();
    let mut members = BTreeSet::from([header]);
    for latch in latches.into_iter().filter(|&latch| latch != header.as_u32()) {
        // A walk from the latch against the edges that stops at the header.
        let mut seen = vec![false; edges.len()];
        let mut todo = vec![latch];
        while let Some(block) = todo.pop() {
            if block != header.as_u32() && !std::mem::replace(&mut seen[block as usize], true) {
                todo.extend(&reversed[block as usize]);
            }
        }
        let blocks = (0..edges.len() as u32).filter(|&block| seen[block as usize]);
        members.extend(blocks.map(Block::from_u32).filter(|&block| cfg.is_reachable(block)));
    }
    Some(members)
}

fn check(edges: &[Vec<u32>]) {
    let function = graph(edges);
    let cfg = Cfg::new(&function);
    let dom = DomTree::new(&function, &cfg);
    let loops = Loops::new(&cfg, &dom);
    let found: Vec<(Block, BTreeSet<Block>)> = cfg
        .rpo()
        .iter()
        .filter_map(|&block| Some((block, natural_loop(edges, &cfg, &dom, block)?)))
        .collect();
    for &block in cfg.rpo() {
        let around = found.iter().filter(|(_, members)| members.contains(&block));
        let inner = around.clone().min_by_key(|(_, members)| members.len()).map(|found| found.0);
        let outer = around.filter(|(header, _)| *header != block);
        let outer = outer.min_by_key(|(_, members)| members.len()).map(|found| found.0);
        assert_eq!(loops.header(block), inner, "{block} {edges:?}");
        assert_eq!(loops.parent(block), outer, "{block} {edges:?}");
        assert_eq!(loops.is_header(block), inner == Some(block), "{block} {edges:?}");
    }
    let order = loops.order(&function, &cfg);
    let place = |block: Block| order.iter().position(|&other| other == block).unwrap();
    assert_eq!(order.len(), cfg.rpo().len());
    for &block in cfg.rpo() {
        if let Some(idom) = dom.idom(block) {
            assert!(place(idom) < place(block), "{block} {edges:?}");
        }
    }
    for (header, members) in &found {
        let places: BTreeSet<usize> = members.iter().map(|&block| place(block)).collect();
        let start = place(*header);
        assert!(places.into_iter().eq(start..start + members.len()), "{header} {edges:?}");
    }
    // Without irreducible cycles every edge goes forward or is a back edge.
    let seen = reachable(edges, None);
    let retreating = |from: Block, to: Block| {
        cfg.rpo_index(to) <= cfg.rpo_index(from) && !dom.dominates(to, from)
    };
    let pairs =
        || cfg.rpo().iter().flat_map(|&to| cfg.preds(to).iter().map(move |&from| (from, to)));
    let known = |&(from, _): &(Block, Block)| seen[from.as_u32() as usize];
    if !pairs().filter(known).any(|(from, to)| retreating(from, to)) {
        for (from, to) in pairs().filter(known) {
            assert!(place(from) < place(to) || dom.dominates(to, from), "{from} {to} {edges:?}");
        }
    }
}

#[test]
fn loops_are_natural_loops_and_stay_in_one_piece() {
    check(&[vec![]]);
    check(&[vec![1], vec![2, 3], vec![1], vec![]]);
    // The way out comes first in a plain reverse post-order.
    check(&[vec![1], vec![2, 3], vec![3, 4], vec![1, 4], vec![]]);
    // Irreducible.
    check(&[vec![1, 2], vec![2, 3], vec![1, 3], vec![]]);
    let mut state = 7u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as usize % below
    };
    for round in 0..3000 {
        let blocks = 2 + round % 13;
        let edges: Vec<Vec<u32>> = (0..blocks)
            .map(|_| (0..random(3)).map(|_| 1 + random(blocks - 1) as u32).collect())
            .collect();
        check(&edges);
    }
}
