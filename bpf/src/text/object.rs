//! Printing and parsing whole objects.

use std::collections::HashMap;
use std::fmt::Write;

use super::lex::{Cursor, Result, Token};
use super::parse::body;
use super::print::print_ops;
use crate::object::{Function, MapDef, MapKind, Object, ProgId, Program, ProgramKind};
use crate::{Error, FuncRef, MapRef};

static KINDS: &[(ProgramKind, &str, &str)] = &[
    // Kind, its name, the section where none is written.
    (ProgramKind::Xdp, "xdp", "xdp"),
    (ProgramKind::SchedCls, "sched_cls", "tc"),
    (ProgramKind::SocketFilter, "socket_filter", "socket"),
    (ProgramKind::CgroupSkb, "cgroup_skb", "cgroup_skb"),
    (ProgramKind::FlowDissector, "flow_dissector", "flow_dissector"),
    (ProgramKind::SkSkb, "sk_skb", "sk_skb"),
    (ProgramKind::Lwt, "lwt", "lwt_xmit"),
    (ProgramKind::Raw, "raw", ""),
    (ProgramKind::Opaque, "opaque", ""),
];

/// The section of a function that is no program, where none is written.
const TEXT: &str = ".text";

/// Prints an object; [`parse_object`] gives it back.
pub fn print_object(object: &Object) -> String {
    let mut out = String::new();
    write_object(&mut out, object).unwrap_or_default(); // Strings take everything.
    out
}

fn write_object(out: &mut String, object: &Object) -> std::fmt::Result {
    if !object.name.is_empty() {
        writeln!(out, "object {}", quoted(&object.name))?;
    }
    for (id, map) in &object.maps {
        write!(out, "map {id} {} ", quoted(&map.name))?;
        write_map(out, object, map)?;
    }
    let mut programs = HashMap::new();
    for program in object.programs.values() {
        programs.entry(program.function).or_insert(program);
    }
    for (id, function) in &object.functions {
        if !out.is_empty() {
            out.push('\n');
        }
        let mut default = TEXT;
        let name = quoted(&function.name);
        match programs.get(&id) {
            Some(program) => {
                let row = KINDS.iter().find(|row| row.0 == program.kind);
                let (kind, section) = row.map_or(("", ""), |row| (row.1, row.2));
                write!(out, "program {id} {name} {kind}")?;
                default = section;
            }
            None => write!(out, "function {id} {name}")?,
        }
        if function.section != default {
            write!(out, " section {}", quoted(&function.section))?;
        }
        if let Some(error) = &function.refused {
            out.push_str(" refused ");
            if let Some(insn) = error.insn {
                write!(out, "{insn} ")?;
            }
            out.push_str(&quoted(&error.what));
        }
        write!(out, "\n{}", print_ops(&function.ops))?;
    }
    Ok(())
}

/// Kind, sizes and flags.
fn write_shape(out: &mut String, map: &MapDef) -> std::fmt::Result {
    match map.kind.name() {
        Some(name) => out.push_str(name),
        None => write!(out, "type {}", map.kind.number())?,
    }
    let (key, value, entries) = (map.key_size, map.value_size, map.max_entries);
    write!(out, " key {key} value {value} entries {entries}")?;
    if map.flags != 0 {
        write!(out, " flags {:#x}", map.flags)?;
    }
    Ok(())
}

fn write_map(out: &mut String, object: &Object, map: &MapDef) -> std::fmt::Result {
    write_shape(out, map)?;
    if let Some(inner) = &map.inner {
        out.push_str(" inner ");
        write_shape(out, inner)?;
    }
    if !map.inner_maps.is_empty() {
        let slots = map.inner_maps.iter().map(|(key, inner)| format!("{key} = {inner}"));
        write!(out, " {{ {} }}", slots.collect::<Vec<_>>().join(", "))?;
    }
    if !map.slots.is_empty() {
        out.push_str(" {");
        for (index, (slot, program)) in map.slots.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let name = object.programs.get(*program).map_or("", |p| &p.name);
            if object.program(name) == Some(*program) {
                write!(out, "{comma} {slot} = {}", quoted(name))?;
            } else {
                // A name that two programs share.
                write!(out, "{comma} {slot} = {program}")?;
            }
        }
        out.push_str(" }");
    }
    if map.kind == MapKind::InsnArray && !map.initial.is_empty() {
        let (entries, _) = map.initial.as_chunks::<8>();
        let slots = entries.iter().map(|entry| u64::from_le_bytes(*entry).to_string());
        write!(out, " {{ {} }}", slots.collect::<Vec<_>>().join(", "))?;
    } else if !map.initial.is_empty() {
        write_initial(out, &map.initial)?;
    }
    if let Some(why) = &map.refused {
        write!(out, " refused {}", quoted(why))?;
    }
    out.push('\n');
    Ok(())
}

