//! Objects in the running kernel: their maps and programs, runs with
//! BPF_PROG_TEST_RUN, and what they leave behind. For objects without maps of
//! maps, whose programs are of XDP or traffic control.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use tailor_bpf::encode::encode;
use tailor_bpf::{Callee, FuncRef, Imm64, MapKind, MapRef, Object, Op, ProgId, ProgramKind};

use crate::kernel::{Attr, get_u32};
use crate::kernel_btf;

const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP_ELEM: libc::c_int = 1;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_GET_NEXT_KEY: libc::c_int = 4;
const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
/// The source field of loads of a map's address, and of one in its first value.
const MAP_FD: u8 = 1;
const MAP_VALUE: u8 = 2;
/// The same of loads of a function's address.
const FUNCTION: u8 = 4;
/// Bytes of `struct __sk_buff` as far as fields are read here.
const SKB_BYTES: usize = 192;

/// Why an object is not in the kernel.
#[derive(Debug)]
pub enum Refusal {
    /// The verifier refuses a program: its last lines.
    Verifier(String),
    /// Another error of the system call, or nothing that can be loaded.
    Other(String),
}

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Left {
    /// R0.
    pub retval: u32,
    /// The packet.
    pub data: Vec<u8>,
    /// Of a socket buffer: its `struct __sk_buff`.
    pub context: Vec<u8>,
}

/// An object's maps and programs.
pub struct Loaded<'a> {
    object: &'a Object,
    maps: Vec<OwnedFd>,
    programs: Vec<OwnedFd>,
}

/// Instructions, and where each function starts in them.
type Linked = (Vec<u8>, Vec<(FuncRef, usize)>);

fn other(what: &str, error: io::Error) -> Refusal {
    Refusal::Other(format!("{what}: {error}"))
}

