//! Flat memory, a map, a program array and helpers for runs of generated programs.

use tailor_ir::interp::Host;
use tailor_ir::{FuncRef, MapRef, Size};

/// Where memory starts.
const BASE: u64 = 0x7f00_0000_1000;
/// The context or buffer that programs get as first argument.
pub const BUFFER: u64 = BASE;
/// The value of a map.
const MAP_VALUE: u64 = BASE + 0x1000;
/// Frames grow down from here.
const STACK: u64 = BASE + 0x10000;
const BYTES: usize = 0x10000;
/// Addresses of maps; nothing is read there.
const MAPS: u64 = 0x7e00_0000_0000;

/// The state that a run changes.
#[derive(Clone, PartialEq, Debug)]
pub struct World {
    memory: Vec<u8>,
    frames: Vec<u64>,
    /// Helpers called, with their arguments.
    pub calls: Vec<(u32, [u64; 5])>,
}

impl World {
    pub fn new(seed: u64) -> World {
        let byte = |i: u64| (seed ^ i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        World {
            memory: (0..BYTES as u64).map(|i| byte(i) as u8).collect(),
            frames: vec![STACK],
            calls: Vec::new(),
        }
    }

    fn range(&self, address: u64, size: Size) -> Result<std::ops::Range<usize>, String> {
        let start = address.wrapping_sub(BASE);
        let end = start.checked_add(size.bytes().into());
        match end {
            Some(end) if end <= BYTES as u64 => Ok(start as usize..end as usize),
            _ => Err(format!("access at {address:#x}")),
        }
    }
}

impl Host for World {
    fn push_frame(&mut self, bytes: u32) -> Result<u64, String> {
        let top = self.frames.last().expect("the first frame stays");
        let frame = (top - u64::from(bytes)) & !15;
        self.frames.push(frame);
        Ok(frame)
    }

    fn pop_frame(&mut self) {
        self.frames.pop();
    }

    fn load(&mut self, address: u64, size: Size) -> Result<u64, String> {
        let range = self.range(address, size)?;
        let bytes = self.memory[range].iter().rev();
        Ok(bytes.fold(0, |bits, &byte| bits << 8 | u64::from(byte)))
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), String> {
        let range = self.range(address, size)?;
        let bytes = &value.to_le_bytes()[..range.len()];
        self.memory[range].copy_from_slice(bytes);
        Ok(())
    }

    fn map_address(&mut self, map: MapRef) -> Result<u64, String> {
        Ok(MAPS + 64 * u64::from(map.as_u32()))
    }

    fn map_value_address(&mut self, _map: MapRef) -> Result<u64, String> {
        Ok(MAP_VALUE)
    }

    fn func_address(&mut self, func: FuncRef) -> Result<u64, String> {
        Ok(0x40_0000 + 64 * u64::from(func.as_u32()))
    }

    fn call_helper(&mut self, helper: u32, args: [u64; 5]) -> Result<u64, String> {
        self.calls.push((helper, args));
        let sum = args.iter().fold(u64::from(helper), |sum, arg| {
            (sum ^ arg).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
        });
        // What it writes shows whether loads have moved over it.
        self.store(BUFFER + 520, Size::D, sum)?;
        self.store(MAP_VALUE + 520, Size::D, sum)?;
        Ok(sum)
    }

    fn tail_call_target(&mut self, array: u64, index: u32) -> Result<Option<FuncRef>, String> {
        let set = array == MAPS && index.is_multiple_of(3);
        Ok(set.then(|| FuncRef::from_u32(2)))
    }

    fn ctx_load(&mut self, _kind: u8, field: u8, ctx: u64) -> Result<u64, String> {
        let (offset, size) = ctx_place(field);
        self.load(ctx + offset, size)
    }

    fn ctx_store(&mut self, _: u8, field: u8, ctx: u64, value: u64) -> Result<(), String> {
        let (offset, size) = ctx_place(field);
        self.store(ctx + offset, size, value)
    }
}

/// Even fields have eight bytes, odd ones four.
pub fn ctx_place(field: u8) -> (u64, Size) {
    (8 * u64::from(field), if field.is_multiple_of(2) { Size::D } else { Size::W })
}
