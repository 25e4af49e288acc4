//! The kernels' generations, as far as frames and tail calls differ.
//!
//! | | naive-fixed | naive-5.10 | naive-6.12 |
//! | --- | --- | --- | --- |
//! | saved | rbx, r13, r14, r15 always | what the function names | the same |
//! | counter | in every frame, from 0 | pushed by value | reached through a pointer |
//! | a tail call lands | behind the whole prologue (20 bytes) | after `mov rbp,rsp` (11) | the same (12) |
//! | a site unwinds | nothing | the frame but for rbp | the same |
//! | stack with a tail call | 512 bytes, so that frames agree | what is used | the same |
//! | constant keys | load the slot | are patched | are patched |
//!
//! Where the counter decides, results differ:
//!
//! | program | naive-fixed | naive-5.10 | naive-6.12 |
//! | --- | --- | --- | --- |
//! | 33 calls through an empty slot, then one through a full one | fails | fails | succeeds |
//! | one program, 50 calls of a subprogram that tail-calls | refused | 50 succeed | 33 succeed |
//! | two calls a level of a subprogram that tail-calls its caller | refused | about 2^34 runs | 34 runs |
//!
//! The first because the counter goes up before the slot is looked at, the
//! others because a subprogram counts in a copy that its caller never sees.
//!
//! `may_goto` is what 6.12 makes of it in all of them: a slot below the stack that
//! counts down. Since 6.15 the kernel's has a second slot, and goes by time.
//! naive-fixed refuses it in a program that uses all its stack.

use tailor_bpf::cfg::is_tail_call;
use tailor_bpf::facts::Facts;
use tailor_bpf::{Error, FuncRef, Object, Op};

use crate::frame::{BUDGET_BYTES, FULL_STACK};

/// A generation of the kernel's JIT.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Variant {
    /// The fixed prologue of kernels up to 5.9.
    Fixed,
    /// 5.10 to 6.11: the counter by value.
    V510,
    /// Since 6.12: the counter through a pointer.
    V612,
}

/// What a variant does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rules {
    /// Bytes of the prologue that a tail call's target skips.
    pub(crate) landing: u32,
    /// All callee-saved registers are pushed, and a counter in every function.
    pub(crate) fixed: bool,
    /// The counter is shared through a pointer, or else handed on by value.
    pub(crate) shares_counter: bool,
}

impl Variant {
    /// Offset at which tail calls enter.
    pub fn landing(self) -> u32 {
        self.rules().landing
    }

    pub(crate) fn rules(self) -> Rules {
        match self {
            Variant::Fixed => Rules { landing: 20, fixed: true, shares_counter: false },
            Variant::V510 => Rules { landing: 11, fixed: false, shares_counter: false },
            Variant::V612 => Rules { landing: 12, fixed: false, shares_counter: true },
        }
    }

    /// Whether this kernel would have taken a program that consists of these
    /// functions, its entry first; the error names the instruction that is in
    /// the way.
    pub fn admit(self, object: &Object, facts: &Facts, functions: &[FuncRef]) -> Result<(), Error> {
        if self != Variant::Fixed {
            return Ok(());
        }
        // Frames agree only as long as nobody's is larger than the full stack.
        if let Some(&entry) = functions.first()
            && facts.functions.get(entry).is_some_and(|f| f.stack_depth + BUDGET_BYTES > FULL_STACK)
        {
            let what = "may_goto counts in a slot below the stack, which has all its 512 bytes: \
                        with the fixed prologue a frame entered by a tail call has no more";
            refuse(object, entry, |op| matches!(op, Op::MayGoto { .. }), what)?;
        }
        if functions.len() < 2 {
            return Ok(());
        }
        let what = "a tail call in a program with subprograms: with the fixed prologue \
                    every frame counts from zero, so kernels up to 5.9 refused it";
        functions.iter().try_for_each(|&func| refuse(object, func, is_tail_call, what))
    }
}

/// An error at the first instruction of a function that is such.
fn refuse(
    object: &Object,
    func: FuncRef,
    is_such: impl Fn(&Op) -> bool,
    what: &str,
) -> Result<(), Error> {
    let function = &object.functions[func];
    match function.ops.iter().position(is_such) {
        Some(pc) => Err(Error::at(&function.name, pc, what)),
        None => Ok(()),
    }
}
