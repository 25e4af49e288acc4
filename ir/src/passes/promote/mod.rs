//! Stack slots become values.
//!
//! Problem: bytecode keeps what does not fit into ten registers in its stack,
//! and locals whose address was only taken to reach them. Where nothing else
//! can see such bytes, they are values like any other.
//!
//! Idea: `cells` cuts the loaded bytes of slots that do not escape into cells
//! of at most eight bytes, `place` adds block parameters where different
//! stores meet, and a walk down the dominator tree keeps the current value of
//! each cell: a store sets it, a load is replaced by it. A load of part of a
//! cell shifts and extends; a store to part of a cell masks and inserts.
//!
//! Invariants: of a value of a cell only the bytes of the cell count, and what
//! is above them is unspecified. Bytes never stored are unspecified in eBPF;
//! they read as zero here. Neither calls nor tail calls see such slots.

mod cells;
mod place;

use self::cells::{Cell, Cells, Touched};
use self::place::Placed;
use super::Context;
use super::edit::Editor;
use super::slots::Access;
use crate::cfg::Cfg;
use crate::dom::DomTree;
use crate::{Block, Function, Inst, InstData, Opcode, Payload, Size, Type, Value};

/// Runs the pass.
pub(super) fn run(function: &mut Function, context: &mut Context) {
    if function.stack_slots.is_empty() {
        return;
    }
    let cells = Cells::find(function, context);
    if cells.len() == 0 {
        return;
    }
    let cfg = Cfg::new(function);
    let dom = DomTree::new(function, &cfg);
    let placed = place::place(function, &cfg, &dom, &cells);
    let mut promotion = Promotion {
        current: vec![None; cells.len()],
        editor: Editor::new(function),
        zero: [None; 2],
        undo: Vec::new(),
        cells,
        placed,
    };
    promotion.walk(&dom);
    let zeros = promotion.zero;
    let entry = function.entry;
    let zeros = zeros.into_iter().flatten().map(|(inst, _)| inst);
    function.blocks[entry].insts.splice(0..0, zeros);
}

struct Promotion<'f> {
    editor: Editor<'f>,
    cells: Cells,
    placed: Placed,
    /// The value of each cell here; nothing if it was never stored.
    current: Vec<Option<Value>>,
    /// Values to go back to when the walk leaves a subtree.
    undo: Vec<(usize, Option<Value>)>,
    /// Zeros of both types, for the start of the entry.
    zero: [Option<(Inst, Value)>; 2],
}