/// Bytes up to the last that is not zero, 16 a line if there are more.
fn write_initial(out: &mut String, initial: &[u8]) -> std::fmt::Result {
    let used = initial.iter().rposition(|byte| *byte != 0);
    let bytes = &initial[..used.map_or(0, |last| last + 1)];
    let (start, end) = if bytes.len() > 16 { ("\n ", "\n}") } else { ("", " }") };
    out.push_str(" {");
    for line in bytes.chunks(16) {
        out.push_str(start);
        for byte in line {
            write!(out, " {byte:02x}")?;
        }
    }
    out.push_str(end);
    Ok(())
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}

/// A map's slot whose program may be defined further on.
struct Slot<'a> {
    map: MapRef,
    slot: u32,
    program: Token<'a>,
    error: Error,
}

/// Parses the text form of an object.
pub fn parse_object(text: &str) -> std::result::Result<Object, Error> {
    let mut c = Cursor::new(text)?;
    let mut object = Object::default();
    let mut slots = Vec::new();
    loop {
        c.skip_newlines();
        let Some(keyword) = c.word() else {
            break;
        };
        match keyword {
            "object" | "map" | "program" | "function" => c.advance(),
            _ => break,
        }
        match keyword {
            "object" => object.name = c.string()?,
            "map" => map(&mut c, &mut object, &mut slots)?,
            _ => function(&mut c, &mut object, keyword == "program")?,
        }
    }
    if *c.peek() != Token::End {
        return c.expected("`map`, `program` or `function`");
    }
    for slot in slots {
        let program = match slot.program {
            Token::Str(name) => object.program(&name),
            Token::Word(word) => super::lex::entity(word, "prog")
                .map(ProgId::from_u32)
                .filter(|program| object.programs.is_valid(*program)),
            _ => None,
        };
        let program = program.ok_or(slot.error)?;
        object.maps[slot.map].slots.push((slot.slot, program));
    }
    let inner_maps = object.maps.values().flat_map(|map| &map.inner_maps);
    if let Some((_, missing)) = inner_maps.copied().find(|(_, map)| !object.maps.is_valid(*map)) {
        return Err(Error::new(format!("there is no {missing}")));
    }
    Ok(object)
}

/// The number of a new entity, which has to be the next one.
fn next_entity(c: &mut Cursor<'_>, prefix: &str, next: usize) -> Result<()> {
    let error = c.error(format!("the next one is `{prefix}{next}`"));
    if c.entity(prefix)? as usize != next {
        return Err(error);
    }
    Ok(())
}

fn map<'a>(c: &mut Cursor<'a>, object: &mut Object, slots: &mut Vec<Slot<'a>>) -> Result<()> {
    next_entity(c, "map", object.maps.len())?;
    let name = c.string()?;
    let mut map = shape(c, &name)?;
    let id = object.maps.next_key();
    if c.eat_word("inner") {
        let inner = shape(c, &format!("{name}.inner"))?;
        map.inner = Some(Box::new(inner));
    }
    if c.eat("{") {
        c.skip_newlines();
        match map.kind {
            MapKind::ProgArray => program_slots(c, id, slots)?,
            kind if kind.holds_maps() => map.inner_maps = inner_maps(c)?,
            MapKind::InsnArray => map.initial = jump_table(c)?,
            _ => map.initial = initial_value(c, map.value_size)?,
        }
    }
    if c.eat_word("refused") {
        map.refused = Some(c.string()?);
    }
    object.maps.push(map);
    c.end_of_line()
}

