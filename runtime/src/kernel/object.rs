//! Objects into the running kernel, by bpf(2) alone: plain maps, their first
//! values, and programs whose functions follow one another.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use tailor_bpf::encode::encode;
use tailor_bpf::{Callee, Imm64, MapKind, MapRef, Object, Op};

use super::{Attr, KernelProgram};

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_FREEZE: libc::c_int = 22;
/// Programs may only read it.
const RDONLY_PROG: u32 = 1 << 7;

/// An object's maps in the kernel.
pub struct KernelObject<'a> {
    object: &'a Object,
    /// In the object's order.
    maps: Vec<OwnedFd>,
}

impl<'a> KernelObject<'a> {
    /// Makes the maps, with the values that the object gives them.
    pub fn new(object: &'a Object) -> io::Result<KernelObject<'a>> {
        let mut made = KernelObject { object, maps: Vec::new() };
        for map in object.maps.values() {
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
                made.update(&map.name, &0u32.to_le_bytes(), &map.initial)?;
            }
        }
        Ok(made)
    }

    /// Puts an entry into a map.
    pub fn update(&self, map: &str, key: &[u8], value: &[u8]) -> io::Result<()> {
        let named = self.object.maps.values().zip(&self.maps).find(|(own, _)| own.name == map);
        let (own, fd) = named.ok_or(io::ErrorKind::NotFound)?;
        let each = [MapKind::PercpuHash, MapKind::PercpuArray, MapKind::LruPercpuHash];
        if each.contains(&own.kind) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if key.len() != own.key_size as usize || value.len() != own.value_size as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut attr = Attr::new()
            .u32(0, fd.as_raw_fd() as u32)
            .u64(8, key.as_ptr() as u64)
            .u64(16, value.as_ptr() as u64);
        // SAFETY: key and value outlive the call and are as long as the map's, whose
        // entries are not one for each processor.
        unsafe { attr.call(MAP_UPDATE_ELEM).map(|_| ()) }
    }

    /// Puts a program into a slot of a program array.
    pub fn set_slot(&self, array: &str, slot: u32, program: &KernelProgram) -> io::Result<()> {
        self.update(array, &slot.to_le_bytes(), &program.0.as_raw_fd().to_le_bytes())
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
        KernelProgram::load(kind, &self.linked(name)?)
    }

    /// A program's instructions, its entry first.
    fn linked(&self, name: &str) -> io::Result<Vec<u8>> {
        let program = self.object.program(name).ok_or(io::ErrorKind::NotFound)?;
        let functions = self.object.reachable(self.object.programs[program].function);
        let mut starts = Vec::new();
        let mut end = 0;
        for &func in &functions {
            starts.push((func, end));
            end += self.object.functions[func].ops.len() as i32;
        }
        let start = |func| starts.iter().find(|(own, _)| *own == func).map_or(0, |(_, at)| *at);
        let mut bytes = Vec::new();
        for &(func, at) in &starts {
            let function = &self.object.functions[func];
            let mut ops = function.ops.clone();
            for (pc, op) in ops.iter_mut().enumerate() {
                let distance = |to| start(to) - (at + pc as i32 + 1);
                let fd = |map: MapRef| self.maps[map.as_u32() as usize].as_raw_fd();
                match op {
                    Op::Call(callee) => {
                        if let Callee::Function(to) = *callee {
                            *callee = Callee::Relative(distance(to));
                        }
                    }
                    Op::LoadImm { value, .. } => {
                        *value = match *value {
                            Imm64::Map(map) => Imm64::Pseudo(1, fd(map), 0),
                            Imm64::MapValue(map, at) => Imm64::Pseudo(2, fd(map), at as i32),
                            Imm64::Function(to) => Imm64::Pseudo(4, distance(to), 0),
                            other => other,
                        }
                    }
                    _ => {}
                }
            }
            bytes.extend(encode(&function.name, &ops).map_err(io::Error::other)?);
        }
        Ok(bytes)
    }
}
