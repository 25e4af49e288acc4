//! The kernel's translated instructions as an object: what the verifier left,
//! so that naive-6.12 starts from what the kernel's JIT started from. And the
//! instructions that went in, for objects that only libbpf can link.
//!
//! What only the kernel has (its scratch register, addresses of its functions,
//! per-processor addresses) becomes something of the same effect on frames,
//! and is noted, since the code then differs.

use std::collections::{BTreeMap, BTreeSet};

use tailor::bpf::decode::decode;
use tailor::bpf::{
    Callee, Error, FuncRef, Function, Imm64, MapDef, MapKind, MapRef, Object, Op, Program,
    ProgramKind,
};
use tailor::runtime::kernel::{self, Image};

const LOAD_IMM: u8 = 0x18;
const CALL: u8 = 0x85;
const TAIL_CALL: i32 = 12;
/// `goto +0`
const NOTHING: [u8; 8] = [0x05, 0, 0, 0, 0, 0, 0, 0];
/// A helper that is in no table: it may do anything with its arguments.
const UNKNOWN_HELPER: i32 = 0x00ff_ffff;

/// A program's functions, in the kernel's order, and what was replaced in each.
pub struct Translated {
    pub object: Object,
    pub notes: Vec<BTreeSet<&'static str>>,
}

/// An instruction's fields, as far as they are looked at.
fn fields(slot: &[u8]) -> (u8, u8, u8, i16, i32) {
    let imm = i32::from_le_bytes([slot[4], slot[5], slot[6], slot[7]]);
    (slot[0], slot[1] & 15, slot[1] >> 4, i16::from_le_bytes([slot[2], slot[3]]), imm)
}

/// Where instructions come from.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    /// The verifier: calls name functions by number.
    Translated,
    /// libbpf: calls are distances.
    Linked,
}

/// Builds the object of what the verifier left.
pub fn object(name: &str, image: &Image) -> Result<Translated, Error> {
    let slots: Vec<[u8; 8]> = image.translated.as_chunks().0.to_vec();
    let starts = starts(image, &slots)?;
    build(name, &slots, &starts, Source::Translated)
}

/// Builds the object of what libbpf handed to the kernel.
pub fn linked(name: &str, linked: &[u8]) -> Result<Object, Error> {
    let slots: Vec<[u8; 8]> = linked.as_chunks().0.to_vec();
    let mut starts = BTreeSet::from([0]);
    for (pc, slot) in slots.iter().enumerate() {
        let (opcode, _, src, _, imm) = fields(slot);
        if matches!((opcode, src), (CALL, 1) | (LOAD_IMM, 4)) {
            starts.insert((pc as i64 + 1 + i64::from(imm)) as u32);
        }
    }
    let starts: Vec<u32> = starts.into_iter().collect();
    build(name, &slots, &starts, Source::Linked).map(|built| built.object)
}

fn build(
    name: &str,
    slots: &[[u8; 8]],
    starts: &[u32],
    source: Source,
) -> Result<Translated, Error> {
    let mut object = Object { name: name.into(), ..Object::default() };
    let mut notes = Vec::new();
    let mut maps = BTreeMap::new();
    for (index, &start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(slots.len(), |&end| end as usize);
        let own = slots.get(start as usize..end).unwrap_or(&[]);
        let (bytes, noted) = plain(own, source);
        notes.push(noted);
        let function = if index == 0 { name.to_string() } else { format!("sub{index}") };
        let mut ops = decode(&function, &bytes)?;
        for (pc, op) in ops.iter_mut().enumerate() {
            link(op, &mut maps, &mut object);
            link_function(op, start as usize + pc, starts, source);
        }
        let section = String::new();
        object.functions.push(Function {
            name: function,
            section,
            ops,
            refused: None,
            further: Vec::new(),
            lines: Default::default(),
        });
    }
    object.programs.push(Program {
        name: name.into(),
        function: FuncRef::from_u32(0),
        section: String::new(),
        kind: ProgramKind::Opaque,
    });
    Ok(Translated { object, notes })
}

/// Where functions start: the kernel says so, or calls do.
fn starts(image: &Image, slots: &[[u8; 8]]) -> Result<Vec<u32>, Error> {
    let count = image.functions.len();
    if image.starts.len() == count {
        return Ok(image.starts.clone());
    }
    let mut found = BTreeSet::from([0]);
    for (pc, slot) in slots.iter().enumerate() {
        let (opcode, _, src, off, imm) = fields(slot);
        match (opcode, src) {
            (CALL, 1) => found.insert((pc as i64 + 1 + i64::from(off)) as u32),
            (LOAD_IMM, 4) => found.insert((pc as i64 + 1 + i64::from(imm)) as u32),
            _ => continue,
        };
    }
    match found.len() == count {
        true => Ok(found.into_iter().collect()),
        false => Err(Error::new(format!("{} functions, {count} images", found.len()))),
    }
}

