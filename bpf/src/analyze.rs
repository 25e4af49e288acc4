//! All analyses on bytecode, in order.

use cranelift_entity::SecondaryMap;

use crate::arity::arities;
use crate::callgraph::CallGraph;
use crate::cfg::Cfg;
use crate::facts::{Facts, FunctionFacts};
use crate::frequency::frequencies;
use crate::object::ProgramKind;
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
        own.parameters = own.arity;
        own.reaches_tail_call = reaching.contains(function);
    }
    for program in object.programs.values() {
        let given = if program.kind == ProgramKind::Raw { 2 } else { 1 };
        if let Some(own) = facts.functions.get_mut(program.function) {
            own.parameters = own.parameters.max(given);
        }
    }
    let mut order = graph.callees_first(object.functions.keys());
    order.retain(|&function| object.functions[function].refused.is_none());
    let lost = graph.reaching(object, |function| object.functions[function].refused.is_some());
    facts.calls = graph;
    let errors = pointers::analyze(object, &mut facts, &order, &lost);
    (facts, name_programs(object, errors))
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
