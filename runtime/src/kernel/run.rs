//! Objects in the running kernel: their maps and programs, runs with
//! BPF_PROG_TEST_RUN, and what they leave behind. For objects without maps of
//! maps, whose programs are of XDP or traffic control.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use tailor_bpf::{MapKind, MapRef, Object, ProgId, ProgramKind};

use super::object::KernelObject;
use super::{Attr, btf, get_u32};

const MAP_LOOKUP_ELEM: libc::c_int = 1;
const MAP_GET_NEXT_KEY: libc::c_int = 4;
const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
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
    maps: KernelObject<'a>,
    programs: Vec<OwnedFd>,
}

fn other(what: &str, error: io::Error) -> Refusal {
    Refusal::Other(format!("{what}: {error}"))
}

impl<'a> Loaded<'a> {
    /// Makes maps, loads programs, and fills program arrays.
    pub fn new(object: &'a Object) -> Result<Loaded<'a>, Refusal> {
        let maps = KernelObject::new(object).map_err(|error| other("maps", error))?;
        let mut this = Loaded { maps, programs: Vec::new() };
        for program in object.programs.keys() {
            let loaded = this.load(program)?;
            this.programs.push(loaded);
        }
        for (id, map) in &object.maps {
            for &(slot, program) in &map.slots {
                let fd = this.programs[program.as_u32() as usize].as_raw_fd();
                let done = this.maps.update(id, &slot.to_le_bytes(), &fd.to_le_bytes());
                done.map_err(|error| other(&map.name, error))?;
            }
        }
        Ok(this)
    }

    fn load(&self, program: ProgId) -> Result<OwnedFd, Refusal> {
        let object = self.maps.object;
        let kind = match object.programs[program].kind {
            ProgramKind::SchedCls => 3,
            ProgramKind::Xdp => 6,
            kind => return Err(Refusal::Other(format!("programs of kind {kind:?}"))),
        };
        let entry = object.programs[program].function;
        let (code, starts) = self.maps.link(entry).map_err(Refusal::Other)?;
        let names: Vec<&str> =
            starts.iter().map(|(func, _)| object.functions[*func].name.as_str()).collect();
        let types = btf::load(&btf::functions(&names));
        let types = types.map_err(|error| other("type information", error))?;
        // Where each function starts and its type.
        let functions = (btf::FIRST_FUNCTION..).zip(&starts);
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

    /// Runs a program once on a packet.
    pub fn run(&self, program: ProgId, packet: &[u8]) -> io::Result<Left> {
        let is_skb = self.maps.object.programs[program].kind == ProgramKind::SchedCls;
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
        let def = &self.maps.object.maps[map];
        let size = def.value_size as usize;
        let own = matches!(def.kind, MapKind::PercpuArray | MapKind::PercpuHash);
        let stride = if own { size.next_multiple_of(8) } else { size };
        let copies = if own { processors()? } else { 1 };
        let mut entries = Vec::new();
        let mut key: Option<Vec<u8>> = None;
        loop {
            let mut next = vec![0u8; def.key_size as usize];
            let before = key.as_ref().map_or(0, |key| key.as_ptr() as u64);
            let mut attr = Attr::new()
                .u32(0, self.maps.fd(map))
                .u64(8, before)
                .u64(16, next.as_mut_ptr() as u64);
            // SAFETY: both keys live and have the map's size; the first may be absent.
            match unsafe { attr.call(MAP_GET_NEXT_KEY) } {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
            let mut values = vec![0u8; stride * copies];
            let mut attr = Attr::new()
                .u32(0, self.maps.fd(map))
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
