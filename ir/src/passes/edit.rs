//! What passes share: renaming of values, and a walk over all instructions
//! that rewrites them by rules.
//!
//! Invariants of the walk: the layout is in an order in which definitions come
//! before uses (`loops::Loops::order`, kept by `unreachable`), so that when an
//! instruction is visited, its operands have been rewritten already and the
//! renaming of all of them is known. Only arguments on back edges name values
//! defined further down; these are dominated by their definitions all the same.

use std::mem;

use cranelift_entity::SecondaryMap;
use cranelift_entity::packed_option::PackedOption;

use super::Context;
use crate::{Block, Function, Inst, InstData, Opcode, Payload, Terminator, Type, Value};

/// Values that others stand for.
#[derive(Default)]
pub(super) struct Renames {
    to: SecondaryMap<Value, PackedOption<Value>>,
}

impl Renames {
    /// From now on `to` stands for `from`. Both must be final or lead to a
    /// final value: no cycles.
    pub fn add(&mut self, from: Value, to: Value) {
        debug_assert_ne!(from, to);
        self.to[from] = to.into();
    }

    /// The value that stands for this one.
    pub fn resolve(&mut self, value: Value) -> Value {
        let Some(mut end) = self.to[value].expand() else {
            return value;
        };
        while let Some(next) = self.to[end].expand() {
            end = next;
        }
        // Shorten the path behind us.
        let mut at = value;
        while at != end {
            let next = self.to[at].expand().unwrap_or(end);
            self.to[at] = end.into();
            at = next;
        }
        end
    }

    /// Whether another value stands for this one.
    pub fn is_renamed(&self, value: Value) -> bool {
        self.to[value].is_some()
    }

    /// Renames the operands of one instruction.
    pub fn apply_to(&mut self, data: &mut InstData) {
        for arg in &mut data.args {
            *arg = self.resolve(*arg);
        }
    }

    /// Renames all uses in the function.
    pub fn apply(&mut self, function: &mut Function) {
        for &block in &function.layout {
            let data = &mut function.blocks[block];
            for &inst in &data.insts {
                self.apply_to(&mut function.insts[inst]);
            }
            data.term.for_each_use_mut(|value| *value = self.resolve(*value));
        }
    }
}

/// What becomes of an instruction.
pub(super) enum Rewrite {
    /// It stays as it is.
    Keep,
    /// Another value is equal to its result.
    Value(Value),
    /// It is replaced by another with an equal result.
    Inst(InstData),
}

impl Rewrite {
    /// Replacement by an instruction without payload.
    pub fn op(op: Opcode, ty: Type, args: &[Value]) -> Rewrite {
        Rewrite::Inst(InstData::new(op, ty, args, Payload::None))
    }

    /// Replacement by a constant, cut to the type.
    pub fn constant(ty: Type, value: u64) -> Rewrite {
        let payload = Payload::Imm(value & ty.mask());
        Rewrite::Inst(InstData::new(Opcode::Iconst, ty, &[], payload))
    }

    /// This rewrite, or what `other` says where there is none.
    pub fn or(self, other: impl FnOnce() -> Rewrite) -> Rewrite {
        match self {
            Rewrite::Keep => other(),
            found => found,
        }
    }
}

/// How often each value is used.
fn uses(function: &Function) -> SecondaryMap<Value, u32> {
    let mut uses = SecondaryMap::new();
    for &block in &function.layout {
        let data = &function.blocks[block];
        for &inst in &data.insts {
            function.insts[inst].args.iter().for_each(|&arg| uses[arg] += 1);
        }
        data.term.for_each_use(|value| uses[value] += 1);
    }
    uses
}

/// A function in the middle of a walk.
pub(super) struct Editor<'f> {
    /// The function; the block under the walk has no instructions or
    /// terminator in it at the moment.
    pub function: &'f mut Function,
    /// Values replaced so far.
    pub renames: Renames,
    done: Vec<Inst>,
    origin: u32,
    /// Made since the rules were last told.
    fresh: Vec<Value>,
    /// Uses of each value when the walk began.
    uses: SecondaryMap<Value, u32>,
}

