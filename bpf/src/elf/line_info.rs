//! Source lines: the line information of a .BTF.ext section.
//!
//! It serves messages only, so nothing that is wrong with it is an error: what
//! can be read is taken, and instructions without a line have none.

use std::collections::HashMap;
use std::sync::Arc;

use super::btf::{Btf, part, split_header, word};
use crate::lines::{Lines, Stretch};
use crate::link::{Linked, Unit};

/// Bytes of a record: offset of the instruction, offsets of the file's name and
/// of the line's text, and line and column in one word. Later formats add to it.
const RECORD: usize = 16;
/// Low bits of the last word that are the column.
const COLUMN_BITS: u32 = 10;

/// Gives functions their lines.
pub(super) fn attach(linked: &mut Linked, units: &[Unit<'_>], bytes: &[u8], btf: &Btf<'_>) {
    let by_section = parse(bytes, btf, units.len()).unwrap_or_default();
    if by_section.is_empty() {
        return;
    }
    let strings: Arc<[u8]> = btf.strings().into();
    for (place, &id) in &linked.starts {
        let function = &mut linked.functions[id];
        let Some(all) = by_section.get(&*units[place.unit].section) else {
            continue;
        };
        let start = place.slot as u32;
        let end = start.saturating_add(function.ops.len() as u32);
        let from = all.partition_point(|stretch| stretch.slot < start);
        let own = all[from..].iter().take_while(|stretch| stretch.slot < end);
        let own = own.map(|stretch| Stretch { slot: stretch.slot - start, ..*stretch });
        function.lines = Lines::new(own.collect(), strings.clone());
    }
}

/// The stretches of each section, ascending, with slots in the section. There
/// are at most so many sections with code.
fn parse<'a>(
    bytes: &[u8],
    btf: &Btf<'a>,
    sections: usize,
) -> Option<HashMap<&'a str, Vec<Stretch>>> {
    let mut found: HashMap<&str, Vec<Stretch>> = HashMap::new();
    let (rest, header) = split_header(".BTF.ext", bytes).ok()?;
    let lines = part(".BTF.ext", rest, header, 16).ok()?;
    let size = word(lines, 0)? as usize;
    if size < RECORD {
        return None;
    }
    let mut left = &lines[4..];
    for _ in 0..sections {
        let (Some(section), Some(count)) = (word(left, 0), word(left, 4)) else {
            break;
        };
        let records = &left[8..];
        let length = size.saturating_mul(count as usize).min(records.len());
        let (records, rest) = records.split_at(length);
        let of_section = found.entry(btf.string(section)).or_default();
        of_section.extend(records.chunks_exact(size).map(|record| {
            let field = |at| word(record, at).unwrap_or(0);
            let line = field(12) >> COLUMN_BITS;
            Stretch { slot: field(0) / 8, file: field(4), text: field(8), line }
        }));
        left = rest;
    }
    for stretches in found.values_mut() {
        stretches.sort_by_key(|stretch| stretch.slot);
        // The last of an instruction counts. Many sections may share a name, and get
        // copies.
        stretches.dedup_by(|next, kept| {
            let same = next.slot == kept.slot;
            if same {
                *kept = *next;
            }
            same
        });
    }
    Some(found)
}
