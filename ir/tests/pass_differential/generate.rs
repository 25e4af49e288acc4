//! Random functions that make sense: they pass the verifier, end, touch only
//! memory that exists, and never compute with an address.
//!
//! Blocks are made first, with edges at random; an edge that does not lead
//! forward is taken only while the block's first parameter, the fuel, lasts.
//! Then each block is filled with values of the blocks that dominate it.

use std::collections::HashSet;

use tailor_ir::cfg::Cfg;
use tailor_ir::dom::DomTree;
use tailor_ir::{
    AtomicOp, Block, BlockCall, Cond, ExtFunc, ExternData, FuncRef, Function, InstData, MapRef,
    Module, Opcode, Payload, Region, Size, StackSlot, StackSlotData, TAIL_CALL_SUCCEEDS,
    Terminator, Type, Value, ValueDef,
};

use super::host::{BUFFER_SIZE, CONSTANTS, CONSTANTS_SIZE, MIX, READ, WRITE};
use super::random::Random;

/// A module: a program that may call the second function, or be replaced by
/// the third.
pub fn module(seed: u64) -> Module {
    let mut random = Random(seed);
    let mut module = Module::new();
    let tail_calls = random.chance(40);
    for id in 0..3 {
        let mut random = Random(random.next());
        let operations = 1 + random.below(6);
        // What is made of one thing or two has the rare combinations of them.
        let most = if random.chance(25) { 2 } else { 12 };
        let statements = 1 + random.below(most);
        let mut generator = Generator {
            function: Function::new(FuncRef::from_u32(id), format!("f{id}")),
            pools: Vec::new(),
            leaf: id > 0,
            operations: (0..operations).map(|_| random.pick(BINARY)).collect(),
            statements: (0..statements).map(|_| random.below(33)).collect(),
            escaping: random.pick(&[0, 5, 40]),
            pointers: HashSet::new(),
            bare: HashSet::new(),
            types: (0..1 + random.below(2)).map(|_| random.pick(TYPES)).collect(),
            constants: random.pick(&[5, 25, 50]),
            random,
        };
        generator.function.reaches_tail_call = tail_calls && id == 0;
        generator.generate();
        module.functions.push(generator.function);
    }
    module
}

/// The values that may be used in a block: data of both types, and addresses
/// with the number of bytes there (at least eight).
#[derive(Clone, Default)]
struct Pool {
    narrow: Vec<Value>,
    wide: Vec<Value>,
    addresses: Vec<(Value, u32)>,
}

struct Generator {
    function: Function,
    random: Random,
    /// By block number.
    pools: Vec<Pool>,
    leaf: bool,
    /// Block parameters that are addresses of eight bytes or more.
    pointers: HashSet<Value>,
    /// Blocks that do nothing but jump on.
    bare: HashSet<Block>,
    /// What this function is made of: few things at a time meet more often.
    operations: Vec<Opcode>,
    statements: Vec<usize>,
    types: Vec<Type>,
    /// Percentage of operands that are constants.
    constants: usize,
    /// Percentage of addresses in a slot that may be used anywhere.
    escaping: usize,
}

const UNARY: &[Opcode] =
    &[Opcode::Neg, Opcode::Bswap16, Opcode::Bswap, Opcode::Sext8, Opcode::Sext16];
const TYPES: &[Type] = &[Type::I32, Type::I64];
const BINARY: &[Opcode] = &[
    Opcode::Iadd,
    Opcode::Iadd,
    Opcode::Isub,
    Opcode::Imul,
    Opcode::Udiv,
    Opcode::Urem,
    Opcode::Sdiv,
    Opcode::Srem,
    Opcode::And,
    Opcode::And,
    Opcode::Or,
    Opcode::Xor,
    Opcode::Shl,
    Opcode::Lshr,
    Opcode::Ashr,
];
/// What often stands before a test.
const TESTED: &[Opcode] =
    &[Opcode::And, Opcode::And, Opcode::Shl, Opcode::Lshr, Opcode::Iadd, Opcode::Isub, Opcode::Xor];
const SHIFTS: &[Opcode] = &[Opcode::Shl, Opcode::Lshr, Opcode::Ashr];
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    24,
    31,
    32,
    33,
    40,
    48,
    56,
    63,
    64,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x10000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    u64::MAX,
    1 << 63,
    (1 << 63) - 1,
    0xffff_ffff_8000_0000,
    0xffff_ffff_0000_0000,
    0x1234_5678_9abc_def0,
    u64::MAX - 1,
    0xffff_ffff_ffff_ff80,
    0x1ff,
    0x1_ffff,
];

