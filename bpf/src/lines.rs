//! The source code that instructions were compiled from, for messages alone.

use std::borrow::Cow;
use std::sync::Arc;

/// The lines of a function's instructions; none where the object says nothing.
/// Names and text stay in the object's table of strings until they are asked for.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// Ascending by slot, one for each stretch of instructions.
    stretches: Vec<Stretch>,
    strings: Arc<[u8]>,
}

/// Instructions from this one on come from one line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    /// First slot.
    pub slot: u32,
    /// Offset of the file's name.
    pub file: u32,
    /// Offset of the line's text.
    pub text: u32,
    /// Number of the line, from 1; 0 for code that comes from none.
    pub line: u32,
}

/// A line of source code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line<'a> {
    /// Path of the file, as the compiler was given it.
    pub file: Cow<'a, str>,
    /// From 1.
    pub number: u32,
    /// The line itself, without indentation; empty if the object has it not.
    pub text: Cow<'a, str>,
}

/// Bytes of a string that are looked at: enough for every path and line.
const MOST: usize = 4096;

impl Lines {
    pub(crate) fn new(mut stretches: Vec<Stretch>, strings: Arc<[u8]>) -> Lines {
        stretches.sort_by_key(|stretch| stretch.slot);
        Lines { stretches, strings }
    }

    /// The line that the instruction at a slot comes from.
    pub fn at(&self, slot: u32) -> Option<Line<'_>> {
        let after = self.stretches.partition_point(|stretch| stretch.slot <= slot);
        let stretch = self.stretches.get(after.checked_sub(1)?)?;
        (stretch.line > 0).then(|| Line {
            file: self.string(stretch.file),
            number: stretch.line,
            text: self.string(stretch.text),
        })
    }

    fn string(&self, offset: u32) -> Cow<'_, str> {
        let bytes = self.strings.get(offset as usize..).unwrap_or(&[]);
        let bytes = &bytes[..bytes.len().min(MOST)];
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(bytes[..end].trim_ascii())
    }
}