impl Promotion<'_> {
    fn walk(&mut self, dom: &DomTree) {
        // The path in the dominator tree, with the length of `undo` before each.
        let mut path: Vec<(Block, usize)> = Vec::new();
        for &block in dom.preorder() {
            while let Some(&(above, undo)) = path.last() {
                if Some(above) == dom.idom(block) {
                    break;
                }
                for (index, old) in self.undo.drain(undo..).rev() {
                    self.current[index] = old;
                }
                path.pop();
            }
            path.push((block, self.undo.len()));
            self.block(block);
        }
    }

    fn block(&mut self, block: Block) {
        for index in 0..self.placed[block].len() {
            let (cell, param) = self.placed[block][index];
            self.set(cell, param);
        }
        for inst in self.editor.open(block) {
            self.editor.start(inst);
            let stays = match self.cells.access(self.editor.function, inst) {
                Some(access) => self.access(inst, access),
                None => true,
            };
            if stays {
                self.editor.keep(inst);
            }
        }
        self.editor.close(block);
        self.terminator(block);
    }

    fn terminator(&mut self, block: Block) {
        let none = crate::Terminator::None;
        let mut term = std::mem::replace(&mut self.editor.function.blocks[block].term, none);
        term.for_each_use_mut(|value| *value = self.editor.renames.resolve(*value));
        for target in term.targets_mut() {
            for index in 0..self.placed[target.block].len() {
                let (cell, _) = self.placed[target.block][index];
                target.args.push(self.get(cell));
            }
        }
        self.editor.function.blocks[block].term = term;
    }

    fn set(&mut self, cell: usize, value: Value) {
        let old = self.current[cell].replace(value);
        self.undo.push((cell, old));
    }

    fn get(&mut self, cell: usize) -> Value {
        if let Some(value) = self.current[cell] {
            return value;
        }
        let ty = self.cells.cell(cell).ty;
        let function = &mut *self.editor.function;
        let (_, value) = *self.zero[usize::from(ty == Type::I64)].get_or_insert_with(|| {
            let zero = InstData::new(Opcode::Iconst, ty, &[], Payload::Imm(0));
            let inst = function.make_inst(zero);
            (inst, function.result(inst).expect("a constant has a result"))
        });
        value
    }

    /// Replaces a load or store. Tells whether it stays for the sake of bytes
    /// that are still memory.
    fn access(&mut self, inst: Inst, access: Access) -> bool {
        let data = self.editor.function.insts[inst].clone();
        let touched: Vec<Touched> = self.cells.touched(access).collect();
        if data.op == Opcode::Store {
            for touched in touched {
                self.store(&data, access, touched);
            }
            return self.cells.touches_memory(access) || !self.is_loaded(access);
        }
        let Some(&Touched { index, cell }) = touched.first() else {
            return true;
        };
        let value = self.get(index);
        let value = self.load(&data, access, cell, value);
        if let Some(result) = self.editor.function.result(inst) {
            self.editor.renames.add(result, value);
        }
        false
    }

    fn is_loaded(&self, access: Access) -> bool {
        self.cells.touched(access).next().is_some()
    }

    /// The part of a cell's value that a load reads.
    fn load(&mut self, data: &InstData, access: Access, cell: Cell, value: Value) -> Value {
        let editor = &mut self.editor;
        let value = shift(editor, Opcode::Lshr, cell.ty, value, access.lo - cell.lo);
        let signed = data.op == Opcode::Sload;
        let low = match access.size {
            Size::D => return value,
            Size::W => editor.low(value),
            Size::B | Size::H if signed => {
                let wide = resize(editor, value, data.ty);
                let op = if access.size == Size::B { Opcode::Sext8 } else { Opcode::Sext16 };
                return editor.op(op, data.ty, &[wide]);
            }
            Size::B | Size::H => {
                let low = editor.low(value);
                mask(editor, Type::I32, low, access.size.bytes())
            }
        };
        match data.ty {
            Type::I32 => low,
            Type::I64 if signed => editor.op(Opcode::Sext32, Type::I64, &[low]),
            Type::I64 => editor.op(Opcode::Uext32, Type::I64, &[low]),
        }
    }

    /// Brings the value of a cell up to date with a store.
    fn store(&mut self, data: &InstData, access: Access, touched: Touched) {
        let Touched { index, cell } = touched;
        let editor = &mut self.editor;
        // The bytes lo..hi of the slot are written.
        let (lo, hi) = (access.lo.max(cell.lo), access.hi().min(cell.hi));
        let piece = shift(editor, Opcode::Lshr, data.ty, data.args[1], lo - access.lo);
        let mut piece = resize(editor, piece, cell.ty);
        let whole = touched.covered_by(access);
        if !whole {
            let (bytes, above) = (hi - lo, lo - cell.lo);
            if above + bytes < cell.ty.bits() / 8 {
                piece = mask(editor, cell.ty, piece, bytes);
            }
            piece = shift(editor, Opcode::Shl, cell.ty, piece, above);
            if let Some(old) = self.current[index] {
                let keep = editor.iconst(cell.ty, !(ones(bytes) << (8 * above)));
                let rest = editor.op(Opcode::And, cell.ty, &[old, keep]);
                piece = editor.op(Opcode::Or, cell.ty, &[rest, piece]);
            }
        }
        self.set(index, piece);
    }
}

fn ones(bytes: u32) -> u64 {
    u64::MAX >> (64 - 8 * bytes)
}

/// A shift by whole bytes.
fn shift(editor: &mut Editor, op: Opcode, ty: Type, value: Value, bytes: u32) -> Value {
    if bytes == 0 {
        return value;
    }
    let count = editor.iconst(ty, (8 * bytes).into());
    editor.op(op, ty, &[value, count])
}

/// The low bytes of a value, and zeros above them.
fn mask(editor: &mut Editor, ty: Type, value: Value, bytes: u32) -> Value {
    let mask = editor.iconst(ty, ones(bytes));
    editor.op(Opcode::And, ty, &[value, mask])
}

/// The same low bits in another type; those above 32 are unspecified.
fn resize(editor: &mut Editor, value: Value, ty: Type) -> Value {
    match (editor.ty(value), ty) {
        (Type::I64, Type::I32) => editor.low(value),
        (Type::I32, Type::I64) => editor.op(Opcode::Uext32, Type::I64, &[value]),
        (Type::I32, Type::I32) | (Type::I64, Type::I64) => value,
    }
}
