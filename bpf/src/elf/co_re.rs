//! CO-RE relocations: instructions that depend on the types of a kernel.

use super::btf::{Btf, part, split_header, word};
use crate::Error;

/// An instruction that a CO-RE relocation targets.
pub(super) struct CoreRelocation<'a> {
    /// Name of the code's section.
    pub section: &'a str,
    /// Byte offset in it.
    pub offset: u32,
    /// What it asks for.
    pub what: String,
}

/// What a relocation asks for, by its number.
static KINDS: &[&str] = &[
    "the offset of",
    "the size of",
    "the existence of",
    "the signedness of",
    "the left shift of",
    "the right shift of",
    LOCAL,
    "the kernel's number of",
    "the existence of",
    "the size of",
    "the existence of",
    "the value of",
    "the layout of",
];

/// The compiler has filled in the object's own type number already.
const LOCAL: &str = "";

const SECTION: &str = ".BTF.ext";

fn bad() -> Error {
    Error::in_object(SECTION, "malformed CO-RE relocations")
}

/// The CO-RE relocations of a .BTF.ext section. Without any, the types that
/// they would refer to need not be readable.
pub(super) fn parse<'a>(
    bytes: &[u8],
    btf: Option<&'a Result<Btf<'a>, Error>>,
) -> Result<Vec<CoreRelocation<'a>>, Error> {
    let (rest, header) = split_header(SECTION, bytes)?;
    let mut found = Vec::new();
    if header.len() < 32 {
        return Ok(found); // From before CO-RE.
    }
    let relocations = part(SECTION, rest, header, 24)?;
    if relocations.is_empty() {
        return Ok(found);
    }
    let Some(btf) = btf else {
        return Err(Error::in_object(SECTION, "CO-RE relocations, but no .BTF with their types"));
    };
    let btf = btf.as_ref().map_err(Clone::clone)?;
    let size = word(relocations, 0).ok_or_else(bad)? as usize;
    if size < 16 {
        return Err(bad());
    }
    let mut left = &relocations[4..];
    while !left.is_empty() {
        let section = btf.string(word(left, 0).ok_or_else(bad)?);
        let count = word(left, 4).ok_or_else(bad)? as usize;
        let length = count.checked_mul(size).ok_or_else(bad)?;
        let records = left[8..].get(..length).ok_or_else(bad)?;
        for record in records.chunks_exact(size) {
            let field = |at| word(record, at).unwrap_or(0);
            let kind = KINDS.get(field(12) as usize).unwrap_or(&"something of");
            if *kind == LOCAL {
                continue;
            }
            let (name, access) = (btf.name(field(4)), btf.string(field(8)));
            found.push(CoreRelocation {
                section,
                offset: field(0),
                what: format!("needs {kind} {name:.128} {access:.128} in a kernel (CO-RE)"),
            });
        }
        left = &left[8 + length..];
    }
    Ok(found)
}
