//! The comparison of functions, its classes, and its report.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use tailor::bpf::cfg::is_tail_call;
use tailor::bpf::{FuncRef, Object, Op};
use tailor::emit::frame::{self, FrameFacts};
use tailor::emit::{CompiledFunction, Gpr};
use tailor::{Engine, Trace, Unit};

use super::loaded::{self, Loaded};
use super::{image, sequence, translated};

/// A function in the kernel and in naive-6.12.
struct Row {
    object: String,
    program: String,
    function: String,
    private_stack: bool,
    kernel: FrameFacts,
    /// From translated instructions: equal, or why not.
    translated: Result<(), String>,
    /// From the bytecode: equal, or the class of the difference.
    bytecode: Result<(), &'static str>,
    /// The code of a function that calls no helper: equal, or the class and the place.
    sequence: Option<Result<(), (&'static str, String)>>,
}

impl Row {
    /// naive-6.12 has no code from the object.
    fn uncompiled(&self) -> bool {
        self.bytecode.is_err_and(|class| class.starts_with("not compiled"))
    }
}

/// All functions, and what could not be compared.
#[derive(Default)]
pub struct Comparison {
    rows: Vec<Row>,
    objects: usize,
    not_loaded: usize,
    errors: Vec<String>,
}

type Frame = (Vec<Gpr>, u32, u32, u32);

/// The JIT is told a stack depth that the verifier found by walking every path
/// with exact values; ours comes from ranges that hold on all paths.
const DEPTH: &str = "only the verifier's walk over every path knows the stack depth";

fn only_depth(ours: &Frame, kernel: &Frame) -> bool {
    ours.1 != kernel.1 && (&ours.0, ours.2, ours.3) == (&kernel.0, kernel.2, kernel.3)
}

/// The figures that are compared.
fn figures(facts: &FrameFacts) -> Frame {
    let mut saved = facts.saved.to_vec();
    saved.sort();
    (saved, facts.frame_bytes, facts.pop_sites, facts.tail_call_sites)
}

/// naive-6.12's code of all functions of an object.
fn compile(object: Object) -> (Unit, tailor::Compiled) {
    let unit = Unit::new(object);
    let compiled = tailor::compile(&unit, Engine::Naive612, None, &mut Trace::checked());
    (unit, compiled)
}

impl Comparison {
    /// Compares the functions of an object; an error says why it is not loaded.
    pub fn add(&mut self, path: &Path) -> Result<(), String> {
        let loaded = loaded::load(path).inspect_err(|_| self.not_loaded += 1)?;
        if loaded.is_empty() {
            return Ok(());
        }
        self.objects += 1;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let bytecode = match Object::open(path) {
            Ok(object) => Some(compile(object)),
            Err(error) => {
                self.errors.push(format!("{name}: {error}"));
                None
            }
        };
        for program in &loaded {
            self.program(&name, program, bytecode.as_ref());
        }
        Ok(())
    }

    fn program(
        &mut self,
        object: &str,
        program: &Loaded,
        bytecode: Option<&(Unit, tailor::Compiled)>,
    ) {
        let place = format!("{object}: {}", program.name);
        let translated = translated::object(&program.name, &program.image);
        let from_kernel = translated.map(|t| (t.notes, compile(t.object)));
        if let Err(error) = &from_kernel {
            self.errors.push(format!("{place}: {error}"));
        }
        for (index, code) in program.image.functions.iter().enumerate() {
            let kernel = match image::frame(code) {
                Ok(kernel) => kernel,
                Err(error) => {
                    self.errors.push(format!("{place}: image {index}: {error}"));
                    continue;
                }
            };
            let function = program.functions.get(index).cloned().unwrap_or_default();
            let entry = index == 0;
            let ours = bytecode.and_then(|(unit, compiled)| {
                find(unit, compiled, if entry { &program.name } else { &function })
            });
            let (translated, sequence) = match &from_kernel {
                Ok((notes, (unit, compiled))) => {
                    let func = FuncRef::from_u32(index as u32);
                    let note = notes[index].iter().next().copied();
                    let pair = (&unit.object.functions[func].ops, &compiled.code.functions[func]);
                    against_translated(pair.0, pair.1.as_ref(), code, &kernel, note)
                        .unwrap_or_else(|| (Err(refusal(unit, compiled)), None))
                }
                Err(error) => (Err(error.to_string()), None),
            };
            let private_stack = image::has_private_stack(code);
            let bytecode = match &ours {
                Some(ours) => class(ours, &kernel, private_stack),
                None => Err(bytecode
                    .map_or(UNREAD, |(unit, compiled)| uncompiled(unit, compiled, &program.name))),
            };
            self.rows.push(Row {
                object: object.into(),
                program: program.name.clone(),
                function,
                private_stack,
                kernel,
                translated,
                bytecode,
                sequence: sequence.filter(|_| !private_stack),
            });
        }
    }

