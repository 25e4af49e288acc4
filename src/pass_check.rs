//! Which pass, and which rewrite of it, changes what a program does.
//!
//! Problem: that two engines differ says that something between bytecode and
//! bytes is wrong, and some wrong rewrites are made good by later ones.
//!
//! Idea: every function's IR is kept as it was lifted and as each pass left it.
//! All versions run in the IR's interpreter, on the same input, in a world like
//! the bytecode interpreter's, and must do what the bytecode did. The first
//! version that does not names the pass; its functions, one at a time in that
//! version, name the function; and bisecting the number of rewrites allowed
//! names the rewrite, as `TAILOR_BISECT` counts them.

use std::fmt::Debug;

use tailor_bpf::lift::lift;
use tailor_bpf::{Error, FuncRef, ProgId};
use tailor_ir::{Function, Module};

use crate::compile::Unit;
use crate::trace::Trace;

/// Runs a version of a program's IR: what it returned, and what it left in
/// memory. Each run needs a world of its own, as the bytecode had.
pub type Execute<'a, T> = dyn FnMut(&Module) -> Result<T, Error> + 'a;

/// Compares what the IR of a program does, as lifted and after every pass, with
/// what its bytecode did. Returns how many different versions were run.
pub fn check<T: PartialEq + Debug>(
    unit: &Unit,
    program: ProgId,
    expected: &T,
    execute: &mut Execute<'_, T>,
) -> Result<usize, String> {
    let versions = Versions::new(unit, program, &mut Trace::checked())?;
    let mut says = |module: &Module| match execute(module) {
        Ok(found) if found == *expected => None,
        Ok(found) => Some(format!("{found:x?} instead of {expected:x?}")),
        Err(error) => Some(format!("{error} instead of {expected:x?}")),
    };
    let mut count = 0;
    for row in 0..versions.names.len() {
        // What a pass left alone does what it did.
        if row > 0 && versions.is_same(row) {
            continue;
        }
        count += 1;
        if let Some(what) = says(&versions.module(row, |_| true)) {
            return Err(format!("{}: {what}", blame(unit, program, &versions, row, &mut says)));
        }
    }
    Ok(count)
}

/// What is at fault for the first wrong version.
fn blame(
    unit: &Unit,
    program: ProgId,
    versions: &Versions,
    row: usize,
    says: &mut dyn FnMut(&Module) -> Option<String>,
) -> String {
    if row == 0 {
        return "as lifted".into();
    }
    let alone = |func: &FuncRef| says(&versions.module(row, |other| other == *func)).is_some();
    let func = versions.functions.iter().map(|(func, _)| *func).find(alone);
    let name = func.map_or("several functions", |func| &unit.object.functions[func].name);
    // Rewrite `low` is still right, rewrite `high` is not.
    let (mut low, mut high) = (0, versions.rewrites);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let limited = Versions::new(unit, program, &mut Trace::checked().limited(middle));
        match limited.map(|limited| says(&limited.module(row, |_| true))) {
            Ok(None) => low = middle,
            _ => high = middle,
        }
    }
    format!("after pass {} (run {row}) of {name}, TAILOR_BISECT={high}", versions.names[row])
}

/// The functions of a program, as lifted and after each pass.
struct Versions {
    /// For each row who made it; the first is lifting.
    names: Vec<String>,
    functions: Vec<(FuncRef, Vec<Function>)>,
    /// Rewrites in all.
    rewrites: u64,
    /// A function without code, for those that the program does not reach.
    count: usize,
}

impl Versions {
    fn new(unit: &Unit, program: ProgId, trace: &mut Trace) -> Result<Versions, String> {
        let text = |error: Error| error.to_string();
        let mut versions = Versions {
            names: Vec::new(),
            functions: Vec::new(),
            rewrites: 0,
            count: unit.object.functions.len(),
        };
        for func in order(unit, program).map_err(text)? {
            let mut function = lift(&unit.object, &unit.facts, func).map_err(text)?;
            let mut names = vec!["lift".to_string()];
            let mut rows = vec![function.clone()];
            let optimised = trace.optimise_watched(&mut function, &mut |pass, function| {
                names.push(pass.into());
                rows.push(function.clone());
            });
            optimised.map_err(|broken| format!("after pass {}: {}", broken.pass, broken.errors))?;
            versions.names = names;
            versions.functions.push((func, rows));
        }
        versions.rewrites = trace.rewrites;
        Ok(versions)
    }

