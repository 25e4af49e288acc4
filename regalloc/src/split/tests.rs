//! Random functions, split anywhere: the result is in SSA form, has an allocation,
//! and computes what the function computed.

use std::collections::HashSet;

use regalloc2::{OperandKind, RegClass, VReg};
use tailor_lower::edit::Editor;
use tailor_lower::{Gpr, MInst, MachFunction};

use super::ranges::{Index, Places, Range, Use, Walk};
use super::{Split, apply, repair};
use crate::Options;
use crate::levers::Levers;
use crate::random::{self, Random};

/// What the instructions of a run read, copies aside: which definition of which
/// instruction, executed when. `turns` says where branches go.
fn run(function: &MachFunction, turns: &[usize]) -> Vec<Option<(usize, usize, usize)>> {
    let mut values = vec![None; function.vreg_bytes.len()];
    let mut read = Vec::new();
    let mut block = 0;
    for (step, turn) in turns.iter().enumerate() {
        let data = &function.blocks[block];
        let mut number = 0;
        for inst in data.start as usize..data.end as usize {
            let operands = function.inst_operands(inst);
            if let (MInst::Mov(_), [to, from]) = (function.insts[inst], operands) {
                values[to.vreg().vreg()] = values[from.vreg().vreg()];
                continue;
            }
            number += 1;
            for (index, operand) in operands.iter().enumerate() {
                let value = &mut values[operand.vreg().vreg()];
                match operand.kind() {
                    OperandKind::Use => read.push(*value),
                    OperandKind::Def => *value = Some((step, number, index)),
                }
            }
        }
        let Some(&succ) = data.succs.get(turn % data.succs.len().max(1)) else { break };
        let passed: Vec<_> = data.args.iter().map(|arg| values[arg.vreg()]).collect();
        block = succ.index();
        for (param, value) in function.blocks[block].params.iter().zip(passed) {
            values[param.vreg()] = value;
        }
    }
    read
}

/// The registers that the uses of a value name after a split, outside of its region
/// and inside. What is passed to a parameter is used inside if the value lives on
/// there.
fn names(
    [old, split]: [&MachFunction; 2],
    uses: &[Use],
    range: &Range,
    inside: &[bool],
) -> [HashSet<VReg>; 2] {
    let place = |block: u32| range.blocks.iter().position(|&at| at == block);
    let is_inside = |block: u32| place(block).is_some_and(|place| inside[place]);
    let mut names = [HashSet::new(), HashSet::new()];
    for at in uses {
        let block = &split.blocks[at.block as usize];
        if at.is_argument() {
            let succ = block.succs[0].index() as u32;
            let lives_on = is_inside(succ) && succ != range.blocks[0];
            let name = block.args[at.index as usize];
            names[usize::from(is_inside(at.block) && lives_on)].insert(name);
            continue;
        }
        let mut uses = (block.start as usize..block.end as usize)
            .filter(|&inst| !matches!(split.insts[inst], MInst::Mov(_)));
        let first = old.blocks[at.block as usize].start as usize;
        let inst = uses.nth(at.inst() - first).expect("the same instructions");
        let name = split.inst_operands(inst)[at.index as usize].vreg();
        names[usize::from(is_inside(at.block))].insert(name);
    }
    names
}

#[test]
fn values_split_anywhere_are_what_they_were() {
    let mut random = Random(0x5eed_0007);
    let mut params = 0;
    for _ in 0..3_000 {
        let function = random::function(&mut random);
        let Some(places) = Places::new(&function) else { continue };
        let mut editor = Editor::new(function.clone());
        let mut walk = Walk::new(&function);
        let mut index = Index::new(&function);
        let mut regions: Vec<(VReg, Range, Vec<bool>)> = Vec::new();
        for number in 0..function.vreg_bytes.len() {
            let vreg = VReg::new(number, RegClass::Int);
            if places.uses(vreg).is_empty() || random.chance(40) {
                continue;
            }
            walk.start(&function, &places, vreg, |_| false);
            let range = walk.range(places.definition(vreg).0);
            let inside: Vec<bool> = range.blocks.iter().map(|_| random.chance(50)).collect();
            index.turn_to(&range);
            repair::split(&mut editor, vreg, &range, &index, places.uses(vreg), &inside);
            regions.push((vreg, range, inside));
        }
        let split = editor.finish();
        let listing = || format!("{function}\n{split}");
        for (vreg, range, inside) in &regions {
            let uses = places.uses(*vreg);
            let [outside, inside] = names([&function, &split], uses, range, inside);
            assert!(outside.is_disjoint(&inside), "{vreg}\n{}", listing());
        }
        let count = |function: &MachFunction| -> usize {
            function.blocks.iter().map(|block| block.params.len()).sum()
        };
        params += count(&split) - count(&function);
        for _ in 0..4 {
            let turns: Vec<usize> = (0..40).map(|_| random.below(2)).collect();
            assert_eq!(run(&function, &turns), run(&split, &turns), "{}", listing());
        }
        let options = Options {
            check: true,
            ion_limit: usize::MAX,
            relies_on_alignment: &|_| true,
            keeps_addresses: &|_| true,
            levers: Levers::default(),
        };
        if let Err(error) = crate::allocate::allocate(&split, &options) {
            panic!("{error}\n{}", listing());
        }
    }
    assert!(params > 1_000, "only {params} new parameters");
}

#[test]
fn planned_splits_are_applied_soundly() {
    let mut random = Random(0x5eed_0008);
    let mut splits = 0;
    for _ in 0..20_000 {
        let function = random::function(&mut random);
        let options = Options {
            check: false,
            ion_limit: usize::MAX,
            relies_on_alignment: &|_| true,
            keeps_addresses: &|_| true,
            levers: Levers::default(),
        };
        let allocated = crate::allocate::cheapest(&function, &options, Gpr::CALLEE_SAVED.len());
        let allocated = allocated.expect("an allocation");
        let Some(places) = Places::new(&function) else { continue };
        let plan = super::Finder::new(&function, &options, &places, &allocated).plan();
        if plan.splits.is_empty() {
            continue;
        }
        splits += plan.splits.len();
        let split = apply(&function, &places, &plan.splits);
        let turns: Vec<usize> = (0..40).map(|_| random.below(2)).collect();
        assert_eq!(run(&function, &turns), run(&split, &turns), "{function}\n{split}");
        for Split { vreg, range, inside, .. } in &plan.splits {
            // No call that the value crosses is left outside: none of its names but those
            // of the region lives across one.
            let crossed = |place: usize| {
                let block = &function.blocks[range.blocks[place] as usize];
                places.last_call(2 * block.start, 2 * block.end).is_some() && !inside[place]
            };
            for place in (0..inside.len()).filter(|&place| crossed(place)) {
                let block = &function.blocks[range.blocks[place] as usize];
                let call = places.last_call(2 * block.start, 2 * block.end).expect("there is one");
                let used = places.next_use(*vreg, call + 1);
                let used = used.is_some_and(|at| at.block == range.blocks[place]);
                let lives_on = block
                    .succs
                    .iter()
                    .any(|&succ| range.blocks[1..].binary_search(&(succ.index() as u32)).is_ok());
                let defined_behind = place == 0 && places.definition(*vreg).1 >= call;
                assert!(defined_behind || !used && !lives_on, "{vreg}\n{function}");
            }
        }
    }
    assert!(splits > 1_000, "only {splits} splits");
}
