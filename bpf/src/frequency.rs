//! How often each block is executed per execution of its function, estimated.
//!
//! Problem: every engine must be weighed by the same figures, so they come from
//! the bytecode's graph by a fixed rule: the function's entry counts 1; a
//! branch with one back edge takes it with 7/8; every other branch goes either
//! way with 1/2; a tail call succeeds, and leaves, with 1/2. A back edge is one
//! whose target dominates its source. No block counts more than 4,096.
//!
//! Idea: these are the expected visits of a Markov chain, the solution of
//! `x = b + P x`, and dominators let it be solved block by block (the shape of
//! Tarjan's path problems, 1981). All paths to a block lead through its
//! immediate dominator, so `x(v) = x(idom v) * r(v)`, where r(v) is the number
//! of visits to v for each visit to the dominator. The blocks below one
//! dominator, taken bottom-up, depend on each other only through edges from
//! their subtrees, and the chance to get from a subtree's root to such an edge
//! is a product of r's along the tree, which path compression finds. An edge
//! from v's own subtree to v is a loop, and contributes 1 / (1 - p), where p is
//! the chance to come back. In a reducible graph one sweep in reverse
//! post-order over the siblings is exact; O(m log n) in all.
//!
//! Irreducible loops are cycles among siblings. They have no back edge in the
//! above sense; their flow is followed for [`ROUNDS`] sweeps, which leaves out
//! only what goes round more often.
//!
//! A loop without a way out counts 4,096 for each entry, and what flows on from
//! a loop is what flowed in even where the figures inside are capped.

use tailor_ir::TAIL_CALL_SUCCEEDS;

use crate::cfg::{Cfg, Predecessors, is_tail_call, last_slot};
use crate::dominators::Dominators;
use crate::insn::Op;

/// The most that a block may count.
pub const MOST: f64 = 4096.0;
/// The chance that a branch takes its back edge.
pub const BACK: f64 = 7.0 / 8.0;
/// Sweeps over an irreducible loop.
pub const ROUNDS: u32 = 64;

/// Products stay inside these bounds, so that nothing overflows.
const TINY: f64 = 1e-300;
const HUGE: f64 = 1e300;

/// The frequency of each block. All are positive.
pub fn frequencies(ops: &[Op], cfg: &Cfg) -> Vec<f64> {
    if cfg.blocks.is_empty() {
        return Vec::new();
    }
    let predecessors = cfg.predecessors();
    let dominators = Dominators::new(cfg, &predecessors);
    let order = cfg.reverse_post_order();
    let children = Children::new(&order, &dominators);
    let mut solver = Solver {
        ops,
        cfg,
        predecessors: &predecessors,
        dominators: &dominators,
        position: positions(&order),
        forest: Forest::new(order.len()),
        visits: vec![0.0; order.len()],
    };
    for &block in dominators.top_down().iter().rev() {
        solver.solve(block, children.of(block));
    }
    let returns: f64 = predecessors
        .of(0)
        .iter()
        .map(|&pred| solver.forest.eval(pred).1 * solver.probability(pred, 0))
        .sum();
    let mut visits = solver.visits;
    visits[0] = repeated(1.0, returns);
    for &block in dominators.top_down() {
        if let Some(idom) = dominators.idom(block) {
            visits[block as usize] = bounded(visits[block as usize] * visits[idom as usize]);
        }
    }
    visits.iter().map(|&x| x.min(MOST)).collect()
}

/// By block, its place in an order.
fn positions(order: &[u32]) -> Vec<u32> {
    let mut positions = vec![0; order.len()];
    for (place, &block) in order.iter().enumerate() {
        positions[block as usize] = place as u32;
    }
    positions
}

fn bounded(x: f64) -> f64 {
    x.clamp(TINY, HUGE)
}

/// Visits to a block that is entered `inflow` times and returned to from
/// itself with probability `p`.
fn repeated(inflow: f64, p: f64) -> f64 {
    let leaves = 1.0 - p;
    let times = if leaves > 1e-12 { 1.0 / leaves } else { MOST };
    bounded(inflow * times)
}