    /// Every function without private stack is equal from translated instructions.
    pub fn holds(&self) -> bool {
        self.errors.is_empty() && self.plain().all(|row| row.translated.is_ok())
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
            "objects: {} loaded, {} not; functions: {}, of them {} with a private stack",
            self.objects,
            self.not_loaded,
            self.rows.len(),
            self.rows.len() - plain,
        );
        let equal = self.plain().filter(|row| row.translated.is_ok()).count();
        let _ = writeln!(out, "from translated instructions: {equal} of {plain} equal");
        let other: Vec<&String> =
            self.plain().filter_map(|row| row.translated.as_ref().err()).collect();
        let depth = other.iter().filter(|why| why.starts_with(DEPTH)).count();
        let classes = [(DEPTH, depth), ("unexplained", other.len() - depth)];
        for (class, count) in classes.iter().filter(|(_, count)| *count > 0) {
            let _ = writeln!(out, "  {count}: {class}");
        }
        let equal = self.plain().filter(|row| row.bytecode.is_ok()).count();
        let compiled = self.plain().filter(|row| !row.uncompiled()).count();
        let share = 100.0 * equal as f64 / compiled.max(1) as f64;
        let _ = writeln!(out, "from the bytecode: {equal} of {compiled} equal, {share:.1} %");
        count(&mut out, self.rows.iter().filter_map(|row| row.bytecode.err()));
        let compared: Vec<_> = self.rows.iter().filter_map(|row| row.sequence.as_ref()).collect();
        let equal = compared.iter().filter(|sequence| sequence.is_ok()).count();
        let _ = writeln!(
            out,
            "instructions of helper-free functions: {equal} of {} equal",
            compared.len()
        );
        count(&mut out, compared.iter().filter_map(|s| s.as_ref().err().map(|(class, _)| *class)));
        for error in &self.errors {
            let _ = writeln!(out, "error: {error}");
        }
        for row in self.rows.iter().filter(|_| verbose) {
            let place = format!("{}: {}: {}", row.object, row.program, row.function);
            if let (Err(why), false) = (&row.translated, row.private_stack) {
                let _ = writeln!(out, "{place}: translated: {why}");
            }
            if let Err(class) = row.bytecode {
                let _ = writeln!(out, "{place}: bytecode: {class}");
            }
            if let Some(Err((class, at))) = &row.sequence {
                let _ = writeln!(out, "{place}: code: {class}: {at}");
            }
        }
        out
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
            let _ = writeln!(
                out,
                "{},{},{},{},{},{frame},{pops},{sites},{}",
                row.object,
                row.program,
                row.function,
                row.private_stack,
                saved.join(" "),
                row.bytecode.err().unwrap_or("equal"),
            );
        }
        out
    }
}

/// A line for each class with its count.
fn count<'a>(out: &mut String, classes: impl Iterator<Item = &'a str>) {
    let mut counts = BTreeMap::new();
    for class in classes {
        *counts.entry(class).or_insert(0) += 1;
    }
    for (class, count) in counts {
        let _ = writeln!(out, "  {count}: {class}");
    }
}

/// Why an object's functions were not compiled.
fn refusal(unit: &Unit, compiled: &tailor::Compiled) -> String {
    let linked = unit.object.functions.values().find_map(|function| function.refused.clone());
    let error = compiled.errors.values().next().cloned().or(linked);
    error.map_or("not reached from the entry".into(), |error| error.to_string())
}

const UNREAD: &str = "not compiled from the object: it is not read";

