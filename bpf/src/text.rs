//! The text form of code and objects: LLVM's pseudo-C, one operation a line.
//!
//! ```text
//! map map0 "counters" array key 4 value 8 entries 16
//! map map1 "jmp" prog_array key 4 value 4 entries 8 { 0 = "main" }
//! map map2 ".rodata" array key 4 value 8 entries 1 { 01 02 }
//! map map3 "outer" array_of_maps key 4 value 4 entries 2 inner array key 4 value 8 entries 16 { 0 = map0 }
//!
//! program f0 "main" xdp            # or sched_cls, …, raw, opaque
//!   r6 = map0 ll
//!   if r1 == 0 goto out            # or +1: slots after the next one
//!   call f1
//! out:
//!   exit
//!
//! function f1 "sub"
//!   r0 = 1
//!   exit
//! ```
//!
//! Entities are numbered in the order of their lines. `;` and `#` start a
//! comment. After a map's numbers may stand `flags N`; bytes that its `{ … }`
//! leaves out are zero. After a function's name (and kind) may stand
//! `section "NAME"` and `refused [INSN] "WHY"`. Operations print as LLVM's
//! disassembler prints them, with decimal offsets; what LLVM has no syntax for
//! is written `call f1` (a function of the object), `call kfunc 7`,
//! `r1 = map0 ll`, `r1 = map0[16] ll`, `r1 = f1 ll`, `r1 = pseudo(1, 5, 0) ll`
//! and `r0 = *(u16 *)skb[r1 + 4]`.

mod lex;
mod object;
mod parse;
mod print;

pub use object::{parse_object, print_object};
pub use parse::parse_ops;
pub use print::print_ops;

#[cfg(test)]
mod tests;
