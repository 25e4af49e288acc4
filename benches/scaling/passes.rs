//! The passes of the IR.

use tailor_ir::passes::{Context, run};
use tailor_ir::{
    Block, BlockCall, Cond, FuncRef, Function, InstData, Opcode, Payload, Region, Size,
    StackSlotData, Terminator, Type, Value,
};

use super::{Shape, Work};

/// A function under construction: a program that has one slot and three values.
struct Maker {
    function: Function,
    block: Block,
    slot: Value,
}

impl Maker {
    fn new() -> Maker {
        let mut function = Function::new(FuncRef::from_u32(0), "shape");
        let entry = function.entry;
        for _ in 0..2 {
            function.add_param(entry, Type::I64);
        }
        let slot = function.stack_slots.push(StackSlotData { size: 512, align: 8, escapes: true });
        let mut maker = Maker { function, block: entry, slot: Value::from_u32(0) };
        let payload = Payload::Slot { slot, offset: 0 };
        maker.slot = maker.inst(Opcode::StackAddr, Type::I64, &[], payload);
        maker
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
    let mut maker = Maker::new();
    (0..size / 8).for_each(|number| maker.work(number));
    maker.finish()
}

/// Checks that all leave to one exit.
fn ladder(size: u32) -> Function {
    let mut maker = Maker::new();
    let exit = maker.function.add_block();
    for number in 0..size / 9 {
        maker.work(number);
        let next = maker.function.add_block();
        maker.branch(exit, next);
        maker.block = next;
    }
    maker.jump(exit);
    maker.block = exit;
    maker.finish()
}

/// Cases that fall through into each other.
fn cases(size: u32) -> Function {
    let mut maker = Maker::new();
    let count = size / 18;
    let bodies: Vec<Block> = (0..=count).map(|_| maker.function.add_block()).collect();
    for number in 0..count {
        maker.work(number);
        let next = maker.function.add_block();
        maker.branch(bodies[number as usize], next);
        maker.block = next;
    }
    maker.jump(bodies[0]);
    for number in 0..count {
        maker.block = bodies[number as usize];
        maker.work(number);
        maker.jump(bodies[number as usize + 1]);
    }
    maker.block = bodies[count as usize];
    maker.finish()
}

/// Loops one behind the other.
fn loops(size: u32) -> Function {
    let mut maker = Maker::new();
    for number in 0..size / 18 {
        let (header, next) = (maker.function.add_block(), maker.function.add_block());
        maker.work(number);
        maker.jump(header);
        maker.block = header;
        maker.work(number + 1);
        maker.branch(header, next);
        maker.block = next;
    }
    maker.finish()
}

/// Loops in each other.
fn nest(size: u32) -> Function {
    let mut maker = Maker::new();
    let count = size / 18;
    let mut headers = Vec::new();
    for number in 0..count {
        let header = maker.function.add_block();
        maker.jump(header);
        maker.block = header;
        maker.work(number);
        headers.push(header);
    }
    while let Some(header) = headers.pop() {
        maker.work(headers.len() as u32);
        let next = maker.function.add_block();
        maker.branch(header, next);
        maker.block = next;
    }
    maker.finish()
}

/// Diamonds one behind the other.
fn diamonds(size: u32) -> Function {
    let mut maker = Maker::new();
    for number in 0..size / 26 {
        let [left, right, join] = [0; 3].map(|_| maker.function.add_block());
        maker.work(number);
        maker.branch(left, right);
        for (side, block) in [left, right].into_iter().enumerate() {
            maker.block = block;
            maker.work(number + side as u32);
            maker.jump(join);
        }
        maker.block = join;
    }
    maker.finish()
}

/// A loop that starts again from many places.
fn restarts(size: u32) -> Function {
    let mut maker = Maker::new();
    let header = maker.function.add_block();
    maker.jump(header);
    maker.block = header;
    for number in 0..size / 9 {
        maker.work(number);
        let next = maker.function.add_block();
        maker.branch(header, next);
        maker.block = next;
    }
    maker.finish()
}

/// Checks that all leave to one exit, with what each block hands on to the next.
fn handed(size: u32) -> Function {
    let mut maker = Maker::new();
    let exit = maker.function.add_block();
    maker.function.add_param(exit, Type::I64);
    let mut value = maker.param(0);
    for number in 0..size / 9 {
        maker.work(number);
        let next = maker.function.add_block();
        maker.branch(exit, next);
        for target in maker.function.blocks[maker.block].term.targets_mut() {
            target.args.push(value);
        }
        value = maker.function.add_param(next, Type::I64);
        maker.block = next;
    }
    maker.jump(exit);
    for target in maker.function.blocks[maker.block].term.targets_mut() {
        target.args.push(value);
    }
    maker.block = exit;
    maker.finish()
}

fn work(mut function: Function) -> Work {
    Box::new(move || run(&mut function, &mut Context::default()).expect("the passes run"))
}

/// A name, and the function of a size.
type Row = (&'static str, fn(u32) -> Function);

pub fn shapes() -> Vec<Shape> {
    let all: [Row; 8] = [
        ("straight", straight),
        ("ladder", ladder),
        ("cases", cases),
        ("loops", loops),
        ("nest", nest),
        ("diamonds", diamonds),
        ("restarts", restarts),
        ("handed", handed),
    ];
    let shape = |(name, make): Row| Shape {
        stage: "passes",
        name,
        work: Box::new(move |size| work(make(size as u32))),
    };
    all.into_iter().map(shape).collect()
}