/// The children of each block in the dominator tree, in reverse post-order.
struct Children {
    first: Vec<u32>,
    list: Vec<u32>,
}

impl Children {
    fn new(order: &[u32], dominators: &Dominators) -> Children {
        let count = order.len();
        let mut first = vec![0u32; count + 1];
        for block in 1..count as u32 {
            let idom = dominators.idom(block).unwrap_or(0);
            first[idom as usize + 1] += 1;
        }
        for i in 1..first.len() {
            first[i] += first[i - 1];
        }
        let mut next = first.clone();
        let mut list = vec![0; count - 1];
        for &block in order {
            if let Some(idom) = dominators.idom(block) {
                let place = &mut next[idom as usize];
                list[*place as usize] = block;
                *place += 1;
            }
        }
        Children { first, list }
    }

    fn of(&self, block: u32) -> &[u32] {
        let block = block as usize;
        &self.list[self.first[block] as usize..self.first[block + 1] as usize]
    }
}

/// The part of the dominator tree that is solved: from each block to the root
/// of its subtree, and the product of visits on the way.
struct Forest {
    above: Vec<u32>,
    product: Vec<f64>,
    path: Vec<u32>,
}

impl Forest {
    fn new(count: usize) -> Forest {
        Forest { above: (0..count as u32).collect(), product: vec![1.0; count], path: Vec::new() }
    }

    fn link(&mut self, block: u32, above: u32, visits: f64) {
        self.above[block as usize] = above;
        self.product[block as usize] = visits;
    }

    /// The root of the tree that the block is in, and the visits to the block
    /// for each visit to that root.
    fn eval(&mut self, block: u32) -> (u32, f64) {
        let mut x = block;
        while self.above[x as usize] != x {
            self.path.push(x);
            x = self.above[x as usize];
        }
        // The topmost one hangs from the root already.
        self.path.pop();
        while let Some(x) = self.path.pop() {
            let (x, above) = (x as usize, self.above[x as usize] as usize);
            self.product[x] = bounded(self.product[x] * self.product[above]);
            self.above[x] = self.above[above];
        }
        (self.above[block as usize], self.product[block as usize])
    }
}

/// An edge into a block from the subtree of a sibling.
struct Inflow {
    sibling: u32,
    /// Times that it is taken for each visit to the sibling.
    weight: f64,
}

struct Solver<'a> {
    ops: &'a [Op],
    cfg: &'a Cfg,
    predecessors: &'a Predecessors,
    dominators: &'a Dominators,
    /// By block, its place in reverse post-order.
    position: Vec<u32>,
    forest: Forest,
    /// By block, visits for each visit to its immediate dominator.
    visits: Vec<f64>,
}

impl Solver<'_> {
    /// The probability of an edge; a block with two edges to the same place has
    /// it for each of them.
    fn probability(&self, from: u32, to: u32) -> f64 {
        let block = &self.cfg.blocks[from as usize];
        if is_tail_call(&self.ops[last_slot(self.ops, block)]) {
            return 1.0 - TAIL_CALL_SUCCEEDS;
        }
        let back = |target| self.dominators.dominates(target, from);
        match block.succs[..] {
            [a, b] if back(a) == back(b) => 0.5,
            [_, _] if back(to) => BACK,
            [_, _] => 1.0 - BACK,
            // An indirect jump goes anywhere with the same chance.
            ref targets => 1.0 / targets.len().max(1) as f64,
        }
    }

    /// Finds the visits to the blocks that `dominator` immediately dominates.
    fn solve(&mut self, dominator: u32, children: &[u32]) {
        let mut cyclic = false;
        let mut flows = Vec::with_capacity(children.len());
        for &block in children {
            let (flow, backward) = self.flow_into(block, dominator);
            cyclic |= backward;
            flows.push(flow);
        }
        let rounds = if cyclic { ROUNDS } else { 1 };
        for _ in 0..rounds {
            let mut change = 0.0f64;
            for (&block, flow) in children.iter().zip(&flows) {
                let from = |i: &Inflow| self.visits[i.sibling as usize] * i.weight;
                let inflow = flow.direct + flow.siblings.iter().map(from).sum::<f64>();
                let visits = repeated(inflow, flow.own);
                let old = std::mem::replace(&mut self.visits[block as usize], visits);
                change = change.max((visits - old).abs() / visits);
            }
            if change < 1e-12 {
                break;
            }
        }
        for &block in children {
            let visits = self.visits[block as usize];
            self.forest.link(block, dominator, visits);
        }
    }

    /// What flows into a block, and whether any of it comes from a sibling that
    /// is solved later.
    fn flow_into(&mut self, block: u32, dominator: u32) -> (Flow, bool) {
        let mut flow = Flow::default();
        let mut backward = false;
        for &pred in self.predecessors.of(block) {
            let probability = self.probability(pred, block);
            if pred == dominator {
                flow.direct += probability;
                continue;
            }
            let (sibling, visits) = self.forest.eval(pred);
            let weight = visits * probability;
            if sibling == block {
                flow.own += weight;
            } else {
                backward |= self.position[sibling as usize] > self.position[block as usize];
                flow.siblings.push(Inflow { sibling, weight });
            }
        }
        (flow, backward)
    }
}