impl Generator {
    fn generate(&mut self) {
        let wide = |function: &mut Function| function.add_param(function.entry, Type::I64);
        // Fuel, a number, the buffer.
        let params = [0; 3].map(|_| wide(&mut self.function));
        for helper in [MIX, WRITE, READ] {
            self.function.externs.push(ExternData {
                helper,
                name: format!("h{helper}"),
                arity: if helper == READ { 1 } else { 2 },
                reads: helper == READ,
                writes: helper == WRITE,
            });
        }
        for _ in 0..self.random.below(4) {
            let size = 8 + self.random.below(17) as u32;
            let align = self.random.pick(&[1, 8]);
            self.function.stack_slots.push(StackSlotData { size, align, escapes: true });
        }
        self.graph(params[0]);
        let cfg = Cfg::new(&self.function);
        let dom = DomTree::new(&self.function, &cfg);
        self.pools = vec![Pool::default(); self.function.blocks.len()];
        self.pools[0].wide.extend(&params[..2]);
        let map = MapRef::from_u32(0);
        let buffer = Payload::MapValue { map, offset: 0 };
        let buffer = InstData::new(Opcode::MapValue, Type::I64, &[], buffer);
        let buffer = self.inst(self.function.entry, buffer);
        let addresses = &mut self.pools[0].addresses;
        addresses.extend(buffer.map(|buffer| (buffer, BUFFER_SIZE as u32)));
        // What the third function is passed is no address; the second may be
        // passed one of eight bytes.
        match self.function.id.as_u32() {
            0 => addresses.push((params[2], BUFFER_SIZE as u32)),
            1 => addresses.push((params[2], 8)),
            _ => {}
        }
        for &block in dom.preorder() {
            let mut pool = match dom.idom(block) {
                Some(above) => self.pools[above.as_u32() as usize].clone(),
                None => self.pools[0].clone(),
            };
            self.fill(block, &mut pool);
            self.pools[block.as_u32() as usize] = pool;
        }
        for &block in dom.preorder() {
            self.pass_arguments(block);
        }
        self.function.layout.retain(|&block| cfg.is_reachable(block));
    }

    /// Makes blocks, parameters and edges.
    fn graph(&mut self, any: Value) {
        let most = if self.random.chance(10) { 24 } else { 8 };
        let count = 1 + self.random.below(most);
        for _ in 1..count {
            let block = self.function.add_block();
            self.function.add_param(block, Type::I64);
            for _ in 0..self.random.below(5) {
                let ty = self.random.pick(TYPES);
                let param = self.function.add_param(block, ty);
                if ty == Type::I64 && self.random.chance(20) {
                    self.pointers.insert(param);
                }
            }
        }
        for number in 0..count {
            let forward = |random: &mut Random| {
                let near = if random.chance(50) { 2 } else { count };
                let next = number + 1 + random.below((count - number - 1).min(near));
                BlockCall::to(Block::from_u32(next as u32))
            };
            let term = if number + 1 == count {
                Terminator::Return(any)
            } else {
                match self.random.below(11) {
                    10 if number > 0 => {
                        self.bare.insert(Block::from_u32(number as u32));
                        Terminator::Jump(forward(&mut self.random))
                    }
                    0..2 => Terminator::Jump(forward(&mut self.random)),
                    2..4 if number > 0 => Terminator::Branch {
                        cond: Cond::Sgt,
                        ty: Type::I64,
                        lhs: self.function.blocks[Block::from_u32(number as u32)].params[0],
                        rhs: any,
                        then: BlockCall::to(Block::from_u32(1 + self.random.below(number) as u32)),
                        other: forward(&mut self.random),
                    },
                    4 if self.function.reaches_tail_call => Terminator::TailCall {
                        ctx: any,
                        array: any,
                        index: any,
                        direct: None,
                        fail: forward(&mut self.random),
                        succeeds: TAIL_CALL_SUCCEEDS,
                    },
                    _ => Terminator::Branch {
                        cond: self.random.pick(&Cond::ALL),
                        ty: self.random.pick(TYPES),
                        lhs: any,
                        rhs: any,
                        then: forward(&mut self.random),
                        other: forward(&mut self.random),
                    },
                }
            };
            self.function.blocks[Block::from_u32(number as u32)].term = term;
        }
    }

