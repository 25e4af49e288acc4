//! Regions of small graphs, and of random ones against all that there are.

use regalloc2::Block;
use tailor_lower::MachBlock;

use super::{Costs, Demand, Graph, edge_frequency, outermost_loops};

/// Blocks with their frequencies and successors.
fn blocks(shape: &[(f64, &[usize])]) -> Vec<MachBlock> {
    let mut blocks: Vec<MachBlock> = Vec::new();
    for &(frequency, succs) in shape {
        let succs = succs.iter().map(|&succ| Block::new(succ)).collect();
        blocks.push(MachBlock { frequency, succs, ..MachBlock::default() });
    }
    for from in 0..blocks.len() {
        for succ in blocks[from].succs.clone() {
            blocks[succ.index()].preds.push(Block::new(from));
        }
    }
    blocks
}

/// One register: a save for each time the region is entered, a restore for each
/// time it is left, over an edge or otherwise.
fn saves(blocks: &[MachBlock]) -> Costs {
    let exit = |block: &MachBlock| if block.succs.is_empty() { block.frequency } else { 0.0 };
    let mut inside: Vec<f64> = blocks.iter().map(exit).collect();
    inside[0] += 1.0;
    Costs { enter: 1.0, leave: 1.0, inside }
}

fn inside(needed: &[usize], count: usize) -> Vec<Demand> {
    let mut demands = vec![Demand::Either; count];
    needed.iter().for_each(|&block| demands[block] = Demand::Inside);
    demands
}

fn members(inside: &[bool]) -> Vec<usize> {
    (0..inside.len()).filter(|&block| inside[block]).collect()
}

#[test]
fn a_cold_arm_is_a_region_of_its_own() {
    let blocks = blocks(&[(1.0, &[1, 2]), (0.125, &[3]), (0.875, &[3]), (1.0, &[])]);
    let region = Graph::of_loops(&blocks).cheapest(&inside(&[1], 4), &saves(&blocks)).unwrap();
    assert_eq!(members(&region.inside), [1]);
    assert_eq!(region.cost, 0.25);
}

/// Half of the flow leaves through a tail call, so less is restored behind it.
#[test]
fn edges_behind_tail_calls_carry_what_goes_on() {
    let mut blocks = blocks(&[(1.0, &[1]), (0.75, &[2]), (0.75, &[])]);
    blocks[0].leaves = 0.25;
    assert_eq!(edge_frequency(&blocks, 0, 1), 0.75);
    assert_eq!(edge_frequency(&blocks, 1, 2), 0.75);
    let mut costs = saves(&blocks);
    costs.inside[0] += 0.25;
    let region = Graph::of_loops(&blocks).cheapest(&inside(&[0], 3), &costs).unwrap();
    // All three blocks cost the same, and are longer.
    assert_eq!(members(&region.inside), [0]);
    assert_eq!(region.cost, 2.0);
}

#[test]
fn two_arms_that_are_all_the_flow_are_saved_for_at_once() {
    let blocks = blocks(&[(1.0, &[1, 2]), (0.5, &[3]), (0.5, &[3]), (1.0, &[])]);
    let region = Graph::of_loops(&blocks).cheapest(&inside(&[1, 2], 4), &saves(&blocks)).unwrap();
    // Two saves and two restores cost the same, and are more code.
    assert_eq!(members(&region.inside), [0, 1, 2, 3]);
    assert_eq!(region.cost, 2.0);
}

#[test]
fn disjoint_regions_on_one_path_are_joined_where_that_is_no_dearer() {
    // Needed in 1 and in 4; 1 is passed by half of the runs, 4 by an eighth.
    let shape: &[(f64, &[usize])] = &[
        (1.0, &[1, 2]),
        (0.5, &[3]),
        (0.5, &[3]),
        (1.0, &[4, 5]),
        (0.125, &[6]),
        (0.875, &[6]),
        (1.0, &[]),
    ];
    let blocks = blocks(shape);
    let region = Graph::of_loops(&blocks).cheapest(&inside(&[1, 4], 7), &saves(&blocks)).unwrap();
    assert_eq!(members(&region.inside), [1, 4]);
    assert_eq!(region.cost, 1.25);
}

#[test]
fn a_loop_is_inside_as_a_whole() {
    // 2..=6 is a loop, 3 a rare arm in it; 8 goes around all that.
    let blocks = blocks(&[
        (1.0, &[1, 8]),
        (0.5, &[2]),
        (4.0, &[3, 4]),
        (0.0625, &[5]),
        (3.9375, &[5]),
        (4.0, &[6, 7]),
        (3.5, &[2]),
        (0.5, &[9]),
        (0.5, &[9]),
        (1.0, &[]),
    ]);
    assert_eq!(outermost_loops(&blocks), [0, 1, 2, 2, 2, 2, 2, 3, 4, 5]);
    let saves = saves(&blocks);
    let whole = Graph::of_loops(&blocks).cheapest(&inside(&[3], 10), &saves).unwrap();
    assert_eq!(members(&whole.inside), [2, 3, 4, 5, 6]);
    assert_eq!(whole.cost, 1.0);
    let alone = Graph::of_blocks(&blocks).cheapest(&inside(&[3], 10), &saves).unwrap();
    assert_eq!(members(&alone.inside), [3]);
    assert_eq!(alone.cost, 0.125);
}

