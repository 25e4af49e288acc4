//! The data structure of a function.

use cranelift_entity::PrimaryMap;
use smallvec::SmallVec;

use crate::opcode::{AtomicOp, Cond, Opcode, PayloadKind, Region, Size, Ty, Type};
use crate::{Block, ExtFunc, FuncRef, Inst, MapRef, StackSlot, Value};

/// An instruction: an opcode, its operands and what else it carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstData {
    /// The operation.
    pub op: Opcode,
    /// The type that the opcode table's `Same` stands for.
    pub ty: Type,
    /// Operands.
    pub args: SmallVec<[Value; 3]>,
    /// What the table's payload column says.
    pub payload: Payload,
    /// The bytecode instruction that this one comes from.
    pub origin: u32,
}

/// What an instruction carries beside its operands; see `PayloadKind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Nothing.
    None,
    /// A constant; the bits above the type's width are zero.
    Imm(u64),
    /// A memory access at operand 0 plus offset.
    Mem {
        /// Added to the address, wrapping.
        offset: i32,
        /// Bytes accessed.
        size: Size,
        /// What it may touch.
        region: Region,
    },
    /// An atomic access of the instruction's type at operand 0 plus offset.
    Atomic {
        /// What it does.
        op: AtomicOp,
        /// Added to the address, wrapping.
        offset: i32,
        /// What it may touch.
        region: Region,
    },
    /// An address in a stack slot.
    Slot {
        /// The object.
        slot: StackSlot,
        /// Bytes from its start.
        offset: i32,
    },
    /// A map.
    Map(MapRef),
    /// An address in a map's first value.
    MapValue {
        /// The map.
        map: MapRef,
        /// Bytes from the value's start.
        offset: u32,
    },
    /// A function of the module.
    Func(FuncRef),
    /// A helper declared in this function.
    Ext(ExtFunc),
    /// A field of a kind of context; the front end's tables number both.
    Ctx {
        /// Kind of context.
        kind: u8,
        /// Field in that kind.
        field: u8,
    },
}

impl Payload {
    /// The kind that the opcode table knows it by.
    pub fn kind(&self) -> PayloadKind {
        match self {
            Payload::None => PayloadKind::None,
            Payload::Imm(_) => PayloadKind::Imm,
            Payload::Mem { .. } => PayloadKind::Mem,
            Payload::Atomic { .. } => PayloadKind::Atomic,
            Payload::Slot { .. } => PayloadKind::Slot,
            Payload::Map(_) => PayloadKind::Map,
            Payload::MapValue { .. } => PayloadKind::MapValue,
            Payload::Func(_) => PayloadKind::Func,
            Payload::Ext(_) => PayloadKind::Ext,
            Payload::Ctx { .. } => PayloadKind::Ctx,
        }
    }
}

/// A jump target with the arguments for its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockCall {
    /// Where to.
    pub block: Block,
    /// One for each parameter of the block.
    pub args: SmallVec<[Value; 4]>,
}

/// The chance that a tail call leaves the function, where nothing was measured.
pub const TAIL_CALL_SUCCEEDS: f64 = 0.5;

/// How a block ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Terminator {
    /// Not yet terminated; the verifier refuses it.
    None,
    /// Unconditional.
    Jump(BlockCall),
    /// `if lhs cond rhs` (both of type `ty`).
    Branch {
        /// The comparison.
        cond: Cond,
        /// Type of both sides.
        ty: Type,
        /// Left side.
        lhs: Value,
        /// Right side.
        rhs: Value,
        /// Where the condition holds.
        then: BlockCall,
        /// Where it does not.
        other: BlockCall,
    },
    /// Leaves the function with a 64-bit result.
    Return(Value),
    /// An exit and a fall-through at once: leaves the function through the
    /// program in the array's slot, or goes on at `fail`.
    TailCall {
        /// Context pointer for the target.
        ctx: Value,
        /// Address of the program array.
        array: Value,
        /// Slot, a 64-bit value of which the low half counts.
        index: Value,
        /// The map and the key, where both are the same constants on every path.
        direct: Option<(MapRef, u32)>,
        /// Where execution goes on if the tail call does not happen.
        fail: BlockCall,
        /// The chance that it happens.
        succeeds: f64,
    },
    /// Never reached in a valid run (code that falls off the end).
    Trap,
}