    fn inst(&mut self, block: Block, data: InstData) -> Option<Value> {
        let inst = self.function.make_inst(data);
        self.function.blocks[block].insts.push(inst);
        self.function.result(inst)
    }

    fn op(&mut self, block: Block, pool: &mut Pool, op: Opcode, ty: Type, args: &[Value]) -> Value {
        let value = self.inst(block, InstData::new(op, ty, args, Payload::None));
        let value = value.expect("an operation with a result");
        self.add(pool, value);
        value
    }

    fn add(&self, pool: &mut Pool, value: Value) {
        match self.function.ty(value) {
            Type::I32 => pool.narrow.push(value),
            Type::I64 => pool.wide.push(value),
        }
    }

    fn number(&mut self, block: Block, ty: Type, number: u64) -> Value {
        let payload = Payload::Imm(number & ty.mask());
        let value = self.inst(block, InstData::new(Opcode::Iconst, ty, &[], payload));
        value.expect("a constant has a result")
    }

    /// A value of that type: a recent one, or a constant.
    fn value(&mut self, block: Block, pool: &Pool, ty: Type) -> Value {
        let values = match ty {
            Type::I32 => &pool.narrow,
            Type::I64 => &pool.wide,
        };
        if values.is_empty() || self.random.chance(self.constants) {
            let number = self.random.pick(NUMBERS);
            return self.number(block, ty, number);
        }
        let recent = values.len().saturating_sub(4);
        match self.random.chance(60) {
            true => values[recent + self.random.below(values.len() - recent)],
            false => self.random.pick(values),
        }
    }

    fn fill(&mut self, block: Block, pool: &mut Pool) {
        let params = self.function.blocks[block].params.clone();
        if block != self.function.entry {
            for &param in &params {
                match self.pointers.contains(&param) {
                    true => pool.addresses.push((param, 8)),
                    false => self.add(pool, param),
                }
            }
        }
        if self.bare.contains(&block) {
            // The last value is passed on as fuel.
            pool.wide.push(params[0]);
            return;
        }
        for _ in 0..self.random.below(14) {
            self.statement(block, pool);
        }
        self.observe(block, pool);
        self.terminate(block, pool, params[0]);
    }

    /// Shows the world the last values, so that few are dead.
    fn observe(&mut self, block: Block, pool: &Pool) {
        let narrow = pool.narrow.iter().rev().take(3).copied().collect::<Vec<_>>();
        let mut shown: Vec<Value> = pool.wide.iter().rev().take(4).copied().collect();
        for value in narrow {
            let wide = InstData::new(Opcode::Uext32, Type::I64, &[value], Payload::None);
            shown.extend(self.inst(block, wide));
        }
        for pair in shown.chunks_exact(2).filter(|_| self.random.chance(60)).collect::<Vec<_>>() {
            let mix = Payload::Ext(ExtFunc::from_u32(0));
            self.inst(block, InstData::new(Opcode::CallExt, Type::I64, pair, mix));
        }
    }

    fn statement(&mut self, block: Block, pool: &mut Pool) {
        let ty = self.random.pick(&self.types);
        match self.random.pick(&self.statements) {
            0..7 => {
                let op = self.random.pick(&self.operations);
                let args = [self.value(block, pool, ty), self.value(block, pool, ty)];
                self.op(block, pool, op, ty, &args);
            }
            7 => {
                let op = self.random.pick(UNARY);
                let arg = self.value(block, pool, ty);
                self.op(block, pool, op, ty, &[arg]);
            }
            8..10 => {
                let op = self.random.pick(&[Opcode::Uext32, Opcode::Sext32, Opcode::Trunc]);
                let from = if op == Opcode::Trunc { Type::I64 } else { Type::I32 };
                let arg = self.value(block, pool, from);
                self.op(block, pool, op, ty, &[arg]);
            }
            10..12 => self.extension(block, pool, ty),
            12..20 => self.memory(block, pool, ty),
            20..22 => self.call(block, pool),
            22 => self.atomic(block, pool, ty),
            24 | 25 => self.widened(block, pool),
            23 | 27 if self.random.chance(50) => self.assembly(block, pool, ty),
            23 | 27 => self.disassembly(block, pool, ty),
            28 => self.constant(block, pool, ty),
            29 | 30 => self.undone(block, pool, ty),
            31 => self.kept_address(block, pool),
            32 => self.disassembly(block, pool, ty),
            _ => self.context(block, pool, ty),
        }
    }

