//! The product of compilation: code with relocations, and what is known of it.

use cranelift_entity::{PrimaryMap, SecondaryMap};
use smallvec::SmallVec;
use tailor_lower::{FuncRef, Gpr, MapRef, Symbol};
pub use target_lexicon::Architecture;

/// How functions are entered and how tail calls land.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Convention {
    /// A kernel's: rbp frame, a counter in it, and a landing point so many bytes
    /// behind the entry, by which its generations differ.
    Kernel {
        /// Bytes of the prologue that a tail call skips.
        landing: u32,
    },
    /// Tailor's own: the landing point is the entry, the record travels in r9,
    /// the target preserves callee-saved registers.
    Saving,
}

/// The processors that this crate makes code for.
pub const ARCHITECTURE: Architecture = Architecture::X86_64;

/// The code of an object's functions.
#[derive(Clone, Debug)]
pub struct CompiledCode {
    /// The processor that it runs on.
    pub architecture: Architecture,
    /// Of every function in it.
    pub convention: Convention,
    /// By the object's function numbers; `None` for what no compiled program reaches.
    pub functions: PrimaryMap<FuncRef, Option<CompiledFunction>>,
    /// Entry stubs of programs that cannot be entered as C functions.
    pub stubs: SecondaryMap<FuncRef, Option<CompiledFunction>>,
}

/// What a piece of code is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FunctionKind {
    /// The entry function of a program.
    Program,
    /// A function called by programs.
    Subprogram,
    /// An entry stub or thunk.
    Stub,
}

/// One function's code.
#[derive(Clone, Debug)]
pub struct CompiledFunction {
    /// Name for listings.
    pub name: String,
    /// What it is.
    pub kind: FunctionKind,
    /// Machine code, relocations unresolved (zero).
    pub code: Vec<u8>,
    /// Ascending by offset.
    pub relocs: Vec<Reloc>,
    /// Offset at which a tail call enters.
    pub landing: u32,
    /// Tail-call sites, ascending.
    pub tail_sites: Vec<TailSite>,
    /// Bytecode slots that it was compiled from.
    pub insns: u32,
    /// The frame that the compiler thinks it made; the decoder must agree.
    pub frame: FrameBelief,
}

/// What the compiler believes of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameBelief {
    /// Callee-saved registers that the function preserves (without a frame pointer).
    pub saved: SmallVec<[Gpr; 6]>,
    /// rbp is pushed as frame pointer.
    pub frame_pointer: bool,
    /// Return address (exclusive) to the lowest rsp before calls, red zone included.
    pub frame_bytes: u32,
    /// Part of it that only alignment asks for.
    pub padding_bytes: u32,
    /// Part of it that lies below the lowest rsp. Not all of it need be
    /// visible in the code, which may compute addresses or leave bytes alone.
    pub red_zone: u32,
}

/// A field in the code that depends on where things are loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reloc {
    /// Of the field, from the start of the code.
    pub offset: u32,
    /// Width and meaning of the field.
    pub kind: RelocKind,
    /// Whose address.
    pub target: Symbol,
}

/// How a field holds an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelocKind {
    /// 8 bytes, the address.
    Abs64,
    /// 4 bytes, the distance from the end of the field.
    Rel32,
}

impl RelocKind {
    /// Width of the field.
    pub fn bytes(self) -> usize {
        match self {
            RelocKind::Abs64 => 8,
            RelocKind::Rel32 => 4,
        }
    }
}

/// A tail-call site.
#[derive(Clone, Debug)]
pub struct TailSite {
    /// Offset of its first instruction.
    pub offset: u32,
    /// Offset of the jump that leaves the function.
    pub exit: u32,
    /// Map and key, where both are constant.
    pub direct: Option<(MapRef, u32)>,
    /// The bytes to patch when the slot changes, if the site is patched at all.
    pub poke: Option<Poke>,
}

/// The two five-byte instructions of a patched site.
///
/// The loader writes both, so what the code holds there is of no account. It
/// patches them in place where each lies within eight aligned bytes (offset
/// modulo 8 at most 3, functions being placed at multiples of 16 unless another
/// place helps more of their sites); else it puts jumps to veneers there. The
/// five bytes behind each belong to the site's own path: behind the bypass the
/// unwinding starts, behind the target lies what an empty slot never reaches.
/// No register or flag is touched by either form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Poke {
    /// Before the unwinding: `jmp out` while the slot is empty, else a nop.
    pub bypass: u32,
    /// After the unwinding: a nop while the slot is empty, else `jmp target`.
    pub target: u32,
    /// Where an empty slot's bypass jumps to.
    pub out: u32,
}