    /// Whether a row's functions are those of the row before.
    fn is_same(&self, row: usize) -> bool {
        let same = |rows: &Vec<Function>| rows[row].to_string() == rows[row - 1].to_string();
        self.functions.iter().all(|(_, rows)| same(rows))
    }

    /// The module in which these functions are as in a row and the others as in
    /// the row before.
    fn module(&self, row: usize, of_row: impl Fn(FuncRef) -> bool) -> Module {
        let mut module = Module::new();
        for index in 0..self.count {
            module.add_function(format!("f{index}"));
        }
        for (func, rows) in &self.functions {
            let row = if of_row(*func) { row } else { row - 1 };
            module.functions[*func] = rows[row].clone();
        }
        module
    }
}

/// What a tail call of the program may enter is unknown, so all programs take
/// part, in the order in which they are compiled.
fn order(unit: &Unit, program: ProgId) -> Result<Vec<FuncRef>, Error> {
    unit.reachable(program)?;
    let mut order = Vec::new();
    for id in unit.object.programs.keys() {
        // Others may be refused.
        for func in unit.reachable(id).unwrap_or_default() {
            if !order.contains(&func) {
                order.push(func);
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailor_bpf::text::parse_object;

    /// `main` returns 1 + 2 + 3 in steps that fold; `side` keeps a value in its stack.
    const TEXT: &str = "\
program f0 \"main\" raw
  r0 = 1
  r0 += 2
  r0 += 3
  exit

program f1 \"side\" raw
  *(u64 *)(r10 - 8) = 5
  r0 = *(u64 *)(r10 - 8)
  exit
";

    /// What is said if a version is wrong where `bad` finds it so.
    fn said(bad: impl Fn(&Module) -> bool) -> String {
        let unit = Unit::new(parse_object(TEXT).unwrap());
        let main = unit.object.program("main").unwrap();
        check(&unit, main, &false, &mut |module| Ok(bad(module))).unwrap_err()
    }

    fn text(module: &Module, name: &str) -> String {
        let named = module.functions.values().find(|function| function.name == name);
        named.unwrap().to_string()
    }

    #[test]
    fn the_pass_the_function_and_the_rewrite_are_named() {
        let promoted = said(|module| !text(module, "side").contains("stack_addr"));
        assert!(promoted.starts_with("after pass "), "{promoted}");
        assert!(promoted.contains(" of side, "), "{promoted}");
        let folded = said(|module| text(module, "main").contains("iconst.i64 6"));
        assert!(folded.starts_with("after pass fold (run "), "{folded}");
        let (_, count) = folded.split_once("TAILOR_BISECT=").unwrap();
        let count: u64 = count.split(':').next().unwrap().parse().unwrap();
        // With one rewrite less the sum is not there yet.
        let unit = Unit::new(parse_object(TEXT).unwrap());
        let main = unit.object.program("main").unwrap();
        let sum = |rewrites| {
            let versions =
                Versions::new(&unit, main, &mut Trace::checked().limited(rewrites)).unwrap();
            let module = versions.module(versions.names.len() - 1, |_| true);
            text(&module, "main").contains("iconst.i64 6")
        };
        assert!(sum(count) && !sum(count - 1));
    }

    #[test]
    fn lifting_is_named_and_sound_passes_are_not() {
        assert!(said(|_| true).starts_with("as lifted: "));
        let unit = Unit::new(parse_object(TEXT).unwrap());
        let main = unit.object.program("main").unwrap();
        let count = check(&unit, main, &false, &mut |_| Ok(false)).unwrap();
        // As lifted, and after several passes that changed something.
        assert!(count > 2, "{count}");
    }
}
