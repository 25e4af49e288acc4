//! The helpers that run here, as C functions that compiled code calls.
//!
//! A helper trusts its pointer arguments, as the kernel's do: a verifier
//! accepted the program. The interpreter's host checks them beforehand. A
//! program's kind says what its context is, so a helper that takes the context
//! can only be called by the kinds in its row.
//!
//! Each module ends with the rows of its helpers: number, who may call it, and
//! the function. Numbers and arguments are those of `tailor_bpf::helpers`;
//! results, errors and what is left in memory after an error are the kernel's.
//! Where there is no kernel to ask (sockets, routes, other kernel memory) a
//! helper finds nothing.

pub(crate) mod by_number;
pub(crate) mod callbacks;
mod checksum;
mod environment;
mod flow;
mod maps;
mod objects;
mod output;
mod redirect;
mod reshape;
mod room;
mod skb;
mod text;
mod tunnel;
mod xdp;

use std::collections::BTreeMap;

use tailor_bpf::ProgramKind;

use crate::Error;

/// A helper: up to five 64-bit arguments, one result.
pub type Helper = unsafe extern "C" fn(u64, u64, u64, u64, u64) -> u64;

/// What a helper is given.
type Args = [u64; 5];
/// What it returns: a value, or an error number that programs get negated.
type Outcome = Result<u64, i64>;

/// A set of kinds of programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kinds(u16);

impl Kinds {
    /// All programs.
    pub const ANY: Kinds = Kinds(u16::MAX);
    /// XDP.
    pub const XDP: Kinds = Kinds::of(&[ProgramKind::Xdp]);
    /// Traffic control.
    pub const TC: Kinds = Kinds::of(&[ProgramKind::SchedCls, ProgramKind::Lwt]);
    /// Control groups.
    pub const CGROUP: Kinds = Kinds::of(&[ProgramKind::CgroupSkb]);
    /// Those on socket buffers that may change the packet.
    pub const WRITERS: Kinds =
        Kinds::of(&[ProgramKind::SchedCls, ProgramKind::SkSkb, ProgramKind::Lwt]);
    /// All on socket buffers.
    pub const SKB: Kinds = Kinds::of(&[
        ProgramKind::SchedCls,
        ProgramKind::SocketFilter,
        ProgramKind::CgroupSkb,
        ProgramKind::FlowDissector,
        ProgramKind::SkSkb,
        ProgramKind::Lwt,
    ]);
    /// All on packets.
    pub const PACKET: Kinds = Kinds(Kinds::XDP.0 | Kinds::SKB.0);

    const fn of(kinds: &[ProgramKind]) -> Kinds {
        let mut set = 0;
        let mut index = 0;
        while index < kinds.len() {
            set |= 1 << kinds[index] as u16;
            index += 1;
        }
        Kinds(set)
    }

    /// Whether a kind is one of them.
    pub fn contain(self, kind: ProgramKind) -> bool {
        self.0 & 1 << kind as u16 != 0
    }
}

/// A helper's row.
#[derive(Clone, Copy, Debug)]
struct Row {
    id: u32,
    kinds: Kinds,
    function: Helper,
    /// Added by an embedder.
    own: bool,
}

/// Rows of functions that take [`Args`] and return an [`Outcome`].
macro_rules! rows {
    ($($id:literal $kinds:ident $function:path;)*) => {
        &[$(crate::helpers::Row {
            id: $id,
            kinds: crate::helpers::Kinds::$kinds,
            function: {
                unsafe extern "C" fn call(a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
                    // SAFETY: what the function asks for is what the caller, a
                    // verified program or the checking interpreter, vouches for.
                    match unsafe { $function([a, b, c, d, e]) } {
                        Ok(value) => value,
                        Err(number) => -number as u64,
                    }
                }
                call
            },
            own: false,
        },)*]
    };
}
use rows;

/// All tables.
static TABLES: &[&[Row]] = &[
    callbacks::ROWS,
    checksum::ROWS,
    environment::ROWS,
    maps::ROWS,
    objects::ROWS,
    output::ROWS,
    redirect::ROWS,
    reshape::ROWS,
    room::ROWS,
    skb::ROWS,
    text::ROWS,
    tunnel::ROWS,
    xdp::ROWS,
];

/// The helpers that programs of a runtime can call, by number. The tail call
/// is not among them: it is an instruction of the compiler's.
#[derive(Clone, Debug)]
pub struct Table(BTreeMap<u32, Row>);

impl Default for Table {
    /// Those of this module.
    fn default() -> Table {
        Table(TABLES.iter().copied().flatten().map(|row| (row.id, *row)).collect())
    }
}

impl Table {
    /// No helper at all.
    pub fn empty() -> Table {
        Table(BTreeMap::new())
    }

    /// Adds or replaces a helper that all programs can call.
    pub fn with(self, number: u32, helper: Helper) -> Table {
        self.with_kinds(number, helper, Kinds::ANY)
    }

    /// Adds or replaces a helper that programs of these kinds can call.
    pub fn with_kinds(mut self, id: u32, function: Helper, kinds: Kinds) -> Table {
        self.0.insert(id, Row { id, kinds, function, own: true });
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, ascending by number.
    pub fn iter(&self) -> impl Iterator<Item = Helper> {
        self.0.values().map(|row| row.function)
    }

    /// The numbers of those that were added: the embedder's own, of which no
    /// table says what they take and do.
    pub fn own(&self) -> impl Iterator<Item = u32> {
        self.0.values().filter(|row| row.own).map(|row| row.id)
    }

    /// The position of a number in that order.
    pub fn position(&self, number: u32) -> Option<usize> {
        self.0.keys().position(|&other| other == number)
    }

    /// The helper with this number in the eBPF ABI.
    pub fn get(&self, number: u32) -> Option<Helper> {
        self.0.get(&number).map(|row| row.function)
    }

    /// The helper with this number, for a program of this kind.
    pub fn get_for(&self, number: u32, kind: ProgramKind) -> Result<Helper, Error> {
        let row = self.0.get(&number).ok_or(Error::Helper(number))?;
        if row.kinds.contain(kind) { Ok(row.function) } else { Err(Error::HelperKind(number)) }
    }
}

/// The bytes that a program points to.
///
/// # Safety
/// The program was verified: `len` bytes are readable at `address`. Nobody may
/// write them while the slice is in use.
unsafe fn bytes<'a>(address: u64, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts(address as *const u8, len) }
}

/// The bytes that a program wants filled.
///
/// # Safety
/// The program was verified: `len` bytes are writable at `address`. Nobody may
/// read or write them otherwise while the slice is in use.
unsafe fn bytes_mut<'a>(address: u64, len: usize) -> &'a mut [u8] {
    if len == 0 {
        return &mut [];
    }
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(address as *mut u8, len) }
}

/// Copies bytes; the two places may overlap.
///
/// # Safety
/// The program was verified: `len` bytes are readable at `from` and writable at
/// `to`. Nobody may hold a reference to them.
unsafe fn copy_bytes(from: u64, to: u64, len: usize) {
    if len > 0 {
        // SAFETY: as above.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, len) }
    }
}

/// A size argument: 32 bits wide in C.
fn size(arg: u64) -> usize {
    arg as u32 as usize
}

#[cfg(test)]
mod tests;
