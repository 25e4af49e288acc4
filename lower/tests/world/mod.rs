//! Flat memory, a map, a program array and helpers for runs of generated programs.

use tailor_ir::interp::Host;
use tailor_ir::{FuncRef, MapRef, Size};

/// The context or buffer that programs get as first argument, from the start of memory.
pub const BUFFER: u64 = 0;
/// The value of a map.
pub const MAP_VALUE: u64 = 0x1000;
/// Memory's size; frames grow down from its end.
pub const BYTES: usize = 0x10000;
/// From one map to the next.
pub const MAP_STEP: u64 = 64;
/// Slots of the program array, of which every third is set.
pub const SLOTS: u32 = 16;
/// The helper that fills the frame object at its first argument.
pub const FILL: u32 = 11;
/// Bytes that it fills.
pub const FILLED: u64 = 1024;

/// Helpers, with their arguments.
pub type Calls = Vec<(u32, [u64; 5])>;

/// The state that a run changes.
#[derive(Clone, PartialEq, Debug)]
pub struct World {
    base: u64,
    maps: u64,
    pub memory: Vec<u8>,
    frames: Vec<u64>,
    /// Helpers called.
    pub calls: Calls,
    /// Loads so far.
    pub loads: usize,
}

impl World {
    /// With memory and maps at these addresses.
    pub fn at(base: u64, maps: u64, seed: u64) -> World {
        let byte = |i: u64| (seed ^ i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        World {
            base,
            maps,
            memory: (0..BYTES as u64).map(|i| byte(i) as u8).collect(),
            frames: vec![base + BYTES as u64],
            calls: Vec::new(),
            loads: 0,
        }
    }

    /// The first argument of programs.
    pub fn buffer(&self) -> u64 {
        self.base + BUFFER
    }

    fn range(&self, address: u64, size: Size) -> Result<std::ops::Range<usize>, String> {
        let start = address.wrapping_sub(self.base);
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
        self.loads += 1;
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
        Ok(self.maps + MAP_STEP * u64::from(map.as_u32()))
    }

    fn map_value_address(&mut self, _map: MapRef) -> Result<u64, String> {
        Ok(self.base + MAP_VALUE)
    }

    fn func_address(&mut self, func: FuncRef) -> Result<u64, String> {
        Ok(0x40_0000 + 64 * u64::from(func.as_u32()))
    }

    fn call_helper(&mut self, helper: u32, args: [u64; 5]) -> Result<u64, String> {
        if helper == FILL {
            for at in 0..FILLED {
                self.store(args[0] + at, Size::B, filler(at).into())?;
            }
            return Ok(0);
        }
        self.calls.push((helper, args));
        let sum = helper_result(helper, args);
        // What it writes shows whether loads have moved over it.
        for at in WRITTEN {
            self.store(self.base + at, Size::D, sum)?;
        }
        Ok(sum)
    }

    fn tail_call_target(&mut self, array: u64, index: u32) -> Result<Option<FuncRef>, String> {
        let set = array == self.maps && index < SLOTS && index.is_multiple_of(3);
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

/// Where helpers write their result.
pub const WRITTEN: [u64; 2] = [BUFFER + 520, MAP_VALUE + 520];

/// What a helper returns.
pub fn helper_result(helper: u32, args: [u64; 5]) -> u64 {
    args.iter().fold(u64::from(helper), |sum, arg| {
        (sum ^ arg).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
    })
}

/// What [`FILL`] writes at a distance.
pub fn filler(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Even fields have eight bytes, odd ones four.
pub fn ctx_place(field: u8) -> (u64, Size) {
    (8 * u64::from(field), if field.is_multiple_of(2) { Size::D } else { Size::W })
}