impl Terminator {
    /// The targets, in order.
    pub fn targets(&self) -> SmallVec<[&BlockCall; 2]> {
        match self {
            Terminator::None | Terminator::Return(_) | Terminator::Trap => SmallVec::new(),
            Terminator::Jump(t) | Terminator::TailCall { fail: t, .. } => {
                SmallVec::from_slice(&[t])
            }
            Terminator::Branch { then, other, .. } => SmallVec::from_slice(&[then, other]),
        }
    }

    /// The targets, in order, for change.
    pub fn targets_mut(&mut self) -> SmallVec<[&mut BlockCall; 2]> {
        let mut out = SmallVec::new();
        match self {
            Terminator::None | Terminator::Return(_) | Terminator::Trap => {}
            Terminator::Jump(t) | Terminator::TailCall { fail: t, .. } => out.push(t),
            Terminator::Branch { then, other, .. } => out.extend([then, other]),
        }
        out
    }

    /// The values used, without arguments of targets.
    pub fn operands(&self) -> SmallVec<[Value; 3]> {
        match *self {
            Terminator::Branch { lhs, rhs, .. } => SmallVec::from_slice(&[lhs, rhs]),
            Terminator::Return(v) => SmallVec::from_slice(&[v]),
            Terminator::TailCall { ctx, array, index, .. } => {
                SmallVec::from_slice(&[ctx, array, index])
            }
            Terminator::None | Terminator::Jump(_) | Terminator::Trap => SmallVec::new(),
        }
    }

    /// Calls `f` on every value used, arguments of targets included.
    pub fn for_each_use_mut(&mut self, mut f: impl FnMut(&mut Value)) {
        match self {
            Terminator::Branch { lhs, rhs, .. } => {
                f(lhs);
                f(rhs);
            }
            Terminator::Return(v) => f(v),
            Terminator::TailCall { ctx, array, index, .. } => {
                f(ctx);
                f(array);
                f(index);
            }
            Terminator::None | Terminator::Jump(_) | Terminator::Trap => {}
        }
        for target in self.targets_mut() {
            target.args.iter_mut().for_each(&mut f);
        }
    }

    /// Calls `f` on every value used, arguments of targets included.
    pub fn for_each_use(&self, mut f: impl FnMut(Value)) {
        self.operands().into_iter().for_each(&mut f);
        for target in self.targets() {
            target.args.iter().copied().for_each(&mut f);
        }
    }
}

/// A block: parameters, instructions, terminator.
#[derive(Clone, Debug)]
pub struct BlockData {
    /// Values that every predecessor passes.
    pub params: SmallVec<[Value; 4]>,
    /// In order of execution.
    pub insts: Vec<Inst>,
    /// How it ends.
    pub term: Terminator,
    /// Executions per execution of the function's entry: finite, not negative.
    pub frequency: f64,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueDef {
    /// Result of an instruction.
    Result(Inst),
    /// Parameter of a block, by position.
    Param(Block, u32),
}

/// A value's type and origin.
#[derive(Clone, Copy, Debug)]
pub struct ValueData {
    /// Width.
    pub ty: Type,
    /// Definition.
    pub def: ValueDef,
}

/// An object in the frame.
#[derive(Clone, Debug, PartialEq)]
pub struct StackSlotData {
    /// Bytes.
    pub size: u32,
    /// A power of two, at most 16.
    pub align: u32,
    /// Its address is used other than by loads and stores at constant offsets,
    /// in the source: it is memory of the program and no slot of the frame's.
    pub escapes: bool,
}

/// What a function knows of a helper it calls. The front end's tables fill it in.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternData {
    /// The helper's number in the eBPF ABI.
    pub helper: u32,
    /// Name for listings.
    pub name: String,
    /// Arguments it takes (0 to 5), in R1 and up.
    pub arity: u8,
    /// May read memory that the program can see.
    pub reads: bool,
    /// May write memory that the program can see.
    pub writes: bool,
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its own number in the module.
    pub id: FuncRef,
    /// Name for listings and errors.
    pub name: String,
    /// The first block; its parameters are the function's.
    pub entry: Block,
    /// The blocks in layout order (the entry first); a removed block is not in it.
    pub layout: Vec<Block>,
    /// All blocks ever made.
    pub blocks: PrimaryMap<Block, BlockData>,
    /// All instructions ever made.
    pub insts: PrimaryMap<Inst, InstData>,
    /// All values.
    pub values: PrimaryMap<Value, ValueData>,
    /// The result of each instruction that has one.
    pub results:
        cranelift_entity::SecondaryMap<Inst, cranelift_entity::packed_option::PackedOption<Value>>,
    /// Frame objects.
    pub stack_slots: PrimaryMap<StackSlot, StackSlotData>,
    /// Helpers called.
    pub externs: PrimaryMap<ExtFunc, ExternData>,
    /// A tail call can be reached from here, in this function or a callee:
    /// the function takes the invocation record as a hidden argument.
    pub reaches_tail_call: bool,
}

