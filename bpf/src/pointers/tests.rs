//! The analysis on small programs: what frames are cut into (`frames`), and
//! which accesses and calls are what (`contexts`).

use crate::facts::{Facts, FunctionFacts};
use crate::text::parse_object;
use crate::{FuncRef, analyze};

mod contexts;
mod frames;

const MAPS: &str = "
map map0 \"h\" hash key 8 value 24 entries 16
map map1 \"jmp\" prog_array key 4 value 4 entries 8
map map2 \"jmp2\" prog_array key 4 value 4 entries 8
map map3 \"odd\" array key 4 value 0 entries 1
";

fn analyzed(text: &str) -> (Facts, Vec<String>) {
    let object = parse_object(&format!("{MAPS}{text}")).expect("the test's object parses");
    let (facts, errors) = analyze(&object);
    (facts, errors.iter().map(|error| error.to_string()).collect())
}

fn facts(text: &str) -> Facts {
    let (facts, errors) = analyzed(text);
    assert!(errors.is_empty(), "{text}\n{errors:?}");
    facts
}

fn errors(text: &str) -> Vec<String> {
    let (_, errors) = analyzed(text);
    assert!(!errors.is_empty(), "{text}");
    errors
}

fn function(facts: &Facts, index: u32) -> &FunctionFacts {
    &facts.functions[FuncRef::from_u32(index)]
}

/// The objects of the first function: start, end, `!` if it escapes.
fn objects_of(facts: &Facts) -> String {
    let own = function(facts, 0);
    let show = |o: &crate::facts::StackObject| {
        format!("{}..{}{}", o.lo, o.hi, if o.escapes { "!" } else { "" })
    };
    let objects: Vec<String> = own.stack_objects.iter().map(show).collect();
    objects.join(" ")
}
