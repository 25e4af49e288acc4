//! The comparison of functions.

use std::path::Path;
use std::sync::Arc;

use tailor::bpf::{FuncRef, Object, Op};
use tailor::emit::CompiledFunction;
use tailor::emit::frame::{self, FrameFacts};
use tailor::runtime::kernel::Libbpf;
use tailor::{Compiled, Engine, Trace, Unit};

use super::classes::{self, Pair, figures};
use super::loaded::{self, Loaded};
use super::{image, sequence, translated};

/// A function in the kernel and in naive-6.12.
pub struct Row {
    pub object: String,
    pub program: String,
    pub function: String,
    pub private_stack: bool,
    pub kernel: FrameFacts,
    /// From translated instructions: equal, or why not.
    pub translated: Result<(), String>,
    /// From the bytecode: equal, or the class of the difference and the figures.
    pub bytecode: Result<(), (String, String)>,
    pub origin: Origin,
    /// The code of a function that calls no helper: equal, or the class and the place.
    pub sequence: Option<Result<(), (&'static str, String)>>,
}

/// Where bytecode comes from.
#[derive(Clone, Copy, PartialEq)]
pub enum Origin {
    /// The object.
    Object,
    /// What libbpf made of it, where it needs the running kernel's types or symbols.
    Linked,
    /// It is not compiled.
    None,
}

/// All functions, and what could not be compared.
#[derive(Default)]
pub struct Comparison {
    pub rows: Vec<Row>,
    /// Objects of which the kernel took programs, or which have none.
    pub objects: usize,
    pub programs: usize,
    /// `OBJECT: PROGRAM`, or an object, that is not loaded, and why.
    pub refused: Vec<(String, String)>,
    pub errors: Vec<String>,
}

/// naive-6.12's code of all functions of an object.
struct Code {
    unit: Unit,
    compiled: Compiled,
}

impl Code {
    fn new(object: Object) -> Code {
        Code::of(Unit::new(object))
    }

    /// With these stack depths where they are known.
    fn with_depths(object: Object, depths: &[u32]) -> Code {
        let mut unit = Unit::new(object);
        let facts = Arc::make_mut(&mut unit.facts);
        for (facts, &depth) in facts.functions.values_mut().zip(depths) {
            facts.stack_depth = depth;
        }
        Code::of(unit)
    }

    fn of(unit: Unit) -> Code {
        let compiled = tailor::compile(&unit, Engine::Naive612, None, &mut Trace::checked());
        Code { unit, compiled }
    }

    fn function(&self, func: FuncRef) -> Option<Ours<'_>> {
        let code = self.compiled.code.functions.get(func)?.as_ref()?;
        let ops = &self.unit.object.functions[func].ops;
        let depth = self.unit.facts.functions[func].stack_depth;
        Some(Ours { code, ops, depth, facts: frame::decode(code).ok()? })
    }

    fn named(&self, name: &str) -> Option<Ours<'_>> {
        let mut functions = self.unit.object.functions.iter();
        functions.find_map(|(func, own)| self.function(func).filter(|_| own.name == name))
    }

    /// Why a program is not compiled.
    fn refusal(&self, program: &str) -> String {
        let own = self.unit.object.program(program).and_then(|id| self.compiled.errors.get(&id));
        let any = || self.compiled.errors.values().next();
        let linked = || self.unit.object.functions.values().find_map(|f| f.refused.as_ref());
        let error = own.or_else(any).or_else(linked);
        error.map_or("nothing reaches it".into(), |error| error.what.clone())
    }
}

/// A compiled function.
struct Ours<'a> {
    code: &'a CompiledFunction,
    ops: &'a [Op],
    depth: u32,
    facts: FrameFacts,
}

