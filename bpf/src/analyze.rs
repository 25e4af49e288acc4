//! All analyses on bytecode, in order.

use cranelift_entity::SecondaryMap;

use crate::arity::arities;
use crate::callgraph::CallGraph;
use crate::cfg::Cfg;
use crate::facts::{Facts, FunctionFacts};
use crate::frequency::frequencies;
use crate::{Error, FuncRef, Object, pointers};

/// Analyses a validated object. Functions that were refused while linking have
/// no blocks, and facts that hold for anything. The errors are of functions
/// that cannot be compiled; each names a program that needs the function, if
/// there is one.
pub fn analyze(object: &Object) -> Result<Facts, Vec<Error>> {
    let (facts, errors) = analyze_all(object);
    if errors.is_empty() {
        Ok(facts)
    } else {
        let errors = errors.into_iter().map(|(_, error)| error);
        Err(errors.collect())
    }
}

/// Analyses a validated object, and refuses the functions that cannot be
/// compiled, so that the programs that do without them still can be.
pub fn analyze_or_refuse(object: &mut Object) -> Facts {
    let (mut facts, errors) = analyze_all(object);
    for (function, error) in errors {
        let refused = &mut object.functions[function].refused;
        if refused.is_none() {
            *refused = Some(error);
        }
        facts.functions[function] = FunctionFacts::of_refused();
    }
    facts
}

/// The facts, and what is wrong with which function.
fn analyze_all(object: &Object) -> (Facts, Vec<(FuncRef, Error)>) {
    let mut facts = Facts::default();
    for function in object.functions.values() {
        let mut own = FunctionFacts::of_refused();
        if function.refused.is_none() {
            own.cfg = Cfg::build(&function.ops);
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
    let mut errors = pointers::analyze(object, &mut facts, &order);
    name_programs(object, &graph, &mut errors);
    (facts, errors)
}

/// Names in each error the first program that reaches the function.
fn name_programs(object: &Object, graph: &CallGraph, errors: &mut [(FuncRef, Error)]) {
    if errors.is_empty() {
        return;
    }
    let mut first = SecondaryMap::<FuncRef, Option<&str>>::new();
    for program in object.programs.values() {
        for function in graph.reachable(program.function) {
            first[function].get_or_insert(&program.name);
        }
    }
    for (function, error) in errors {
        if let Some(program) = first[*function] {
            error.program.get_or_insert_with(|| program.into());
        }
    }
}