#[test]
fn loops_are_found_whatever_their_entries() {
    // Nested: 1..=4 around 2..=3. Then a cycle of 6 and 7 that is entered at both.
    let shape: &[(f64, &[usize])] = &[
        (1.0, &[1]),
        (1.0, &[2]),
        (1.0, &[3]),
        (1.0, &[2, 4]),
        (1.0, &[1, 5]),
        (1.0, &[6, 7]),
        (1.0, &[7]),
        (1.0, &[6, 8]),
        (1.0, &[8]),
    ];
    // 8 loops back to itself.
    assert_eq!(outermost_loops(&blocks(shape)), [0, 1, 1, 1, 1, 2, 3, 3, 4]);
}

#[test]
fn an_early_exit_stays_outside() {
    let blocks = blocks(&[(1.0, &[1, 2]), (0.5, &[]), (0.5, &[3]), (0.5, &[])]);
    let region = Graph::of_loops(&blocks).cheapest(&inside(&[2], 4), &saves(&blocks)).unwrap();
    assert!(!region.inside[0] && !region.inside[1]);
    // Restored before the exit or on the way to it: that is the same, so it is
    // done first.
    assert_eq!(members(&region.inside), [2]);
    assert_eq!(region.cost, 1.0);
}

#[test]
fn forbidden_blocks_cut_a_region() {
    let blocks = blocks(&[(1.0, &[1]), (1.0, &[2]), (1.0, &[3]), (1.0, &[])]);
    let mut demands = inside(&[1, 3], 4);
    let graph = Graph::of_loops(&blocks);
    let joined = graph.cheapest(&demands, &saves(&blocks)).unwrap();
    assert_eq!(joined.cost, 2.0);
    demands[2] = Demand::Outside;
    let apart = graph.cheapest(&demands, &saves(&blocks)).unwrap();
    assert_eq!(members(&apart.inside), [1, 3]);
    assert_eq!(apart.cost, 4.0);
}

#[test]
fn what_is_demanded_both_ways_has_no_region() {
    let blocks = blocks(&[(1.0, &[1]), (2.0, &[2]), (2.0, &[1, 3]), (1.0, &[])]);
    let mut demands = inside(&[1], 4);
    demands[2] = Demand::Outside;
    assert_eq!(Graph::of_loops(&blocks).cheapest(&demands, &saves(&blocks)), None);
    assert!(Graph::of_blocks(&blocks).cheapest(&demands, &saves(&blocks)).is_some());
}

#[test]
fn needed_nowhere_is_nowhere() {
    let blocks = blocks(&[(1.0, &[1]), (1.0, &[])]);
    let region = Graph::of_loops(&blocks).cheapest(&inside(&[], 2), &saves(&blocks)).unwrap();
    assert_eq!((members(&region.inside), region.cost), (vec![], 0.0));
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }
}

/// A graph with any edges at all, and costs in sixteenths, which capacities and
/// sums hold exactly.
fn random_blocks(random: &mut Random) -> Vec<MachBlock> {
    let count = 2 + random.below(7);
    let mut succs = vec![Vec::new(); count];
    for succs in &mut succs {
        for _ in 0..random.below(3) {
            let to = 1 + random.below(count - 1);
            if !succs.contains(&to) {
                succs.push(to);
            }
        }
    }
    let shape: Vec<(f64, &[usize])> =
        succs.iter().map(|succs| (random.below(64) as f64 / 16.0, &succs[..])).collect();
    blocks(&shape)
}

#[test]
fn no_region_is_cheaper() {
    let mut random = Random(7);
    let mut regions = 0;
    for round in 0..2000 {
        let blocks = random_blocks(&mut random);
        let kinds = [Demand::Either, Demand::Either, Demand::Inside, Demand::Outside];
        let demands: Vec<Demand> = blocks.iter().map(|_| kinds[random.below(4)]).collect();
        let mut costs = saves(&blocks);
        costs.enter = random.below(3) as f64;
        costs.leave = random.below(3) as f64;
        let by_loops = round % 2 == 0;
        let graph = match by_loops {
            true => Graph::of_loops(&blocks),
            false => Graph::of_blocks(&blocks),
        };
        let loops = outermost_loops(&blocks);
        let allowed = |set: usize| {
            let has = |block: usize| set >> block & 1 == 1;
            let as_demanded = (0..blocks.len()).all(|block| match demands[block] {
                Demand::Either => true,
                Demand::Inside => has(block),
                Demand::Outside => !has(block),
            });
            let whole = (1..blocks.len())
                .all(|block| loops[block] != loops[block - 1] || has(block) == has(block - 1));
            as_demanded && (whole || !by_loops)
        };
        // The cost by its definition, from the blocks.
        let cost = |set: usize| {
            let has = |block: usize| set >> block & 1 == 1;
            let mut cost = 0.0;
            for (from, block) in blocks.iter().enumerate() {
                cost += if has(from) { costs.inside[from] } else { 0.0 };
                for to in block.succs.iter().map(|to| to.index()) {
                    let frequency = edge_frequency(&blocks, from, to);
                    cost += match (has(from), has(to)) {
                        (false, true) => frequency * costs.enter,
                        (true, false) => frequency * costs.leave,
                        _ => 0.0,
                    };
                }
            }
            cost
        };
        let sets = (0..1usize << blocks.len()).filter(|&set| allowed(set));
        let best = sets.map(cost).min_by(f64::total_cmp);
        let found = graph.cheapest(&demands, &costs);
        assert_eq!(found.as_ref().map(|region| region.cost), best);
        if let Some(region) = found {
            let set = members(&region.inside).iter().fold(0, |set, block| set | 1 << block);
            assert!(allowed(set));
            assert_eq!(cost(set), region.cost);
            regions += usize::from(set != 0);
        }
    }
    assert!(regions > 500, "only {regions} regions were tried");
}