impl Comparison {
    /// Compares the functions of an object.
    pub fn add(&mut self, libbpf: &Libbpf, path: &Path) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        let name = format!("{}/{name}", folder.to_string_lossy());
        let (loaded, refused) = match loaded::load(libbpf, path) {
            Ok(programs) => programs,
            Err(why) => return self.refused.push((name, why)),
        };
        let refused = refused.into_iter().map(|(program, why)| (format!("{name}: {program}"), why));
        self.refused.extend(refused);
        if loaded.is_empty() {
            return;
        }
        self.objects += 1;
        self.programs += loaded.len();
        let bytecode = Object::open(path).map(Code::new).map_err(|error| error.to_string());
        for program in &loaded {
            self.program(&name, program, bytecode.as_ref());
        }
    }

    fn program(&mut self, object: &str, program: &Loaded, bytecode: Result<&Code, &String>) {
        let name = &program.program.name;
        let place = format!("{object}: {name}");
        let translated = translated::object(name, &program.image);
        let from_kernel = translated
            .map(|t| (t.notes, Code::with_depths(t.object, &program.program.stack_depths)));
        let (notes, from_kernel) = match from_kernel {
            Ok(code) => code,
            Err(error) => return self.errors.push(format!("{place}: {error}")),
        };
        let linked = translated::linked(name, &program.program.linked).map(Code::new);
        for (index, code) in program.image.functions.iter().enumerate() {
            let kernel = match image::frame(code) {
                Ok(kernel) => kernel,
                Err(error) => {
                    self.errors.push(format!("{place}: image {index}: {error}"));
                    continue;
                }
            };
            let function = program.functions.get(index).cloned().unwrap_or_default();
            let func = FuncRef::from_u32(index as u32);
            let private_stack = image::has_private_stack(code);
            let own = from_kernel.function(func);
            let (translated, sequence) = match &own {
                Some(own) => {
                    let note = notes[index].iter().next().copied();
                    (same_frame(own, &kernel), same_code(own, code, note))
                }
                None => (Err(from_kernel.refusal(name)), None),
            };
            let source = if index == 0 { name } else { &function };
            let direct = bytecode.ok().and_then(|code| code.named(source));
            // libbpf's order of functions is the kernel's unless the verifier removed some.
            let through = || {
                let linked = linked.as_ref().ok()?;
                let same = linked.unit.object.functions.len() == program.image.functions.len();
                linked.function(func).filter(|_| same)
            };
            let (origin, ours) = match direct {
                Some(ours) => (Origin::Object, Some(ours)),
                None => through().map_or((Origin::None, None), |o| (Origin::Linked, Some(o))),
            };
            let bytecode = match &ours {
                Some(ours) => classes::of_frame(&Pair {
                    ours: &ours.facts,
                    kernel: &kernel,
                    bytecode: ours.ops,
                    translated: own.as_ref().map_or(&[], |own| own.ops),
                    private_stack,
                    depths: (program.program.stack_depths.get(index).copied(), ours.depth),
                })
                .map_err(|class| {
                    let frames = (figures(&ours.facts), figures(&kernel));
                    (class.into(), format!("ours {:?}, the kernel's {:?}", frames.0, frames.1))
                }),
                None => {
                    let why = bytecode.map_or_else(String::clone, |code| code.refusal(name));
                    let linked =
                        linked.as_ref().map_or_else(|e| e.what.clone(), |c| c.refusal(name));
                    Err((format!("not compiled: {why}"), format!("as linked: {linked}")))
                }
            };
            self.rows.push(Row {
                object: object.into(),
                program: name.clone(),
                function,
                private_stack,
                kernel,
                translated,
                bytecode,
                origin,
                sequence: sequence.filter(|_| !private_stack),
            });
        }
    }
}

fn same_frame(ours: &Ours, kernel: &FrameFacts) -> Result<(), String> {
    let (ours, kernel) = (figures(&ours.facts), figures(kernel));
    if ours == kernel {
        return Ok(());
    }
    Err(format!("ours {ours:?}, the kernel's {kernel:?}"))
}

type Sequence = Option<Result<(), (&'static str, String)>>;

/// Compares the code where no helper is called.
fn same_code(ours: &Ours, code: &[u8], note: Option<&'static str>) -> Sequence {
    if !classes::is_helper_free(ours.ops) {
        return None;
    }
    Some(match sequence::difference(ours.code, code) {
        None => Ok(()),
        Some(at) => Err((classes::of_code(ours.ops, code, note, &at), at)),
    })
}
