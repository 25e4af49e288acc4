//! The form in which programs are generated and shrunk.
//!
//! A [`Case`] is an object and the input of a run. Its functions are trees of
//! statements over nine data registers, which hold numbers before and after
//! every statement: a statement that needs a pointer makes it and leaves a
//! number in its place. So any statement can stand anywhere, and be removed.
//! R9 is the context (plain memory for plain bytecode), except in callbacks,
//! which have none.
//!
//! What no engine defines alike is never observed: stack bytes are written
//! before anything is read, loops and calls end, R0 to R5 are set again behind
//! every call.

use tailor::Lever;
use tailor_bpf::{Op, ProgramKind, Reg, Src};

/// Data registers: R0 to R8.
pub const DATA: usize = 9;
/// Bytes of stack that statements may touch, just below R10.
pub const WINDOW: i16 = 64;
/// Bytes that a callee may touch of its caller's window.
pub const LENT: i16 = 32;
/// Bytes of memory of a plain program, and of the input map's value.
pub const MEMORY: usize = 64;
/// 64-bit words that functions start with.
pub const INPUTS: usize = 8;
/// Loops nest so deep.
pub const MAX_LOOPS: usize = 3;
/// Slots of the program array.
pub const SLOTS: u32 = 4;

/// An object and the input of a run.
#[derive(Clone, Debug)]
pub struct Case {
    /// Of all its programs.
    pub kind: ProgramKind,
    /// The packet, or the memory of plain bytecode ([`MEMORY`] bytes).
    pub data: Vec<u8>,
    /// What the input map holds, so that no compiler knows it.
    pub input: [u64; INPUTS],
    /// Programs first, the one that runs at the front, then subprograms and
    /// callbacks. Functions call only those behind them.
    pub functions: Vec<Function>,
    /// Slots of the program array: numbers of programs.
    pub slots: [Option<usize>; SLOTS as usize],
    /// Levers of the allocator that are off.
    pub off: Vec<Lever>,
}

/// What a function is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Run by the host or entered by tail calls.
    Program,
    /// Called with the context, a pointer to the caller's stack, and R3 to R5.
    Subprogram,
    /// Called back by a helper with a number and a pointer to the caller's stack.
    Callback,
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// What it is.
    pub role: Role,
    /// What the data registers start with; what is not set is not read before
    /// it is written.
    pub initial: [Option<Initial>; DATA],
    /// What it does.
    pub body: Vec<Stmt>,
    /// What is mixed into its result.
    pub observed: Vec<Observed>,
}

/// What a register starts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Initial {
    /// A constant.
    Constant(u64),
    /// A word of the input.
    Input(usize),
}

/// Something that a function's result shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observed {
    /// A data register.
    Register(Reg),
    /// Eight bytes of the window, from the lowest.
    Slot(i16),
}

/// A map that programs use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TestMap {
    /// An array of one value, which starts with the input.
    Input,
    /// An array of 4 values of 32 bytes.
    Array,
    /// A hash of at most 4 values of 16 bytes.
    Hash,
    /// The same with values of each processor.
    PercpuArray,
    /// A program array.
    Programs,
}

/// Where a statement accesses memory through a pointer that it makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The function's window.
    Window,
    /// The memory of plain bytecode.
    Memory,
    /// The packet, if it is so long.
    Packet {
        /// Bytes from its start that are asked for.
        length: i16,
        /// Holds its end meanwhile.
        end: Reg,
    },
    /// The input map's value.
    Input,
    /// The value of a key, if there is one.
    Element(TestMap, Key),
    /// The caller's window.
    Caller,
}

/// A key of a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// This one.
    Constant(i32),
    /// The register's value, masked to 0 to 7.
    Register(Reg),
}

/// Which slot a tail call goes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Index {
    /// This one, of which the low half counts.
    Constant(i32),
    /// What a register holds, masked unless the mask is -1.
    Register(Reg, i32),
}

/// A call of a helper. Places are offsets in the window, sizes those of maps or
/// given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the arguments are the helpers'
pub enum Helper {
    Update {
        map: TestMap,
        key: Key,
        value: i16,
        flags: i32,
    },
    Delete {
        map: TestMap,
        key: Key,
    },
    Time,
    Random,
    Processor,
    ChecksumDifference {
        from: i16,
        from_size: i32,
        to: i16,
        to_size: i32,
        seed: Src,
    },
    LoadBytes {
        at: Key,
        to: i16,
        size: i32,
    },
    StoreBytes {
        at: Key,
        from: i16,
        size: i32,
    },
    /// `callx` of one or the other, by the register's lowest bit.
    RandomOrProcessor(Reg),
    /// `callx` of what is no helper's number: this one, or at least
    /// [`NO_HELPER`] with the register's other bits.
    NoHelper(Src),
}

/// A bit that makes any number that of no helper.
pub const NO_HELPER: i32 = 1 << 30;

