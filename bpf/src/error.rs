//! What is wrong with an input, and where.

use std::fmt;

/// An error in the input. Prints as `PROGRAM: FUNCTION+INSN: what and why`,
/// leaving out what is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Program that needs the function. In errors of the object as a whole: the
    /// section, table or map that is wrong.
    pub program: Option<String>,
    /// Function.
    pub function: Option<String>,
    /// Instruction slot within the function.
    pub insn: Option<u32>,
    /// What is wrong and why.
    pub what: String,
}

impl Error {
    /// An error of the object as a whole.
    pub fn new(what: impl Into<String>) -> Error {
        Error { program: None, function: None, insn: None, what: what.into() }
    }

    /// An error of the object at a place that is no instruction: a section, a
    /// symbol, a map.
    pub fn in_object(place: impl Into<String>, what: impl Into<String>) -> Error {
        Error { program: Some(place.into()), ..Error::new(what) }
    }

    /// An error at an instruction of a function.
    pub fn at(function: &str, insn: usize, what: impl Into<String>) -> Error {
        Error { function: Some(function.into()), insn: Some(insn as u32), ..Error::new(what) }
    }

    /// The same error, attributed to a program unless it already names one.
    pub fn in_program(mut self, program: &str) -> Error {
        self.program.get_or_insert_with(|| program.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(program) = &self.program {
            write!(f, "{program}: ")?;
        }
        match (&self.function, self.insn) {
            (Some(function), Some(insn)) => write!(f, "{function}+{insn}: ")?,
            (Some(function), None) => write!(f, "{function}: ")?,
            _ => {}
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for Error {}
