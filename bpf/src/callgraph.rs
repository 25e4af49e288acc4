//! Who calls whom in an object.

use std::collections::BTreeMap;

use cranelift_entity::{EntitySet, SecondaryMap};

use crate::cfg::{Cfg, is_tail_call};
use crate::facts::Facts;
use crate::insn::{Callee, Imm64, Op};
use crate::{FuncRef, Object};

/// How often a function is entered in a run of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Entries {
    /// As the program or by calls.
    pub called: f64,
    /// By helpers, as a callback.
    pub called_back: f64,
}

impl Entries {
    /// Either way.
    pub fn all(&self) -> f64 {
        self.called + self.called_back
    }
}

/// The calls of an object's functions.
#[derive(Clone, Debug, Default)]
pub struct CallGraph {
    /// Functions called directly, each once.
    calls: SecondaryMap<FuncRef, Vec<FuncRef>>,
    /// Functions whose address is taken, each once: callbacks.
    callbacks: SecondaryMap<FuncRef, Vec<FuncRef>>,
    tail_calls: SecondaryMap<FuncRef, bool>,
}

impl CallGraph {
    /// The graph of an object: what the reachable instructions of each function
    /// call. `cfg` gives a function's blocks.
    pub fn new<'a>(object: &Object, cfg: impl Fn(FuncRef) -> &'a Cfg) -> CallGraph {
        let mut graph = CallGraph::default();
        for (function, code) in &object.functions {
            let mut called = EntitySet::new();
            let mut taken = EntitySet::new();
            let slots = cfg(function).blocks.iter().flat_map(|block| block.slots());
            for op in slots.filter_map(|slot| code.ops.get(slot)) {
                match *op {
                    Op::Call(Callee::Function(callee)) if object.functions.is_valid(callee) => {
                        if called.insert(callee) {
                            graph.calls[function].push(callee);
                        }
                    }
                    Op::LoadImm { value: Imm64::Function(callee), .. }
                        if object.functions.is_valid(callee) =>
                    {
                        if taken.insert(callee) {
                            graph.callbacks[function].push(callee);
                        }
                    }
                    op => graph.tail_calls[function] |= is_tail_call(&op),
                }
            }
        }
        graph
    }

    /// The functions that these reach and they themselves, each after those that it
    /// calls or takes the address of, as far as recursion allows.
    pub fn callees_first(&self, roots: impl IntoIterator<Item = FuncRef>) -> Vec<FuncRef> {
        let mut order = Vec::new();
        let mut seen = EntitySet::new();
        let mut stack: Vec<(FuncRef, usize)> = Vec::new();
        for root in roots {
            if seen.insert(root) {
                stack.push((root, 0));
            }
            while let Some((function, edge)) = stack.last_mut() {
                let function = *function;
                let next = self.calls[function].get(*edge).or_else(|| {
                    let callback = edge.checked_sub(self.calls[function].len())?;
                    self.callbacks[function].get(callback)
                });
                *edge += 1;
                match next {
                    Some(&callee) if seen.insert(callee) => stack.push((callee, 0)),
                    Some(_) => {}
                    None => {
                        order.push(function);
                        stack.pop();
                    }
                }
            }
        }
        order
    }

    /// The direct callers of each function.
    pub fn callers(&self, object: &Object) -> SecondaryMap<FuncRef, Vec<FuncRef>> {
        let mut callers: SecondaryMap<FuncRef, Vec<FuncRef>> = SecondaryMap::new();
        for function in object.functions.keys() {
            for &callee in &self.calls[function] {
                callers[callee].push(function);
            }
        }
        callers
    }

    /// The functions of this kind and those that call them or take the address of
    /// one, through any number of others.
    pub fn reaching(
        &self,
        object: &Object,
        wanted: impl Fn(FuncRef) -> bool,
    ) -> EntitySet<FuncRef> {
        let mut users: SecondaryMap<FuncRef, Vec<FuncRef>> = SecondaryMap::new();
        for function in object.functions.keys() {
            for &used in self.calls[function].iter().chain(&self.callbacks[function]) {
                users[used].push(function);
            }
        }
        let mut work: Vec<FuncRef> = object.functions.keys().filter(|&f| wanted(f)).collect();
        let mut reaching = EntitySet::new();
        while let Some(function) = work.pop() {
            if reaching.insert(function) {
                work.extend(&users[function]);
            }
        }
        reaching
    }

    /// How often each function is entered in a run that starts at `entry`, by
    /// the frequencies of the blocks that call it. A callback is taken to be
    /// entered once for each time that its address is taken. What recursion
    /// adds is left out.
    pub fn entries(
        &self,
        object: &Object,
        facts: &Facts,
        entry: FuncRef,
    ) -> BTreeMap<FuncRef, Entries> {
        let mut entries = BTreeMap::<FuncRef, Entries>::new();
        entries.entry(entry).or_default().called = 1.0;
        let mut done = EntitySet::new();
        for function in self.callees_first([entry]).into_iter().rev() {
            done.insert(function);
            let own = &facts.functions[function];
            let Some(weight) = entries.get(&function).map(Entries::all) else { continue };
            for (block, frequency) in own.cfg.blocks.iter().zip(&own.frequency) {
                let ops = &object.functions[function].ops;
                for op in block.slots().filter_map(|slot| ops.get(slot)) {
                    let (callee, is_call) = match *op {
                        Op::Call(Callee::Function(callee)) => (callee, true),
                        Op::LoadImm { value: Imm64::Function(callee), .. } => (callee, false),
                        _ => continue,
                    };
                    if !done.contains(callee) {
                        let entered = entries.entry(callee).or_default();
                        let way =
                            if is_call { &mut entered.called } else { &mut entered.called_back };
                        *way += weight * frequency;
                    }
                }
            }
        }
        entries
    }

    /// The functions from which a tail call can be reached by direct calls.
    /// (A callback is an outermost entry of its own.)
    pub fn reaching_tail_calls(&self, object: &Object) -> EntitySet<FuncRef> {
        let callers = self.callers(object);
        let own = object.functions.keys().filter(|&f| self.tail_calls[f]);
        let mut work: Vec<FuncRef> = own.collect();
        let mut reaching: EntitySet<FuncRef> = EntitySet::new();
        while let Some(function) = work.pop() {
            if reaching.insert(function) {
                work.extend(&callers[function]);
            }
        }
        reaching
    }
}
