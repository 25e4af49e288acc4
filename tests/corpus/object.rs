//! One object: compiled, and its programs run in three engines.
//!
//! What comes of it is told in lines of words between tabs, each before the
//! next thing is tried:
//!
//! - `invalid ERROR`: the object cannot be read.
//! - `compiled ENGINE PROGRAM`, `refused ENGINE PROGRAM ERROR`
//! - `running PROGRAM PACKET ENGINE`: what is tried next.
//! - `ran PROGRAM PACKETS`, `skipped PROGRAM REASON`
//! - `differs PROGRAM PACKET ENGINE WHAT`

use std::path::Path;

use tailor::bpf::ProgramKind;
use tailor::runtime::{Clock, Environment, ctx};
use tailor::{Engine, Error, Instance, Object, Trace, Unit, compile};

use super::packets::packets;

/// The engines that are compared with the interpreter.
const COMPILING: [Engine; 2] = [Engine::Naive612, Engine::Tailor];

/// Instructions after which the interpreter gives a run up.
const STEPS: u64 = 20_000_000;

/// Maps larger than this are not compared.
const MAX_COMPARED: u64 = 64 << 20;

/// Programs, by object, whose results nobody can know: they read bytes of the
/// stack that nothing wrote, to test that the kernel refuses them.
const UNSPECIFIED: [(&str, &str); 1] = [("test_global_func16.o", "global_func16")];

/// Looks at one object and tells what happens.
pub fn examine(path: &Path, tell: &mut dyn FnMut(String)) {
    let unit = match Object::open(path) {
        Ok(object) => Unit::new(object),
        Err(error) => return tell(format!("invalid\t{error}")),
    };
    for engine in COMPILING {
        tell(format!("running\t-\tcompiling\t{engine}"));
        let compiled = compile(&unit, engine, None, &mut Trace::checked());
        // What a check of our own has refused is no fault of the object.
        let bug = compiled.errors.values().find(|error| error.what.contains("internal error"));
        if let Some(bug) = bug {
            tell(format!("differs\t-\tcompiling\t{engine}\t{bug}"));
        }
        for (id, program) in &unit.object.programs {
            tell(match compiled.errors.get(&id) {
                Some(error) => format!("refused\t{engine}\t{}\t{error}", program.name),
                None => format!("compiled\t{engine}\t{}", program.name),
            });
        }
    }
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let unspecified = UNSPECIFIED.into_iter().filter(|(object, _)| *object == file);
    let unspecified = unspecified.map(|(_, program)| program).collect();
    Runner { unit: &unit, unspecified, instances: None, tell }.programs();
}

/// An object's instances, the interpreter's first.
struct Runner<'a> {
    unit: &'a Unit,
    /// Programs that are not compared.
    unspecified: Vec<&'static str>,
    /// Made when needed, and anew after a run that did not end well.
    instances: Option<Vec<(Engine, Instance)>>,
    tell: &'a mut dyn FnMut(String),
}

