//! What came of all objects, by count.

use std::collections::BTreeMap;
use std::fmt;

/// Why compilers are to refuse a program: words in the error, and the reason.
const REFUSALS: [(&str, &str); 5] = [
    ("(CO-RE)", "needs the types of a kernel (CO-RE)"),
    ("(a kernel function)", "calls a function of the kernel (kfunc)"),
    ("(an extern)", "refers to an extern (.ksyms, .kconfig)"),
    ("calls nest", "nests calls deeper than the kernel allows"),
    // The kernel: "same insn cannot be used with different pointers", "expected
    // pointer to ctx", "dereference of modified ctx ptr".
    (
        "may be the context or something else",
        "follows what may be the context or something else, which the kernel refuses too",
    ),
];

/// Why a program does not compile, if that is what an error says.
pub fn refusal(error: &str) -> Option<&'static str> {
    let row = REFUSALS.iter().find(|(words, _)| error.contains(words));
    row.map(|(_, reason)| *reason)
}

/// How many of the helpers that packet programs use most are to run here.
const MOST_USED: usize = 40;

/// Counts over all objects.
#[derive(Default)]
pub struct Table {
    objects: usize,
    /// By engine.
    compiled: BTreeMap<String, usize>,
    /// By engine and reason: programs, and whether they are to be refused.
    refused: BTreeMap<(String, String), (usize, bool)>,
    ran: usize,
    runs: usize,
    skipped: BTreeMap<String, usize>,
    /// By helper: sites in packet programs, and whether it runs here.
    helpers: BTreeMap<String, (usize, bool)>,
    /// What must not be.
    failures: Vec<String>,
}

impl Table {
    /// Adds what the process for an object printed, and how it ended if not well.
    pub fn add(&mut self, object: &str, lines: &str, end: Option<String>) {
        self.objects += 1;
        let mut last = "";
        for line in lines.lines() {
            if line.starts_with("running") {
                last = line;
            } else {
                self.line(object, line);
            }
        }
        if let Some(end) = end {
            self.failures.push(format!("{object}: {end} after {}", last.replace('\t', " ")));
        }
    }

    fn line(&mut self, object: &str, line: &str) {
        let words: Vec<&str> = line.split('\t').collect();
        match words[..] {
            ["compiled", engine, _] => *self.compiled.entry(engine.into()).or_default() += 1,
            ["refused", engine, _, error] => self.refusal(object, engine, error),
            ["ran", _, packets] => {
                self.ran += 1;
                self.runs += packets.parse::<usize>().unwrap_or(0);
            }
            ["calls", _, helper, sites, runs] => {
                let entry = self.helpers.entry(helper.into()).or_insert((0, runs == "yes"));
                entry.0 += sites.parse::<usize>().unwrap_or(0);
            }
            ["skipped", _, reason] => *self.skipped.entry(reason.into()).or_default() += 1,
            _ => self.failures.push(format!("{object}: {}", words.join(" "))),
        }
    }

    fn refusal(&mut self, object: &str, engine: &str, error: &str) {
        let known = refusal(error);
        let reason = known.map_or_else(|| format!("{object}: {error}"), String::from);
        let entry = self.refused.entry((engine.into(), reason)).or_insert((0, known.is_some()));
        entry.0 += 1;
    }

    /// Nothing crashes and nothing differs. (What should be supported and is not
    /// yet is a matter of acceptance: it stands in the table.)
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl Table {
    fn write_helpers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut helpers: Vec<_> = self.helpers.iter().collect();
        helpers.sort_by_key(|(name, (sites, _))| (std::cmp::Reverse(*sites), *name));
        let (most, others) = helpers.split_at(helpers.len().min(MOST_USED));
        for (which, helpers) in [("most used", most), ("others", others)] {
            let missing = helpers.iter().filter(|(_, (_, runs))| !runs);
            let missing = missing.map(|(name, (sites, _))| format!("{name} ({sites} sites)"));
            let missing: Vec<String> = missing.collect();
            let (here, of) = (helpers.len() - missing.len(), helpers.len());
            writeln!(f, "helpers of packet programs, {which}: {here} of {of} run here")?;
            missing.iter().try_for_each(|helper| writeln!(f, "          {helper}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} objects", self.objects)?;
        for (engine, compiled) in &self.compiled {
            let of_engine = self.refused.iter().filter(|((name, _), _)| name == engine);
            let refused: usize = of_engine.clone().map(|(_, (count, _))| count).sum();
            writeln!(f, "{engine}: {compiled} programs compiled, {refused} refused")?;
            for ((_, reason), (count, allowed)) in of_engine {
                let verdict = if *allowed { "" } else { " (to be supported)" };
                writeln!(f, "  {count:6}  {reason}{verdict}")?;
            }
        }
        let skipped: usize = self.skipped.values().sum();
        let (ran, runs) = (self.ran, self.runs);
        writeln!(f, "{ran} programs ran in three engines ({runs} runs each), {skipped} skipped")?;
        let mut reasons: Vec<_> = self.skipped.iter().collect();
        reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), *reason));
        for (reason, count) in reasons {
            writeln!(f, "  {count:6}  {reason}")?;
        }
        self.write_helpers(f)?;
        writeln!(f, "{} failures", self.failures.len())?;
        self.failures.iter().try_for_each(|failure| writeln!(f, "  {failure}"))
    }
}
