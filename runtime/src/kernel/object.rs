//! Objects into the running kernel, by bpf(2) alone: plain maps, their first
//! values, and programs whose functions follow one another.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use tailor_bpf::encode::encode;
use tailor_bpf::{Callee, FuncRef, Imm64, MapKind, MapRef, Object, Op};

use super::{Attr, KernelProgram};

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_FREEZE: libc::c_int = 22;
/// The source field of loads of a map's address, and of one in its first value.
const MAP_FD: u8 = 1;
const MAP_VALUE: u8 = 2;
/// The same of loads of a function's address.
const FUNCTION: u8 = 4;
/// Programs may only read it.
const RDONLY_PROG: u32 = 1 << 7;

/// Instructions, and where each function starts in them.
type Linked = (Vec<u8>, Vec<(FuncRef, usize)>);

/// An object's maps in the kernel.
pub struct KernelObject<'a> {
    pub(super) object: &'a Object,
    /// In the object's order.
    maps: Vec<OwnedFd>,
}

impl<'a> KernelObject<'a> {
    /// Makes the maps, with the values that the object gives them.
    pub fn new(object: &'a Object) -> io::Result<KernelObject<'a>> {
        let mut made = KernelObject { object, maps: Vec::new() };
        for (id, map) in &object.maps {
            let flags = if map.name.contains(".rodata") { RDONLY_PROG } else { 0 };
            let mut attr = Attr::new()
                .u32(0, map.kind.number())
                .u32(4, map.key_size)
                .u32(8, map.value_size)
                .u32(12, map.max_entries)
                .u32(16, map.flags | flags);
            // SAFETY: there is no address in it.
            made.maps.push(unsafe { attr.open(MAP_CREATE)? });
            if !map.initial.is_empty() {
                made.update(id, &0u32.to_le_bytes(), &map.initial)?;
            }
        }
        Ok(made)
    }

    /// The map's file descriptor.
    pub(super) fn fd(&self, map: MapRef) -> u32 {
        self.maps[map.as_u32() as usize].as_raw_fd() as u32
    }

    /// Puts an entry into a map, whose entries are not one for each processor.
    pub fn update(&self, map: MapRef, key: &[u8], value: &[u8]) -> io::Result<()> {
        let def = &self.object.maps[map];
        let each = [MapKind::PercpuHash, MapKind::PercpuArray, MapKind::LruPercpuHash];
        if each.contains(&def.kind) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if key.len() != def.key_size as usize || value.len() != def.value_size as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut attr = Attr::new()
            .u32(0, self.fd(map))
            .u64(8, key.as_ptr() as u64)
            .u64(16, value.as_ptr() as u64);
        // SAFETY: key and value outlive the call and are as long as the map's.
        unsafe { attr.call(MAP_UPDATE_ELEM).map(|_| ()) }
    }

    /// A map by name.
    pub fn map(&self, name: &str) -> io::Result<MapRef> {
        self.object.map(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Puts a program into a slot of a program array.
    pub fn set_slot(&self, array: &str, slot: u32, program: &KernelProgram) -> io::Result<()> {
        self.update(self.map(array)?, &slot.to_le_bytes(), &program.0.as_raw_fd().to_le_bytes())
    }

    /// Loads a program of this `BPF_PROG_TYPE_*`. Constant data is constant from now on.
    pub fn program(&self, kind: u32, name: &str) -> io::Result<KernelProgram> {
        for (_, fd) in self
            .object
            .maps
            .values()
            .zip(&self.maps)
            .filter(|(map, _)| map.name.contains(".rodata"))
        {
            // SAFETY: there is no address in it. That it is frozen already is no error here.
            let _ = unsafe { Attr::new().u32(0, fd.as_raw_fd() as u32).call(MAP_FREEZE) };
        }
        let program = self.object.program(name).ok_or(io::ErrorKind::NotFound)?;
        let entry = self.object.programs[program].function;
        let (code, _) = self.link(entry).map_err(io::Error::other)?;
        KernelProgram::load(kind, &code)
    }

    /// The code of a function and of all that it calls, one after the other, and
    /// the slots where they start.
    pub(super) fn link(&self, entry: FuncRef) -> Result<Linked, String> {
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
}