impl<'f> Editor<'f> {
    /// Starts on a function.
    pub fn new(function: &'f mut Function) -> Editor<'f> {
        let uses = uses(function);
        Editor {
            function,
            uses,
            renames: Renames::default(),
            done: Vec::new(),
            origin: 0,
            fresh: Vec::new(),
        }
    }

    /// Whether nothing but the instruction at hand used a value when the walk
    /// began. Rules ask where reaching through an operation would keep both its
    /// operand and its result alive.
    pub fn is_used_once(&self, value: Value) -> bool {
        self.uses[value] <= 1
    }

    /// Takes the instructions out of a block. Each is to be given to
    /// [`start`](Editor::start), and back by [`keep`](Editor::keep) if it stays.
    pub fn open(&mut self, block: Block) -> Vec<Inst> {
        let insts = mem::take(&mut self.function.blocks[block].insts);
        self.done.reserve(insts.len());
        insts
    }

    /// Goes to the next instruction of the open block.
    pub fn start(&mut self, inst: Inst) {
        self.renames.apply_to(&mut self.function.insts[inst]);
        self.origin = self.function.insts[inst].origin;
    }

    /// Leaves an instruction in the block.
    pub fn keep(&mut self, inst: Inst) {
        self.done.push(inst);
    }

    /// Puts kept and inserted instructions into the block.
    pub fn close(&mut self, block: Block) {
        self.function.blocks[block].insts = mem::take(&mut self.done);
    }

    /// The instruction that defines a value, operands already rewritten.
    pub fn def(&self, value: Value) -> Option<&InstData> {
        self.function.def(value)
    }

    /// The constant that a value is, if it is one.
    pub fn constant(&self, value: Value) -> Option<u64> {
        self.function.constant(value)
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> Type {
        self.function.ty(value)
    }

    /// The operand of a value made by that unary operation.
    pub fn unary(&self, op: Opcode, value: Value) -> Option<Value> {
        self.def(value).filter(|data| data.op == op).map(|data| data.args[0])
    }

    /// The operands of a value made by that binary operation.
    pub fn binary(&self, op: Opcode, value: Value) -> Option<(Value, Value)> {
        let data = self.def(value).filter(|data| data.op == op)?;
        Some((data.args[0], data.args[1]))
    }

    /// Left operand and constant of a value made by that operation with a
    /// constant on the right.
    pub fn binary_const(&self, op: Opcode, value: Value) -> Option<(Value, u64)> {
        let (x, y) = self.binary(op, value)?;
        Some((x, self.constant(y)?))
    }

    /// Inserts an instruction with a result before the one under the walk.
    pub fn insert(&mut self, mut data: InstData) -> Value {
        data.origin = self.origin;
        let inst = self.function.make_inst(data);
        self.done.push(inst);
        let value = self.function.result(inst).expect("an opcode with a result");
        self.fresh.push(value);
        value
    }

    /// Inserts an operation without payload.
    pub fn op(&mut self, op: Opcode, ty: Type, args: &[Value]) -> Value {
        self.insert(InstData::new(op, ty, args, Payload::None))
    }

    /// Inserts a constant, cut to the type.
    pub fn iconst(&mut self, ty: Type, value: u64) -> Value {
        let payload = Payload::Imm(value & ty.mask());
        self.insert(InstData::new(Opcode::Iconst, ty, &[], payload))
    }

    /// The low half of a 64-bit value: an existing value where one is at hand.
    pub fn low(&mut self, value: Value) -> Value {
        if self.ty(value) == Type::I32 {
            return value;
        }
        let widened = self.def(value).filter(|data| data.op.widens());
        if let Some(data) = widened {
            return data.args[0];
        }
        match self.constant(value) {
            Some(constant) => self.iconst(Type::I32, constant),
            None => self.op(Opcode::Trunc, Type::I32, &[value]),
        }
    }
}

impl Opcode {
    /// Whether this widens 32 bits to 64, so that the low half is the operand.
    pub(super) fn widens(self) -> bool {
        matches!(self, Opcode::Uext32 | Opcode::Sext32)
    }
}

/// Rules that a walk applies.
pub(super) trait Rules {
    /// What becomes of an instruction with that result. New ones are inserted
    /// before it; they stay, unused, if the rewrite is not allowed.
    fn inst(&mut self, editor: &mut Editor, data: &InstData, result: Option<Value>) -> Rewrite;

    /// The terminator that replaces this one.
    fn terminator(&mut self, _editor: &mut Editor, _term: &Terminator) -> Option<Terminator> {
        None
    }

    /// Told of values inserted and of instructions changed.
    fn made(&mut self, _function: &Function, _value: Value) {}
}

/// Tries of one instruction; rules make progress, so that few are needed.
const TRIES: usize = 16;

/// Walks over the whole function. Tells whether an edge went away.
pub(super) fn walk(function: &mut Function, context: &mut Context, rules: &mut impl Rules) -> bool {
    let mut editor = Editor::new(function);
    let mut edge_gone = false;
    for index in 0..editor.function.layout.len() {
        let block = editor.function.layout[index];
        for inst in editor.open(block) {
            visit(&mut editor, context, rules, inst);
        }
        edge_gone |= visit_terminator(&mut editor, context, rules, block);
        editor.close(block);
    }
    edge_gone
}

fn visit(editor: &mut Editor, context: &mut Context, rules: &mut impl Rules, inst: Inst) {
    editor.start(inst);
    for _ in 0..TRIES {
        let data = editor.function.insts[inst].clone();
        let result = editor.function.result(inst);
        let rewrite = rules.inst(editor, &data, result);
        report(editor, rules);
        match rewrite {
            Rewrite::Keep => break,
            _ if !context.allow() => break,
            Rewrite::Value(value) => {
                if let Some(result) = result {
                    editor.renames.add(result, value);
                }
                return;
            }
            Rewrite::Inst(mut new) => {
                new.origin = data.origin;
                new.ty = new.op.info().fixed_type().unwrap_or(new.ty);
                editor.function.insts[inst] = new;
                editor.fresh.extend(result);
                report(editor, rules);
            }
        }
    }
    editor.keep(inst);
}

fn visit_terminator(
    editor: &mut Editor,
    context: &mut Context,
    rules: &mut impl Rules,
    block: Block,
) -> bool {
    let mut term = mem::replace(&mut editor.function.blocks[block].term, Terminator::None);
    term.for_each_use_mut(|value| *value = editor.renames.resolve(*value));
    let edges = term.targets().len();
    for _ in 0..TRIES {
        let Some(new) = rules.terminator(editor, &term) else {
            break;
        };
        report(editor, rules);
        if !context.allow() {
            break;
        }
        term = new;
    }
    let gone = term.targets().len() < edges;
    editor.function.blocks[block].term = term;
    gone
}

fn report(editor: &mut Editor, rules: &mut impl Rules) {
    for value in editor.fresh.drain(..) {
        rules.made(editor.function, value);
    }
}
