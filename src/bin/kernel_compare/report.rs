//! What the comparison came to, in words and as data.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::classes::figures;
use super::compare::{Comparison, Origin, Row};

impl Comparison {
    /// Every function without private stack is equal from translated instructions.
    pub fn holds(&self) -> bool {
        let differ = self.plain().any(|row| row.translated.is_err());
        self.errors.is_empty() && !self.rows.is_empty() && !differ
    }

    fn plain(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.private_stack)
    }

    /// The figures, and with `verbose` every difference.
    pub fn summary(&self, verbose: bool) -> String {
        let mut out = String::new();
        let plain = self.plain().count();
        let _ = writeln!(
            out,
            "loaded: {} objects, {} programs, {} functions, of them {} with a private stack",
            self.objects,
            self.programs,
            self.rows.len(),
            self.rows.len() - plain,
        );
        let _ = writeln!(out, "not loaded: {} programs or objects", self.refused.len());
        count(&mut out, self.refused.iter().map(|(_, why)| refusal(why)));
        let equal = self.plain().filter(|row| row.translated.is_ok()).count();
        let _ = writeln!(out, "from translated instructions: {equal} of {plain} equal");
        count(
            &mut out,
            self.plain().filter_map(|row| row.translated.as_ref().err().map(String::as_str)),
        );
        self.bytecode(&mut out);
        let compared: Vec<_> = self.rows.iter().filter_map(|row| row.sequence.as_ref()).collect();
        let equal = compared.iter().filter(|sequence| sequence.is_ok()).count();
        let all = compared.len();
        let _ = writeln!(out, "instructions of helper-free functions: {equal} of {all} equal");
        count(&mut out, compared.iter().filter_map(|s| s.as_ref().err().map(|(class, _)| *class)));
        for error in &self.errors {
            let _ = writeln!(out, "error: {error}");
        }
        if verbose {
            self.differences(&mut out);
        }
        out
    }

    /// Functions with a private stack are a class of their own.
    fn bytecode(&self, out: &mut String) {
        let rows = |origin| self.plain().filter(move |row| row.origin == origin).count();
        let equal = self.plain().filter(|row| row.bytecode.is_ok()).count();
        let of = self.plain().count();
        let _ = writeln!(
            out,
            "from the bytecode: {equal} of {of} equal, {:.1} % ({} from the object, {} as libbpf \
             links it, {} not compiled)",
            100.0 * equal as f64 / of.max(1) as f64,
            rows(Origin::Object),
            rows(Origin::Linked),
            rows(Origin::None),
        );
        count(
            out,
            self.rows.iter().filter_map(|row| Some(row.bytecode.as_ref().err()?.0.as_str())),
        );
    }

    fn differences(&self, out: &mut String) {
        for (place, why) in &self.refused {
            let _ = writeln!(out, "{place}: not loaded: {why}");
        }
        for row in &self.rows {
            let place = format!("{}: {}: {}", row.object, row.program, row.function);
            if let (Err(why), false) = (&row.translated, row.private_stack) {
                let _ = writeln!(out, "{place}: translated: {why}");
            }
            if let Err((class, figures)) = &row.bytecode {
                let _ = writeln!(out, "{place}: bytecode: {class}: {figures}");
            }
            if let Some(Err((class, at))) = &row.sequence {
                let _ = writeln!(out, "{place}: code: {class}: {at}");
            }
        }
    }

    /// The kernel's figures, a line for each function.
    pub fn csv(&self) -> String {
        let mut out = String::from(
            "object,program,function,private_stack,saved,frame_bytes,pop_sites,tail_call_sites,\
             bytecode\n",
        );
        for row in &self.rows {
            let (saved, frame, pops, sites) = figures(&row.kernel);
            let saved: Vec<&str> = saved.iter().map(|reg| reg.name()).collect();
            let bytecode = match (row.origin, &row.bytecode) {
                (Origin::Object, Ok(())) => "equal",
                (Origin::Object, Err((class, _))) => class,
                (Origin::Linked, _) => "linked by libbpf",
                (Origin::None, _) => "not compiled",
            };
            let _ = writeln!(
                out,
                "{},{},{},{},{},{frame},{pops},{sites},{}",
                row.object,
                row.program,
                row.function,
                row.private_stack,
                saved.join(" "),
                bytecode.replace(',', ""),
            );
        }
        out
    }
}

/// The kind of a reason; the reasons themselves are among the differences.
fn refusal(why: &str) -> &'static str {
    let kinds = [
        ("failed to create", "a map that this kernel does not create as it is defined"),
        ("bpf_create_map", "a map that this kernel does not create as it is defined"),
        ("extern", "a symbol that this kernel does not have"),
        ("kernel symbol", "a symbol that this kernel does not have"),
        ("kernel BTF type ID", "a place to attach to that this kernel does not have"),
        ("attach", "a place to attach to that is named elsewhere or not at all"),
        ("missing BPF prog type", "a kind of program that libbpf does not know by its section"),
        ("Operation not permitted", "a kind of program that this kernel does not permit"),
        ("invalid func unknown#1958", "a type that this kernel does not have"),
        ("legacy map definitions", "map definitions that libbpf 1 no longer reads"),
        ("libbpf: ", "other reasons of libbpf"),
    ];
    let kind = kinds.iter().find(|(word, _)| why.contains(word));
    kind.map_or("the verifier's rejection, as many selftests ask for", |kind| kind.1)
}

/// A line for each class with its count, the largest first.
fn count<'a>(out: &mut String, classes: impl Iterator<Item = &'a str>) {
    let mut counts = BTreeMap::new();
    for class in classes {
        *counts.entry(class).or_insert(0) += 1;
    }
    let mut counts: Vec<(&str, u32)> = counts.into_iter().collect();
    counts.sort_by_key(|&(class, count)| (std::cmp::Reverse(count), class));
    for (class, count) in counts {
        let _ = writeln!(out, "  {count}: {class}");
    }
}