    /// An operation, and one on its result and an operand, which may undo it.
    fn undone(&mut self, block: Block, pool: &mut Pool, ty: Type) {
        let ops = [Opcode::Iadd, Opcode::Isub, Opcode::Isub, Opcode::Xor];
        let args = [self.value(block, pool, ty), self.value(block, pool, ty)];
        let op = self.random.pick(&ops);
        let mut result = self.op(block, pool, op, ty, &args);
        if self.random.chance(20) {
            result = self.op(block, pool, Opcode::Neg, ty, &[result]);
        }
        let mut again = [result, self.random.pick(&args)];
        if self.random.chance(50) {
            again.swap(0, 1);
        }
        let op = if self.random.chance(60) { op } else { self.random.pick(&ops) };
        self.op(block, pool, op, ty, &again);
    }

    /// An address that goes through memory, which does not keep it.
    fn kept_address(&mut self, block: Block, pool: &mut Pool) {
        let (address, bytes) = self.somewhere(pool);
        let (base, offset, region) = self.address(block, pool, Size::D);
        let payload = Payload::Mem { offset, size: Size::D, region };
        let zero = self.number(block, Type::I64, 0);
        self.inst(block, InstData::new(Opcode::Store, Type::I64, &[base, address], payload));
        let loaded = self.inst(block, InstData::new(Opcode::Load, Type::I64, &[base], payload));
        self.inst(block, InstData::new(Opcode::Store, Type::I64, &[base, zero], payload));
        pool.addresses.extend(loaded.map(|loaded| (loaded, bytes)));
    }

    /// An operation with a constant on what has just been widened.
    fn widened(&mut self, block: Block, pool: &mut Pool) {
        let narrow = self.value(block, pool, Type::I32);
        let op = self.random.pick(&[Opcode::Uext32, Opcode::Sext32]);
        let wide = self.op(block, pool, op, Type::I64, &[narrow]);
        let number = match self.random.chance(50) {
            true => self.random.below(64) as u64,
            false => self.random.pick(NUMBERS),
        };
        let number = self.number(block, Type::I64, number);
        let op = self.random.pick(&self.operations);
        let result = self.op(block, pool, op, Type::I64, &[wide, number]);
        if self.random.chance(50) {
            self.op(block, pool, Opcode::Trunc, Type::I32, &[result]);
        }
    }

    /// Shifts up and down, as code without 32-bit operations extends.
    fn extension(&mut self, block: Block, pool: &mut Pool, ty: Type) {
        let counts: &[u64] = match ty {
            Type::I64 => &[8, 16, 32, 32, 32, 48, 56],
            Type::I32 => &[8, 16, 24],
        };
        let arg = self.value(block, pool, ty);
        let near = self.random.pick(&[0, 0, 0, 1]);
        let up = self.random.pick(counts) - near;
        let arg = match self.random.chance(30) {
            true => {
                let mask = u64::MAX >> (self.random.pick(counts) - self.random.below(2) as u64);
                let mask = self.number(block, ty, mask);
                self.op(block, pool, Opcode::And, ty, &[arg, mask])
            }
            false => arg,
        };
        let down = if self.random.chance(80) { up } else { up + self.random.below(8) as u64 };
        let (first, second) = (self.number(block, ty, up), self.number(block, ty, down));
        let shifted = self.op(block, pool, Opcode::Shl, ty, &[arg, first]);
        let op = self.random.pick(SHIFTS);
        self.op(block, pool, op, ty, &[shifted, second]);
    }

