//! The forty cases of eBPF's meaning that an optimizing compiler breaks first.
//!
//! A file `NN-name.bpf` is case NN. It consists of sections, each a program with
//! rows of inputs and the result that the specification gives:
//!
//! ```text
//! == what the section is about
//! ; row: r3=-41 r4=2 -> -1
//!   r3 s%= r4
//!   r0 = r3
//!   exit
//! ```
//!
//! Every section runs in every engine in two forms: with the inputs as
//! constants, which the compiler may compute with, and unknown, loaded from
//! memory. The inputs come first in the program, or where an object in text form
//! has a line `@inputs`. R1 is the address of the section's memory unless it is
//! an input. Further lines of a section:
//!
//! - `; each: X=A B C` repeats the section with each of these for `$X`; sections
//!   in which two such names stand for the same are left out.
//! - `; mem: HEX` gives it memory, `; zeros: N` so many bytes of zeros.
//! - `; engines: A, B` and `; except: A, B` say in which engines it holds.
//! - `@repeat N: LINE` stands for so many lines; `many` is a million in release
//!   builds and 100,000 in debug builds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use tailor::compile::beyond;
use tailor::{Engine, Instance, Trace, Unit};

use super::case::{hex, number};

/// How many cases there are.
const CASES: usize = 40;

/// How a program gets its inputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Constants,
    Unknown,
}

/// Inputs, by register, and the result.
#[derive(Clone, PartialEq)]
struct Row {
    inputs: Vec<(u8, u64)>,
    result: u64,
}

/// A program with its rows.
#[derive(Clone, Default)]
struct Section {
    name: String,
    rows: Vec<Row>,
    memory: Vec<u8>,
    engines: Vec<Engine>,
    except: Vec<Engine>,
    text: String,
}

/// The tests of all cases: one for each case, engine and form, and one that
/// every case is there.
pub fn trials(folder: &Path) -> Vec<Trial> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let names: Vec<String> = files.iter().map(|path| name(path)).collect();
    let mut trials = vec![Trial::test("semantics/complete", move || complete(&names))];
    for path in files {
        let sections = Arc::new(read(&path));
        for engine in Engine::ALL {
            for form in [Form::Constants, Form::Unknown] {
                let sections = sections.clone();
                let test = move || run_case(&sections, engine, form);
                let form = format!("{form:?}").to_lowercase();
                trials
                    .push(Trial::test(format!("semantics/{}/{engine}/{form}", name(&path)), test));
            }
        }
    }
    trials
}

/// Whether each case has one file.
fn complete(names: &[String]) -> Result<(), Failed> {
    for case in 1..=CASES {
        let prefix = format!("{case:02}-");
        let found = names.iter().filter(|name| name.starts_with(&prefix)).count();
        if found != 1 {
            return Err(format!("case {case} has {found} files").into());
        }
    }
    if names.len() != CASES {
        return Err(format!("{} files for {CASES} cases", names.len()).into());
    }
    Ok(())
}

fn run_case(
    sections: &Result<Vec<Section>, String>,
    engine: Engine,
    form: Form,
) -> Result<(), Failed> {
    let sections = sections.as_ref().map_err(String::clone)?;
    let mut ran = 0;
    for section in sections.iter().filter(|section| section.holds_in(engine)) {
        let ok = run_section(section, engine, form);
        ok.map_err(|what| format!("{}: {what}\n{}", section.name, section.shown()))?;
        ran += 1;
    }
    if ran == 0 { Err("nothing of it runs in this engine".into()) } else { Ok(()) }
}

fn run_section(section: &Section, engine: Engine, form: Form) -> Result<(), String> {
    match form {
        Form::Constants => section
            .rows
            .iter()
            .try_for_each(|row| Loaded::new(section, row, engine, form)?.run(row)),
        // The same program for all rows: it cannot know the inputs.
        Form::Unknown => {
            let first = section.rows.first().ok_or("no row")?;
            let loaded = Loaded::new(section, first, engine, form)?;
            section.rows.iter().try_for_each(|row| loaded.run(row))
        }
    }
}

/// A section's program, ready to run; nothing if the engine by its nature does
/// not take it.
struct Loaded<'a> {
    section: &'a Section,
    form: Form,
    instance: Option<(Instance, String)>,
}

impl<'a> Loaded<'a> {
    fn new(
        section: &'a Section,
        row: &Row,
        engine: Engine,
        form: Form,
    ) -> Result<Loaded<'a>, String> {
        let text = |error: tailor::Error| error.to_string();
        let object = tailor::bpf::text::parse_object(&section.program(row, form)).map_err(text)?;
        let unit = Unit::new(object);
        let (id, program) = unit.object.programs.iter().next().ok_or("no program")?;
        if beyond(&unit, engine, id).is_some() {
            return Ok(Loaded { section, form, instance: None });
        }
        let instance = Instance::new(&unit, engine, &mut Trace::checked()).map_err(text)?;
        Ok(Loaded { section, form, instance: Some((instance, program.name.clone())) })
    }

    fn run(&self, row: &Row) -> Result<(), String> {
        let Some((instance, name)) = &self.instance else {
            return Ok(());
        };
        let mut memory = Vec::new();
        if self.form == Form::Unknown {
            memory.extend(row.inputs.iter().flat_map(|(_, value)| value.to_le_bytes()));
        }
        memory.extend(&self.section.memory);
        let program = instance.program(name).map_err(|error| error.to_string())?;
        // SAFETY: the sections are written to be acceptable to a verifier, but
        // for what it never accepts and the case is about; the interpreter runs
        // each of them too, and checks every access.
        let result = unsafe { program.run(&mut memory.as_mut_slice()) };
        let result = result.map_err(|error| error.to_string())?;
        match result == row.result {
            true => Ok(()),
            false => Err(format!("{row:x?} returned {result:#x}")),
        }
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inputs.iter().try_for_each(|(reg, value)| write!(f, "r{reg}={value:#x} "))?;
        write!(f, "-> {:#x}", self.result)
    }
}

