//! All analyses on bytecode, in order.

use cranelift_entity::SecondaryMap;

use crate::arity::arities;
use crate::callgraph::CallGraph;
use crate::cfg::Cfg;
use crate::facts::{Facts, FunctionFacts};
use crate::frequency::frequencies;
use crate::insn::{Imm64, Op};
use crate::{Error, FuncRef, Object, pointers};

/// Analyses a validated object: the facts, and what is wrong with functions
/// that cannot be compiled. Each error names a program that needs the function,
/// if there is one. Functions that were refused while linking have no blocks.
pub fn analyze(object: &Object) -> (Facts, Vec<Error>) {
    let mut facts = Facts::default();
    for function in object.functions.values() {
        let mut own = FunctionFacts::of_refused();
        if function.refused.is_none() {
            own.cfg = Cfg::with_table(&function.ops, &object.jump_targets(function));
            own.frequency = frequencies(&function.ops, &own.cfg);
        }
        facts.functions.push(own);
    }
    let graph = CallGraph::new(object, |function| &facts.functions[function].cfg);
    let arities = arities(object, &graph, |function| &facts.functions[function].cfg);
    let reaching = graph.reaching_tail_calls(object);
    for (function, own) in facts.functions.iter_mut() {
        own.arity = arities[function];
        own.reaches_tail_call = reaching.contains(function);
    }
    let mut order = graph.callees_first(object);
    order.retain(|&function| object.functions[function].refused.is_none());
    let lost = graph.reaching(object, |function| object.functions[function].refused.is_some());
    let mut errors = callback_errors(object, &graph, &facts);
    errors.extend(pointers::analyze(object, &mut facts, &order, &lost));
    (facts, name_programs(object, errors))
}

/// Callbacks from which a tail call can be reached, where their address is taken.
/// A helper enters them, so nothing hands them the count of tail calls. (The
/// kernel refuses tail calls in callbacks, and lets some in functions that they
/// call pass, with no count either.)
fn callback_errors(object: &Object, graph: &CallGraph, facts: &Facts) -> Vec<(FuncRef, Error)> {
    let mut errors = Vec::new();
    for (id, function) in &object.functions {
        let slots = facts.functions[id].cfg.blocks.iter().flat_map(|block| block.slots());
        for slot in slots {
            let Some(Op::LoadImm { value: Imm64::Function(callback), .. }) = function.ops.get(slot)
            else {
                continue;
            };
            if let Some((source, at)) = graph.first_tail_call(object, *callback, facts) {
                let [callback, source] = [*callback, source].map(|id| &object.functions[id].name);
                let what = format!(
                    "takes the address of `{callback}`, a callback that can get to the tail call \
                     at {source}+{at}: callbacks cannot tail-call"
                );
                errors.push((id, Error::at(&function.name, slot, what)));
            }
        }
    }
    errors
}

/// Names in each error the first program that reaches the function.
fn name_programs(object: &Object, errors: Vec<(FuncRef, Error)>) -> Vec<Error> {
    if errors.is_empty() {
        return Vec::new();
    }
    let mut first = SecondaryMap::<FuncRef, Option<&str>>::new();
    for program in object.programs.values() {
        for function in object.reachable(program.function) {
            first[function].get_or_insert(&program.name);
        }
    }
    let name = |(function, error): (FuncRef, Error)| match first[function] {
        Some(program) => error.in_program(program),
        None => error,
    };
    errors.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::analyze;
    use crate::text::parse_object;

    #[test]
    fn callbacks_cannot_tail_call() {
        // `second` is also called directly, which is fine.
        let text = "
map map0 \"jmp\" prog_array key 4 value 4 entries 1 { }
program f0 \"direct\" xdp
  call f4
  exit
program f1 \"main\" xdp
  r6 = f2 ll
  r1 = 1
  r2 = f3 ll
  r3 = 0
  r4 = 0
  call 181
  exit
function f2 \"harmless\"
  r0 = 0
  exit
function f3 \"first\"
  r1 = r2
  call f4
  exit
function f4 \"second\"
  r2 = map0 ll
  r3 = 0
  call 12
  exit";
        let (_, errors) = analyze(&parse_object(text).unwrap());
        let errors: Vec<String> = errors.iter().map(|error| error.to_string()).collect();
        let expected = "main: main+3: takes the address of `first`, a callback that can get to \
                        the tail call at second+3: callbacks cannot tail-call";
        assert_eq!(errors, [expected]);
    }
}
