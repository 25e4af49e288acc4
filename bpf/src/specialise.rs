//! Functions that programs of different contexts share.
//!
//! A function that reads a field of `xdp_md` for one program and of `__sk_buff`
//! for another cannot be compiled once. The analysis finds it as an error: its
//! parameter is one or the other. Such a function, and what lies between it and
//! the programs, is copied for each kind of context, after which the analysis
//! sees a single kind in each. What is merely called by programs of different
//! kinds stays shared.
//!
//! A program that other functions call is copied too where that matters.

use std::collections::{BTreeSet, HashMap, HashSet};

use cranelift_entity::SecondaryMap;

use crate::ctx::KINDS;
use crate::facts::Facts;
use crate::insn::{Callee, Imm64, Op};
use crate::object::Function;
use crate::{Error, FuncRef, Object};

/// A kind of context; none if its fields are not declared.
type Kind = Option<u8>;

/// Copies the functions that the errors of an analysis name for each kind of
/// context from which they are reached. Says whether anything changed: then the
/// object is to be analysed again.
pub fn specialise(object: &mut Object, errors: &[Error]) -> bool {
    let kinds = reaching_kinds(object);
    let shared = |function: FuncRef| kinds[function].len() > 1;
    let wrong: HashSet<&str> = errors.iter().filter_map(|e| e.function.as_deref()).collect();
    let functions = object.functions.iter();
    let named = functions.filter(|(id, function)| shared(*id) && wrong.contains(&*function.name));
    let copied = with_callers(object, named.map(|(id, _)| id).collect(), shared);
    if copied.is_empty() {
        return false;
    }
    let mut copies = Copies { of: HashMap::new() };
    for &id in &copied {
        // The first kind keeps the function itself.
        for &kind in kinds[id].iter().skip(1) {
            let function = copy(&object.functions[id], kind);
            copies.of.insert((id, kind), object.functions.push(function));
        }
    }
    for (id, kinds) in object.functions.keys().map(|id| (id, &kinds[id])).collect::<Vec<_>>() {
        if let Some(&first) = kinds.first() {
            copies.redirect(&mut object.functions[id], first);
        }
    }
    for (&(_, kind), &copy) in &copies.of {
        copies.redirect(&mut object.functions[copy], kind);
    }
    for program in object.programs.values_mut() {
        program.function = copies.of(program.function, program.kind.context());
    }
    true
}

/// Copies the programs that are also called, or whose address is taken, as far
/// as a tail call can be reached from them; callers get the copy. As an entry
/// such a function starts counting tail calls, and as a callee it must not. Says
/// whether anything changed: then the object is to be analysed again.
pub fn separate_entries(object: &mut Object, facts: &Facts) -> bool {
    let called: HashSet<FuncRef> = object.functions.values().flat_map(|f| f.callees()).collect();
    let reaches = |id: FuncRef| facts.functions.get(id).is_some_and(|own| own.reaches_tail_call);
    let entries = object.programs.values().map(|program| program.function);
    let entries: BTreeSet<FuncRef> =
        entries.filter(|&id| called.contains(&id) && reaches(id)).collect();
    let mut copies = Copies { of: HashMap::new() };
    for &id in &entries {
        let function = &object.functions[id];
        let copy = Function { name: format!("{}.called", function.name), ..function.clone() };
        copies.of.insert((id, None), object.functions.push(copy));
    }
    if !entries.is_empty() {
        object.functions.values_mut().for_each(|function| copies.redirect(function, None));
    }
    !entries.is_empty()
}

/// The kinds of context of the programs that reach each function.
fn reaching_kinds(object: &Object) -> SecondaryMap<FuncRef, BTreeSet<Kind>> {
    let mut kinds = SecondaryMap::<FuncRef, BTreeSet<Kind>>::new();
    let mut left: Vec<(FuncRef, Kind)> =
        object.programs.values().map(|p| (p.function, p.kind.context())).collect();
    while let Some((id, kind)) = left.pop() {
        if let Some(function) = object.functions.get(id)
            && kinds[id].insert(kind)
        {
            left.extend(function.callees().map(|callee| (callee, kind)));
        }
    }
    kinds
}

