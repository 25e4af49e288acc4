//! Random modules: structured control flow, addresses inside of memory, and
//! many of the shapes that selection has rules for.
//!
//! A module is `f0`, which calls `f1` and may be replaced by `f2`.

use smallvec::SmallVec;
use tailor_ir::{
    AtomicOp, Block, BlockCall, Cond, ExtFunc, ExternData, FuncRef, Function, InstData, MapRef,
    Module, Opcode, Payload, Region, Size, StackSlot, StackSlotData, TAIL_CALL_SUCCEEDS,
    Terminator, Type, Value,
};

use crate::world::FILL;

mod memory;
mod shapes;

/// Numbers from a seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A module; the larger `size`, the longer its functions. Unless `frames_show`,
/// results do not depend on where frame objects are, or on what is in them when a
/// function starts.
pub fn module(random: &mut Random, size: usize, frames_show: bool) -> Module {
    let tail_calls = random.chance(40);
    let mut module = Module::new();
    for (index, name) in ["main", "callee", "target"].into_iter().enumerate() {
        let id = module.add_function(name);
        let record = tail_calls && index < 2;
        let mut function = Function::new(id, name);
        function.reaches_tail_call = record;
        let leaf = index > 0 && random.chance(40);
        let mut generator = Generator::new(random, function, size, frames_show, leaf);
        generator.function(if index == 2 { 1 } else { 3 }, index == 0);
        module.functions[id] = generator.f;
    }
    module
}

struct Generator<'a> {
    random: &'a mut Random,
    f: Function,
    block: Block,
    /// Values that may be used here.
    scope: Vec<Value>,
    budget: usize,
    /// Loops around this place.
    loops: usize,
    /// Addresses of frame objects may become numbers.
    frames_show: bool,
    /// Calls nobody, and has only the small frame objects.
    leaf: bool,
    /// Calls the second function.
    calls: bool,
}

const NUMBERS: [u64; 30] = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    16,
    31,
    32,
    33,
    63,
    64,
    127,
    128,
    200,
    255,
    256,
    65535,
    65536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ff80,
    0xffff_ffff,
    0x1_0000_0000,
    u64::MAX,
    u64::MAX - 127,
    1 << 63,
];

