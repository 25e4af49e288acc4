//! Which levers of the allocator are off for an input.

use tailor::Lever;

/// None for half of all inputs, for the others any: from a hash of these bytes
/// (FNV-1a), as bytes themselves mean something else.
pub fn off(bytes: impl Iterator<Item = u8>) -> Vec<Lever> {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = bytes.fold(0x811c_9dc5, step) >> 8;
    let numbered = Lever::ALL.into_iter().enumerate();
    let off = numbered.filter(|(number, _)| hash & 1 == 1 && hash >> (number + 1) & 1 == 1);
    off.map(|(_, lever)| lever).collect()
}