/// Kind, sizes and flags.
fn shape(c: &mut Cursor<'_>, name: &str) -> Result<MapDef> {
    let mut map = MapDef::new(name, map_kind(c)?);
    c.expect_word("key")?;
    map.key_size = c.u32()?;
    c.expect_word("value")?;
    map.value_size = c.u32()?;
    c.expect_word("entries")?;
    map.max_entries = c.u32()?;
    if c.eat_word("flags") {
        map.flags = c.u32()?;
    }
    Ok(map)
}

fn map_kind(c: &mut Cursor<'_>) -> Result<MapKind> {
    if c.eat_word("type") {
        return Ok(MapKind::from_number(c.u32()?));
    }
    let Some(kind) = c.word().and_then(MapKind::from_name) else {
        return c.expected("a kind of map");
    };
    c.advance();
    Ok(kind)
}

/// `0 = map1, 1 = map2 }`; the maps may be defined further on.
fn inner_maps(c: &mut Cursor<'_>) -> Result<Vec<(u32, MapRef)>> {
    let mut maps = Vec::new();
    while !c.eat("}") {
        let key = c.u32()?;
        c.expect("=")?;
        maps.push((key, MapRef::from_u32(c.entity("map")?)));
        c.eat(",");
        c.skip_newlines();
    }
    Ok(maps)
}

/// The most that bytes left out are filled up to: a small text must not ask for
/// gigabytes.
const MAX_INITIAL: usize = 1 << 26;

/// `0 = "main", 1 = "other" }`.
fn program_slots<'a>(c: &mut Cursor<'a>, map: MapRef, slots: &mut Vec<Slot<'a>>) -> Result<()> {
    while !c.eat("}") {
        let slot = c.u32()?;
        c.expect("=")?;
        let error = c.error("there is no such program");
        let program = c.peek().clone();
        c.advance();
        slots.push(Slot { map, slot, program, error });
        c.eat(",");
        c.skip_newlines();
    }
    Ok(())
}

/// `3, 7 }`: slots of the function that names the map.
fn jump_table(c: &mut Cursor<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !c.eat("}") {
        // What is no slot is an entry all the same, for validation to find.
        bytes.extend(c.number()?.to_le_bytes());
        c.eat(",");
        c.skip_newlines();
    }
    Ok(bytes)
}

/// `01 02 … }`, filled up with zeros.
fn initial_value(c: &mut Cursor<'_>, size: u32) -> Result<Vec<u8>> {
    let size = size as usize;
    if size > MAX_INITIAL {
        return Err(c.error("too large a value to be given"));
    }
    let mut bytes = Vec::new();
    while !c.eat("}") {
        let word = c.word().filter(|word| word.len() == 2 && bytes.len() < size);
        match word.and_then(|word| u8::from_str_radix(word, 16).ok()) {
            Some(byte) => bytes.push(byte),
            None => return c.expected("a byte in two digits, at most as many as the value has"),
        }
        c.advance();
        c.skip_newlines();
    }
    bytes.resize(size, 0);
    Ok(bytes)
}

fn function(c: &mut Cursor<'_>, object: &mut Object, is_program: bool) -> Result<()> {
    next_entity(c, "f", object.functions.len())?;
    let name = c.string()?;
    let mut kind = None;
    let mut section = TEXT;
    if is_program {
        let word = c.word();
        let Some(row) = KINDS.iter().find(|row| Some(row.1) == word) else {
            return c.expected("a kind of program");
        };
        c.advance();
        (kind, section) = (Some(row.0), row.2);
    }
    let mut section = section.to_string();
    if c.eat_word("section") {
        section = c.string()?;
    }
    let refused = if c.eat_word("refused") {
        let insn = match c.peek() {
            Token::Word(_) => Some(c.u32()?),
            _ => None,
        };
        Some(Error { function: Some(name.clone()), insn, ..Error::new(c.string()?) })
    } else {
        None
    };
    c.end_of_line()?;
    c.function = Some(name.clone());
    let ops = body(c)?;
    c.function = None;
    let function: FuncRef = object.functions.push(Function {
        name: name.clone(),
        section: section.clone(),
        ops,
        refused,
        further: Vec::new(),
        lines: Default::default(),
    });
    if let Some(kind) = kind {
        object.programs.push(Program { name, function, section, kind });
    }
    Ok(())
}
