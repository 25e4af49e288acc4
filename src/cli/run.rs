//! `tailor run`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tailor_bpf::ProgramKind;
use tailor_runtime::{Context, Map};

use super::{Failed, input};
use crate::{Engine, Instance, Trace, Unit};

#[derive(clap::Args)]
pub struct Arguments {
    /// An eBPF object.
    object: PathBuf,
    /// The program, if the object has several.
    #[arg(long)]
    program: Option<String>,
    /// The engine that runs it.
    #[arg(long, default_value = "tailor")]
    engine: Engine,
    /// The packet or context, from a file.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The packet or context, in hex.
    #[arg(long, conflicts_with = "data")]
    data_hex: Option<Hex>,
    /// Runs to time; the state of maps carries over from run to run.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// An entry, NAME:KEY:VALUE: bytes in hex, or =N for a little-endian integer.
    #[arg(long)]
    map: Vec<Entry>,
    /// A slot of a program array, NAME:INDEX=PROGRAM.
    #[arg(long)]
    prog_array: Vec<Slot>,
    /// A map to print afterwards; with --json as a member of "maps".
    #[arg(long)]
    dump: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Batches in which runs are timed; the median is reported.
const BATCHES: u64 = 11;

pub fn main(mut arguments: Arguments, mut trace: Trace) -> Result<(), Failed> {
    // What a ring buffer holds can be taken once.
    super::keep_first(&mut arguments.dump);
    let name = arguments.object.display().to_string();
    let in_object = |error: crate::Error| Failed::from(format!("{name}: {error}"));
    let unit = Unit::new(input::object(&arguments.object)?);
    let instance = Instance::new(&unit, arguments.engine, &mut trace).map_err(in_object)?;
    for entry in &arguments.map {
        let map = instance.map(&entry.map).map_err(in_object)?;
        set_entry(&map, entry).map_err(|what| format!("--map {entry}: {what}"))?;
    }
    for Slot { array, index, program } in &arguments.prog_array {
        instance.set_slot(array, *index, Some(program)).map_err(in_object)?;
    }
    let dumped = arguments.dump.iter().map(|map| Ok((&**map, instance.map(map)?)));
    let dumped: Vec<(&str, Arc<Map>)> = dumped.collect::<Result<_, _>>().map_err(in_object)?;
    let program =
        choose(&unit, arguments.program.as_deref()).map_err(|what| format!("{name}: {what}"))?;
    let mut data = match (&arguments.data, &arguments.data_hex) {
        (Some(path), _) => input::data(path)?,
        (None, Some(Hex(bytes))) => bytes.clone(),
        (None, None) => Vec::new(),
    };
    let id = unit.object.program(&program);
    let kind = id.map_or(ProgramKind::Opaque, |id| unit.object.programs[id].kind);
    let mut context = tailor_runtime::ctx::for_program(kind, &mut data);
    let timed = time(&instance, &program, &mut *context, arguments.repeat);
    let (retval, ns) = timed.map_err(in_object)?;
    report(&arguments, &dumped, &program, retval, ns, &context.data())
}

/// The program asked for, or the only one.
fn choose(unit: &Unit, name: Option<&str>) -> Result<String, String> {
    let mut programs = unit.object.programs.values().map(|program| &program.name);
    match (name, unit.object.programs.len()) {
        (Some(name), _) => Ok(name.into()),
        (None, 1) => Ok(programs.next().cloned().unwrap_or_default()),
        (None, 0) => Err("no program in it".into()),
        (None, _) => {
            let names: Vec<&str> = programs.map(String::as_str).collect();
            Err(format!("several programs, choose one with --program: {}", names.join(", ")))
        }
    }
}

/// Runs `repeat` times in all; the first result, and nanoseconds per run.
fn time(
    instance: &Instance,
    program: &str,
    context: &mut dyn Context,
    repeat: u64,
) -> Result<(u64, f64), crate::Error> {
    let batches = BATCHES.min(repeat);
    let program = instance.program(program)?;
    let mut first = None;
    let mut times = Vec::new();
    for batch in 0..batches {
        let runs = repeat / batches + u64::from(batch < repeat % batches);
        let start = Instant::now();
        for _ in 0..runs {
            // SAFETY: whoever asks for a program to be run vouches for it.
            let result = unsafe { program.run(context)? };
            first.get_or_insert(result);
        }
        times.push(start.elapsed().as_nanos() as f64 / runs as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok((first.unwrap_or(0), times[times.len() / 2]))
}

fn report(
    arguments: &Arguments,
    dumped: &[(&str, Arc<Map>)],
    program: &str,
    retval: u64,
    ns: f64,
    data: &[u8],
) -> Result<(), Failed> {
    let mut out = String::new();
    if arguments.json {
        let data_out = (!data.is_empty()).then(|| hex(data));
        let mut value = json!({
            "engine": arguments.engine.name(), "program": program, "retval": retval,
            "ns_per_run": ns, "runs": arguments.repeat, "data_out": data_out,
        });
        if !dumped.is_empty() {
            value["maps"] = dumped.iter().map(|(name, map)| (*name, contents(map))).collect();
        }
        out.push_str(&format!("{value}\n"));
    } else {
        out.push_str(&format!("{program} ({}) returned {retval}\n", arguments.engine));
        out.push_str(&format!("{ns:.1} ns per run, {} runs\n", arguments.repeat));
        if !data.is_empty() {
            out.push_str(&format!("data: {}\n", hex(data)));
        }
        for (name, map) in dumped {
            dump(&mut out, name, map);
        }
    }
    super::output(&out)
}

/// Entries, those of maps in a map, and what programs put out.
fn dump(out: &mut String, name: &str, map: &Map) {
    for (key, value) in map.entries() {
        out.push_str(&format!("{name}:{}:{}\n", hex(&key), hex(&value)));
    }
    for (key, inner) in map.inner_maps() {
        dump(out, &format!("{name}:{}", hex(&key)), &inner);
    }
    for sample in map.drain() {
        out.push_str(&format!("{name}:{}:{}\n", sample.cpu, hex(&sample.data)));
    }
}

/// The same as JSON: a list of entries `{"key","value"}`, of maps in a map
/// `{"key","map"}`, and of what programs put out `{"cpu","data"}`.
fn contents(map: &Map) -> Value {
    let entries = map.entries().into_iter();
    let entries = entries.map(|(key, value)| json!({"key": hex(&key), "value": hex(&value)}));
    let inner = map.inner_maps().into_iter();
    let inner = inner.map(|(key, map)| json!({"key": hex(&key), "map": contents(&map)}));
    let samples = map.drain().into_iter();
    let samples = samples.map(|sample| json!({"cpu": sample.cpu, "data": hex(&sample.data)}));
    entries.chain(inner).chain(samples).collect()
}

fn set_entry(map: &Map, entry: &Entry) -> Result<(), String> {
    let key = entry.key.bytes(map.key_size()).map_err(|what| format!("key: {what}"))?;
    let value = entry.value.bytes(map.value_size()).map_err(|what| format!("value: {what}"))?;
    match map.update(&key, &value, 0) {
        0 => Ok(()),
        errno => Err(format!("error {errno}")),
    }
}

/// Bytes in hex.
#[derive(Clone)]
struct Hex(Vec<u8>);

impl FromStr for Hex {
    type Err = String;

    fn from_str(text: &str) -> Result<Hex, String> {
        let digits: Vec<u32> = text
            .chars()
            .filter(|c| !c.is_whitespace())
            .map(|c| c.to_digit(16).ok_or_else(|| format!("{c:?} is no hex digit")))
            .collect::<Result<_, _>>()?;
        match digits.len().is_multiple_of(2) {
            true => Ok(Hex(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())),
            false => Err("odd number of hex digits".into()),
        }
    }
}

/// A key or value, as it is given: its size is the map's.
#[derive(Clone)]
enum Given {
    Bytes(Hex),
    /// To be little-endian.
    Integer(u64),
}

impl Given {
    fn bytes(&self, size: usize) -> Result<Vec<u8>, String> {
        match self {
            Given::Bytes(Hex(bytes)) if bytes.len() == size => Ok(bytes.clone()),
            Given::Bytes(Hex(bytes)) => {
                Err(format!("{} bytes where the map has {size}", bytes.len()))
            }
            Given::Integer(number) => {
                let mut bytes = number.to_le_bytes().to_vec();
                if bytes.iter().skip(size).any(|&byte| byte != 0) {
                    return Err(format!("{number} does not fit in {size} bytes"));
                }
                bytes.resize(size, 0);
                Ok(bytes)
            }
        }
    }
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Given, String> {
        match text.strip_prefix('=') {
            Some(number) => {
                number.parse().map(Given::Integer).map_err(|_| format!("{number:?} is no number"))
            }
            None => text.parse().map(Given::Bytes),
        }
    }
}

/// An entry of a map.
#[derive(Clone)]
struct Entry {
    text: String,
    map: String,
    key: Given,
    value: Given,
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(text: &str) -> Result<Entry, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [map, key, value] = parts[..] else {
            return Err("expected NAME:KEY:VALUE".into());
        };
        let key = key.parse().map_err(|what| format!("key: {what}"))?;
        let value = value.parse().map_err(|what| format!("value: {what}"))?;
        Ok(Entry { text: text.into(), map: map.into(), key, value })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A program in a slot of a program array.
#[derive(Clone)]
struct Slot {
    array: String,
    index: u32,
    program: String,
}

impl FromStr for Slot {
    type Err = String;

    fn from_str(text: &str) -> Result<Slot, String> {
        let parts = text.split_once(':').and_then(|(array, rest)| {
            let (index, program) = rest.split_once('=')?;
            Some((array.into(), index.parse().ok()?, program.into()))
        });
        let (array, index, program) = parts.ok_or("expected NAME:INDEX=PROGRAM")?;
        Ok(Slot { array, index, program })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