impl<'a> Generator<'a> {
    fn new(
        random: &'a mut Random,
        mut f: Function,
        size: usize,
        frames_show: bool,
        leaf: bool,
    ) -> Generator<'a> {
        if !leaf {
            f.stack_slots.push(StackSlotData { size: 1024, align: 8, escapes: true });
            f.stack_slots.push(StackSlotData { size: 1024, align: 16, escapes: true });
        }
        for _ in 0..memory::CELLS {
            let escapes = random.chance(30);
            f.stack_slots.push(StackSlotData { size: 8, align: 8, escapes });
        }
        for (helper, arity) in [(1, 2), (5, 0), (9, 5), (FILL, 1)] {
            let name = format!("helper{helper}");
            f.externs.push(ExternData { helper, name, arity, reads: true, writes: true });
        }
        let block = f.entry;
        Generator {
            random,
            f,
            block,
            scope: Vec::new(),
            budget: size,
            loops: 0,
            frames_show,
            leaf,
            calls: false,
        }
    }

    /// Fills the function.
    fn function(&mut self, params: usize, calls: bool) {
        for _ in 0..params {
            let param = self.f.add_param(self.f.entry, Type::I64);
            self.scope.push(param);
        }
        if !self.frames_show && !self.leaf {
            self.fill_objects();
        }
        self.fill_cells();
        self.calls = calls;
        self.sequence(3);
        if calls && self.random.chance(60) {
            self.call_local();
        }
        self.sequence(1);
        self.leave();
    }

    fn fill_objects(&mut self) {
        for slot in 0..2 {
            let payload = Payload::Slot { slot: StackSlot::from_u32(slot), offset: 0 };
            let address = self.inst(Opcode::StackAddr, Type::I64, &[], payload);
            let fill = Payload::Ext(ExtFunc::from_u32(3));
            self.inst(Opcode::CallExt, Type::I64, &[address.expect("an address")], fill);
        }
    }

    /// Returns something that depends on many values.
    fn leave(&mut self) {
        let mut sum = self.number(Type::I64);
        let mixed = if self.random.chance(20) { 25 } else { 6 };
        for _ in 0..mixed {
            let value = self.wide();
            let mixed = self.op(Opcode::Imul, Type::I64, &[sum, value]);
            sum = self.op(Opcode::Xor, Type::I64, &[mixed, value]);
        }
        self.end(Terminator::Return(sum));
    }

    fn end(&mut self, term: Terminator) {
        self.f.blocks[self.block].term = term;
    }

    fn inst(&mut self, op: Opcode, ty: Type, args: &[Value], payload: Payload) -> Option<Value> {
        let data = InstData { op, ty, args: SmallVec::from_slice(args), payload, origin: 0 };
        let inst = self.f.make_inst(data);
        self.f.blocks[self.block].insts.push(inst);
        self.f.result(inst)
    }

    fn op(&mut self, op: Opcode, ty: Type, args: &[Value]) -> Value {
        self.inst(op, ty, args, Payload::None).expect("a result")
    }

    fn constant(&mut self, ty: Type, number: u64) -> Value {
        let imm = Payload::Imm(number & ty.mask());
        self.inst(Opcode::Iconst, ty, &[], imm).expect("a result")
    }

    fn number(&mut self, ty: Type) -> Value {
        let number =
            if self.random.chance(90) { self.random.pick(&NUMBERS) } else { self.random.next() };
        self.constant(ty, number)
    }

    /// Some value of a type.
    fn value(&mut self, ty: Type) -> Value {
        if self.random.chance(20) {
            return self.number(ty);
        }
        // Younger values more often.
        let count = self.scope.len();
        let reach = if self.random.chance(70) { count.min(8) } else { count };
        let value = self.scope[count - 1 - self.random.below(reach)];
        match (self.f.ty(value), ty) {
            (Type::I64, Type::I32) => self.op(Opcode::Trunc, Type::I32, &[value]),
            (Type::I32, Type::I64) => {
                let op = self.random.pick(&[Opcode::Uext32, Opcode::Uext32, Opcode::Sext32]);
                self.op(op, Type::I64, &[value])
            }
            _ => value,
        }
    }

    fn wide(&mut self) -> Value {
        self.value(Type::I64)
    }

    fn ty(&mut self) -> Type {
        self.random.pick(&[Type::I32, Type::I64])
    }

    fn sequence(&mut self, depth: usize) {
        for _ in 0..1 + self.random.below(10) {
            if self.budget == 0 {
                return;
            }
            self.budget -= 1;
            match self.random.below(100) {
                0..10 if depth > 0 => self.diamond(depth - 1),
                10..18 if depth > 0 && self.loops < 2 => self.counted_loop(depth - 1),
                18..21 if depth > 0 => self.early_exit(depth - 1),
                21..24 => self.tail_call(),
                24 if depth > 0 && self.loops < 2 => self.tangle(depth - 1),
                25 if depth > 0 => self.dead_end(depth - 1),
                26 => self.meeting(),
                27 if self.calls && self.loops < 2 => self.call_local(),
                24..31 if !self.leaf => self.call_helper(),
                31..40 => self.cell(),
                40..60 => self.memory_access(),
                60..70 => self.idiom(),
                _ => self.arithmetic(),
            }
        }
    }

    fn arithmetic(&mut self) {
        use Opcode::*;
        const BINARY: [Opcode; 15] =
            [Iadd, Iadd, Isub, Imul, Udiv, Urem, Sdiv, Srem, And, Or, Xor, Shl, Lshr, Ashr, Isub];
        const UNARY: [Opcode; 5] = [Neg, Bswap16, Bswap, Sext8, Sext16];
        let ty = self.ty();
        let a = self.value(ty);
        let result = match self.random.below(10) {
            0 => {
                let op = self.random.pick(&UNARY);
                self.op(op, ty, &[a])
            }
            1 => {
                let a = self.value(Type::I32);
                let op = self.random.pick(&[Sext32, Uext32]);
                self.op(op, Type::I64, &[a])
            }
            2 => {
                let a = self.wide();
                self.op(Trunc, Type::I32, &[a])
            }
            _ => {
                let op = self.random.pick(&BINARY);
                let b = self.value(ty);
                self.op(op, ty, &[a, b])
            }
        };
        self.scope.push(result);
    }

    /// Several operations that selection has a rule for.
    fn idiom(&mut self) {
        use Opcode::*;
        let ty = self.ty();
        let (a, b) = (self.value(ty), self.value(ty));
        let bits = u64::from(ty.bits());
        let result = match self.random.below(6) {
            // Sums of which parts cancel each other.
            5 => {
                let loaded = self.load(ty);
                let number = self.number(ty);
                let more = self.op(Iadd, ty, &[loaded, number]);
                let less = self.op(Isub, ty, &[b, number]);
                self.scope.push(more);
                self.op(Iadd, ty, &[more, less])
            }
            0 => {
                let left = 1 + self.random.below(ty.bits() as usize - 1) as u64;
                let (left, right) = match self.random.chance(80) {
                    true => (self.constant(ty, left), self.constant(ty, bits - left)),
                    // Not a rotation, mostly: counts beyond the width too.
                    false => (self.constant(ty, left), self.number(ty)),
                };
                let high = self.op(Shl, ty, &[a, left]);
                let low = self.op(Lshr, ty, &[a, right]);
                let op = self.random.pick(&[Or, Xor, Iadd]);
                self.op(op, ty, &[high, low])
            }
            1 => {
                let width = self.constant(ty, bits);
                let rest = self.op(Isub, ty, &[width, b]);
                let (count, rest) = if self.random.chance(50) { (b, rest) } else { (rest, b) };
                let high = self.op(Shl, ty, &[a, count]);
                let low = self.op(Lshr, ty, &[a, rest]);
                self.op(Or, ty, &[low, high])
            }
            2 => {
                let mask = self.constant(ty, bits - 1);
                let count = self.op(And, ty, &[b, mask]);
                let op = self.random.pick(&[Shl, Lshr, Ashr]);
                self.op(op, ty, &[a, count])
            }
            3 => {
                let low = self.op(Trunc, Type::I32, &[self.scope[0]]);
                self.op(Uext32, Type::I64, &[low])
            }
            _ => {
                let shift = self.random.below(4) as u64;
                let shift = self.constant(ty, shift);
                let scaled = self.op(Shl, ty, &[b, shift]);
                let sum = self.op(Iadd, ty, &[a, scaled]);
                let number = self.number(ty);
                self.op(Iadd, ty, &[sum, number])
            }
        };
        self.scope.push(result);
    }

    fn call_helper(&mut self) {
        let ext = ExtFunc::from_u32(self.random.below(3) as u32);
        let args: Vec<Value> = (0..self.f.externs[ext].arity).map(|_| self.wide()).collect();
        let result = self.inst(Opcode::CallExt, Type::I64, &args, Payload::Ext(ext));
        self.scope.extend(result.filter(|_| self.random.chance(80)));
    }

    fn call_local(&mut self) {
        let args = [self.scope[0], self.wide(), self.wide()];
        let callee = Payload::Func(FuncRef::from_u32(1));
        let result = self.inst(Opcode::Call, Type::I64, &args, callee);
        self.scope.extend(result);
    }

    fn tail_call(&mut self) {
        if !self.f.reaches_tail_call {
            return;
        }
        let map = MapRef::from_u32(0);
        let array = self.inst(Opcode::MapAddr, Type::I64, &[], Payload::Map(map));
        let array = array.expect("an address");
        let key = self.random.below(3) as u32;
        let direct = self.random.chance(50).then_some((map, key));
        let index = match direct {
            Some(_) => self.constant(Type::I64, key.into()),
            None => {
                let index = self.wide();
                let mask = self.constant(Type::I64, 15);
                if self.random.chance(70) {
                    self.op(Opcode::And, Type::I64, &[index, mask])
                } else {
                    index
                }
            }
        };
        let fail = self.f.add_block();
        let ctx = self.scope[0];
        let args = self.args(fail);
        let fail = BlockCall { block: fail, args };
        let block = fail.block;
        let succeeds = TAIL_CALL_SUCCEEDS;
        self.end(Terminator::TailCall { ctx, array, index, direct, fail, succeeds });
        self.enter(block);
    }

    /// Gives a new block some parameters; what is passed for them here.
    fn args(&mut self, block: Block) -> SmallVec<[Value; 4]> {
        let most = if self.random.chance(10) { 14 } else { 3 };
        let types: Vec<Type> = (0..self.random.below(most)).map(|_| self.ty()).collect();
        types
            .into_iter()
            .map(|ty| {
                self.f.add_param(block, ty);
                self.value(ty)
            })
            .collect()
    }

    /// What is passed here for the parameters that a block has.
    fn more_args(&mut self, block: Block) -> SmallVec<[Value; 4]> {
        let types: Vec<Type> =
            self.f.blocks[block].params.iter().map(|&param| self.f.ty(param)).collect();
        types.into_iter().map(|ty| self.value(ty)).collect()
    }

    fn enter(&mut self, block: Block) {
        self.block = block;
        self.scope.extend_from_slice(&self.f.blocks[block].params);
    }

    fn branch(&mut self, then: BlockCall, other_target: BlockCall) {
        let ty = self.ty();
        let mut cond = self.random.pick(&Cond::ALL);
        let mut lhs = self.value(ty);
        let rhs = match self.random.below(4) {
            0 => self.constant(ty, 0),
            1 => self.number(ty),
            _ => self.value(ty),
        };
        if self.random.chance(20) {
            let mask = self.value(ty);
            lhs = self.op(Opcode::And, ty, &[lhs, mask]);
            cond = self.random.pick(&[Cond::Eq, Cond::Ne, cond]);
        } else if self.random.chance(40) {
            lhs = self.load(ty);
        } else if self.random.chance(20) {
            // Whether the result is zero may be in the flags already.
            let other = self.value(ty);
            let op = self.random.pick(&[Opcode::Iadd, Opcode::Isub, Opcode::Xor, Opcode::Or]);
            lhs = self.op(op, ty, &[lhs, other]);
            self.scope.push(lhs);
            return self.branch_on_zero(lhs, then, other_target);
        }
        let (lhs, rhs) = if self.random.chance(10) { (rhs, lhs) } else { (lhs, rhs) };
        self.end(Terminator::Branch { cond, ty, lhs, rhs, then, other: other_target });
    }

    fn diamond(&mut self, depth: usize) {
        let (then, join) = (self.f.add_block(), self.f.add_block());
        let passed = self.args(join);
        let then_args = self.args(then);
        let then_call = BlockCall { block: then, args: then_args };
        if self.random.chance(40) {
            self.branch(then_call, BlockCall { block: join, args: passed });
        } else {
            let other = self.f.add_block();
            let args = self.args(other);
            self.branch(then_call, BlockCall { block: other, args });
            self.arm(other, join, depth);
        }
        self.arm(then, join, depth);
        self.enter(join);
    }

    /// A part that ends by going to `join`.
    fn arm(&mut self, start: Block, join: Block, depth: usize) {
        let scope = self.scope.len();
        self.enter(start);
        self.sequence(depth);
        let args = self.more_args(join);
        self.end(Terminator::Jump(BlockCall { block: join, args }));
        self.scope.truncate(scope);
    }

    fn early_exit(&mut self, depth: usize) {
        let (exit, on) = (self.f.add_block(), self.f.add_block());
        self.branch(BlockCall::to(exit), BlockCall::to(on));
        let scope = self.scope.len();
        self.enter(exit);
        self.sequence(depth.min(1));
        self.leave();
        self.scope.truncate(scope);
        self.enter(on);
    }

    /// Runs up to six times.
    fn counted_loop(&mut self, depth: usize) {
        let (header, after) = (self.f.add_block(), self.f.add_block());
        let ty = self.ty();
        let start = self.constant(ty, 0);
        let counter = self.f.add_param(header, ty);
        let mut args: SmallVec<[Value; 4]> = SmallVec::from_slice(&[start]);
        args.extend(self.args(header));
        self.end(Terminator::Jump(BlockCall { block: header, args }));
        let scope = self.scope.len();
        self.enter(header);
        self.loops += 1;
        self.sequence(depth);
        self.loops -= 1;
        let one = self.constant(ty, 1);
        let next = self.op(Opcode::Iadd, ty, &[counter, one]);
        self.scope.push(next);
        let limit = 1 + self.random.below(6) as u64;
        let limit = self.constant(ty, limit);
        let mut again = self.more_args(header);
        again[0] = next;
        let passed = self.args(after);
        self.scope.truncate(scope);
        let again = BlockCall { block: header, args: again };
        let out = BlockCall { block: after, args: passed };
        let term =
            if self.random.chance(50) { (Cond::Ult, again, out) } else { (Cond::Sge, out, again) };
        let (cond, then, other) = term;
        self.end(Terminator::Branch { cond, ty, lhs: next, rhs: limit, then, other });
        self.enter(after);
    }
}
