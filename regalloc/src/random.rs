//! Random functions in SSA form, for tests.

use std::collections::HashSet;

use cranelift_entity::PrimaryMap;
use regalloc2::{Block, Operand, PRegSet, RegClass, VReg};
use tailor_lower::mach::InstInfo;
use tailor_lower::x64::inst::{Cc, Rhs, Width};
use tailor_lower::{Convention, FuncRef, Gpr, MInst, MachBlock, MachFunction, Role};

pub mod wild;

/// Xorshift64*.
pub struct Random(pub u64);

impl Random {
    /// A number below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    /// Whether something of this probability happens.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A function without anything.
pub fn empty() -> MachFunction {
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

/// Adds an instruction at the end.
pub fn push(function: &mut MachFunction, inst: MInst, role: Role, operands: &[Operand]) {
    let clobbers = match role {
        Role::CallC | Role::CallLocal(_) => {
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
pub fn function(random: &mut Random) -> MachFunction {
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
