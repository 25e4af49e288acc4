//! What is printed of a case that fails.

use tailor::{Engine, Trace, Unit};

use crate::assemble;
use crate::bisect::bisect;
use crate::compare::{Difference, Subject, run};
use crate::print::file_test;
use crate::program::Case;

/// Says where a difference comes from, and prints the case as a file for
/// `tests/cases/run`.
pub fn report(case: &Case, difference: &Difference) -> String {
    let object = assemble::object(case);
    let unit = Unit::new(object.clone());
    let Ok(expected) = Engine::Interp.run(case, &unit) else {
        let text = tailor_bpf::text::print_object(&object);
        return format!("{difference}\n{text}");
    };
    let mut why = difference.to_string();
    if difference.engine == Engine::Tailor.name() {
        let culprit = bisect(&unit, &mut |rewrites| {
            let trace = Trace::checked().limited(rewrites);
            run(case, &unit, Engine::Tailor, trace).as_ref() != Ok(&expected)
        });
        why += &format!("\nmade wrong by {culprit}");
    }
    file_test(case, &object, &expected, &why)
}