/// The bytes of a function without what has no meaning outside the kernel.
fn plain(slots: &[[u8; 8]], source: Source) -> (Vec<u8>, BTreeSet<&'static str>) {
    const SCRATCH: u8 = 11;
    let mut notes = BTreeSet::new();
    let mut bytes = Vec::with_capacity(8 * slots.len());
    let (mut second, mut exchange) = (false, false);
    let rewritten = source == Source::Translated;
    let guards = if rewritten { guards(slots) } else { BTreeSet::new() };
    for (pc, slot) in slots.iter().enumerate() {
        let (opcode, dst, src, off, imm) = fields(slot);
        let mut out = *slot;
        if std::mem::take(&mut second) {
            bytes.extend(out);
            continue;
        }
        if guards.contains(&pc) {
            bytes.extend(NOTHING);
            continue;
        }
        second = opcode == LOAD_IMM;
        // cmpxchg of 32 bits
        let after_exchange = std::mem::replace(&mut exchange, opcode == 0xc3 && imm == 0xf1);
        if dst == SCRATCH || (src == SCRATCH && opcode != LOAD_IMM) {
            notes.insert("the verifier's scratch register");
            let low = |reg| if reg == SCRATCH { 0 } else { reg };
            out[1] = low(src) << 4 | low(dst);
        }
        match opcode {
            CALL if src == 1 => out[2..4].fill(0),
            CALL if src == 0 && (imm == TAIL_CALL || !rewritten) => {}
            CALL => {
                out[1..4].fill(0);
                out[4..8].copy_from_slice(&UNKNOWN_HELPER.to_le_bytes());
            }
            0xbf if off == -1 || off == 1 => {
                notes.insert("an address of this processor");
                out[2..4].fill(0);
            }
            // Our own code for the exchange has this.
            0xbc if rewritten && after_exchange && src == dst => out = NOTHING,
            // A barrier against speculation.
            0xc2 => {
                notes.insert("a barrier");
                out = NOTHING;
            }
            _ => {}
        }
        bytes.extend(out);
    }
    (bytes, notes)
}

/// Names functions. The immediate of a translated call is the function's
/// number, or still the distance where an inlined helper made the call. A
/// callback that no path calls is removed, the call of it is not.
fn link_function(op: &mut Op, pc: usize, starts: &[u32], source: Source) {
    let at = |distance: i32| {
        let target = pc as i64 + 1 + i64::from(distance);
        starts.iter().position(|&start| i64::from(start) == target)
    };
    let numbered = |number: i32| {
        let index = usize::try_from(number).ok().filter(|&index| index < starts.len());
        index.filter(|_| source == Source::Translated)
    };
    let function = |index: usize| FuncRef::from_u32(index as u32);
    match op {
        Op::Call(callee @ Callee::Relative(_)) => {
            let Callee::Relative(number) = *callee else {
                return;
            };
            *callee = match numbered(number).or_else(|| at(number)) {
                Some(index) => Callee::Function(function(index)),
                None => Callee::Helper(UNKNOWN_HELPER as u32),
            };
        }
        Op::LoadImm { value, .. } => {
            if let Imm64::Pseudo(4, low, high) = *value {
                *value = match at(low).or_else(|| numbered(high)) {
                    Some(index) => Imm64::Function(function(index)),
                    None => Imm64::Const(0),
                };
            }
        }
        _ => {}
    }
}

/// The slots of the verifier's guards of unsigned divisions by a register,
/// which our own code for the division has too.
fn guards(slots: &[[u8; 8]]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let at = |pc: usize| slots.get(pc).map_or((0, 0, 0, 0, 0), |slot| fields(slot));
    for (pc, slot) in slots.iter().enumerate() {
        let (opcode, _, divisor, off, _) = fields(slot);
        let tests = |pc: usize, opcodes: [u8; 2]| {
            let (opcode, dst, _, _, imm) = at(pc);
            opcodes.contains(&opcode) && dst == divisor && imm == 0
        };
        match opcode {
            0x3f | 0x3c if off == 0 && pc >= 3 && tests(pc - 3, [0x55, 0x56]) => {
                found.extend(pc - 3..pc);
            }
            0x9f | 0x9c if off == 0 && pc >= 1 && tests(pc - 1, [0x15, 0x16]) => {
                found.insert(pc - 1);
                if opcode == 0x9c {
                    found.extend([pc + 1, pc + 2]);
                }
            }
            _ => {}
        }
    }
    found
}

/// Names maps where the kernel numbers them.
fn link(op: &mut Op, maps: &mut BTreeMap<u32, MapRef>, object: &mut Object) {
    let Op::LoadImm { value, .. } = op else {
        return;
    };
    let Imm64::Pseudo(kind, low, high) = *value else {
        return;
    };
    let id = low as u32;
    *value = match kind {
        1 | 2 => {
            let map = *maps.entry(id).or_insert_with(|| object.maps.push(definition(id)));
            if kind == 1 { Imm64::Map(map) } else { Imm64::MapValue(map, high as u32) }
        }
        4 => return,
        _ => Imm64::Const(u64::from(id) | u64::from(high as u32) << 32),
    };
}

fn definition(id: u32) -> MapDef {
    let figures = kernel::map_figures_by_id(id).unwrap_or_default();
    let name = format!("map{id}");
    MapDef {
        key_size: figures.key_size,
        value_size: figures.value_size,
        max_entries: figures.max_entries,
        ..MapDef::new(&name, MapKind::from_number(figures.kind))
    }
}
