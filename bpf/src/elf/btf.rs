//! BTF: as much of the type information as map definitions need.

use super::file::MAX_NAME;
use crate::Error;

/// Kinds of types.
mod kind {
    pub const INT: u8 = 1;
    pub const PTR: u8 = 2;
    pub const ARRAY: u8 = 3;
    pub const STRUCT: u8 = 4;
    pub const UNION: u8 = 5;
    pub const ENUM: u8 = 6;
    pub const FWD: u8 = 7;
    pub const TYPEDEF: u8 = 8;
    pub const VOLATILE: u8 = 9;
    pub const CONST: u8 = 10;
    pub const RESTRICT: u8 = 11;
    pub const FUNC: u8 = 12;
    pub const FUNC_PROTO: u8 = 13;
    pub const VAR: u8 = 14;
    pub const DATASEC: u8 = 15;
    pub const FLOAT: u8 = 16;
    pub const DECL_TAG: u8 = 17;
    pub const TYPE_TAG: u8 = 18;
    pub const ENUM64: u8 = 19;
}

/// How deep types may nest before they are taken for a cycle.
const MAX_DEPTH: usize = 32;

/// A parsed .BTF section.
pub(super) struct Btf<'a> {
    /// Types from number 1 on.
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

/// A type.
#[derive(Clone, Copy)]
struct Type<'a> {
    name: u32,
    kind: u8,
    /// The common last word: a size or the type it refers to.
    word: u32,
    /// What follows, by kind.
    rest: &'a [u8],
}

/// A member of a structure.
pub(super) struct Member<'a> {
    pub name: &'a str,
    pub ty: u32,
    /// Bytes from the start of the structure.
    pub offset: u32,
}

const SECTION: &str = ".BTF";

fn bad(section: &str, what: &str) -> Error {
    Error::in_object(section, format!("malformed type information: {what}"))
}

/// A little-endian word at a byte offset.
pub(super) fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

/// The contents and the header of .BTF and .BTF.ext alike: the bytes after the
/// header, and the header.
pub(super) fn split_header<'a>(
    section: &str,
    bytes: &'a [u8],
) -> Result<(&'a [u8], &'a [u8]), Error> {
    if bytes.get(..3) != Some(&[0x9f, 0xeb, 1]) {
        return Err(bad(section, "not little-endian BTF of version 1"));
    }
    let length = word(bytes, 4).unwrap_or(0) as usize;
    if length < 8 || length > bytes.len() {
        return Err(bad(section, "length of the header"));
    }
    let (header, rest) = bytes.split_at(length);
    Ok((rest, header))
}

/// The part of the contents that two words of the header delimit.
pub(super) fn part<'a>(
    section: &str,
    rest: &'a [u8],
    header: &[u8],
    at: usize,
) -> Result<&'a [u8], Error> {
    let (Some(offset), Some(length)) = (word(header, at), word(header, at + 4)) else {
        return Err(bad(section, "a header that is cut off"));
    };
    let from = rest.get(offset as usize..);
    let part = from.and_then(|rest| rest.get(..length as usize));
    part.ok_or_else(|| bad(section, "a part outside the section"))
}

impl<'a> Btf<'a> {
    /// Parses a .BTF section.
    pub fn parse(bytes: &'a [u8]) -> Result<Btf<'a>, Error> {
        let (rest, header) = split_header(SECTION, bytes)?;
        let mut types_left = part(SECTION, rest, header, 8)?;
        let strings = part(SECTION, rest, header, 16)?;
        let mut types = Vec::new();
        while !types_left.is_empty() {
            let wrong = |what: &str| bad(SECTION, &format!("type {} {what}", types.len() + 1));
            let words = [0, 4, 8].map(|at| word(types_left, at));
            let [Some(name), Some(info), Some(last)] = words else {
                return Err(wrong("is cut off"));
            };
            let kind = (info >> 24 & 31) as u8;
            let count = (info & 0xffff) as usize;
            let length = match kind {
                kind::INT | kind::VAR | kind::DECL_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * count,
                kind::ENUM | kind::FUNC_PROTO => 8 * count,
                kind::PTR | kind::FWD | kind::FUNC | kind::FLOAT | kind::TYPE_TAG => 0,
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT => 0,
                _ => return Err(wrong(&format!("has the unknown kind {kind}"))),
            };
            let Some((rest, left)) = types_left[12..].split_at_checked(length) else {
                return Err(wrong("is cut off"));
            };
            types.push(Type { name, kind, word: last, rest });
            types_left = left;
        }
        Ok(Btf { types, strings })
    }

    /// The table of strings, each ending with a zero.
    pub fn strings(&self) -> &'a [u8] {
        self.strings
    }