/// A statement. `refill` is what registers that a call leaves undefined are
/// made of afterwards.
#[derive(Clone, Debug)]
pub enum Stmt {
    /// One operation on data registers, on the window at R10 or the memory at R9.
    Op(Op),
    /// Both arms of a branch (whose offset is not used).
    If(Op, Vec<Stmt>, Vec<Stmt>),
    /// The body, so many times; the register counts.
    Loop(u8, Reg, Vec<Stmt>),
    /// The body behind a `may_goto` over it, or, if so, out of the innermost
    /// loop around it. No run comes near the budget, so none jumps.
    MayGoto(bool, Vec<Stmt>),
    /// One of the arms, by a jump table of so many entries as the next power of
    /// two, which lead to the arms in turn.
    Switch {
        /// Chooses; masked and shifted.
        index: Reg,
        /// Another, which holds the address and the target meanwhile.
        target: Reg,
        /// At least one.
        arms: Vec<Vec<Stmt>>,
        /// Afterwards in the target's register.
        refill: i32,
    },
    /// A load, store or atomic operation, whose base is replaced and whose
    /// offset counts from the place's start.
    Access {
        /// Where.
        place: Place,
        /// A register that is masked and added to the address.
        index: Option<(Reg, i32)>,
        /// What.
        op: Op,
        /// Holds the address meanwhile.
        base: Reg,
        /// Afterwards in the registers that held pointers.
        refill: i32,
    },
    /// A subprogram that gets a pointer so far into the window.
    Call(usize, i16, i32),
    /// A callback so many times, by `bpf_loop`.
    Repeat {
        /// The function's number.
        callee: usize,
        /// How often at most.
        rounds: i32,
        /// How far into the window its pointer goes.
        at: i16,
        /// See above.
        refill: i32,
    },
    /// A helper; its number is in the register, if there is one (`callx`).
    Helper(Helper, Option<Reg>, i32),
    /// A tail call, which may fail.
    TailCall(Index, i32),
    /// The packet's length, through the register's pair of pointers.
    Length(Reg, Reg),
    /// `LD_ABS` or `LD_IND`; the index must not be R6.
    LoadPacket(Op, i32),
    /// The function's end; the last statement of an arm.
    Return(Reg),
}

impl Function {
    /// All statements, in order.
    pub fn statements(&self) -> Vec<&Stmt> {
        let mut all = Vec::new();
        collect(&self.body, &mut all);
        all
    }

    /// Whether its window has to be written first.
    pub fn uses_window(&self) -> bool {
        let observed = self.observed.iter().any(|o| matches!(o, Observed::Slot(_)));
        observed || self.statements().into_iter().any(Stmt::uses_window)
    }
}

fn collect<'a>(body: &'a [Stmt], all: &mut Vec<&'a Stmt>) {
    for stmt in body {
        all.push(stmt);
        for inner in stmt.bodies() {
            collect(inner, all);
        }
    }
}

impl Stmt {
    /// The lists of statements in it.
    pub fn bodies(&self) -> Vec<&Vec<Stmt>> {
        match self {
            Stmt::If(_, then, other) => vec![then, other],
            Stmt::Loop(_, _, body) | Stmt::MayGoto(_, body) => vec![body],
            Stmt::Switch { arms, .. } => arms.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The same to change.
    pub fn bodies_mut(&mut self) -> Vec<&mut Vec<Stmt>> {
        match self {
            Stmt::If(_, then, other) => vec![then, other],
            Stmt::Loop(_, _, body) | Stmt::MayGoto(_, body) => vec![body],
            Stmt::Switch { arms, .. } => arms.iter_mut().collect(),
            _ => Vec::new(),
        }
    }

    fn uses_window(&self) -> bool {
        match self {
            Stmt::Op(op) => crate::operations::base(op) == Some(Reg::FP),
            Stmt::Access { place, .. } => *place == Place::Window,
            Stmt::Call(..) | Stmt::Repeat { .. } => true,
            Stmt::Helper(helper, ..) => matches!(
                helper,
                Helper::Update { .. }
                    | Helper::ChecksumDifference { .. }
                    | Helper::LoadBytes { .. }
                    | Helper::StoreBytes { .. }
            ),
            _ => false,
        }
    }
}

impl TestMap {
    /// All of them.
    pub const ALL: [TestMap; 5] =
        [TestMap::Input, TestMap::Array, TestMap::Hash, TestMap::PercpuArray, TestMap::Programs];

    /// Name in the object.
    pub fn name(self) -> &'static str {
        match self {
            TestMap::Input => "input",
            TestMap::Array => "array",
            TestMap::Hash => "hash",
            TestMap::PercpuArray => "percpu",
            TestMap::Programs => "programs",
        }
    }

    /// Bytes of a value.
    pub fn value_size(self) -> i16 {
        match self {
            TestMap::Input => MEMORY as i16,
            TestMap::Array => 32,
            TestMap::Hash | TestMap::PercpuArray => 16,
            TestMap::Programs => 4,
        }
    }
}
