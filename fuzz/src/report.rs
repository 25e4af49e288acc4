//! What is printed of a case that fails.

use tailor::engine::Family;
use tailor::{Engine, Trace, Unit};

use crate::assemble;
use crate::bisect::bisect;
use crate::compare::{Difference, Patched, Subject, run};
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
    let named = difference.engine.parse().ok();
    let optimizing = |engine: &Engine| matches!(engine.family(), Family::Optimizing(_));
    let engine = match difference.engine.as_str() {
        Patched::NAME => Some((Engine::Tailor, Patched::trace as fn() -> Trace)),
        _ => named.filter(optimizing).map(|engine| (engine, Trace::checked as fn() -> Trace)),
    };
    if let Some((engine, trace)) = engine {
        let culprit = bisect(&unit, &mut |rewrites| {
            run(case, &unit, engine, trace().limited(rewrites)).as_ref() != Ok(&expected)
        });
        why += &format!("\nmade wrong by {culprit}");
    }
    file_test(case, &object, &expected, &why)
}
