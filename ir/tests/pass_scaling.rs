//! The passes take time in proportion to the function, whatever its shape:
//! ten times the size takes about ten times as long.

use std::time::{Duration, Instant};

use tailor_ir::passes::{Context, PASSES, run};
use tailor_ir::{
    Block, BlockCall, Cond, FuncRef, Function, InstData, Opcode, Payload, Region, Size,
    StackSlotData, Terminator, Type, Value,
};

/// A function under construction: a program that has one slot and three values.
struct Shape {
    function: Function,
    block: Block,
    slot: Value,
}

impl Shape {
    fn new() -> Shape {
        let mut function = Function::new(FuncRef::from_u32(0), "shape");
        let entry = function.entry;
        for _ in 0..2 {
            function.add_param(entry, Type::I64);
        }
        let slot = function.stack_slots.push(StackSlotData { size: 512, align: 8, escapes: true });
        let mut shape = Shape { function, block: entry, slot: Value::from_u32(0) };
        let payload = Payload::Slot { slot, offset: 0 };
        shape.slot = shape.inst(Opcode::StackAddr, Type::I64, &[], payload);
        shape
    }

    fn param(&self, index: u32) -> Value {
        Value::from_u32(index)
    }

    fn inst(&mut self, op: Opcode, ty: Type, args: &[Value], payload: Payload) -> Value {
        let inst = self.function.make_inst(InstData::new(op, ty, args, payload));
        self.function.blocks[self.block].insts.push(inst);
        self.function.result(inst).unwrap_or(Value::from_u32(0))
    }

    /// Some arithmetic between a load and a store of the slot: 8 instructions.
    fn work(&mut self, number: u32) {
        let offset = (number % 64 * 8) as i32;
        let region = Region::Any;
        let payload = Payload::Mem { offset, size: Size::D, region };
        let loaded = self.inst(Opcode::Load, Type::I64, &[self.slot], payload);
        let count = self.inst(Opcode::Iconst, Type::I64, &[], Payload::Imm(32));
        let none = Payload::None;
        let up = self.inst(Opcode::Shl, Type::I64, &[loaded, count], none);
        let down = self.inst(Opcode::Lshr, Type::I64, &[up, count], none);
        let sum = self.inst(Opcode::Iadd, Type::I64, &[down, self.param(1)], none);
        let low = self.inst(Opcode::Trunc, Type::I32, &[sum], none);
        let wide = self.inst(Opcode::Uext32, Type::I64, &[low], none);
        let offset = ((number * 7 + 3) % 64 * 8) as i32;
        let payload = Payload::Mem { offset, size: Size::D, region };
        self.inst(Opcode::Store, Type::I64, &[self.slot, wide], payload);
    }

    fn branch(&mut self, then: Block, other: Block) {
        let payload = Payload::Mem { offset: 8, size: Size::D, region: Region::Any };
        let lhs = self.inst(Opcode::Load, Type::I64, &[self.slot], payload);
        let (rhs, ty) = (self.param(0), Type::I64);
        self.function.blocks[self.block].term = Terminator::Branch {
            cond: Cond::Ult,
            ty,
            lhs,
            rhs,
            then: BlockCall::to(then),
            other: BlockCall::to(other),
        };
    }

    fn jump(&mut self, to: Block) {
        self.function.blocks[self.block].term = Terminator::Jump(BlockCall::to(to));
    }

    fn finish(mut self) -> Function {
        let payload = Payload::Mem { offset: 0, size: Size::D, region: Region::Any };
        let value = self.inst(Opcode::Load, Type::I64, &[self.slot], payload);
        self.function.blocks[self.block].term = Terminator::Return(value);
        self.function
    }
}

/// One block.
fn straight(size: u32) -> Function {
    let mut shape = Shape::new();
    (0..size / 8).for_each(|number| shape.work(number));
    shape.finish()
}

/// Checks that all leave to one exit.
fn ladder(size: u32) -> Function {
    let mut shape = Shape::new();
    let exit = shape.function.add_block();
    for number in 0..size / 9 {
        shape.work(number);
        let next = shape.function.add_block();
        shape.branch(exit, next);
        shape.block = next;
    }
    shape.jump(exit);
    shape.block = exit;
    shape.finish()
}

/// Cases that fall through into each other.
fn cases(size: u32) -> Function {
    let mut shape = Shape::new();
    let count = size / 18;
    let bodies: Vec<Block> = (0..=count).map(|_| shape.function.add_block()).collect();
    for number in 0..count {
        shape.work(number);
        let next = shape.function.add_block();
        shape.branch(bodies[number as usize], next);
        shape.block = next;
    }
    shape.jump(bodies[0]);
    for number in 0..count {
        shape.block = bodies[number as usize];
        shape.work(number);
        shape.jump(bodies[number as usize + 1]);
    }
    shape.block = bodies[count as usize];
    shape.finish()
}

/// Loops one behind the other.
fn loops(size: u32) -> Function {
    let mut shape = Shape::new();
    for number in 0..size / 18 {
        let (header, next) = (shape.function.add_block(), shape.function.add_block());
        shape.work(number);
        shape.jump(header);
        shape.block = header;
        shape.work(number + 1);
        shape.branch(header, next);
        shape.block = next;
    }
    shape.finish()
}

/// Loops in each other.
fn nest(size: u32) -> Function {
    let mut shape = Shape::new();
    let count = size / 18;
    let mut headers = Vec::new();
    for number in 0..count {
        let header = shape.function.add_block();
        shape.jump(header);
        shape.block = header;
        shape.work(number);
        headers.push(header);
    }
    while let Some(header) = headers.pop() {
        shape.work(headers.len() as u32);
        let next = shape.function.add_block();
        shape.branch(header, next);
        shape.block = next;
    }
    shape.finish()
}

/// Diamonds one behind the other.
fn diamonds(size: u32) -> Function {
    let mut shape = Shape::new();
    for number in 0..size / 26 {
        let [left, right, join] = [0; 3].map(|_| shape.function.add_block());
        shape.work(number);
        shape.branch(left, right);
        for (side, block) in [left, right].into_iter().enumerate() {
            shape.block = block;
            shape.work(number + side as u32);
            shape.jump(join);
        }
        shape.block = join;
    }
    shape.finish()
}

type Make = fn(u32) -> Function;

fn time(make: Make, size: u32) -> (Duration, String) {
    let mut function = make(size);
    let mut context = Context::default();
    let start = Instant::now();
    run(&mut function, &mut context).unwrap();
    let total = start.elapsed();
    let rows = PASSES.iter().zip(&context.statistics);
    let times = rows.map(|(pass, row)| format!("{} {:?}", pass.name, row.time));
    (total, times.collect::<Vec<_>>().join(", "))
}

#[test]
fn ten_times_the_size_takes_about_ten_times_as_long() {
    let shapes: &[(&str, Make)] = &[
        ("straight", straight),
        ("ladder", ladder),
        ("cases", cases),
        ("loops", loops),
        ("nest", nest),
        ("diamonds", diamonds),
    ];
    for (name, make) in shapes {
        // The machine may be busy: the best of three.
        let best = |size| (0..3).map(|_| time(*make, size)).min().unwrap_or_default();
        let (small, _) = best(6_000);
        let (large, rows) = best(60_000);
        assert!(large < small * 40, "{name}: {small:?}, {large:?}: {rows}");
    }
}
