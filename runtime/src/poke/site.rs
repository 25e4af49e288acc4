//! Sites in code memory: where their two instructions lie, and how they are
//! changed while others execute them.
//!
//! An instruction of a site is five bytes of a function's code. Other threads
//! may execute them while they change, so they change by one aligned store of
//! eight bytes, followed by a synchronisation of all cores. That takes five
//! bytes within eight aligned ones, which not all code has: the baselines'
//! must be what the kernel's JIT makes, without padding. And the `data` back
//! end patches no code at all. So there are three forms:
//!
//! | form | the five bytes | what changes |
//! | --- | --- | --- |
//! | inline | a nop or a jump | the five bytes |
//! | veneer | a jump to eight aligned bytes | the jump that these hold |
//! | cell | a jump to `jmp [cell]` | the address in the cell |
//!
//! In the last two a nop is a jump back behind the five bytes. Bytes change
//! through the writable view; the executable one is never writable.

use std::sync::atomic::Ordering;

use tailor_emit::{Poke, Poking};

use super::protocol::{Insn, Role};
use crate::memory::CodeSpace;

/// Bytes of an instruction that is poked.
pub(crate) const POKE_BYTES: usize = 5;
/// Bytes of a veneer, whether it jumps by itself or through a cell.
pub(crate) const VENEER_BYTES: usize = 8;
/// Bytes of a cell.
pub(crate) const CELL_BYTES: usize = 8;

/// Whether an instruction at an offset lies within eight aligned bytes.
pub(crate) fn is_aligned(offset: usize) -> bool {
    offset % 8 + POKE_BYTES <= 8
}

/// Where an instruction of a site lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Inline,
    /// The offset of the veneer.
    Veneer(usize),
    /// The offset of the cell.
    Cell(usize),
}

/// An instruction of a site.
#[derive(Clone, Copy, Debug)]
struct Spot {
    /// Offset of the five bytes.
    at: usize,
    place: Place,
}

/// A site. Everything is an offset in the code range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    bypass: Spot,
    target: Spot,
    /// Where it falls through to.
    out: usize,
}

/// What sites need besides the code of functions.
pub(crate) struct Room {
    /// The next veneer.
    pub(crate) veneers: usize,
    /// The next cell.
    pub(crate) cells: usize,
}

/// `jmp rel32` from one offset to another.
fn jump(from: usize, to: usize) -> [u8; POKE_BYTES] {
    let distance = to as i64 - (from + POKE_BYTES) as i64;
    let [a, b, c, d] = (distance as i32).to_le_bytes();
    [0xe9, a, b, c, d]
}

/// A nop of five bytes.
const NOP5: [u8; POKE_BYTES] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// Instructions of these pokes that need a veneer, in a function at an offset.
pub(crate) fn veneers(pokes: &[Poke], at: usize, poking: Poking) -> usize {
    let spots = pokes.iter().flat_map(|poke| [poke.bypass, poke.target]);
    spots.filter(|&spot| poking == Poking::Data || !is_aligned(at + spot as usize)).count()
}

impl Site {
    /// Prepares a site of a function at an offset: empty, and known to nobody.
    pub(crate) fn new(
        code: &CodeSpace,
        function: usize,
        poke: Poke,
        poking: Poking,
        room: &mut Room,
    ) -> Site {
        let mut spot = |offset: u32| {
            let at = function + offset as usize;
            if poking == Poking::Patch && is_aligned(at) {
                return Spot { at, place: Place::Inline };
            }
            let veneer = room.veneers;
            room.veneers += VENEER_BYTES;
            code.write(at, &jump(at, veneer));
            if poking == Poking::Patch {
                return Spot { at, place: Place::Veneer(veneer) };
            }
            let cell = room.cells;
            room.cells += CELL_BYTES;
            let distance = (cell as i64 - (veneer + 6) as i64) as i32;
            code.write(veneer, &[0xff, 0x25]);
            code.write(veneer + 2, &distance.to_le_bytes());
            Spot { at, place: Place::Cell(cell) }
        };
        let (bypass, target) = (spot(poke.bypass), spot(poke.target));
        let site = Site { bypass, target, out: function + poke.out as usize };
        site.put(code, Role::Bypass, Insn::Out);
        site.put(code, Role::Target, Insn::Nop);
        site
    }

    fn spot(&self, role: Role) -> Spot {
        match role {
            Role::Bypass => self.bypass,
            Role::Target => self.target,
        }
    }

    /// Whether the instruction is code that changes, so that cores must be
    /// synchronised afterwards.
    pub(crate) fn is_code(&self, role: Role) -> bool {
        !matches!(self.spot(role).place, Place::Cell(_))
    }

    /// The word that changes, and what it is for an instruction. Other bytes
    /// of it never change.
    fn word(&self, code: &CodeSpace, role: Role, insn: Insn<usize>) -> (usize, u64) {
        let Spot { at, place } = self.spot(role);
        let to = match insn {
            Insn::Nop => at + POKE_BYTES,
            Insn::Out => self.out,
            Insn::To(landing) => landing,
        };
        let (at, bytes) = match place {
            Place::Cell(cell) => return (cell, code.address(to)),
            Place::Inline if insn == Insn::Nop => (at, NOP5),
            Place::Inline => (at, jump(at, to)),
            Place::Veneer(veneer) => (veneer, jump(veneer, to)),
        };
        let word = at & !7;
        let mut all = code.word(word).load(Ordering::Relaxed).to_le_bytes();
        all[at - word..at - word + POKE_BYTES].copy_from_slice(&bytes);
        (word, u64::from_le_bytes(all))
    }

    /// Puts an instruction there, whatever it was.
    pub(crate) fn put(&self, code: &CodeSpace, role: Role, insn: Insn<usize>) {
        let (word, value) = self.word(code, role, insn);
        code.word(word).store(value, Ordering::Release);
    }

    /// Changes an instruction from one to the other.
    pub(crate) fn poke(&self, code: &CodeSpace, role: Role, old: Insn<usize>, new: Insn<usize>) {
        debug_assert!(self.is(code, role, old), "{role:?} of {self:?} is not {old:?}");
        self.put(code, role, new);
    }

    /// Whether an instruction is there.
    pub(crate) fn is(&self, code: &CodeSpace, role: Role, insn: Insn<usize>) -> bool {
        let (word, value) = self.word(code, role, insn);
        code.word(word).load(Ordering::Acquire) == value
    }
}
