//! A host for tests: plain vectors at made-up addresses.
//!
//! Each region has 4 GiB of addresses to itself, so that an access out of one
//! never falls into another: the upper half of an address is the region, and
//! its bytes begin at [`START`] in the lower half. What depends on the machine
//! is in no result, which makes runs repeatable.

use std::collections::BTreeMap;

use crate::ctx::{Field, FieldValue, KINDS, XDP};
use crate::object::MapKind;
use crate::{FuncRef, MapRef, Object, Size};

use super::Host;

/// Where the bytes of a region begin in its 4 GiB. Not zero, so that small
/// negative offsets stay in the region and are refused there.
const START: u64 = 0x1_0000;
const MEMORY: u64 = 1;
const PACKET: u64 = 2;
const MAPS: u64 = 0x100_0000;
const VALUES: u64 = 0x200_0000;
const FRAMES: u64 = 0x7fff_0000;

/// The helper of the bpf_conformance suite: it returns its first argument.
const UNWIND: u32 = 5;

/// Memory for R1, frames, and the values of maps that have just one. The only
/// helper is number 5, which returns R1.
#[derive(Clone, Debug, Default)]
pub struct FlatHost {
    regions: BTreeMap<u64, Vec<u8>>,
    frames: Vec<Vec<u8>>,
    slots: BTreeMap<(u64, u32), FuncRef>,
    args: [u64; 2],
}

fn at(region: u64) -> u64 {
    region << 32 | START
}

impl FlatHost {
    /// For a function that gets `memory` in R1 and its length in R2; R1 is 0
    /// where the memory is empty.
    pub fn new(object: &Object, memory: Vec<u8>) -> FlatHost {
        let mut host = FlatHost::default();
        let address = if memory.is_empty() { 0 } else { at(MEMORY) };
        host.args = [address, memory.len() as u64];
        host.regions.insert(MEMORY, memory);
        for (map, def) in &object.maps {
            let region = VALUES + u64::from(map.as_u32());
            if !def.initial.is_empty() {
                host.regions.insert(region, def.initial.clone());
            } else if def.kind == MapKind::Array {
                let value = vec![0; def.value_size as usize];
                host.regions.insert(region, value);
            }
            for &(index, program) in &def.slots {
                host.set_slot(map, index, object.programs[program].function);
            }
        }
        host
    }

    /// For an XDP program: R1 is a native context with this packet.
    pub fn xdp(object: &Object, packet: Vec<u8>) -> FlatHost {
        let end = at(PACKET) + packet.len() as u64;
        let fields = KINDS[XDP as usize].fields;
        let size = |f: &Field| usize::from(f.native_offset) + f.native_size.bytes() as usize;
        let mut context = vec![0; fields.iter().map(size).max().unwrap_or(0)];
        for field in fields.iter().filter(|f| f.value == FieldValue::Packet) {
            let value = if field.name == "data_end" { end } else { at(PACKET) };
            let start = usize::from(field.native_offset);
            context[start..start + 8].copy_from_slice(&value.to_le_bytes());
        }
        let mut host = FlatHost::new(object, context);
        host.args[1] = 0;
        host.regions.insert(PACKET, packet);
        host
    }

    /// R1 and R2 at entry.
    pub fn args(&self) -> [u64; 2] {
        self.args
    }

    /// The memory that R1 points to (for XDP, the context).
    pub fn memory(&self) -> &[u8] {
        self.region(MEMORY)
    }

    /// The packet of an XDP program.
    pub fn packet(&self) -> &[u8] {
        self.region(PACKET)
    }

    /// The first value of an array map; empty for other maps.
    pub fn map_value(&self, map: MapRef) -> &[u8] {
        self.region(VALUES + u64::from(map.as_u32()))
    }

    /// Fills a slot of a program array.
    pub fn set_slot(&mut self, map: MapRef, index: u32, function: FuncRef) {
        let array = at(MAPS + u64::from(map.as_u32()));
        self.slots.insert((array, index), function);
    }

    fn region(&self, region: u64) -> &[u8] {
        self.regions.get(&region).map_or(&[], Vec::as_slice)
    }

    /// The bytes of an access.
    fn bytes(&mut self, address: u64, size: Size) -> Result<&mut [u8], String> {
        let region = address >> 32;
        let memory = match region.checked_sub(FRAMES) {
            Some(depth) => self.frames.get_mut(depth as usize),
            None => self.regions.get_mut(&region),
        };
        let start = (address & 0xffff_ffff).checked_sub(START);
        let range = start.map(|start| start as usize..start as usize + size.bytes() as usize);
        memory
            .zip(range)
            .and_then(|(memory, range)| memory.get_mut(range))
            .ok_or_else(|| format!("access of {} bytes at {address:#x}", size.bytes()))
    }
}

impl Host for FlatHost {
    fn push_frame(&mut self, bytes: u32) -> Result<u64, String> {
        let depth = self.frames.len() as u64;
        self.frames.push(vec![0; bytes as usize]);
        Ok(at(FRAMES + depth))
    }

    fn pop_frame(&mut self) {
        self.frames.pop();
    }

    fn load(&mut self, address: u64, size: Size) -> Result<u64, String> {
        let bytes = self.bytes(address, size)?;
        let mut value = [0; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(value))
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), String> {
        let bytes = self.bytes(address, size)?;
        bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
        Ok(())
    }

    fn map_address(&mut self, map: MapRef) -> Result<u64, String> {
        Ok(at(MAPS + u64::from(map.as_u32())))
    }

    fn map_value_address(&mut self, map: MapRef) -> Result<u64, String> {
        let region = VALUES + u64::from(map.as_u32());
        if self.regions.contains_key(&region) {
            Ok(at(region))
        } else {
            Err(format!("{map} has no first value with a fixed address"))
        }
    }

    fn has_helper(&mut self, helper: u32) -> bool {
        helper == UNWIND
    }

    fn call_helper(&mut self, helper: u32, args: [u64; 5]) -> Result<u64, String> {
        if helper == UNWIND { Ok(args[0]) } else { Err(format!("there is no helper {helper}")) }
    }

    fn tail_call_target(&mut self, array: u64, index: u32) -> Result<Option<FuncRef>, String> {
        Ok(self.slots.get(&(array, index)).copied())
    }
}
