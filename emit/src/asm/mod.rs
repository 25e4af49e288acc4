//! The assembler: a method per instruction, labels, symbols, relaxed branches.
//!
//! Encodings come from cranelift-assembler-x64's structs, one per instruction
//! form; the few it lacks are spelled out here. Where several encodings say
//! the same, the shortest is taken, in the form that compilers and the kernel
//! emit (`op r/m, r` between registers); a method ending in `32` always takes
//! the four-byte immediate.
//!
//! A branch to a label leaves no bytes at first. Its place is remembered, and
//! [`Assembler::finish`] chooses its size (see `relax`), so that until then
//! no offset is known. Whoever wants one binds a label and asks
//! [`Assembled::offset`] for it.

mod arith;
mod atomics;
mod control;
mod moves;
mod operand;
mod relax;
mod shifts;

#[cfg(test)]
mod tests;

use cranelift_entity::{PrimaryMap, entity_impl};

use crate::{Reloc, RelocKind, Symbol};
pub use operand::{Mem, Rm};
pub use tailor_lower::x64::inst::{AluOp, Cc, Extend, ShiftOp, Width};

/// A place in the code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(u32);
entity_impl!(Label, "L");

/// A place before sizes are known: bytes before it that are neither branches
/// nor padding, and how many branches and paddings are before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    raw: u32,
    branches: u32,
    pads: u32,
}

/// A branch whose size is not chosen yet.
#[derive(Clone, Copy, Debug)]
struct Branch {
    place: Place,
    /// `None` if unconditional.
    cc: Option<Cc>,
    target: Label,
}

/// A four-byte distance to a label, already part of the code.
#[derive(Clone, Copy, Debug)]
struct Fixup {
    field: Place,
    target: Label,
}

/// A four- or eight-byte field for the loader.
#[derive(Clone, Copy, Debug)]
struct PendingReloc {
    field: Place,
    kind: RelocKind,
    target: Symbol,
}

/// What cannot be assembled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsmError {
    /// A rel32 could not reach.
    #[error("the code is larger than {} bytes", MAX_CODE)]
    TooLarge,
    /// A branch goes to a label that nothing bound.
    #[error("label {0} is used and not bound")]
    Unbound(Label),
}

/// A function's code may not be larger: distances within the code range must
/// fit rel32 whatever lies between.
pub const MAX_CODE: u32 = 1 << 29;

/// Finished code.
#[derive(Clone, Debug, Default)]
pub struct Assembled {
    /// The bytes; relocated fields are zero.
    pub code: Vec<u8>,
    /// Ascending by offset.
    pub relocs: Vec<Reloc>,
    labels: PrimaryMap<Label, Option<u32>>,
}

impl Assembled {
    /// Offset of a label that was bound.
    ///
    /// # Panics
    /// If it was not.
    pub fn offset(&self, label: Label) -> u32 {
        self.labels[label].expect("the label is bound")
    }
}

/// Which of the possible sizes branches get.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Relaxation {
    /// The smallest code.
    #[default]
    Least,
    /// What the Linux JIT arrives at from the other end: every branch is long
    /// until it reaches with the length it has, a forward one within 123 bytes.
    Kernel,
}

/// Code under construction.
#[derive(Default, Debug)]
pub struct Assembler {
    /// Everything but branches to labels and padding.
    code: Vec<u8>,
    labels: PrimaryMap<Label, Option<Place>>,
    branches: Vec<Branch>,
    /// Where padding goes, see [`Assembler::poke_site`].
    pads: Vec<Place>,
    fixups: Vec<Fixup>,
    relocs: Vec<PendingReloc>,
    relaxation: Relaxation,
}

impl Assembler {
    /// An empty one.
    pub fn new() -> Assembler {
        Assembler::default()
    }

    /// Chooses how branches get their sizes.
    pub fn set_relaxation(&mut self, relaxation: Relaxation) {
        self.relaxation = relaxation;
    }

    /// A label to be bound later.
    pub fn label(&mut self) -> Label {
        self.labels.push(None)
    }

    /// Puts a label here.
    ///
    /// # Panics
    /// If it has a place already.
    pub fn bind(&mut self, label: Label) {
        let place = self.place();
        let old = self.labels[label].replace(place);
        assert!(old.is_none(), "{label} is bound twice");
    }

    /// A new label at this place.
    pub fn here(&mut self) -> Label {
        let place = self.place();
        self.labels.push(Some(place))
    }

    /// Chooses the sizes of branches and resolves labels.
    pub fn finish(self) -> Result<Assembled, AsmError> {
        relax::finish(self)
    }

    fn place(&self) -> Place {
        // Sizes beyond u32 are caught in `finish`, which looks at the bytes.
        let count = |len: usize| len as u32;
        Place {
            raw: count(self.code.len()),
            branches: count(self.branches.len()),
            pads: count(self.pads.len()),
        }
    }

    /// Plain bytes: what no method makes, such as a longer encoding than need be.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    /// Takes back a prefix without any bit, which the encoder puts before byte
    /// instructions if any operand, whatever its size, has a number of 4 to 7.
    /// Only a byte register of such a number needs it.
    fn drop_empty_rex(&mut self, start: usize) {
        if self.code[start] == 0x40 {
            self.code.remove(start);
        }
    }

    /// A zero field for `target`.
    fn put_reloc(&mut self, kind: RelocKind, target: Symbol) {
        let field = self.place();
        self.relocs.push(PendingReloc { field, kind, target });
        self.bytes(&[0; 8][..kind.bytes()]);
    }

    /// A zero field for the distance from its end to `target`.
    fn put_distance(&mut self, target: Label) {
        let field = self.place();
        self.fixups.push(Fixup { field, target });
        self.bytes(&[0; 4]);
    }
}
