//! The verifier: what every function must be like between any two passes.
//!
//! Layout
//! - The entry is the first block of the layout. No block stands there twice,
//!   and every block that is jumped to stands there.
//! - Nothing jumps to the entry.
//! - Every block has a terminator.
//! - Blocks, instructions, values, slots and helpers that are named exist.
//! - An instruction stands in one place of one block at most.
//! - A frequency is finite and not negative.
//!
//! Definitions
//! - A value's definition and the place that defines it (a block's parameter
//!   list, an instruction's result) name each other; so each has only one.
//! - An instruction has a result exactly where the table says, of that type.
//! - What is used is defined in the layout; in reachable blocks the definition
//!   dominates the use.
//!
//! Types
//! - Number and types of operands are the table's; calls take up to 5 operands
//!   of 64 bits, and calls of helpers as many as the declaration says.
//! - The payload is of the table's kind. Constants have no bits above their
//!   type, accesses are not wider than the type (and exactly as wide where they
//!   read and write), and an instruction whose type has no role has the fixed one.
//! - Terminators' operands have their types: both sides of a branch the
//!   branch's, all others 64 bits. Targets get one argument of the right type
//!   for each parameter.
//! - A function has at most 5 parameters, of 64 bits.
//! - A slot's alignment is a power of two, at most 16.
//!
//! Module
//! - A function's number is its place. Functions that are named exist, and
//!   calls pass what they take.
//! - A function that has a tail call, or calls one that may reach one, says so.

use std::fmt::{self, Display};

use cranelift_entity::SecondaryMap;
use cranelift_entity::packed_option::PackedOption;

use crate::Opcode;
use crate::cfg::Cfg;
use crate::dom::DomTree;
use crate::text::header_lines;
use crate::{
    Block, BlockCall, FuncRef, Function, Inst, InstData, Module, Payload, Region, Size, Terminator,
    Type, Value, ValueDef,
};

/// Most parameters of a function, and operands of a call.
const MAX_ARGS: usize = 5;

/// A broken rule.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifierError {
    /// The function.
    pub function: FuncRef,
    /// The line of the function's printed form, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl Display for VerifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}: {}", self.function, self.line, self.message)
    }
}

/// All rules that are broken, at least one. Shown one a line.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifierErrors(pub Vec<VerifierError>);

impl Display for VerifierErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let gap = if index > 0 { "\n" } else { "" };
            write!(f, "{gap}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for VerifierErrors {}

/// Checks a function by itself.
pub fn verify_function(function: &Function) -> Result<(), VerifierErrors> {
    into_result(errors_of(function, None))
}

/// Checks all functions, and what they say of each other.
pub fn verify_module(module: &Module) -> Result<(), VerifierErrors> {
    let functions = module.functions.values();
    let mut errors: Vec<_> =
        functions.flat_map(|function| errors_of(function, Some(module))).collect();
    for (key, function) in module.functions.iter() {
        if function.id != key {
            errors.push(VerifierError {
                function: key,
                line: 1,
                message: format!("the module's {key} says that it is {}", function.id),
            });
        }
    }
    into_result(errors)
}

fn into_result(errors: Vec<VerifierError>) -> Result<(), VerifierErrors> {
    if errors.is_empty() { Ok(()) } else { Err(VerifierErrors(errors)) }
}

fn errors_of(function: &Function, module: Option<&Module>) -> Vec<VerifierError> {
    let mut verifier = Verifier {
        function,
        module,
        places: Places::default(),
        line: 1,
        sound: true,
        errors: Vec::new(),
    };
    verifier.header();
    verifier.layout();
    // What follows looks at the places of what the layout names.
    if verifier.sound {
        verifier.each_block(Verifier::block);
    }
    if verifier.sound {
        verifier.dominance();
    }
    verifier.errors
}

/// Where the layout has what it has.
#[derive(Default)]
struct Places {
    /// Blocks that stand in the layout.
    blocks: SecondaryMap<Block, bool>,
    /// The block that each instruction stands in, and its place there from 1.
    insts: SecondaryMap<Inst, (PackedOption<Block>, usize)>,
}

struct Verifier<'a> {
    function: &'a Function,
    /// The module, where functions and calls are to be compared.
    module: Option<&'a Module>,
    places: Places,
    /// The line that is being looked at.
    line: usize,
    /// Blocks, instructions and values that are named all exist.
    sound: bool,
    errors: Vec<VerifierError>,
}

impl<'a> Verifier<'a> {
    fn error(&mut self, message: impl Display) {
        self.errors.push(VerifierError {
            function: self.function.id,
            line: self.line,
            message: message.to_string(),
        });
    }

    /// An error after which later checks have nothing to stand on.
    fn unsound(&mut self, message: impl Display) {
        self.sound = false;
        self.error(message);
    }

    /// Calls `visit` with every block and its line.
    fn each_block(&mut self, mut visit: impl FnMut(&mut Self, Block)) {
        let function = self.function;
        let mut line = 1 + header_lines(function);
        for &block in &function.layout {
            self.line = line;
            visit(self, block);
            line += function.blocks.get(block).map_or(1, |b| 2 + b.insts.len());
        }
    }

