//! How the interpreter reaches memory, maps and helpers.

mod flat;

pub use flat::FlatHost;

use crate::{FuncRef, MapRef, Size};

/// What calls a function back, in the same world.
pub type CallBack<'a> = dyn FnMut(&mut dyn Host, [u64; 5]) -> Result<u64, String> + 'a;

/// The world of a running program. Addresses are whatever the host says they
/// are; an error's text says what was wrong with the access.
pub trait Host {
    /// Makes a frame of `bytes` bytes and returns its lowest address.
    fn push_frame(&mut self, bytes: u32) -> Result<u64, String>;
    /// Gives back the youngest frame.
    fn pop_frame(&mut self);
    /// Reads, zero-extended.
    fn load(&mut self, address: u64, size: Size) -> Result<u64, String>;
    /// Writes the low bytes.
    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), String>;
    /// Address of a map as helpers take it.
    fn map_address(&mut self, map: MapRef) -> Result<u64, String>;
    /// Address of a map's first value.
    fn map_value_address(&mut self, map: MapRef) -> Result<u64, String>;
    /// Whether the program may call a helper.
    fn has_helper(&mut self, helper: u32) -> bool {
        let _ = helper;
        true
    }
    /// Calls a helper (never the tail call).
    fn call_helper(&mut self, helper: u32, args: [u64; 5]) -> Result<u64, String>;
    /// Calls a helper that calls a function back, which `call` does; R1 to R5 go
    /// in, R0 comes out, and an error is to be passed on as it is.
    fn call_back(
        &mut self,
        helper: u32,
        args: [u64; 5],
        call: &mut CallBack<'_>,
    ) -> Result<u64, String> {
        let _ = (args, call);
        Err(format!("helper {helper}, which calls a function back, is not supported"))
    }
    /// The program in a slot of a program array (by the array's address), if
    /// the slot exists and is filled. Counting is the caller's business.
    fn tail_call_target(&mut self, array: u64, index: u32) -> Result<Option<FuncRef>, String>;
}
