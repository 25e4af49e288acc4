//! Where the builder puts block parameters, and that it takes long chains.

use cranelift_entity::EntityRef;

use super::{Builder, Variable};
use crate::verifier::verify_function;
use crate::{Block, Cond, FuncRef, Function, Opcode, Terminator, Type, Value};

fn builder() -> Builder {
    Builder::new(FuncRef::new(0), "test")
}

/// Values are numbered densely in the order of their definitions, and the
/// verifier finds nothing.
fn check(func: &Function) {
    let mut values = Vec::new();
    for &block in &func.layout {
        let data = &func.blocks[block];
        values.extend_from_slice(&data.params);
        values.extend(data.insts.iter().filter_map(|&inst| func.result(inst)));
    }
    assert!(values.into_iter().eq(func.values.keys()));
    if let Err(errors) = verify_function(func) {
        panic!("{errors}\n{func}");
    }
}

fn finish(builder: Builder) -> Function {
    let func = builder.finish();
    check(&func);
    func
}

fn params(func: &Function) -> usize {
    func.blocks.values().map(|block| block.params.len()).sum()
}

fn returned(func: &Function, block: Block) -> Value {
    match func.blocks[block].term {
        Terminator::Return(value) => value,
        ref other => panic!("no return: {other:?}"),
    }
}

/// `if p < q { x = p } else { x = q }; return x`, with another variable left alone.
#[test]
fn merge_takes_a_parameter_only_where_values_differ() {
    let mut b = builder();
    let entry = b.current();
    let (p, q) = (b.add_param(entry, Type::I64), b.add_param(entry, Type::I64));
    let (x, y) = (b.declare_var(Type::I64), b.declare_var(Type::I64));
    b.def_var(y, q);
    let [then, other, join] = [(); 3].map(|()| b.add_block());
    b.branch(Cond::Ult, p, q, then, other);
    for (block, value) in [(then, p), (other, q)] {
        b.seal_block(block);
        b.switch_to(block);
        b.def_var(x, value);
        b.jump(join);
    }
    b.seal_block(join);
    b.switch_to(join);
    let (x, y) = (b.use_var(x), b.use_var(y));
    let sum = b.binary(Opcode::Iadd, x, y);
    b.ret(sum);

    let func = finish(b);
    assert_eq!(func.blocks[join].params.len(), 1);
    let sum = func.def(returned(&func, join)).unwrap();
    assert_eq!(sum.args[..], [func.blocks[join].params[0], q]);
    let passed = |block: Block| func.blocks[block].term.targets()[0].args[0];
    assert_eq!((passed(then), passed(other)), (p, q));
}

/// A loop that counts `i` and reads `n`, which only looks as if it changed.
#[test]
fn loop_keeps_invariant_values_out_of_its_parameters() {
    let mut b = builder();
    let entry = b.current();
    let n = b.add_param(entry, Type::I64);
    let [i_var, n_var] = [(); 2].map(|()| b.declare_var(Type::I64));
    b.def_var(n_var, n);
    let zero = b.iconst(Type::I64, 0);
    b.def_var(i_var, zero);
    let [header, exit] = [(); 2].map(|()| b.add_block());
    b.jump(header);
    b.switch_to(header);
    let i = b.use_var(i_var);
    let one = b.iconst(Type::I64, 1);
    let next = b.binary(Opcode::Iadd, i, one);
    b.def_var(i_var, next);
    let bound = b.use_var(n_var);
    b.def_var(n_var, bound);
    b.branch(Cond::Ult, next, bound, header, exit);
    b.seal_block(header);
    b.seal_block(exit);
    b.switch_to(exit);
    let last = b.use_var(i_var);
    b.ret(last);

    let func = finish(b);
    assert_eq!(func.blocks[header].params.len(), 1);
    let Terminator::Branch { rhs, .. } = func.blocks[header].term else {
        panic!("the loop ends in a branch");
    };
    assert_eq!(rhs, func.blocks[entry].params[0]);
    assert!(func.blocks[exit].params.is_empty());
}

#[test]
fn undefined_variables_read_as_zero_of_their_type() {
    let mut b = builder();
    let [wide, narrow] = [Type::I64, Type::I32].map(|ty| b.declare_var(ty));
    let next = b.add_block();
    let five = b.iconst(Type::I64, 5);
    b.def_var(wide, five);
    b.undef_var(wide);
    b.jump(next);
    b.seal_block(next);
    b.switch_to(next);
    let read = b.use_var(narrow);
    let extended = b.unary(Opcode::Uext32, read);
    let read = b.use_var(wide);
    let sum = b.binary(Opcode::Iadd, extended, read);
    b.ret(sum);

    let func = finish(b);
    let sum = func.def(returned(&func, next)).unwrap();
    assert_eq!(func.constant(sum.args[1]), Some(0));
    let extended = func.def(sum.args[0]).unwrap();
    assert_eq!(func.constant(extended.args[0]), Some(0));
    assert_eq!(func.ty(extended.args[0]), Type::I32);
    assert_eq!(params(&func), 0);
}

