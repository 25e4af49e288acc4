//! What can go wrong in emission.

use crate::asm::AsmError;

/// Why a function could not be emitted. Only size is the input's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// The bytes could not be laid out.
    #[error(transparent)]
    Asm(#[from] AsmError),
    /// Lowering or allocation broke its contract.
    #[error("machine instruction {inst} (from {origin}): {what}")]
    Broken {
        /// Index in the machine function.
        inst: u32,
        /// The bytecode instruction it comes from.
        origin: u32,
        /// What was found.
        what: &'static str,
    },
}