    /// A number put together from parts of memory, in order or nearly so.
    fn assembly(&mut self, block: Block, pool: &mut Pool, ty: Type) {
        let (base, bytes) = self.random.pick(&pool.addresses);
        let count = self.random.pick(&[2, 3, 4, 8]).min(ty.bits() / 8);
        let first = self.random.below((bytes - count + 1) as usize) as i32;
        let mixed = self.random.chance(40);
        let mut parts = Vec::new();
        let mut at = 0;
        while at < count {
            let skip = self.random.chance(2) as i32;
            let offset = (first + at as i32 - skip).max(0);
            let wanted = if mixed { self.random.pick(&Size::ALL[..3]) } else { Size::B };
            let size = if at + wanted.bytes() <= count { wanted } else { Size::B };
            let payload = Payload::Mem { offset, size, region: Region::Any };
            let narrow = mixed && self.random.chance(40);
            let loaded = if narrow { Type::I32 } else { ty };
            let op = if self.random.chance(2) { Opcode::Sload } else { Opcode::Load };
            let mut by = 8 * u64::from(at);
            if self.random.chance(8) {
                by = self.random.pick(NUMBERS);
            }
            if let Some(mut part) = self.inst(block, InstData::new(op, loaded, &[base], payload)) {
                if narrow && self.random.chance(50) {
                    let by = self.number(block, Type::I32, by);
                    part = self.op(block, pool, Opcode::Shl, Type::I32, &[part, by]);
                }
                if loaded != ty {
                    part = self.op(block, pool, Opcode::Uext32, Type::I64, &[part]);
                }
                let by = self.number(block, ty, by);
                parts.push(self.op(block, pool, Opcode::Shl, ty, &[part, by]));
            }
            match self.random.below(20) {
                0 => self.memory(block, pool, ty),
                1 => self.call(block, pool),
                2 => self.atomic(block, pool, ty),
                _ => {}
            }
            at += size.bytes();
        }
        // Neighbours are joined in any order.
        while parts.len() > 1 {
            let at = self.random.below(parts.len() - 1);
            let op = self.random.pick(&[Opcode::Or, Opcode::Iadd, Opcode::Xor]);
            let mut args = [parts[at], parts.remove(at + 1)];
            if self.random.chance(30) {
                args.swap(0, 1);
            }
            parts[at] = self.op(block, pool, op, ty, &args);
            if ty == Type::I64 && self.random.chance(15) {
                let low = self.op(block, pool, Opcode::Trunc, Type::I32, &[parts[at]]);
                parts[at] = self.op(block, pool, Opcode::Uext32, Type::I64, &[low]);
            }
        }
    }

    /// The parts of a number, stored in any order to adjacent addresses.
    fn disassembly(&mut self, block: Block, pool: &mut Pool, ty: Type) {
        let (base, bytes) = self.random.pick(&pool.addresses);
        let size = self.random.pick(&[Size::B, Size::B, Size::H, Size::W]);
        let count = self.random.pick(&[2, 3, 4, 8]).min(ty.bits() / size.bits());
        // Half of a number may be stored from any byte of it on.
        let above = if self.random.chance(30) { self.random.below(4) as u32 } else { 0 };
        let total = (count * size.bytes()).min(bytes);
        let first = self.random.below((bytes - total + 1) as usize) as i32;
        let value = self.value(block, pool, ty);
        let mixed = self.random.chance(40);
        let mut parts: Vec<(u32, Size)> = Vec::new();
        let mut at = 0;
        while at < total {
            // Now and then a longer one, or all are mixed.
            let wanted = match self.random.below(10) {
                0..2 => Size::W,
                _ if mixed => self.random.pick(&[Size::B, Size::H]),
                _ => size,
            };
            let size = if at + wanted.bytes() <= total { wanted } else { Size::B };
            parts.push((at, size));
            at += size.bytes();
        }
        let from = self.random.below(parts.len());
        parts.rotate_left(from);
        for (at, size) in parts {
            let skip = self.random.chance(2) as i32;
            // What is shifted has half of the number's bits at times, and may have fewer
            // than are stored.
            let narrow = ty == Type::I64 && at < 4 && self.random.chance(40);
            let (value, ty) = match narrow {
                true => (self.op(block, pool, Opcode::Trunc, Type::I32, &[value]), Type::I32),
                false => (value, ty),
            };
            let mut by = u64::from(8 * (at + above));
            if self.random.chance(3) {
                by = self.random.pick(NUMBERS);
            }
            let by = self.number(block, ty, by);
            let op = if self.random.chance(3) { Opcode::Ashr } else { Opcode::Lshr };
            let mut part = self.op(block, pool, op, ty, &[value, by]);
            let mut ty = ty;
            if ty == Type::I64 && self.random.chance(20) {
                part = self.op(block, pool, Opcode::Trunc, Type::I32, &[part]);
                ty = Type::I32;
            }
            let offset = (first + at as i32 - skip).max(0);
            let payload = Payload::Mem { offset, size, region: Region::Any };
            self.inst(block, InstData::new(Opcode::Store, ty, &[base, part], payload));
            if self.random.chance(8) {
                self.memory(block, pool, ty);
            }
        }
    }