/// What flows into a block.
#[derive(Default)]
struct Flow {
    /// For each visit to the dominator.
    direct: f64,
    /// For each visit to the block itself.
    own: f64,
    siblings: Vec<Inflow>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dominators::tests::{dominators, random_graph};
    use crate::text::parse_ops;

    fn of(text: &str) -> Vec<f64> {
        let ops = parse_ops(text).expect("the test's code parses");
        frequencies(&ops, &Cfg::build(&ops))
    }

    fn check(text: &str, expected: &[f64]) {
        let got = of(text);
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9 * b;
        assert!(
            got.len() == expected.len() && got.iter().zip(expected).all(close),
            "{text}\n{got:?} instead of {expected:?}"
        );
    }

    #[test]
    fn branches_and_joins() {
        check("exit", &[1.0]);
        check("if r1 == 0 goto a\n r0 = 1\n goto b\n a: r0 = 2\n b: exit", &[1.0, 0.5, 0.5, 1.0]);
        check("if r1 == 0 goto +0\n exit", &[1.0, 1.0]);
        check("call 12\n call 12\n exit", &[1.0, 0.5, 0.25]);
    }

    #[test]
    fn loops() {
        // Tested at the bottom, at the top, and not at all.
        check("r0 = 0\n a: r1 += -1\n if r1 != 0 goto a\n exit", &[1.0, 8.0, 1.0]);
        check("r0 = 0\n a: if r1 == 0 goto b\n goto a\n b: exit", &[1.0, 2.0, 1.0, 1.0]);
        check("goto -1", &[MOST]);
        check("if r1 == 0 goto -1\n exit", &[8.0, 1.0]);
        // A loop that a branch in the middle leaves: 16/9 rounds.
        check(
            "r0 = 0\n a: if r1 == 0 goto b\n if r2 == 0 goto a\n r0 = 1\n b: exit",
            &[1.0, 16.0 / 9.0, 8.0 / 9.0, 1.0 / 9.0, 1.0],
        );
        // Two back edges of one loop.
        check("r0 = 0\n a: if r1 == 0 goto a\n if r2 == 0 goto a\n exit", &[1.0, 64.0, 8.0, 1.0]);
        check("a: if r1 == 0 goto b\n goto a\n b: goto a", &[MOST, MOST / 2.0, MOST / 2.0]);
    }

    #[test]
    fn nests_are_capped_and_what_follows_is_not() {
        let mut text = String::new();
        for depth in 0..6 {
            text += &format!("r0 = {depth}\n a{depth}: r1 += 1\n");
        }
        for depth in (0..6).rev() {
            text += &format!("if r1 != {depth} goto a{depth}\n");
        }
        text += "exit";
        let powers = |range: std::ops::Range<i32>| range.map(|n| 8f64.powi(n).min(MOST));
        let mut expected: Vec<f64> = powers(0..7).collect();
        expected.extend(powers(0..6).rev());
        check(&text, &expected);
    }