    fn header(&mut self) {
        let function = self.function;
        for slot in function.stack_slots.values() {
            self.line += 1;
            if !slot.align.is_power_of_two() || slot.align > 16 {
                self.error("the alignment is no power of two, or above 16");
            }
        }
        for ext in function.externs.values() {
            self.line += 1;
            if usize::from(ext.arity) > MAX_ARGS {
                self.error("a helper takes at most 5 arguments");
            }
        }
        self.line = 1;
        if function.layout.first() != Some(&function.entry) {
            self.unsound(format!("the entry {} is not first", function.entry));
        }
        if !function.blocks.is_valid(function.entry) {
            self.unsound("the entry does not exist");
        }
    }

    /// Fills in `places`.
    fn layout(&mut self) {
        self.each_block(|this, block| {
            let Some(data) = this.function.blocks.get(block) else {
                return this.unsound(format!("{block} does not exist"));
            };
            if std::mem::replace(&mut this.places.blocks[block], true) {
                return this.unsound(format!("{block} stands in the layout twice"));
            }
            for (index, &inst) in data.insts.iter().enumerate() {
                this.line += 1;
                if !this.function.insts.is_valid(inst) {
                    this.unsound(format!("{inst} does not exist"));
                } else if let Some(other) = this.places.insts[inst].0.expand() {
                    this.unsound(format!("{inst} stands in {other} already"));
                } else {
                    this.places.insts[inst] = (block.into(), index + 1);
                }
            }
        });
    }

    fn block(&mut self, block: Block) {
        let data = &self.function.blocks[block];
        if !data.frequency.is_finite() || data.frequency.is_sign_negative() {
            self.error("the frequency is negative or not finite");
        }
        for (index, &param) in data.params.iter().enumerate() {
            self.defines(param, ValueDef::Param(block, index as u32));
        }
        if block == self.function.entry {
            self.parameters();
        }
        for &inst in &data.insts {
            self.line += 1;
            self.instruction(inst);
        }
        self.line += 1;
        self.terminator(&data.term);
    }

    fn parameters(&mut self) {
        let params = &self.function.blocks[self.function.entry].params;
        if params.len() > MAX_ARGS {
            self.error("a function has at most 5 parameters");
        }
        for &param in params {
            self.typed("parameter", param, Type::I64);
        }
    }

    /// A value's data must agree with the place that defines it.
    fn defines(&mut self, value: Value, def: ValueDef) {
        match self.function.values.get(value) {
            None => self.unsound(format!("{value} does not exist")),
            Some(data) if data.def != def => {
                self.error(format!("{value} is defined elsewhere ({:?})", data.def));
            }
            Some(_) => {}
        }
    }

    /// A value that is used as what is said of it.
    fn typed(&mut self, role: impl Display, value: Value, ty: Type) {
        match self.function.values.get(value) {
            None => self.unsound(format!("{value} does not exist")),
            Some(data) if data.ty != ty => {
                self.error(format!("{role} {value} is {}, not {ty}", data.ty));
            }
            Some(_) => {}
        }
    }

    fn instruction(&mut self, inst: Inst) {
        let data = &self.function.insts[inst];
        let info = data.op.info();
        match (self.function.result(inst), info.result) {
            (None, None) => {}
            (Some(value), Some(ty)) => {
                self.defines(value, ValueDef::Result(inst));
                self.typed("result", value, data.resolve(ty));
            }
            (Some(_), None) => self.error("this operation has no result"),
            (None, Some(_)) => self.error("this operation has a result"),
        }
        if info.fixed_type().is_some_and(|ty| ty != data.ty) {
            self.error(format!("{} where the type has no role", data.ty));
        }
        if data.payload.kind() == info.payload {
            self.payload(data);
        } else {
            self.error(format!("{:?} where {:?} belongs", data.payload, info.payload));
        }
        self.operands(data);
    }

    fn operands(&mut self, data: &InstData) {
        let types = data.op.info().args;
        let (expected, found) = (types.map(<[_]>::len), data.args.len());
        if expected.is_some_and(|expected| expected != found) {
            self.error(format!("{found} operands, not {}", expected.unwrap_or(0)));
        }
        if expected.is_none() && found > MAX_ARGS {
            self.error("a call has at most 5 operands");
        }
        for (index, &arg) in data.args.iter().enumerate() {
            let ty = match types {
                Some(types) => types.get(index).map(|&ty| data.resolve(ty)),
                None => Some(Type::I64),
            };
            if let Some(ty) = ty {
                self.typed("operand", arg, ty);
            }
        }
    }

