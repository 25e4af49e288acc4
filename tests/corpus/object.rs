//! One object: compiled, and its programs run in the interpreter and these engines.
//!
//! What comes of it is told in lines of words between tabs, each before the
//! next thing is tried:
//!
//! - `invalid ERROR`: the object cannot be read.
//! - `compiled ENGINE PROGRAM`, `refused ENGINE PROGRAM ERROR`
//! - `calls PROGRAM HELPER SITES yes|no`: of a packet program, and whether the
//!   helper runs here.
//! - `running PROGRAM PACKET ENGINE`: what is tried next.
//! - `ran PROGRAM PACKETS`, `skipped PROGRAM REASON`
//! - `differs PROGRAM PACKET ENGINE WHAT`

use std::collections::BTreeMap;
use std::path::Path;

use tailor::bpf::ctx::{KINDS, SKB};
use tailor::bpf::helpers::find;
use tailor::bpf::insn::{Callee, Op};
use tailor::bpf::{MapKind, Program, ProgramKind};
use tailor::runtime::ctx::{Skb, Xdp};
use tailor::runtime::helpers::Table;
use tailor::runtime::{Clock, Context, Environment};
use tailor::{Engine, Error, Instance, Object, Trace, Unit, compile};

use super::packets::packets;

/// The engines that are compared with the interpreter.
const COMPILING: [Engine; 3] = [Engine::Naive612, Engine::TailorKernel, Engine::Tailor];

/// Instructions after which the interpreter gives a run up.
const STEPS: u64 = 20_000_000;

/// Number of the tail call, which is no function of the runtime's.
const TAIL_CALL: u32 = 12;

/// Entries of maps whose object does not say how many they have.
const ENTRIES: u32 = 64;

/// Maps larger than this are not compared.
const MAX_COMPARED: u64 = 64 << 20;

/// Programs, by object, whose results nobody can know: they read bytes of the
/// stack that nothing wrote, to test that the kernel refuses them.
const UNSPECIFIED: [(&str, &str); 1] = [("test_global_func16.o", "global_func16")];

/// Looks at one object and tells what happens.
pub fn examine(path: &Path, tell: &mut dyn FnMut(String)) {
    let unit = match Object::open(path) {
        Ok(mut object) => {
            fill_in_sizes(&mut object);
            Unit::new(object)
        }
        Err(error) => return tell(format!("invalid\t{error}")),
    };
    unit.object.programs.values().for_each(|program| calls(&unit.object, program, tell));
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

/// Tells which helpers a packet program calls, and at how many sites.
fn calls(object: &Object, program: &Program, tell: &mut dyn FnMut(String)) {
    if program.kind.context().is_none() {
        return;
    }
    let functions = object.reachable(program.function);
    let ops = functions.iter().flat_map(|function| &object.functions[*function].ops);
    let mut sites = BTreeMap::<u32, usize>::new();
    for op in ops {
        if let Op::Call(Callee::Helper(id)) = op {
            *sites.entry(*id).or_default() += 1;
        }
    }
    let here = Table::default();
    for (id, count) in sites {
        let runs = id == TAIL_CALL || here.get(id).is_some();
        let runs = if runs { "yes" } else { "no" };
        let helper = find(id).map_or("unknown", |row| row.name);
        tell(format!("calls\t{}\t{id} {helper}\t{count}\t{runs}", program.name));
    }
}

/// Gives maps the number of entries that their object leaves to its loader: what
/// somebody would set before loading it.
fn fill_in_sizes(object: &mut Object) {
    for def in object.maps.values_mut().filter(|def| def.max_entries == 0) {
        def.max_entries = match def.kind {
            // The kernel wants none, or the number of processors is meant.
            MapKind::CgroupStorage | MapKind::PercpuCgroupStorage | MapKind::PerfEventArray => 0,
            MapKind::RingBuf => 4096,
            _ => ENTRIES,
        };
    }
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
        let mut refusal = None;
        for (packet, bytes) in packets() {
            match self.packet((name, kind), packet, &bytes) {
                Ok(()) => ran += 1,
                Err(reason) => {
                    self.instances = None;
                    refusal = Some((packet, reason));
                }
            }
        }
        match refusal {
            None => Ok(ran),
            Some((_, why)) if ran == 0 => Err(why),
            Some((packet, why)) => {
                // What runs on one packet is to run on all.
                (self.tell)(format!("differs\t{name}\t{packet}\t-\t{why}"));
                Err(why)
            }
        }
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
        let engines = [Engine::Interp].into_iter().chain(COMPILING);
        let make = |engine: Engine| {
            let mut instance = Instance::new(self.unit, engine, &mut Trace::default())?;
            instance.limit_steps(STEPS);
            *instance.environment() =
                Environment::default().with_clock(Clock::Fixed(1_000_000_007)).with_random(4);
            Ok((engine, instance))
        };
        engines.map(make).collect()
    }

    fn run(
        &self,
        instance: &Instance,
        (name, kind): (&str, ProgramKind),
        bytes: &[u8],
    ) -> Result<Outcome, Error> {
        let program = instance.program(name)?;
        // SAFETY: the interpreter, which checks every access, ran the program
        // on the same packet and maps before.
        let run = |context: &mut dyn Context| unsafe { program.run(context) };
        let (result, data, fields) = if kind == ProgramKind::Xdp {
            let mut context = Xdp::with_room(bytes);
            (run(&mut context)?, context.data(), Vec::new())
        } else {
            let mut context = Skb::new(kind, bytes);
            (run(&mut context)?, context.data(), fields(&context))
        };
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
        Ok(Outcome { result, data, fields, maps })
    }
}

/// All fields of a context that are no addresses, writable or not: helpers
/// change some that programs cannot. And what a flow dissector found.
fn fields(context: &Skb) -> Vec<(&'static str, u64)> {
    let names = KINDS[usize::from(SKB)].fields.iter().map(|field| field.name);
    let values = names.filter_map(|name| Some((name, context.get(name)?)));
    let keys = context.flow_keys();
    let keys =
        keys.chunks(8).map(|key| key.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)));
    values.chain(keys.map(|key| ("flow_keys", key))).collect()
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// What a run leaves behind.
struct Outcome {
    /// All of R0. The kernel looks at its lower half only, whatever the type of
    /// the program, but engines are to agree on all of it.
    result: u64,
    data: Vec<u8>,
    fields: Vec<(&'static str, u64)>,
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
    let fields = expected.fields.iter().zip(&found.fields);
    if let Some(((name, expected), (_, found))) = fields.into_iter().find(|(a, b)| a != b) {
        return Some(format!("field {name} {found:#x}, not {expected:#x}"));
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
    if let Some(reason) = super::table::refusal(what) {
        return format!("does not compile: {reason}");
    }
    match what.strip_prefix("map ").and_then(|rest| rest.split_once(": ")) {
        Some((_, what)) => what.into(),
        None => what.clone(),
    }
}
