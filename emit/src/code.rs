//! The product of compilation: code with relocations, and what is known of it.

use std::ops::Range;

use cranelift_entity::{PrimaryMap, SecondaryMap};
use smallvec::SmallVec;
use tailor_lower::{Convention, FuncRef, Gpr, MapRef, Poking, Symbol};
pub use target_lexicon::Architecture;

use crate::asm::{Assembled, Label};

/// The processors that this crate makes code for.
pub const ARCHITECTURE: Architecture = Architecture::X86_64;

/// The code of an object's functions.
#[derive(Clone, Debug)]
pub struct CompiledCode {
    /// The processor that it runs on.
    pub architecture: Architecture,
    /// Of every function in it.
    pub convention: Convention,
    /// Whether its sites with a constant slot are patched.
    pub poking: Poking,
    /// By the object's function numbers; `None` for what no compiled program reaches.
    pub functions: PrimaryMap<FuncRef, Option<CompiledFunction>>,
    /// Entry stubs of programs that cannot be entered as C functions.
    pub stubs: SecondaryMap<FuncRef, Option<CompiledFunction>>,
}

/// What a piece of code is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
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
    /// How often what is executed.
    pub weights: Weights,
}

/// How often a function's code is executed, by the frequencies of the bytecode's
/// blocks, and which of its memory operations are not the frame's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// Ascending: the code from this offset to the next one is executed so many
    /// times per execution of the function. The first is at 0; empty if unknown.
    pub stretches: Vec<(u32, f64)>,
    /// Code that accesses objects of the program whose address escapes, which
    /// are memory and no slots, though they lie in the frame. Ascending.
    pub objects: Vec<Range<u32>>,
    /// Code that computes again what was computed elsewhere, so that it need not
    /// be kept. Ascending. Constants are not among this: every engine makes
    /// them where they are used.
    pub recomputed: Vec<Range<u32>>,
}

/// [`Weights`] while offsets are not known yet.
#[derive(Debug, Default)]
pub struct WeightLabels {
    stretches: Vec<(Label, f64)>,
    objects: Vec<(Label, Label)>,
    recomputed: Vec<(Label, Label)>,
}

impl WeightLabels {
    /// From this label on.
    pub fn from(&mut self, start: Label, frequency: f64) {
        self.stretches.push((start, frequency));
    }

    /// Code between two labels accesses an object.
    pub fn object(&mut self, start: Label, end: Label) {
        self.objects.push((start, end));
    }

    /// Code between two labels computes something again.
    pub fn recomputed(&mut self, start: Label, end: Label) {
        self.recomputed.push((start, end));
    }

    /// With offsets. Of stretches that start at one place the last counts.
    pub fn place(&self, code: &Assembled) -> Weights {
        let mut stretches: Vec<(u32, f64)> = Vec::with_capacity(self.stretches.len());
        for &(label, frequency) in &self.stretches {
            let start = code.offset(label);
            if stretches.last().is_some_and(|last| last.0 == start) {
                stretches.pop();
            }
            stretches.push((start, frequency));
        }
        let range = |&(start, end): &(Label, Label)| code.offset(start)..code.offset(end);
        Weights {
            stretches,
            objects: self.objects.iter().map(range).collect(),
            recomputed: self.recomputed.iter().map(range).collect(),
        }
    }
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
    /// What lies between the two, or before the jump.
    pub unwinds: Unwound,
}

/// What a tail call undoes before it leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unwound {
    /// Callee-saved registers that it restores, in the order of their saves.
    pub registers: SmallVec<[Gpr; 6]>,
    /// Bytes by which it raises rsp. A kernel's frame pointer stays, and under
    /// the fixed prologue everything.
    pub bytes: u32,
}

/// The two five-byte instructions of a patched site.
///
/// The loader writes both, so what the code holds there is of no account. It
/// patches in place what lies within one aligned word of eight bytes (offset
/// modulo 8 at most 3), as all does in code of the optimizing pipeline; else it
/// puts a jump to a veneer there. No form touches a register or a flag.
/// Functions are placed at multiples of 16, unless more of their instructions
/// can be patched in place a few bytes further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Poke {
    /// Before the unwinding: `jmp out` while the slot is empty, else a nop.
    pub bypass: u32,
    /// After the unwinding: a nop while the slot is empty, else `jmp target`.
    pub target: u32,
    /// Where an empty slot's bypass jumps to.
    pub out: u32,
}

/// A patched site, with all that whoever patches it has to know.
#[derive(Clone, Copy, Debug)]
pub struct PokeReloc<'a> {
    /// The function in whose code the offsets are.
    pub owner: FuncRef,
    /// The program array.
    pub map: MapRef,
    /// The slot that the site follows.
    pub key: u32,
    /// The two instructions.
    pub poke: Poke,
    /// What is done between them.
    pub unwinds: &'a Unwound,
}

impl CompiledCode {
    /// The patched sites of all functions, one table for the whole code.
    pub fn pokes(&self) -> impl Iterator<Item = PokeReloc<'_>> {
        let compiled = self.functions.iter().filter_map(|(owner, f)| Some((owner, f.as_ref()?)));
        compiled.flat_map(|(owner, function)| {
            function.tail_sites.iter().filter_map(move |site| {
                let ((map, key), poke) = (site.direct?, site.poke?);
                Some(PokeReloc { owner, map, key, poke, unwinds: &site.unwinds })
            })
        })
    }
}