impl Runner<'_> {
    fn programs(&mut self) {
        for program in self.unit.object.programs.values() {
            let told = match program.kind.context() {
                _ if self.unspecified.contains(&&*program.name) => {
                    Err("reads stack that nothing wrote, which the kernel refuses".into())
                }
                Some(_) => self.program(&program.name, program.kind),
                None => Err("no context of the program's type".into()),
            };
            let name = &program.name;
            (self.tell)(match told {
                Ok(packets) => format!("ran\t{name}\t{packets}"),
                Err(reason) => format!("skipped\t{name}\t{reason}"),
            });
        }
    }

    /// The number of packets that it ran on, or why it cannot run.
    fn program(&mut self, name: &str, kind: ProgramKind) -> Result<usize, String> {
        let mut ran = 0;
        let mut why = String::new();
        for (packet, bytes) in packets() {
            match self.packet((name, kind), packet, &bytes) {
                Ok(()) => ran += 1,
                Err(reason) => {
                    self.instances = None;
                    why = reason;
                }
            }
        }
        if ran > 0 { Ok(ran) } else { Err(why) }
    }

    /// Runs a program on a packet in all engines.
    fn packet(
        &mut self,
        (name, kind): (&str, ProgramKind),
        packet: &str,
        bytes: &[u8],
    ) -> Result<(), String> {
        let instances = match self.instances.take() {
            Some(instances) => instances,
            None => self.instances().map_err(|error| error.what)?,
        };
        for (engine, instance) in &instances {
            instance.program(name).map_err(|error| reason(*engine, &error))?;
        }
        let mut expected = None;
        for (engine, instance) in &instances {
            (self.tell)(format!("running\t{name}\t{packet}\t{engine}"));
            let found =
                self.run(instance, (name, kind), bytes).map_err(|error| reason(*engine, &error))?;
            let Some(expected) = &expected else {
                expected = Some(found);
                continue;
            };
            if let Some(what) = difference(expected, &found) {
                (self.tell)(format!("differs\t{name}\t{packet}\t{engine}\t{what}"));
                return Err("different results".into());
            }
        }
        self.instances = Some(instances);
        Ok(())
    }

    fn instances(&self) -> Result<Vec<(Engine, Instance)>, Error> {
        let engines = [Engine::Interp, COMPILING[0], COMPILING[1]];
        let make = |engine: Engine| {
            let mut instance = Instance::new(self.unit, engine, &mut Trace::default())?;
            instance.limit_steps(STEPS);
            *instance.environment() =
                Environment::default().with_clock(Clock::Fixed(1_000_000_007)).with_random(4);
            Ok((engine, instance))
        };
        engines.into_iter().map(make).collect()
    }

    fn run(
        &self,
        instance: &Instance,
        (name, kind): (&str, ProgramKind),
        bytes: &[u8],
    ) -> Result<Outcome, Error> {
        let mut packet = bytes.to_vec();
        let mut context = ctx::for_program(kind, &mut packet);
        // SAFETY: the interpreter, which checks every access, ran the program
        // on the same packet and maps before.
        let result = unsafe { instance.program(name)?.run(&mut *context) }?;
        let data = context.data();
        let mut maps = Vec::new();
        for def in self.unit.object.maps.values() {
            let size = u64::from(def.max_entries) * u64::from(def.key_size + def.value_size.max(8));
            if size > MAX_COMPARED {
                continue;
            }
            if let Ok(map) = instance.map(&def.name) {
                let mut entries = map.entries();
                entries.sort_unstable();
                maps.push((def.name.clone(), entries));
            }
        }
        // The verdict is 32 bits wide.
        Ok(Outcome { result: result as u32, data, maps })
    }
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// What a run leaves behind.
struct Outcome {
    result: u32,
    data: Vec<u8>,
    maps: Vec<(String, Entries)>,
}

fn difference(expected: &Outcome, found: &Outcome) -> Option<String> {
    if expected.result != found.result {
        return Some(format!("result {:#x}, not {:#x}", found.result, expected.result));
    }
    if expected.data != found.data {
        let same = expected.data.iter().zip(&found.data).take_while(|(a, b)| a == b).count();
        return Some(format!("packet from byte {same} on"));
    }
    let pairs = expected.maps.iter().zip(&found.maps);
    let map = pairs.into_iter().find(|(a, b)| a != b);
    map.map(|((name, _), _)| format!("map {name}"))
}

/// Why a program cannot run, in words that are the same for all such programs.
fn reason(engine: Engine, error: &Error) -> String {
    let what = &error.what;
    if engine == Engine::Interp && what.contains("no memory of the program") {
        return "an access that the interpreter refuses".into();
    }
    if super::table::is_refusal(what) {
        return "does not compile".into();
    }
    match what.strip_prefix("map ").and_then(|rest| rest.split_once(": ")) {
        Some((_, what)) => what.into(),
        None => what.clone(),
    }
}
