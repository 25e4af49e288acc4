//! Basic blocks of bytecode.

use smallvec::SmallVec;

/// The control-flow graph of a function; unreachable slots are in no block.
/// Blocks are numbered in the order of their first slot, except that the block
/// of slot 0 (the entry) is block 0 anyway.
#[derive(Clone, Debug, Default)]
pub struct Cfg {
    /// The blocks.
    pub blocks: Vec<CfgBlock>,
}

/// A block: slots `start..end`. Ends at a branch, jump, exit, tail call, or
/// before a jump target.
#[derive(Clone, Debug, Default)]
pub struct CfgBlock {
    /// First slot.
    pub start: u32,
    /// One past the last slot.
    pub end: u32,
    /// Successors (indices of blocks): for a branch the fall-through first, then
    /// the target, equal ones kept; for a tail call the fall-through.
    pub succs: SmallVec<[u32; 2]>,
}