/// These functions and all that lead to them and are shared.
fn with_callers(
    object: &Object,
    mut found: BTreeSet<FuncRef>,
    shared: impl Fn(FuncRef) -> bool,
) -> BTreeSet<FuncRef> {
    let mut callers = SecondaryMap::<FuncRef, Vec<FuncRef>>::new();
    for (id, function) in &object.functions {
        let callees = function.callees().filter(|callee| object.functions.is_valid(*callee));
        callees.for_each(|callee| callers[callee].push(id));
    }
    let mut left: Vec<FuncRef> = found.iter().copied().collect();
    while let Some(id) = left.pop() {
        for &caller in callers[id].iter().filter(|&&caller| shared(caller)) {
            if found.insert(caller) {
                left.push(caller);
            }
        }
    }
    found
}

/// A copy for a kind of context, which is part of its name.
fn copy(function: &Function, kind: Kind) -> Function {
    let suffix = kind.map_or("other", |kind| KINDS[usize::from(kind)].name);
    Function { name: format!("{}.{suffix}", function.name), ..function.clone() }
}

struct Copies {
    of: HashMap<(FuncRef, Kind), FuncRef>,
}

impl Copies {
    /// The copy for a kind, or the function itself.
    fn of(&self, function: FuncRef, kind: Kind) -> FuncRef {
        self.of.get(&(function, kind)).copied().unwrap_or(function)
    }

    /// Makes a function call the copies for a kind.
    fn redirect(&self, function: &mut Function, kind: Kind) {
        for op in &mut function.ops {
            match op {
                Op::Call(Callee::Function(callee)) => *callee = self.of(*callee, kind),
                Op::LoadImm { value: Imm64::Function(callee), .. } => {
                    *callee = self.of(*callee, kind);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze;
    use crate::text::{parse_object, print_object};

    /// `first` and `second` share `through`, which passes its context on to
    /// `leaf`; both call `number`, which has none.
    fn shared(kind: &str) -> Object {
        let text = format!(
            "program f0 \"first\" xdp
              call f2
              call f4
              exit
            program f1 \"second\" {kind}
              r6 = f2 ll
              call f2
              call f4
              exit
            function f2 \"through\"
              call f3
              exit
            function f3 \"leaf\"
              r0 = *(u32 *)(r1 + 0)
              exit
            function f4 \"number\"
              r0 = 1
              exit"
        );
        parse_object(&text).unwrap()
    }

    #[test]
    fn a_function_of_two_contexts_is_copied() {
        for kind in ["sched_cls", "opaque"] {
            let mut object = shared(kind);
            let (_, errors) = analyze(&object);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(specialise(&mut object, &errors));
            let (facts, errors) = analyze(&object);
            assert_eq!(errors, []);
            let fields = |name: &str| {
                let found = object.functions.iter().find(|(_, f)| f.name == name);
                let (id, _) = found.unwrap_or_else(|| panic!("{name}"));
                facts.functions[id].ctx_accesses.values().map(|a| a.kind).collect::<Vec<_>>()
            };
            // Kinds are in order, that of no declared fields first.
            let (leaf, copied) = match kind {
                "opaque" => ("leaf.xdp_md", "leaf"),
                _ => ("leaf", "leaf.__sk_buff"),
            };
            assert_eq!(fields(leaf), [crate::ctx::XDP]);
            let of_other = if kind == "opaque" { vec![] } else { vec![crate::ctx::SKB] };
            assert_eq!(fields(copied), of_other);
            // Two functions were copied, and addresses lead to the copies too.
            assert_eq!(object.functions.len(), 7, "{}", print_object(&object));
            let second = object.program("second").unwrap();
            let callees: Vec<FuncRef> =
                object.functions[object.programs[second].function].callees().collect();
            assert_eq!(callees[0], callees[1]);
        }
    }

    #[test]
    fn nothing_is_copied_without_need() {
        let mut object = shared("xdp");
        let (_, errors) = analyze(&object);
        assert_eq!(errors, []);
        assert!(!specialise(&mut object, &errors));
        assert_eq!(object.functions.len(), 5);
    }
}