impl Function {
    /// An empty function: an entry block without parameters or terminator.
    pub fn new(id: FuncRef, name: impl Into<String>) -> Function {
        let mut blocks = PrimaryMap::new();
        let entry = blocks.push(BlockData::new());
        Function {
            id,
            name: name.into(),
            entry,
            layout: vec![entry],
            blocks,
            insts: PrimaryMap::new(),
            values: PrimaryMap::new(),
            results: Default::default(),
            stack_slots: PrimaryMap::new(),
            externs: PrimaryMap::new(),
            reaches_tail_call: false,
        }
    }

    /// Appends an empty block to the layout.
    pub fn add_block(&mut self) -> Block {
        let block = self.blocks.push(BlockData::new());
        self.layout.push(block);
        block
    }

    /// Appends a parameter to a block.
    pub fn add_param(&mut self, block: Block, ty: Type) -> Value {
        let position = self.blocks[block].params.len() as u32;
        let value = self.values.push(ValueData { ty, def: ValueDef::Param(block, position) });
        self.blocks[block].params.push(value);
        value
    }

    /// Makes an instruction, with its result if the opcode has one, in no block
    /// yet. Where the table leaves the type no role it becomes the fixed one.
    pub fn make_inst(&mut self, mut data: InstData) -> Inst {
        data.ty = data.op.info().fixed_type().unwrap_or(data.ty);
        let result = data.op.info().result.map(|ty| data.resolve(ty));
        let inst = self.insts.push(data);
        if let Some(ty) = result {
            let value = self.values.push(ValueData { ty, def: ValueDef::Result(inst) });
            self.results[inst] = value.into();
        }
        inst
    }

    /// The result of an instruction, if it has one.
    pub fn result(&self, inst: Inst) -> Option<Value> {
        self.results[inst].expand()
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> Type {
        self.values[value].ty
    }

    /// The instruction that defines a value, unless it is a parameter.
    pub fn def(&self, value: Value) -> Option<&InstData> {
        match self.values[value].def {
            ValueDef::Result(inst) => Some(&self.insts[inst]),
            ValueDef::Param(..) => None,
        }
    }

    /// The constant that a value is, if it is one.
    pub fn constant(&self, value: Value) -> Option<u64> {
        match self.def(value) {
            Some(InstData { payload: Payload::Imm(imm), op: Opcode::Iconst, .. }) => Some(*imm),
            _ => None,
        }
    }
}

impl InstData {
    /// An instruction from the start of the bytecode (origin 0).
    pub fn new(op: Opcode, ty: Type, args: &[Value], payload: Payload) -> InstData {
        InstData { op, ty, args: SmallVec::from_slice(args), payload, origin: 0 }
    }

    /// An operand or result type of the opcode table, for this instruction.
    pub fn resolve(&self, ty: Ty) -> Type {
        ty.resolve(self.ty)
    }
}

impl BlockData {
    pub(crate) fn new() -> BlockData {
        BlockData {
            params: SmallVec::new(),
            insts: Vec::new(),
            term: Terminator::None,
            frequency: 1.0,
        }
    }
}

impl BlockCall {
    /// A target without arguments.
    pub fn to(block: Block) -> BlockCall {
        BlockCall { block, args: SmallVec::new() }
    }
}
