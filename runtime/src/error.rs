//! What can go wrong when code is loaded or run.

use tailor_emit::Architecture;
use thiserror::Error;

/// An error of loading, of maps, or of a run.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Error {
    /// The code is for another processor.
    #[error("code for {code} cannot run on {host}")]
    Architecture {
        /// What the code is for.
        code: Architecture,
        /// What this is.
        host: Architecture,
    },
    /// Code memory could not be had.
    #[error("code memory: {0}")]
    Memory(String),
    /// A map cannot be made or used as asked.
    #[error("map {map}: {what}")]
    Map {
        /// Its name.
        map: String,
        /// What is wrong.
        what: String,
    },
    /// A program array belongs to programs of another sort.
    #[error("map {map}: the program is not like the others in this array: {what}")]
    Incompatible {
        /// The array's name.
        map: String,
        /// In what it differs.
        what: String,
    },
    /// Something that waits for all runs to end was asked for in one.
    #[error("a thread that runs a program cannot change program arrays or load programs")]
    InRun,
    /// The program needs a helper that does not exist here.
    #[error("helper {0} ({name}) is not implemented", name = tailor_bpf::helpers::helper(*.0).name)]
    Helper(u32),
    /// The program calls a helper that takes another kind of context.
    #[error(
        "helper {0} ({name}) is not for programs of this kind",
        name = tailor_bpf::helpers::helper(*.0).name
    )]
    HelperKind(u32),
    /// The program runs on another kind of context.
    #[error("the program runs on {0}, and was given something else")]
    Context(&'static str),
    /// There is no such program in the module.
    #[error("no program {0:?}")]
    NoProgram(String),
    /// The interpreter stopped.
    #[error("{0}")]
    Interpreter(tailor_bpf::Error),
}