    /// An address and the number of bytes there, often the newest.
    fn somewhere(&mut self, pool: &Pool) -> (Value, u32) {
        match pool.addresses.last() {
            Some(&newest) if self.random.chance(40) => newest,
            _ => self.random.pick(&pool.addresses),
        }
    }

    /// An address, what is added to it, and the region there.
    fn address(&mut self, block: Block, pool: &mut Pool, size: Size) -> (Value, i32, Region) {
        let slots = self.function.stack_slots.len();
        if slots == 0 || self.random.chance(25) {
            let (base, bytes) = self.somewhere(pool);
            let offset = self.random.below((bytes - size.bytes() + 1) as usize);
            return (base, offset as i32, Region::Any);
        }
        let slot = StackSlot::from_u32(self.random.below(slots) as u32);
        let bytes = self.function.stack_slots[slot].size;
        let start = match self.random.chance(30) {
            true => 0,
            false => self.random.below(bytes as usize + 1) as i32,
        };
        let payload = Payload::Slot { slot, offset: start };
        let base = self.inst(block, InstData::new(Opcode::StackAddr, Type::I64, &[], payload));
        let mut base = base.expect("an address is a result");
        let mut at = self.random.below((bytes - size.bytes() + 1) as usize) as i32;
        // Half of all accesses are aligned.
        if self.random.chance(50) {
            at -= at % size.bytes() as i32;
        }
        let mut offset = at - start;
        if self.random.chance(20) {
            let part = self.random.below(16) as i64 - 8;
            let part_value = self.number(block, Type::I64, part as u64);
            let sum = InstData::new(Opcode::Iadd, Type::I64, &[base, part_value], Payload::None);
            base = self.inst(block, sum).expect("a sum is a result");
            offset -= part as i32;
        }
        // Now and then the address escapes.
        if self.random.chance(self.escaping) && offset == at {
            pool.addresses.push((base, 8));
        }
        let region = self.random.pick(&[Region::Any, Region::Stack(slot)]);
        (base, offset, region)
    }

    fn memory(&mut self, block: Block, pool: &mut Pool, ty: Type) {
        let sizes = if ty == Type::I32 { &Size::ALL[..3] } else { &Size::ALL[..] };
        let size = self.random.pick(sizes);
        let (base, offset, region) = self.address(block, pool, size);
        let payload = Payload::Mem { offset, size, region };
        if self.random.chance(50) {
            let value = self.value(block, pool, ty);
            self.inst(block, InstData::new(Opcode::Store, ty, &[base, value], payload));
        } else {
            let op = self.random.pick(&[Opcode::Load, Opcode::Load, Opcode::Sload]);
            if let Some(value) = self.inst(block, InstData::new(op, ty, &[base], payload)) {
                self.add(pool, value);
            }
        }
    }

    fn call(&mut self, block: Block, pool: &mut Pool) {
        let data = self.value(block, pool, Type::I64);
        let (address, _) = self.random.pick(&pool.addresses);
        let (op, args, payload) = match self.random.below(5) {
            0 if !self.leaf => {
                let fuel = self.number(block, Type::I64, 2);
                let func = Payload::Func(FuncRef::from_u32(1));
                (Opcode::Call, vec![fuel, data, address], func)
            }
            1 => (Opcode::CallExt, vec![address, data], Payload::Ext(ExtFunc::from_u32(1))),
            2 => (Opcode::CallExt, vec![address], Payload::Ext(ExtFunc::from_u32(2))),
            3 => {
                let helper = self.random.pick(&[MIX, READ, WRITE]);
                let number = self.number(block, Type::I64, helper.into());
                let first = if helper == MIX { data } else { address };
                let args = vec![number, first, data, data, number, data];
                (Opcode::CallNumber, args, Payload::None)
            }
            _ => (Opcode::CallExt, vec![data, data], Payload::Ext(ExtFunc::from_u32(0))),
        };
        if let Some(value) = self.inst(block, InstData::new(op, Type::I64, &args, payload)) {
            self.add(pool, value);
        }
    }