    #[test]
    fn irreducible_loops_are_followed() {
        // Two blocks that jump to each other, either of them entered first.
        check(
            "if r1 == 0 goto b\n a: if r2 == 0 goto out\n b: if r3 == 0 goto a\n out: exit",
            &[1.0, 1.0, 1.0, 1.0],
        );
        // The same without a way out: as often as it is followed.
        let endless = of("if r1 == 0 goto b\n a: r0 = 1\n b: goto a");
        assert!(endless[1] >= 32.0 && endless[1] <= f64::from(ROUNDS), "{endless:?}");
    }

    #[test]
    fn figures_stay_positive_and_finite() {
        // A thousand early exits, then a nest a thousand deep.
        let mut text = "call 12\n".repeat(1200);
        for depth in 0..1000 {
            text += &format!("a{depth}: r1 += 1\n");
        }
        for depth in (0..1000).rev() {
            text += &format!("if r1 != {depth} goto a{depth}\n");
        }
        let got = of(&(text + "exit"));
        assert!(got.iter().all(|&x| x > 0.0 && x <= MOST));
    }

    /// Solves `x = b + P x` by elimination; nothing for a singular system.
    fn dense(cfg: &Cfg) -> Option<Vec<f64>> {
        let count = cfg.blocks.len();
        let tree = dominators(cfg);
        let mut rows = vec![vec![0.0; count + 1]; count];
        rows[0][count] = 1.0;
        for (from, block) in cfg.blocks.iter().enumerate() {
            rows[from][from] += 1.0;
            let back = |&to: &u32| tree.dominates(to, from as u32);
            let backs = block.succs.iter().filter(|to| back(to)).count();
            for &to in &block.succs {
                rows[to as usize][from] -= match (block.succs.len(), backs) {
                    (2, 1) if back(&to) => BACK,
                    (2, 1) => 1.0 - BACK,
                    (2, _) => 0.5,
                    _ => 1.0,
                };
            }
        }
        for i in 0..count {
            let size = |r: &usize| f64::abs(rows[*r][i]);
            let pivot = (i..count).max_by(|a, b| size(a).total_cmp(&size(b)))?;
            rows.swap(i, pivot);
            if rows[i][i].abs() < 1e-9 {
                return None;
            }
            let row = rows[i].clone();
            for (_, other) in rows.iter_mut().enumerate().filter(|(r, _)| *r != i) {
                let factor = other[i] / row[i];
                other.iter_mut().zip(&row).for_each(|(a, b)| *a -= factor * b);
            }
        }
        Some((0..count).map(|i| rows[i][count] / rows[i][i]).collect())
    }

    #[test]
    fn random_graphs_agree_with_elimination() {
        let mut compared = 0;
        for seed in 0..3000 {
            let cfg = random_graph(seed);
            let tree = dominators(&cfg);
            let position = positions(&cfg.reverse_post_order());
            let reducible = (0..cfg.blocks.len()).all(|from| {
                let forward = |to: u32| position[to as usize] > position[from];
                let ok = |&to: &u32| forward(to) || tree.dominates(to, from as u32);
                cfg.blocks[from].succs.iter().all(ok)
            });
            let Some(expected) = dense(&cfg).filter(|_| reducible) else {
                continue;
            };
            compared += 1;
            let got = frequencies(&vec![Op::Exit; cfg.blocks.len()], &cfg);
            for (a, b) in got.iter().zip(&expected) {
                assert!((a - b.min(MOST)).abs() < 1e-6 * a, "{got:?} {expected:?} {cfg:?}");
            }
        }
        assert!(compared > 500, "{compared}");
    }

    #[test]
    fn a_million_instructions() {
        let pair = parse_ops("r1 += 1\n if r1 == 0 goto -2").expect("parses");
        let mut ops = pair.repeat(500_000);
        ops.push(Op::Exit);
        let got = frequencies(&ops, &Cfg::build(&ops));
        assert!((got[250_000] - 8.0).abs() < 1e-6, "{}", got[250_000]);
    }
}
