//! Random functions, split anywhere: the result is in SSA form, has an allocation,
//! and computes what the function computed.

use std::collections::HashSet;

use cranelift_entity::PrimaryMap;
use regalloc2::{Block, Operand, OperandKind, PRegSet, RegClass, VReg};
use tailor_lower::edit::Editor;
use tailor_lower::mach::InstInfo;
use tailor_lower::x64::inst::{Cc, Rhs, Width};
use tailor_lower::{Convention, FuncRef, Gpr, MInst, MachBlock, MachFunction, Role};

use super::ranges::{Index, Places, Range, Use, Walk};
use super::{Split, apply, repair};
use crate::Options;
use crate::levers::Levers;

/// Xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

fn empty() -> MachFunction {
    MachFunction {
        id: FuncRef::from_u32(0),
        name: "random".into(),
        insts: Vec::new(),
        info: Vec::new(),
        operands: Vec::new(),
        blocks: Vec::new(),
        vreg_bytes: Vec::new(),
        stack_slots: PrimaryMap::new(),
        reaches_tail_call: false,
        convention: Convention::Saving,
    }
}

fn new_value(function: &mut MachFunction) -> VReg {
    function.vreg_bytes.push(8);
    VReg::new(function.vreg_bytes.len() - 1, RegClass::Int)
}

fn push(function: &mut MachFunction, inst: MInst, role: Role, operands: &[Operand]) {
    let clobbers = match role {
        Role::CallC => {
            let mut clobbers = Gpr::call_clobbers();
            clobbers.remove(Gpr::RAX.preg());
            clobbers
        }
        _ => PRegSet::empty(),
    };
    let (first, count) = (function.operands.len() as u32, operands.len() as u16);
    function.info.push(InstInfo { first, count, role, clobbers, origin: 0, recomputed: false });
    function.insts.push(inst);
    function.operands.extend_from_slice(operands);
}

/// The successors of blocks: each goes to the next one and perhaps to any other,
/// without critical edges.
fn shape(random: &mut Random) -> Vec<Vec<usize>> {
    let count = 2 + random.below(9);
    let mut jumps: Vec<Vec<usize>> = (1..count).map(|next| vec![next]).collect();
    jumps.push(Vec::new());
    for targets in &mut jumps[..count - 1] {
        if random.chance(60) {
            targets.insert(0, 1 + random.below(count - 1));
        }
    }
    let mut preds = vec![0; count];
    jumps.iter().flatten().for_each(|&to| preds[to] += 1);
    // Blocks are numbered anew with one for each critical edge behind its start.
    let critical = |from: usize, to: usize| jumps[from].len() > 1 && preds[to] > 1;
    let mut numbers = Vec::new();
    let mut next = 0;
    for (from, targets) in jumps.iter().enumerate() {
        numbers.push(next);
        next += 1 + targets.iter().filter(|&&to| critical(from, to)).count();
    }
    let mut succs = Vec::new();
    for (from, targets) in jumps.iter().enumerate() {
        let mut edge = numbers[from];
        let mut block = Vec::new();
        let mut edges = Vec::new();
        for &to in targets {
            if critical(from, to) {
                edge += 1;
                edges.push(vec![numbers[to]]);
                block.push(edge);
            } else {
                block.push(numbers[to]);
            }
        }
        succs.push(block);
        succs.extend(edges);
    }
    succs
}

/// For each block, those that dominate it, itself included.
fn dominators(preds: &[Vec<usize>]) -> Vec<HashSet<usize>> {
    let all: HashSet<usize> = (0..preds.len()).collect();
    let mut dominators = vec![all; preds.len()];
    dominators[0] = HashSet::from([0]);
    loop {
        let old = dominators.clone();
        for block in 1..preds.len() {
            let mut common = dominators[preds[block][0]].clone();
            preds[block].iter().for_each(|&pred| common.retain(|b| old[pred].contains(b)));
            common.insert(block);
            dominators[block] = common;
        }
        if dominators == old {
            return dominators;
        }
    }
}

/// The values that these blocks define.
fn known(dominators: &HashSet<usize>, defined: &[Vec<VReg>]) -> Vec<VReg> {
    let mut known: Vec<VReg> =
        dominators.iter().flat_map(|&above| defined[above].clone()).collect();
    known.sort_unstable_by_key(|vreg| vreg.vreg());
    known
}

/// A function with values defined and used at random, and calls.
fn random_function(random: &mut Random) -> MachFunction {
    let succs = shape(random);
    let mut preds = vec![Vec::new(); succs.len()];
    for (from, targets) in succs.iter().enumerate() {
        targets.iter().for_each(|&to| preds[to].push(from));
    }
    let dominators = dominators(&preds);
    let mut function = empty();
    let blocks = |list: &[usize]| list.iter().map(|&block| Block::new(block)).collect();
    // By block, the values that it defines.
    let mut defined: Vec<Vec<VReg>> = vec![Vec::new(); succs.len()];
    for block in 0..succs.len() {
        let mut data = MachBlock {
            start: function.insts.len() as u32,
            succs: blocks(&succs[block]),
            preds: blocks(&preds[block]),
            frequency: [1.0, 0.5, 0.125][random.below(3)],
            ..MachBlock::default()
        };
        if preds[block].len() > 1 && random.chance(50) {
            data.params.push(new_value(&mut function));
            defined[block].extend(&data.params);
        }
        for _ in 0..random.below(5) + usize::from(block == 0) {
            let known = known(&dominators[block], &defined);
            match random.below(3) {
                0 if !known.is_empty() => {
                    let (a, b) = (random.one_of(&known), random.one_of(&known));
                    let operands = [Operand::reg_use(a), Operand::any_use(b)];
                    push(&mut function, MInst::Cmp(Width::W64, Rhs::Reg), Role::Plain, &operands);
                }
                1 if !known.is_empty() => {
                    let result = new_value(&mut function);
                    let argument = random.one_of(&known);
                    let operands = [
                        Operand::reg_fixed_def(result, Gpr::RAX.preg()),
                        Operand::reg_fixed_use(argument, Gpr::RDI.preg()),
                    ];
                    push(&mut function, MInst::CallHelper(1), Role::CallC, &operands);
                    defined[block].push(result);
                }
                _ => {
                    let value = new_value(&mut function);
                    push(&mut function, MInst::Imm(7), Role::Plain, &[Operand::reg_def(value)]);
                    defined[block].push(value);
                }
            }
        }
        match succs[block].len() {
            0 => {
                let value = defined[0][0];
                let operands = [Operand::reg_fixed_use(value, Gpr::RAX.preg())];
                push(&mut function, MInst::Ret, Role::Return, &operands);
            }
            1 => push(&mut function, MInst::Jmp, Role::Branch, &[]),
            _ => push(&mut function, MInst::Jcc(Cc::E), Role::Branch, &[]),
        }
        data.end = function.insts.len() as u32;
        function.blocks.push(data);
    }
    for block in 0..succs.len() {
        if let [succ] = succs[block][..] {
            let known = known(&dominators[block], &defined);
            for _ in 0..function.blocks[succ].params.len() {
                function.blocks[block].args.push(random.one_of(&known));
            }
        }
    }
    function
}

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
        let function = random_function(&mut random);
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
        let function = random_function(&mut random);
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