/// Why a program is not compiled from the object.
fn uncompiled(unit: &Unit, compiled: &tailor::Compiled, program: &str) -> &'static str {
    let error = unit.object.program(program).and_then(|id| compiled.errors.get(&id));
    let text = error.map(|error| error.what.as_str()).unwrap_or("");
    let classes = [
        ("CO-RE", "not compiled from the object: it needs the kernel's types (CO-RE)"),
        ("extern", "not compiled from the object: it needs an extern of the kernel"),
    ];
    let named = classes.iter().find(|(word, _)| text.contains(word));
    named.map_or("not compiled from the object: other", |class| class.1)
}

fn find(unit: &Unit, compiled: &tailor::Compiled, name: &str) -> Option<FrameFacts> {
    let named = unit.object.functions.iter().filter(|(_, function)| function.name == name);
    let mut found = named.filter_map(|(func, _)| compiled.code.functions[func].as_ref());
    frame::decode(found.next()?).ok()
}

type Sequence = Option<Result<(), (&'static str, String)>>;

/// The frame and, where no helper is called, the code from translated instructions.
fn against_translated(
    ops: &[Op],
    ours: Option<&CompiledFunction>,
    code: &[u8],
    kernel: &FrameFacts,
    note: Option<&'static str>,
) -> Option<(Result<(), String>, Sequence)> {
    let ours = ours?;
    let facts = frame::decode(ours).ok()?;
    let frames = match figures(&facts) == figures(kernel) {
        true => Ok(()),
        false if only_depth(&figures(&facts), &figures(kernel)) => {
            Err(format!("{DEPTH}: {} and {} bytes", facts.frame_bytes, kernel.frame_bytes))
        }
        false => Err(format!("ours {:?}, the kernel's {:?}", figures(&facts), figures(kernel))),
    };
    let calls = |op: &Op| {
        matches!(op, Op::Call(tailor::bpf::Callee::Helper(_) | tailor::bpf::Callee::Kfunc(_)))
            && !is_tail_call(op)
    };
    if ops.iter().any(calls) {
        return Some((frames, None));
    }
    let sequence = match sequence::difference(ours, code) {
        None => Ok(()),
        Some(at) => Err((note.unwrap_or(code_class(ops, code)), at)),
    };
    Some((frames, Some(sequence)))
}

/// Why the code differs where nothing was replaced in the instructions.
fn code_class(ops: &[Op], code: &[u8]) -> &'static str {
    // A guarded load compares the address with the limit of user space:
    // `movabs r10 or r11` right before `cmp`.
    let all = image::instructions(code);
    let guard = |pair: &[iced_x86::Instruction]| {
        pair[0].code() == iced_x86::Code::Mov_r64_imm64
            && matches!(pair[0].op0_register(), iced_x86::Register::R10 | iced_x86::Register::R11)
    };
    match all.windows(2).any(guard) {
        true => "loads guarded against faults",
        false if ops.iter().any(is_tail_call) => "offsets in the kernel's program arrays",
        false if ops.iter().any(|op| matches!(op, Op::CmpXchg { .. })) => {
            "a zero extension that the verifier found unneeded"
        }
        false => "unexplained",
    }
}

/// What made the kernel's frame another than that of the bytecode.
fn class(ours: &FrameFacts, kernel: &FrameFacts, private: bool) -> Result<(), &'static str> {
    let ((saved, frame, pops, sites), (their_saved, their_frame, their_pops, their_sites)) =
        (figures(ours), figures(kernel));
    let lacks = saved.iter().any(|reg| !their_saved.contains(reg));
    let adds = their_saved.iter().any(|reg| !saved.contains(reg));
    let differs = if figures(ours) == figures(kernel) {
        return Ok(());
    } else if private {
        "private stack"
    } else if adds {
        "a rewritten context access names another register"
    } else if lacks || their_sites < sites {
        "the verifier removed code"
    } else if their_frame > frame {
        "an inlined helper or loop uses more stack"
    } else if their_frame < frame {
        "the verifier removed what uses the stack"
    } else if pops != their_pops {
        "the verifier removed exits"
    } else {
        "unexplained"
    };
    Err(differs)
}
