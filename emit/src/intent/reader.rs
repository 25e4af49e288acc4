//! Reads decoded instructions one after the other.

use std::collections::HashSet;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};
use tailor_lower::x64::inst::Width;
use tailor_lower::{Gpr, MInst, MachFunction};

use super::IntentError;
use super::line::Line;
use crate::{CompiledFunction, MapRef, Reloc, RelocKind, Symbol, TailSite};

pub(super) struct Reader<'a> {
    compiled: &'a CompiledFunction,
    at: u32,
    /// What is being read, for errors.
    part: Part<'a>,
    /// Bytes that were read.
    read: Vec<bool>,
    /// Offsets of the relocations that were asked for.
    relocs: HashSet<u32>,
    /// Exits of the tail-call sites that were read.
    exits: HashSet<u32>,
    /// The flags are those of the block's last comparison.
    compared: bool,
    /// The flags are those of this register's value, computed just before.
    result: Option<(Gpr, Width)>,
}

enum Part<'a> {
    Named(&'static str),
    Inst(usize, &'a MInst),
}

impl<'a> Reader<'a> {
    pub(super) fn new(compiled: &'a CompiledFunction) -> Reader<'a> {
        Reader {
            compiled,
            at: 0,
            part: Part::Named(""),
            read: vec![false; compiled.code.len()],
            relocs: HashSet::new(),
            exits: HashSet::new(),
            compared: false,
            result: None,
        }
    }

    pub(super) fn part(&mut self, name: &'static str) {
        self.part = Part::Named(name);
    }

    pub(super) fn part_of(&mut self, inst: usize, function: &'a MachFunction) {
        self.part = Part::Inst(inst, &function.insts[inst]);
    }

    pub(super) fn at(&self) -> u32 {
        self.at
    }

    /// Goes on elsewhere, where nothing is known of the flags.
    pub(super) fn go_to(&mut self, at: u32) {
        (self.at, self.compared, self.result) = (at, false, None);
    }

    /// Fails unless the next instruction is at an offset.
    pub(super) fn is_at(&self, at: u32) -> Result<(), IntentError> {
        if self.at == at { Ok(()) } else { self.fail(&format!("this at {at:#x}")) }
    }

    pub(super) fn fail<T>(&self, wanted: &str) -> Result<T, IntentError> {
        let what = match self.part {
            Part::Named(name) => name.to_string(),
            Part::Inst(inst, minst) => format!("{inst}: {minst:?}"),
        };
        let found = self.next().map_or("the end".into(), |found| format!("{found}"));
        Err(IntentError { at: self.at, what, wanted: wanted.into(), found })
    }

    fn next(&self) -> Option<Instruction> {
        let bytes = self.compiled.code.get(self.at as usize..).filter(|rest| !rest.is_empty())?;
        let ip = u64::from(self.at);
        let decoded = Decoder::with_ip(64, bytes, ip, DecoderOptions::NONE).decode();
        (!decoded.is_invalid()).then_some(decoded)
    }

    fn reloc(&self, instruction: &Instruction) -> Option<Reloc> {
        let relocs = &self.compiled.relocs;
        let first = relocs.partition_point(|reloc| reloc.offset < self.at);
        let reloc = relocs.get(first).copied();
        reloc.filter(|reloc| u64::from(reloc.offset) < instruction.next_ip())
    }

    /// Whether this instruction comes next.
    pub(super) fn is_next(&self, line: &Line) -> bool {
        self.next().is_some_and(|next| line.is(&next, self.reloc(&next).is_some()))
    }

    /// This instruction comes next.
    pub(super) fn take(&mut self, line: Line) -> Result<(), IntentError> {
        self.take_one(&[line])
    }

    /// One of these comes next.
    pub(super) fn take_one(&mut self, lines: &[Line]) -> Result<(), IntentError> {
        let next = self.next();
        match next.filter(|_| lines.iter().any(|line| self.is_next(line))) {
            Some(next) => {
                self.pass(&next);
                Ok(())
            }
            None => {
                let wanted: Vec<String> = lines.iter().map(Line::to_string).collect();
                self.fail(&wanted.join(" or "))
            }
        }
    }

    /// This instruction comes next, with a field for the loader.
    pub(super) fn take_loaded(
        &mut self,
        line: Line,
        kind: RelocKind,
        target: Symbol,
    ) -> Result<(), IntentError> {
        let Some(next) = self.next().filter(|_| self.is_next(&line)) else {
            return self.fail(&line.to_string());
        };
        let offsets = {
            let bytes = &self.compiled.code[self.at as usize..];
            let mut decoder = Decoder::with_ip(64, bytes, next.ip(), DecoderOptions::NONE);
            let again = decoder.decode();
            decoder.get_constant_offsets(&again)
        };
        let field = match kind {
            RelocKind::Rel32 if offsets.has_displacement() => offsets.displacement_offset(),
            _ => offsets.immediate_offset(),
        };
        let wanted = Reloc { offset: self.at + field as u32, kind, target };
        let end = wanted.offset + kind.bytes() as u32;
        // The distance is from the field's end, which must be the instruction's.
        let ends = kind == RelocKind::Abs64 || u64::from(end) == next.next_ip();
        let zero = self.compiled.code[wanted.offset as usize..end as usize].iter().all(|&b| b == 0);
        if self.reloc(&next) != Some(wanted) || !ends || !zero {
            return self.fail(&format!("{wanted:?}"));
        }
        self.relocs.insert(wanted.offset);
        self.pass(&next);
        Ok(())
    }

    /// A branch comes next; where it goes.
    pub(super) fn take_branch(&mut self, name: &'static str) -> Result<u32, IntentError> {
        let target = self.next().map_or(0, |next| next.near_branch_target() as u32);
        self.take(Line::of(name, [super::Op::Code(target)]))?;
        Ok(target)
    }

    /// If a jump comes next, goes on where it goes.
    pub(super) fn follow_jump(&mut self) -> Result<(), IntentError> {
        if self.next().is_some_and(|next| next.mnemonic() == Mnemonic::Jmp) {
            let target = self.take_branch("jmp")?;
            self.go_to(target);
        }
        Ok(())
    }

    fn pass(&mut self, instruction: &Instruction) {
        let end = instruction.next_ip() as u32;
        self.read[self.at as usize..end as usize].fill(true);
        self.at = end;
        self.result = None;
        if instruction.rflags_modified() != 0 {
            self.compared = false;
        }
    }

    /// What was read last was a comparison.
    pub(super) fn compares(&mut self) {
        self.compared = true;
    }

    /// What was read last has left this register's value in the flags.
    pub(super) fn computes(&mut self, reg: Gpr, w: Width) {
        self.result = Some((reg, w));
    }

    /// Whether the flags tell if a register is zero, in that width.
    pub(super) fn tells_zero(&self, reg: Gpr, w: Width) -> bool {
        // 32-bit arithmetic clears the upper half.
        self.result.is_some_and(|(of, width)| of == reg && (width == w || width == Width::W32))
    }

    /// Fails unless the flags are those of the last comparison.
    pub(super) fn wants_flags(&self) -> Result<(), IntentError> {
        if self.compared { Ok(()) } else { self.fail("the flags of a comparison") }
    }

    /// Nothing comes next, in one instruction of so many bytes.
    pub(super) fn take_nop(&mut self, bytes: usize) -> Result<(), IntentError> {
        match self.next().filter(|next| is_nop(next) && next.len() == bytes) {
            Some(next) => {
                self.pass(&next);
                Ok(())
            }
            None => self.fail(&format!("a nop of {bytes} bytes")),
        }
    }

    /// What is rewritten comes next: five bytes within an aligned word of
    /// eight, after less padding than such a word has.
    pub(super) fn padding(&mut self) -> Result<(), IntentError> {
        let start = self.at;
        while self.at % 8 > 3 {
            match self.next().filter(is_nop) {
                Some(next) => self.pass(&next),
                None => return self.fail("padding before bytes that are rewritten"),
            }
        }
        if self.at - start < 8 { Ok(()) } else { self.fail("less padding") }
    }

    /// A jump of five bytes comes next; where it goes.
    pub(super) fn take_bypass(&mut self) -> Result<u32, IntentError> {
        match self.next() {
            Some(next) if next.len() == 5 => self.take_branch("jmp"),
            _ => self.fail("a jump of five bytes"),
        }
    }

    /// A tail-call site was read: its first instruction and its jump.
    pub(super) fn leaves(
        &mut self,
        first: u32,
        exit: u32,
        slot: Option<(MapRef, u32)>,
    ) -> Result<(), IntentError> {
        let same = |site: &&TailSite| (site.offset, site.exit, site.direct) == (first, exit, slot);
        if !self.compiled.tail_sites.iter().any(|site| same(&site)) {
            return self.fail(&format!("a recorded site from {first:#x} to {exit:#x}"));
        }
        self.exits.insert(exit);
        Ok(())
    }

    /// Everything was read.
    pub(super) fn finish(mut self) -> Result<(), IntentError> {
        self.part("the whole");
        if let Some(at) = self.read.iter().position(|read| !read) {
            self.at = at as u32;
            return self.fail("nothing");
        }
        if self.relocs.len() != self.compiled.relocs.len() {
            return self.fail("as many relocations as are asked for");
        }
        if self.exits.len() != self.compiled.tail_sites.len() {
            return self.fail("as many tail-call sites as there are");
        }
        Ok(())
    }
}

fn is_nop(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Nop
}
