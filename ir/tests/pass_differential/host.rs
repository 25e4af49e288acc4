//! The world that generated programs run in: a buffer, frames, one context,
//! and a record of what helpers and the context were given.

use tailor_ir::interp::Host;
use tailor_ir::{FuncRef, MapRef, Size};

/// Address and size of the buffer that programs may use.
pub const BUFFER: u64 = 0x1_0000;
pub const BUFFER_SIZE: u64 = 64;
/// The map that never changes, its first value's size and address.
pub const CONSTANTS: u32 = 1;
pub const CONSTANTS_SIZE: usize = 32;
const CONSTANTS_AT: u64 = 0x3_0000;
const STACK: u64 = 0x100_0000;
/// Address of the only program array.
pub const ARRAY: u64 = 0x20_0000;

/// Helpers: mixes its arguments; writes its second argument at its first;
/// reads eight bytes at its first.
pub const MIX: u32 = 1;
pub const WRITE: u32 = 2;
pub const READ: u32 = 3;

pub struct World {
    pub buffer: Vec<u8>,
    stack: Vec<u8>,
    frames: Vec<usize>,
    pub log: Vec<u64>,
}

impl World {
    pub fn new() -> World {
        World {
            buffer: (0..BUFFER_SIZE as u8).map(|i| i.wrapping_mul(37)).collect(),
            stack: Vec::new(),
            frames: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Reads the map that never changes.
    pub fn constant(map: MapRef, offset: u32, size: Size) -> Option<u64> {
        let start = offset as usize;
        let end = start + size.bytes() as usize;
        let byte = |at: usize| u64::from((at as u8 | 0x40).wrapping_mul(29));
        (map.as_u32() == CONSTANTS && end <= CONSTANTS_SIZE)
            .then(|| (start..end).rev().fold(0, |bits, at| bits << 8 | byte(at)))
    }

    fn bytes(&mut self, address: u64, size: usize) -> Result<&mut [u8], String> {
        let (memory, base) = match address >= STACK {
            true => (&mut self.stack, STACK),
            false => (&mut self.buffer, BUFFER),
        };
        let start = address.checked_sub(base).unwrap_or(u64::MAX) as usize;
        let range = start..start.saturating_add(size);
        memory.get_mut(range).ok_or(format!("access of {address:#x}"))
    }
}

impl Host for World {
    fn push_frame(&mut self, bytes: u32) -> Result<u64, String> {
        let start = self.stack.len().next_multiple_of(16);
        self.frames.push(self.stack.len());
        self.stack.resize(start + bytes as usize, 0);
        Ok(STACK + start as u64)
    }
    fn pop_frame(&mut self) {
        if let Some(length) = self.frames.pop() {
            self.stack.truncate(length);
        }
    }
    fn load(&mut self, address: u64, size: Size) -> Result<u64, String> {
        if let Some(offset) = address.checked_sub(CONSTANTS_AT).filter(|&offset| offset < 64) {
            let bits = World::constant(MapRef::from_u32(CONSTANTS), offset as u32, size);
            return bits.ok_or(format!("load of {address:#x}"));
        }
        let bytes = self.bytes(address, size.bytes() as usize)?;
        Ok(bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte)))
    }
    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), String> {
        let count = size.bytes() as usize;
        let bytes = value.to_le_bytes();
        self.bytes(address, count)?.copy_from_slice(&bytes[..count]);
        Ok(())
    }
    fn map_address(&mut self, _map: MapRef) -> Result<u64, String> {
        Ok(ARRAY)
    }
    fn map_value_address(&mut self, map: MapRef) -> Result<u64, String> {
        Ok(if map.as_u32() == CONSTANTS { CONSTANTS_AT } else { BUFFER })
    }
    fn func_address(&mut self, func: FuncRef) -> Result<u64, String> {
        Ok(u64::from(func.as_u32()))
    }
    fn call_helper(&mut self, helper: u32, args: [u64; 5]) -> Result<u64, String> {
        let result = match helper {
            WRITE => {
                self.store(args[0], Size::D, args[1])?;
                args[1]
            }
            READ => self.load(args[0], Size::D)?,
            _ => args.iter().fold(7, |sum: u64, arg| sum.wrapping_mul(31).wrapping_add(*arg)),
        };
        self.log.push(result);
        Ok(result)
    }
    fn tail_call_target(&mut self, _array: u64, index: u32) -> Result<Option<FuncRef>, String> {
        Ok((index % 2 == 1).then(|| FuncRef::from_u32(1)))
    }
    fn ctx_load(&mut self, kind: u8, field: u8, _ctx: u64) -> Result<u64, String> {
        Ok((u64::from(kind) << 40 | 0x8000_0080).wrapping_mul(u64::from(field) + 1))
    }
    fn ctx_store(&mut self, kind: u8, field: u8, _ctx: u64, value: u64) -> Result<(), String> {
        self.log.extend([kind.into(), field.into(), value]);
        Ok(())
    }
}
