//! The builder, in the order that is worst for finding trivial parameters.

use tailor_ir::{Builder, Cond, FuncRef, Type};

use super::{Shape, Work};

/// Loops whose headers are sealed last and backwards, and a block that all of
/// them leave to: each passes it a parameter that turns out trivial.
fn predecessors(count: usize) {
    let mut b = Builder::new(FuncRef::from_u32(0), "predecessors");
    let entry = b.current();
    let p = b.add_param(entry, Type::I64);
    let x = b.declare_var(Type::I64);
    b.def_var(x, p);
    let exit = b.add_block();
    let mut headers = Vec::new();
    for _ in 0..count {
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
    let value = b.use_var(x);
    b.ret(value);
    headers.into_iter().rev().for_each(|header| b.seal_block(header));
    b.finish();
}

pub fn shapes() -> Vec<Shape> {
    let work = |size| -> Work { Box::new(move || predecessors(size / 3)) };
    vec![Shape { stage: "building", name: "exits", work: Box::new(work) }]
}