    /// A string by its offset; empty if it is longer than any name.
    pub fn string(&self, offset: u32) -> &'a str {
        let bytes = self.strings.get(offset as usize..).unwrap_or(&[]);
        // Any number of types may have the same long string.
        let bytes = &bytes[..bytes.len().min(MAX_NAME + 1)];
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
        std::str::from_utf8(&bytes[..end]).unwrap_or("")
    }

    /// The name of a type.
    pub fn name(&self, id: u32) -> &'a str {
        self.get(id).map_or("", |ty| self.string(ty.name))
    }

    fn get(&self, id: u32) -> Option<Type<'a>> {
        self.types.get((id as usize).checked_sub(1)?).copied()
    }

    /// The type behind names and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type<'a>> {
        for _ in 0..MAX_DEPTH {
            let ty = self.get(id)?;
            match ty.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = ty.word
                }
                _ => return Some(ty),
            }
        }
        None
    }

    /// What a pointer points to.
    pub fn pointee(&self, id: u32) -> Option<u32> {
        let ty = self.resolve(id)?;
        (ty.kind == kind::PTR).then_some(ty.word)
    }

    /// The number of elements of an array.
    pub fn array_length(&self, id: u32) -> Option<u32> {
        let ty = self.resolve(id)?;
        (ty.kind == kind::ARRAY).then_some(word(ty.rest, 8)?)
    }

    /// The type of an array's elements.
    pub fn array_element(&self, id: u32) -> Option<u32> {
        let ty = self.resolve(id)?;
        (ty.kind == kind::ARRAY).then_some(word(ty.rest, 0)?)
    }

    /// Size of a type in bytes.
    pub fn size(&self, id: u32) -> Option<u32> {
        let mut id = id;
        let mut count = 1u32;
        for _ in 0..MAX_DEPTH {
            let ty = self.resolve(id)?;
            let size = match ty.kind {
                kind::ARRAY => {
                    count = count.checked_mul(word(ty.rest, 8)?)?;
                    id = word(ty.rest, 0)?;
                    continue;
                }
                kind::PTR => 8,
                kind::INT | kind::STRUCT | kind::UNION | kind::ENUM => ty.word,
                kind::FLOAT | kind::ENUM64 | kind::DATASEC => ty.word,
                _ => return None,
            };
            return count.checked_mul(size);
        }
        None
    }

    /// Members of a structure; none of anything else.
    pub fn members(&self, id: u32) -> impl Iterator<Item = Member<'a>> {
        let ty = self.resolve(id).filter(|ty| ty.kind == kind::STRUCT);
        let rest = ty.map_or(&[][..], |ty| ty.rest);
        let field = |member: &'a [u8], at| word(member, at).unwrap_or(0);
        rest.chunks_exact(12).map(move |member| Member {
            name: self.string(field(member, 0)),
            ty: field(member, 4),
            // The high byte can be the width of a bit field; a map has none.
            offset: field(member, 8) / 8,
        })
    }

    /// Names and types of a data section's variables.
    pub fn variables(&self, section: &str) -> impl Iterator<Item = (&'a str, u32)> {
        let sections = self.types.iter().filter(|ty| ty.kind == kind::DATASEC);
        let named = sections.filter(move |ty| self.string(ty.name) == section);
        let entries = named.flat_map(|ty| ty.rest.chunks_exact(12));
        entries.filter_map(|entry| {
            let variable = self.get(word(entry, 0)?)?;
            let is_variable = variable.kind == kind::VAR;
            is_variable.then(|| (self.string(variable.name), variable.word))
        })
    }
}