impl<'a> Loaded<'a> {
    /// Makes maps, loads programs, and fills program arrays.
    pub fn new(object: &'a Object) -> Result<Loaded<'a>, Refusal> {
        let mut this = Loaded { object, maps: Vec::new(), programs: Vec::new() };
        for (id, map) in &object.maps {
            let attr = Attr::new().u32(0, map.kind.number()).u32(4, map.key_size);
            let mut attr = attr.u32(8, map.value_size).u32(12, map.max_entries).u32(16, map.flags);
            // SAFETY: there is no address in it.
            let made = unsafe { attr.open(MAP_CREATE) };
            this.maps.push(made.map_err(|error| other(&map.name, error))?);
            if !map.initial.is_empty() {
                this.update(id, &[0; 4], &map.initial).map_err(|error| other(&map.name, error))?;
            }
        }
        for program in object.programs.keys() {
            let loaded = this.load(program)?;
            this.programs.push(loaded);
        }
        for (id, map) in &object.maps {
            for &(slot, program) in &map.slots {
                let fd = this.programs[program.as_u32() as usize].as_raw_fd();
                let done = this.update(id, &slot.to_le_bytes(), &fd.to_le_bytes());
                done.map_err(|error| other(&map.name, error))?;
            }
        }
        Ok(this)
    }

    fn fd(&self, map: MapRef) -> u32 {
        self.maps[map.as_u32() as usize].as_raw_fd() as u32
    }

    fn update(&self, map: MapRef, key: &[u8], value: &[u8]) -> io::Result<()> {
        let mut attr = Attr::new()
            .u32(0, self.fd(map))
            .u64(8, key.as_ptr() as u64)
            .u64(16, value.as_ptr() as u64);
        // SAFETY: key and value live, and are as long as the map's.
        unsafe { attr.call(MAP_UPDATE_ELEM).map(drop) }
    }

    fn load(&self, program: ProgId) -> Result<OwnedFd, Refusal> {
        let object = self.object;
        let kind = match object.programs[program].kind {
            ProgramKind::SchedCls => 3,
            ProgramKind::Xdp => 6,
            kind => return Err(Refusal::Other(format!("programs of kind {kind:?}"))),
        };
        let entry = object.programs[program].function;
        let (code, starts) = self.link(entry).map_err(Refusal::Other)?;
        let names: Vec<&str> =
            starts.iter().map(|(func, _)| object.functions[*func].name.as_str()).collect();
        let types = kernel_btf::load(&kernel_btf::functions(&names));
        let types = types.map_err(|error| other("type information", error))?;
        // Where each function starts and its type.
        let functions = (kernel_btf::FIRST_FUNCTION..).zip(&starts);
        let records: Vec<[u32; 2]> = functions.map(|(ty, (_, at))| [*at as u32, ty]).collect();
        let license = c"GPL";
        let attr = || {
            Attr::new()
                .u32(0, kind)
                .u32(4, (code.len() / 8) as u32)
                .u64(8, code.as_ptr() as u64)
                .u64(16, license.as_ptr() as u64)
                .u32(72, types.as_raw_fd() as u32)
                .u32(76, size_of::<[u32; 2]>() as u32)
                .u64(80, records.as_ptr() as u64)
                .u32(88, records.len() as u32)
        };
        // SAFETY: code, license and records outlive the call.
        let error = match unsafe { attr().open(PROG_LOAD) } {
            Ok(program) => return Ok(program),
            Err(error) => error,
        };
        // Again, to hear why.
        let mut log = vec![0u8; 1 << 16];
        let mut attr = attr().u32(24, 1).u32(28, log.len() as u32).u64(32, log.as_mut_ptr() as u64);
        // SAFETY: the log outlives the call too.
        let _ = unsafe { attr.call(PROG_LOAD) };
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        let log = String::from_utf8_lossy(&log[..end]);
        let lines = log.lines().filter(|line| !line.starts_with("processed "));
        let last: Vec<&str> = lines.collect();
        match last.last() {
            Some(_) => Err(Refusal::Verifier(last[last.len().saturating_sub(3)..].join("\n"))),
            None => Err(other("loading", error)),
        }
    }

    /// The code of a function and of all that it calls, one after the other, and
    /// the slots where they start.
    fn link(&self, entry: FuncRef) -> Result<Linked, String> {
        let object = self.object;
        let functions = object.reachable(entry);
        let mut functions: Vec<FuncRef> = functions.into_iter().collect();
        functions.retain(|func| *func != entry);
        functions.insert(0, entry);
        let mut starts = Vec::new();
        let mut at = 0;
        for &func in &functions {
            starts.push((func, at));
            at += object.functions[func].ops.len();
        }
        let distance = |func: FuncRef, from: usize| {
            let to = starts.iter().find(|(other, _)| *other == func);
            let (_, to) = to.ok_or("a function that is not reached")?;
            Ok::<_, String>((*to as i64 - from as i64 - 1) as i32)
        };
        let mut ops = Vec::with_capacity(at);
        for &func in &functions {
            for op in &object.functions[func].ops {
                ops.push(match *op {
                    Op::Call(Callee::Function(callee)) => {
                        Op::Call(Callee::Relative(distance(callee, ops.len())?))
                    }
                    Op::LoadImm { dst, value: Imm64::Function(callee) } => {
                        let value = Imm64::Pseudo(FUNCTION, distance(callee, ops.len())?, 0);
                        Op::LoadImm { dst, value }
                    }
                    Op::LoadImm { dst, value: Imm64::Map(map) } => {
                        let value = Imm64::Pseudo(MAP_FD, self.fd(map) as i32, 0);
                        Op::LoadImm { dst, value }
                    }
                    Op::LoadImm { dst, value: Imm64::MapValue(map, at) } => {
                        let value = Imm64::Pseudo(MAP_VALUE, self.fd(map) as i32, at as i32);
                        Op::LoadImm { dst, value }
                    }
                    op => op,
                });
            }
        }
        let code = encode("program", &ops).map_err(|error| error.to_string())?;
        Ok((code, starts))
    }

    /// Runs a program once on a packet.
    pub fn run(&self, program: ProgId, packet: &[u8]) -> io::Result<Left> {
        let is_skb = self.object.programs[program].kind == ProgramKind::SchedCls;
        let mut data = vec![0u8; packet.len() + 512];
        let mut context = vec![0u8; if is_skb { SKB_BYTES } else { 0 }];
        let mut attr = Attr::new()
            .u32(0, self.programs[program.as_u32() as usize].as_raw_fd() as u32)
            .u32(8, packet.len() as u32)
            .u32(12, data.len() as u32)
            .u64(16, packet.as_ptr() as u64)
            .u64(24, data.as_mut_ptr() as u64)
            .u32(32, 1);
        if is_skb {
            attr = attr.u32(44, context.len() as u32).u64(56, context.as_mut_ptr() as u64);
        }
        // SAFETY: all buffers outlive the call and are as long as it says.
        unsafe { attr.call(PROG_TEST_RUN)? };
        data.truncate(get_u32(&attr.0, 12) as usize);
        Ok(Left { retval: get_u32(&attr.0, 4), data, context })
    }

    /// The entries of a map, ascending by key. Of values per processor, those of
    /// all, combined by exclusive or: those of processors that nothing ran on
    /// are zero.
    pub fn entries(&self, map: MapRef) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let def = &self.object.maps[map];
        let size = def.value_size as usize;
        let own = matches!(def.kind, MapKind::PercpuArray | MapKind::PercpuHash);
        let stride = if own { size.next_multiple_of(8) } else { size };
        let copies = if own { processors()? } else { 1 };
        let mut entries = Vec::new();
        let mut key: Option<Vec<u8>> = None;
        loop {
            let mut next = vec![0u8; def.key_size as usize];
            let before = key.as_ref().map_or(0, |key| key.as_ptr() as u64);
            let mut attr =
                Attr::new().u32(0, self.fd(map)).u64(8, before).u64(16, next.as_mut_ptr() as u64);
            // SAFETY: both keys live and have the map's size; the first may be absent.
            match unsafe { attr.call(MAP_GET_NEXT_KEY) } {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
            let mut values = vec![0u8; stride * copies];
            let mut attr = Attr::new()
                .u32(0, self.fd(map))
                .u64(8, next.as_ptr() as u64)
                .u64(16, values.as_mut_ptr() as u64);
            // SAFETY: the key has the map's size, and there is room for the values
            // of all processors.
            unsafe { attr.call(MAP_LOOKUP_ELEM)? };
            let mut value = vec![0; size];
            for one in values.chunks(stride) {
                value.iter_mut().zip(one).for_each(|(all, one)| *all ^= one);
            }
            entries.push((next.clone(), value));
            key = Some(next);
        }
        entries.sort();
        Ok(entries)
    }
}

/// How many processors there can be: the highest number, and one more.
fn processors() -> io::Result<usize> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = list.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<usize>().ok());
    Ok(last.ok_or(io::ErrorKind::InvalidData)? + 1)
}