#[test]
fn branch_to_one_block_by_both_edges() {
    let mut b = builder();
    let entry = b.current();
    let p = b.add_param(entry, Type::I64);
    let x = b.declare_var(Type::I64);
    b.def_var(x, p);
    let join = b.add_block();
    b.branch(Cond::Eq, p, p, join, join);
    b.seal_block(join);
    b.switch_to(join);
    let value = b.use_var(x);
    b.ret(value);
    let func = finish(b);
    assert_eq!(returned(&func, join), p);
    assert_eq!(params(&func), 1, "the function's own");
}

/// Blocks that nothing reaches: a cycle of single predecessors, and one of
/// merges that pass their parameters around.
#[test]
fn unreachable_cycles_read_zero() {
    let mut b = builder();
    let x = b.declare_var(Type::I64);
    let zero = b.iconst(Type::I64, 0);
    b.ret(zero);
    let [a, c, d, e] = [(); 4].map(|()| b.add_block());
    for (from, to) in [(a, c), (c, a)] {
        b.switch_to(from);
        b.jump(to);
    }
    b.switch_to(d);
    let read = b.use_var(x);
    b.branch(Cond::Eq, read, read, d, e);
    b.switch_to(e);
    let read = b.use_var(x);
    b.branch(Cond::Eq, read, read, d, e);
    for block in [a, c, d, e] {
        b.seal_block(block);
    }
    let outside = b.add_block();
    b.seal_block(outside);
    b.switch_to(outside);
    b.jump_to_read(x);
    let func = finish(b);
    assert_eq!(params(&func), 0);
}

impl Builder {
    /// Ends the current block by returning a variable.
    fn jump_to_read(&mut self, var: Variable) {
        let value = self.use_var(var);
        self.ret(value);
    }
}

#[test]
fn reading_round_an_unreachable_cycle_of_single_predecessors() {
    let mut b = builder();
    let x = b.declare_var(Type::I64);
    let zero = b.iconst(Type::I64, 0);
    b.ret(zero);
    let [a, c, out] = [(); 3].map(|()| b.add_block());
    b.switch_to(a);
    b.jump(c);
    b.switch_to(c);
    b.branch(Cond::Eq, zero, zero, a, out);
    for block in [a, c, out] {
        b.seal_block(block);
    }
    b.switch_to(out);
    b.jump_to_read(x);
    let func = finish(b);
    assert_eq!(func.constant(returned(&func, out)), Some(0));
}

const MANY: usize = 100_000;

/// A chain of blocks far longer than any stack is deep.
#[test]
fn long_chains_do_not_recurse() {
    let mut b = builder();
    let entry = b.current();
    let p = b.add_param(entry, Type::I64);
    let x = b.declare_var(Type::I64);
    b.def_var(x, p);
    // Diamonds: every second block has two predecessors.
    for _ in 0..MANY {
        let [left, right, join] = [(); 3].map(|()| b.add_block());
        b.branch(Cond::Eq, p, p, left, right);
        for side in [left, right] {
            b.seal_block(side);
            b.switch_to(side);
            b.jump(join);
        }
        b.seal_block(join);
        b.switch_to(join);
    }
    let last = b.current();
    b.jump_to_read(x);
    let func = finish(b);
    assert_eq!(returned(&func, last), p);
    assert_eq!(params(&func), 1);
}

/// One block with many predecessors, each passing a parameter of its own that
/// turns out trivial, in the order that is worst for checking again and again.
#[test]
fn many_trivial_parameters_of_one_block() {
    let mut b = builder();
    let entry = b.current();
    let p = b.add_param(entry, Type::I64);
    let x = b.declare_var(Type::I64);
    b.def_var(x, p);
    let exit = b.add_block();
    let mut headers = Vec::new();
    for _ in 0..MANY {
        let [header, out, next] = [(); 3].map(|()| b.add_block());
        b.jump(header);
        headers.push(header);
        b.switch_to(header);
        b.use_var(x);
        b.branch(Cond::Eq, p, p, header, out);
        b.seal_block(out);
        b.switch_to(out);
        b.branch(Cond::Eq, p, p, exit, next);
        b.seal_block(next);
        b.switch_to(next);
    }
    b.jump(exit);
    b.seal_block(exit);
    b.switch_to(exit);
    b.jump_to_read(x);
    for header in headers.into_iter().rev() {
        b.seal_block(header);
    }
    let func = finish(b);
    assert_eq!(returned(&func, exit), p);
    assert_eq!(params(&func), 1);
}
