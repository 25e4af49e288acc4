//! The text form of functions and modules.
//!
//! Printing is `Display` of [`Function`](crate::Function) and
//! [`Module`](crate::Module); reading is [`parse_function`] and
//! [`parse_module`]. For everything that the verifier accepts,
//! `parse(print(f)) = f`, and the numbers of values and blocks stay as they
//! are (those of instructions, which are not written, become positions).
//!
//! ```text
//! function f0 "main" reaches_tail_call {      the attribute only where it holds
//!     ss0 = slot 16 align 8                   slots and helpers in the order of their numbers
//!     fn0 = helper 1 "map_lookup_elem" arity 2 reads writes
//! block0(v0: i64, v1: i64):                   the entry comes first; its parameters are the function's
//!     v2 = iconst.i64 42                      also -42 and 0x2a
//!     v3 = load.i32 u8 v0+4 packet @7         size, address, region; bytecode origin unless 0
//!     store.i64 u64 v0-8, v2 ss0              regions: any ctx packet ssN mapN
//!     v4 = stack_addr ss0+8
//!     v5 = map_addr map0
//!     v6 = map_value map1+16
//!     v7 = call_ext fn0(v5, v4)
//!     v8 = call f1(v0)
//!     v9 = atomic_fetch.i64 add v0+8, v2 any
//!     v10 = ctx_load.i64 0.1 v0               kind of context, field
//!     branch ult.i64 v0, v1, block1(v2), block2
//! block1(v11: i64) freq 0.5:                  frequency unless 1
//!     tail_call v0, v5, v11, direct map0[3], block2 succeeds 0.0    its chance unless 0.5
//! block2:
//!     return v2                               or: jump block1(v2), trap
//! }
//! ```
//!
//! Every line of the form is one header, declaration, instruction or
//! terminator. A type follows the opcode only where the opcode table says that
//! it matters. `;` starts a comment, and line ends mean nothing to the parser.
//! The parser checks form only; meaning is the verifier's business.

mod lexer;
mod parse;
mod parse_inst;
mod print;
#[cfg(test)]
mod tests;

pub use parse::{ParseError, parse_function, parse_module};
pub use print::header_lines;