    fn atomic(&mut self, block: Block, pool: &mut Pool, ty: Type) {
        let size = Size::of(ty);
        let (base, offset, region) = match self.random.chance(10) {
            true => self.address(block, pool, size),
            false => (pool.addresses[0].0, 8, Region::Any),
        };
        let (value, other) = (self.value(block, pool, ty), self.value(block, pool, ty));
        let op = self.random.pick(&AtomicOp::ALL);
        let payload = Payload::Atomic { op, offset, region };
        // Ordered accesses come in all sizes that the value has.
        let part = Size::ALL[self.random.below(size as usize + 1)];
        let ordered = Payload::Mem { offset, size: part, region };
        let data = match self.random.below(5) {
            0 => InstData::new(Opcode::Atomic, ty, &[base, value], payload),
            1 => InstData::new(Opcode::AtomicFetch, ty, &[base, value], payload),
            2 => InstData::new(Opcode::LoadAcquire, ty, &[base], ordered),
            3 => InstData::new(Opcode::StoreRelease, ty, &[base, value], ordered),
            _ => {
                let payload = Payload::Mem { offset, size, region };
                InstData::new(Opcode::AtomicCas, ty, &[base, value, other], payload)
            }
        };
        if let Some(value) = self.inst(block, data) {
            self.add(pool, value);
        }
    }

    fn context(&mut self, block: Block, pool: &mut Pool, ty: Type) {
        let (kind, field) = (self.random.below(2) as u8, self.random.below(3) as u8);
        let payload = Payload::Ctx { kind, field };
        let base = pool.addresses[0].0;
        let value = self.value(block, pool, ty);
        let data = match self.random.chance(70) {
            true => InstData::new(Opcode::CtxLoad, ty, &[base], payload),
            false => InstData::new(Opcode::CtxStore, ty, &[base, value], payload),
        };
        if let Some(value) = self.inst(block, data) {
            self.add(pool, value);
        }
    }

    /// A load from memory that never changes.
    fn constant(&mut self, block: Block, pool: &mut Pool, ty: Type) {
        let sizes = if ty == Type::I32 { &Size::ALL[..3] } else { &Size::ALL[..] };
        let size = self.random.pick(sizes);
        let at = self.random.below(CONSTANTS_SIZE - size.bytes() as usize + 1) as i32;
        let start = self.random.below(CONSTANTS_SIZE) as i32;
        let map = MapRef::from_u32(CONSTANTS);
        let address = Payload::MapValue { map, offset: start as u32 };
        let address = InstData::new(Opcode::MapValue, Type::I64, &[], address);
        let base = self.inst(block, address).expect("an address is a result");
        let payload = Payload::Mem { offset: at - start, size, region: Region::Any };
        let op = self.random.pick(&[Opcode::Load, Opcode::Sload]);
        if let Some(value) = self.inst(block, InstData::new(op, ty, &[base], payload)) {
            self.add(pool, value);
        }
    }

    /// Fills in the terminator's own operands.
    fn terminate(&mut self, block: Block, pool: &mut Pool, fuel: Value) {
        let one = self.number(block, Type::I64, 1);
        let less = InstData::new(Opcode::Isub, Type::I64, &[fuel, one], Payload::None);
        let less = self.inst(block, less).expect("a difference is a result");
        let mut term = std::mem::replace(&mut self.function.blocks[block].term, Terminator::None);
        match &mut term {
            Terminator::Branch { cond: Cond::Sgt, ty, lhs, rhs, then, .. }
                if then.block <= block =>
            {
                (*ty, *lhs) = (Type::I64, less);
                *rhs = self.number(block, Type::I64, 0);
            }
            Terminator::Branch { ty: Type::I64, lhs, rhs, .. } if self.random.chance(20) => {
                (*lhs, *rhs) = self.halves(block, pool);
            }
            Terminator::Branch { cond, ty, lhs, rhs, .. } if self.random.chance(30) => {
                if self.random.chance(50) {
                    *cond = self.random.pick(&[Cond::Eq, Cond::Ne, Cond::Set, Cond::Clear]);
                }
                (*lhs, *rhs) = self.computed(block, pool, *cond, *ty);
            }
            Terminator::Branch { ty, lhs, rhs, .. } => {
                *lhs = self.value(block, pool, *ty);
                *rhs = self.value(block, pool, *ty);
            }
            Terminator::Return(value) => *value = self.value(block, pool, Type::I64),
            Terminator::TailCall { ctx, array, index, .. } => {
                let map = Payload::Map(MapRef::from_u32(0));
                let address = InstData::new(Opcode::MapAddr, Type::I64, &[], map);
                *array = self.inst(block, address).expect("an address is a result");
                *index = self.value(block, pool, Type::I64);
                *ctx = self.number(block, Type::I64, 2);
            }
            Terminator::None | Terminator::Jump(_) | Terminator::Trap => {}
        }
        // The last value is passed on as fuel.
        pool.wide.push(less);
        self.function.blocks[block].term = term;
    }