    fn payload(&mut self, data: &InstData) {
        match data.payload {
            Payload::Imm(bits) if bits & !data.ty.mask() != 0 => {
                self.error(format!("a constant of more than {} bits", data.ty.bits()));
            }
            Payload::Mem { size, region, .. } => {
                let own = Size::of(data.ty);
                if size > own || (data.op == Opcode::AtomicCas && size != own) {
                    self.error(format!("an access of {} as {}", size.name(), data.ty));
                }
                self.region(region);
            }
            Payload::Atomic { region, .. } => self.region(region),
            Payload::Slot { slot, .. } => self.region(Region::Stack(slot)),
            Payload::Ext(ext) => match self.function.externs.get(ext) {
                None => self.error(format!("{ext} is not declared")),
                Some(ext) if usize::from(ext.arity) != data.args.len() => {
                    self.error(format!("{:?} takes {} arguments", ext.name, ext.arity));
                }
                Some(_) => {}
            },
            Payload::Func(func) => self.function_of_module(func, data),
            _ => {}
        }
    }

    fn region(&mut self, region: Region) {
        match region {
            Region::Stack(slot) if !self.function.stack_slots.is_valid(slot) => {
                self.error(format!("{slot} is not declared"));
            }
            _ => {}
        }
    }

    /// A call, or (without varying operands) an address.
    fn function_of_module(&mut self, func: FuncRef, data: &InstData) {
        let Some(module) = self.module else {
            return;
        };
        let Some(callee) = module.functions.get(func) else {
            return self.error(format!("{func} does not exist"));
        };
        if data.op.info().args.is_some() {
            return;
        }
        let entry = callee.blocks.get(callee.entry);
        let params = entry.map_or(0, |entry| entry.params.len());
        if params != data.args.len() {
            self.error(format!("{func} takes {params} arguments"));
        }
        if callee.reaches_tail_call && !self.function.reaches_tail_call {
            self.error(format!("{func} may reach a tail call; so does this function"));
        }
    }

    fn terminator(&mut self, term: &Terminator) {
        match *term {
            Terminator::None => self.error("the block has no terminator"),
            Terminator::Branch { ty, lhs, rhs, .. } => {
                self.typed("left side", lhs, ty);
                self.typed("right side", rhs, ty);
            }
            Terminator::Return(value) => self.typed("return value", value, Type::I64),
            Terminator::TailCall { ctx, array, index, succeeds, .. } => {
                self.typed("context", ctx, Type::I64);
                self.typed("array", array, Type::I64);
                self.typed("index", index, Type::I64);
                if !(0.0..=1.0).contains(&succeeds) || succeeds.is_sign_negative() {
                    self.error("the chance of a tail call is not from 0 to 1");
                }
                if !self.function.reaches_tail_call {
                    self.error("a tail call in a function that says it reaches none");
                }
            }
            Terminator::Jump(_) | Terminator::Trap => {}
        }
        for target in term.targets() {
            self.target(target);
        }
    }

    fn target(&mut self, target: &BlockCall) {
        let block = target.block;
        let Some(data) = self.function.blocks.get(block) else {
            return self.unsound(format!("{block} does not exist"));
        };
        if !self.places.blocks[block] {
            self.unsound(format!("{block} is not in the layout"));
        }
        if block == self.function.entry {
            self.error("a jump to the entry");
        }
        let (takes, found) = (data.params.len(), target.args.len());
        if takes != found {
            self.error(format!("{block} takes {takes} arguments, not {found}"));
        }
        for (&arg, &param) in target.args.iter().zip(&data.params) {
            if let Some(param) = self.function.values.get(param) {
                self.typed(format_args!("argument of {block}"), arg, param.ty);
            }
        }
    }

    fn dominance(&mut self) {
        let cfg = Cfg::new(self.function);
        let dom = DomTree::new(self.function, &cfg);
        self.each_block(|this, block| {
            let data = &this.function.blocks[block];
            for (index, &inst) in data.insts.iter().enumerate() {
                this.line += 1;
                for &arg in &this.function.insts[inst].args {
                    this.dominated(&dom, arg, block, index + 1);
                }
            }
            this.line += 1;
            let end = data.insts.len() + 1;
            data.term.for_each_use(|value| this.dominated(&dom, value, block, end));
        });
    }

    /// A use of a value in a block; its parameters are at place 0.
    fn dominated(&mut self, dom: &DomTree, value: Value, block: Block, place: usize) {
        let Some((home, defined)) = self.place_of(value) else {
            return self.error(format!("{value} is not defined in any block"));
        };
        let before = match home == block {
            true => defined < place,
            false => dom.dominates(home, block),
        };
        // In unreachable blocks there is no order to keep.
        let reachable = dom.dominates(block, block);
        if reachable && !before {
            self.error(format!("{value} is defined in {home}, not always before here"));
        }
    }

    /// The block of the layout that defines a value, and the place there.
    fn place_of(&self, value: Value) -> Option<(Block, usize)> {
        match self.function.values.get(value)?.def {
            ValueDef::Result(inst) if self.function.result(inst) == Some(value) => {
                let (block, place) = self.places.insts[inst];
                Some((block.expand()?, place))
            }
            ValueDef::Param(block, index) if self.places.blocks[block] => {
                let params = &self.function.blocks[block].params;
                (params.get(index as usize) == Some(&value)).then_some((block, 0))
            }
            _ => None,
        }
    }
}
