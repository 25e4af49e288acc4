//! Random graphs, also irreducible and partly unreachable ones, built in random
//! order; along random paths every read must give what was assigned last.

use std::collections::HashMap;

use cranelift_entity::EntityRef;

use super::{Builder, Variable};
use crate::verifier::verify_function;
use crate::{Block, Cond, FuncRef, Function, Opcode, Type, Value};

/// A generator that gives the same numbers everywhere (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// What a block does with variables, by their numbers.
#[derive(Clone, Copy)]
enum Action {
    Assign(usize, i64),
    Copy(usize, usize),
    Forget(usize),
    /// Read into a negation, so that the operand can be found again.
    Read(usize),
}

const VARIABLES: usize = 4;

fn actions(random: &mut Random) -> Vec<Action> {
    let mut action = |_| {
        let (a, b) = (random.below(VARIABLES), random.below(VARIABLES));
        match random.below(8) {
            0 | 1 => Action::Assign(a, random.below(1000) as i64 + 1),
            2 => Action::Copy(a, b),
            3 => Action::Forget(a),
            _ => Action::Read(a),
        }
    };
    (0..4).map(&mut action).collect()
}

struct Program {
    func: Function,
    actions: HashMap<Block, Vec<Action>>,
}

fn build(random: &mut Random) -> Program {
    let mut b = Builder::new(FuncRef::new(0), "random");
    let variables: Vec<Variable> = (0..VARIABLES).map(|_| b.declare_var(Type::I64)).collect();
    let size = 1 + random.below(12);
    let blocks: Vec<Block> = (0..size).map(|_| b.add_block()).collect();
    let mut graph: Vec<(Block, Vec<Block>)> = Vec::new();
    for &block in [b.current()].iter().chain(&blocks) {
        let edges = 1 + random.below(2);
        let targets = (0..edges).map(|_| blocks[random.below(size)]).collect();
        graph.insert(random.below(graph.len() + 1), (block, targets));
    }
    let mut actions_of = HashMap::new();
    let mut unsealed = blocks;
    for (index, (block, targets)) in graph.iter().enumerate() {
        let actions = actions(random);
        b.switch_to(*block);
        for &action in &actions {
            perform(&mut b, &variables, action);
        }
        actions_of.insert(*block, actions);
        let probe = b.use_var(variables[0]);
        match targets[..] {
            [then, other] => b.branch(Cond::Eq, probe, probe, then, other),
            _ => b.jump(targets[0]),
        }
        // Blocks of which all edges exist are sealed now or later.
        let to_come = &graph[index + 1..];
        unsealed.retain(|block| {
            let complete = !to_come.iter().any(|(_, targets)| targets.contains(block));
            let seal = complete && (to_come.is_empty() || random.below(2) == 0);
            if seal {
                b.seal_block(*block);
            }
            !seal
        });
    }
    Program { func: b.finish(), actions: actions_of }
}

fn perform(b: &mut Builder, variables: &[Variable], action: Action) {
    match action {
        Action::Assign(to, value) => {
            let value = b.iconst(Type::I64, value);
            b.def_var(variables[to], value);
        }
        Action::Copy(to, from) => {
            let value = b.use_var(variables[from]);
            b.def_var(variables[to], value);
        }
        Action::Forget(which) => b.undef_var(variables[which]),
        Action::Read(which) => {
            let value = b.use_var(variables[which]);
            b.unary(Opcode::Neg, value);
        }
    }
}

/// Walks a random path and compares what is read with what was assigned.
fn walk(program: &Program, random: &mut Random) {
    let func = &program.func;
    let mut variables = [0; VARIABLES];
    let mut values: HashMap<Value, u64> = HashMap::new();
    let mut block = func.entry;
    for _ in 0..40 {
        let mut expected = Vec::new();
        for &action in &program.actions[&block] {
            match action {
                Action::Assign(to, value) => variables[to] = value as u64,
                Action::Copy(to, from) => variables[to] = variables[from],
                Action::Forget(which) => variables[which] = 0,
                Action::Read(which) => expected.push(variables[which]),
            }
        }
        let mut read = Vec::new();
        for &inst in &func.blocks[block].insts {
            let data = &func.insts[inst];
            match func.result(inst) {
                Some(_) if data.op == Opcode::Neg => read.push(values[&data.args[0]]),
                Some(result) => {
                    values.insert(result, func.constant(result).unwrap());
                }
                None => {}
            }
        }
        assert_eq!(read, expected, "in {block} of\n{func}");
        let targets = func.blocks[block].term.targets();
        let target = targets[random.below(targets.len())];
        let args: Vec<u64> = target.args.iter().map(|arg| values[arg]).collect();
        values.extend(std::iter::zip(func.blocks[target.block].params.iter().copied(), args));
        block = target.block;
    }
}

#[test]
fn random_graphs_read_what_was_assigned_last() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..3000 {
        let program = build(&mut random);
        if let Err(errors) = verify_function(&program.func) {
            panic!("{errors}\n{}", program.func);
        }
        for _ in 0..4 {
            walk(&program, &mut random);
        }
    }
}