impl Section {
    fn holds_in(&self, engine: Engine) -> bool {
        let listed = self.engines.is_empty() || self.engines.contains(&engine);
        listed && !self.except.contains(&engine)
    }

    /// The program with the inputs of a row.
    fn program(&self, row: &Row, form: Form) -> String {
        let mut inputs = String::new();
        for (reg, value) in row.inputs.iter().filter(|_| form == Form::Constants) {
            inputs += &format!("  r{reg} = {value:#x} ll\n");
        }
        if form == Form::Unknown {
            let places = row.inputs.iter().enumerate();
            let (r1, others): (Vec<_>, Vec<_>) = places.partition(|(_, (reg, _))| *reg == 1);
            for (place, (reg, _)) in others.iter().chain(&r1) {
                inputs += &format!("  r{reg} = *(u64 *)(r1 + {})\n", 8 * place);
            }
            if r1.is_empty() {
                inputs += &format!("  r1 += {}\n", 8 * row.inputs.len());
            }
        }
        match self.text.contains("@inputs") {
            true => self.text.replace("@inputs", &inputs),
            false => format!("program f0 \"main\" raw\n{inputs}{}", self.text),
        }
    }

    /// The text for messages, if it is not too long.
    fn shown(&self) -> &str {
        if self.text.len() < 4000 { &self.text } else { "" }
    }

    /// A line of the section that is no code.
    fn directive(&mut self, key: &str, value: &str) -> Result<(), String> {
        let engines = |value: &str| {
            let names = value.split(',').map(|name| name.trim().parse());
            names.collect::<Result<Vec<Engine>, String>>()
        };
        match key {
            "row" => self.rows.push(row(value)?),
            "mem" => self.memory.extend(hex(value)?),
            "zeros" => self.memory.resize(number(value)? as usize, 0),
            "engines" => self.engines = engines(value)?,
            "except" => self.except = engines(value)?,
            _ => return Err(format!("unknown directive {key:?}")),
        }
        Ok(())
    }
}

/// `r3=5 r4=-1 -> 7`
fn row(text: &str) -> Result<Row, String> {
    let (inputs, result) = text.split_once("->").ok_or("a row has no result")?;
    let input = |text: &str| {
        let (reg, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is no input"))?;
        let reg = reg.strip_prefix('r').and_then(|reg| reg.parse().ok());
        Ok((reg.ok_or_else(|| format!("{text:?} names no register"))?, number(value)?))
    };
    let inputs = inputs.split_whitespace().map(input).collect::<Result<_, String>>()?;
    Ok(Row { inputs, result: number(result.trim())? })
}

fn read(path: &Path) -> Result<Vec<Section>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut sections = Vec::new();
    for part in text.split("\n== ").skip(1) {
        let (name, body) = part.split_once('\n').ok_or("a section without lines")?;
        for body in expand(body)? {
            sections.push(parse(name, &body).map_err(|what| format!("{name}: {what}"))?);
        }
    }
    // A case whose sections have no inputs would have one form only.
    match sections.iter().flat_map(|s| &s.rows).any(|row| !row.inputs.is_empty()) {
        true => Ok(sections),
        false => Err("no row has an input".into()),
    }
}

fn parse(name: &str, body: &str) -> Result<Section, String> {
    let mut section = Section { name: name.into(), ..Section::default() };
    for line in body.lines() {
        if let Some((key, value)) = line.strip_prefix("; ").and_then(|rest| rest.split_once(": ")) {
            section.directive(key, value.trim())?;
        } else if let Some((count, line)) =
            line.trim().strip_prefix("@repeat ").and_then(|rest| rest.split_once(": "))
        {
            let count = match count {
                "many" if cfg!(debug_assertions) => 100_000,
                "many" => 1_000_000,
                count => number(count)? as usize,
            };
            section.text += &format!("  {line}\n").repeat(count);
        } else {
            section.text += &format!("{line}\n");
        }
    }
    let registers = |row: &Row| row.inputs.iter().map(|(reg, _)| *reg).collect::<Vec<_>>();
    match section.rows.iter().all(|row| registers(row) == registers(&section.rows[0])) {
        true if section.rows.is_empty() => Err("no row".into()),
        true => Ok(section),
        false => Err("the rows have different inputs".into()),
    }
}

/// The section for each choice of what its `each` lines name.
fn expand(body: &str) -> Result<Vec<String>, String> {
    let mut choices: Vec<(Vec<&str>, String)> = vec![(Vec::new(), String::new())];
    for line in body.lines() {
        if let Some(each) = line.strip_prefix("; each: ") {
            let (name, values) = each.split_once('=').ok_or("an `each` without `=`")?;
            let name = format!("${name}");
            let rest: String =
                body.lines().filter(|l| !l.starts_with("; each: ")).collect::<Vec<_>>().join("\n");
            let before = std::mem::take(&mut choices);
            for (chosen, text) in before {
                let text = if text.is_empty() { rest.clone() } else { text };
                let fresh = values.split_whitespace().filter(|value| !chosen.contains(value));
                choices.extend(fresh.map(|value| {
                    let chosen = chosen.iter().copied().chain([value]).collect();
                    (chosen, text.replace(&name, value))
                }));
            }
        }
    }
    let text = |(_, text): (_, String)| if text.is_empty() { body.to_string() } else { text };
    Ok(choices.into_iter().map(text).collect())
}
