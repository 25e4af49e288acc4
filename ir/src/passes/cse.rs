//! Common subexpressions.
//!
//! Problem: pure operations that compute what another has computed already.
//!
//! Idea: a walk down the dominator tree remembers each operation with its
//! operands, and where the same comes again in a block below, its result is
//! the earlier one (value numbering over dominators). Operands are renamed
//! before they are looked up, so that chains are found in one walk.
//!
//! Loads are left alone. The compilers that made the bytecode have merged them
//! already (on 40,000 loads of real programs there were 9 to gain), what they
//! left may be left for a reason (another processor may write), and a value
//! kept from a load before a call is one more to save across it.
//!
//! Invariant: the walk is in preorder. An entry whose block does not dominate
//! the current one belongs to a subtree that is done, so the new one takes its
//! place.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;

use super::Context;
use super::edit::Editor;
use crate::cfg::Cfg;
use crate::dom::DomTree;
use crate::opcode::Effect;
use crate::{Block, Function, Inst, InstData, Terminator, Value};

/// Runs the pass.
pub(super) fn run(function: &mut Function, context: &mut Context) {
    let cfg = Cfg::new(function);
    let dom = DomTree::new(function, &cfg);
    let mut editor = Editor::new(function);
    let mut seen = Seen { dom: &dom, results: HashMap::new() };
    for &block in dom.preorder() {
        for inst in editor.open(block) {
            editor.start(inst);
            match seen.earlier(editor.function, block, inst) {
                Some((result, earlier)) if context.allow() => editor.renames.add(result, earlier),
                _ => editor.keep(inst),
            }
        }
        editor.close(block);
        let mut term = mem::replace(&mut editor.function.blocks[block].term, Terminator::None);
        term.for_each_use_mut(|value| *value = editor.renames.resolve(*value));
        editor.function.blocks[block].term = term;
    }
}

/// The operations seen so far, and their results.
struct Seen<'a> {
    dom: &'a DomTree,
    results: HashMap<InstData, (Block, Value)>,
}

impl Seen<'_> {
    /// The result of a pure operation and the earlier one equal to it. If there
    /// is none, this is the one from now on.
    fn earlier(&mut self, function: &Function, block: Block, inst: Inst) -> Option<(Value, Value)> {
        let info = function.insts[inst].op.info();
        let result = function.result(inst).filter(|_| info.effect == Effect::Pure)?;
        let mut key = function.insts[inst].clone();
        key.origin = 0;
        if info.commutes {
            key.args.sort_unstable();
        }
        match self.results.entry(key) {
            Entry::Occupied(entry) if self.dom.dominates(entry.get().0, block) => {
                Some((result, entry.get().1))
            }
            entry => {
                entry.insert_entry((block, result));
                None
            }
        }
    }
}