    /// What an operation with a constant gives, and a constant that is near what it may give.
    fn computed(&mut self, block: Block, pool: &mut Pool, cond: Cond, ty: Type) -> (Value, Value) {
        let value = self.value(block, pool, ty);
        let number = self.random.pick(NUMBERS);
        let op = match self.random.chance(50) {
            true => self.random.pick(&self.operations),
            false => self.random.pick(TESTED),
        };
        let lhs = match self.random.below(5) {
            0 => {
                let op = self.random.pick(UNARY);
                self.op(block, pool, op, ty, &[value])
            }
            1 => {
                let number = self.number(block, ty, number);
                self.op(block, pool, op, ty, &[number, value])
            }
            _ => {
                let number = self.number(block, ty, number);
                self.op(block, pool, op, ty, &[value, number])
            }
        };
        let other = match self.random.below(4) {
            0 => 0,
            1 => number,
            2 if !matches!(cond, Cond::Ult) => 1 << self.random.below(ty.bits() as usize),
            _ => self.random.pick(NUMBERS),
        };
        (lhs, self.number(block, ty, other))
    }

    /// A value shifted up, and a constant that may be one.
    fn halves(&mut self, block: Block, pool: &mut Pool) -> (Value, Value) {
        let value = self.value(block, pool, Type::I64);
        let count = self.random.pick(&[16, 32, 32, 32, 40]);
        let by = self.number(block, Type::I64, count);
        let up = self.op(block, pool, Opcode::Shl, Type::I64, &[value, by]);
        let constant = self.random.pick(NUMBERS) << self.random.pick(&[32, 32, 40, 0, 24, 31]);
        (up, self.number(block, Type::I64, constant))
    }

    /// Whether a parameter gets what the one before it gets.
    fn is_twin(&self, block: Block, position: usize) -> bool {
        let params = &self.function.blocks[block].params;
        let Some(pair) = position.checked_sub(1).and_then(|from| params.get(from..=position))
        else {
            return false;
        };
        let ty = |value: Value| self.function.ty(value);
        position > 1
            && (block.as_u32() as usize + position).is_multiple_of(3)
            && ty(pair[0]) == ty(pair[1])
            && !pair.iter().any(|param| self.pointers.contains(param))
    }

    /// A value, or the parameter that gets what it gets.
    fn twin(&mut self, value: Value) -> Value {
        match self.function.values[value].def {
            ValueDef::Param(block, position) if self.random.chance(60) => {
                let next = position as usize + 1;
                let twin = self.is_twin(block, next);
                if twin { self.function.blocks[block].params[next] } else { value }
            }
            _ => value,
        }
    }

    /// Gives every target its arguments.
    fn pass_arguments(&mut self, block: Block) {
        let pool = self.pools[block.as_u32() as usize].clone();
        let fuel = pool.wide.last().copied();
        let mut term = std::mem::replace(&mut self.function.blocks[block].term, Terminator::None);
        for target in term.targets_mut() {
            let params = self.function.blocks[target.block].params.clone();
            for (position, param) in params.into_iter().enumerate() {
                let ty = self.function.ty(param);
                // Some parameters are copies: they get one value or themselves.
                let copy = (target.block.as_u32() as usize + position).is_multiple_of(5);
                // Others are twins: they get what the one before them gets, or its twin.
                let before = position.checked_sub(1).map(|before| target.args[before]);
                let twin = before.filter(|_| self.is_twin(target.block, position));
                let arg = match (fuel, ty) {
                    (Some(fuel), _) if position == 0 => fuel,
                    _ if self.pointers.contains(&param) => self.somewhere(&pool).0,
                    _ if twin.is_some() => self.twin(twin.unwrap_or(param)),
                    (_, Type::I64) if copy && pool.wide.contains(&param) => param,
                    (_, Type::I64) if copy => self.pools[0].wide[1],
                    _ => self.value(block, &pool, ty),
                };
                target.args.push(arg);
            }
        }
        self.function.blocks[block].term = term;
    }
}
