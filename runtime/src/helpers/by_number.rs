//! Calls through a register: the program computes the number of a helper.
//!
//! Compiled code passes the number as a sixth argument. A stub, one for each
//! table, adds the table as a seventh and calls [`call`], which looks the number
//! up as the interpreter does: what is no helper that this kind of program may
//! call gives [`NO_HELPER`].

use tailor_bpf::helpers::{NO_HELPER, by_number};

use super::Table;
use crate::env;

/// Bytes of [`stub`].
pub(crate) const STUB_BYTES: usize = 28;

/// Calls the helper of a number.
///
/// # Safety
/// `table` points to the table of the runtime whose code this is called from.
/// The program was verified: the arguments are such as the helper takes.
unsafe extern "C" fn call(
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    number: u64,
    table: *const Table,
) -> u64 {
    // SAFETY: the runtime keeps its table as long as its code.
    let table = unsafe { &*table };
    let helper = by_number(number).and_then(|id| table.get_for(id, env::kind()).ok());
    match helper {
        // SAFETY: as above.
        Some(helper) => unsafe { helper(a, b, c, d, e) },
        None => NO_HELPER,
    }
}

/// `push table; call [call]; add rsp, 8; ret`, which leaves the stack aligned as
/// the C convention wants it. `table` must outlive the code.
pub(crate) fn stub(table: *const Table) -> [u8; STUB_BYTES] {
    let function: unsafe extern "C" fn(_, _, _, _, _, _, _) -> _ = call;
    let mut code = [0; STUB_BYTES];
    code[..2].copy_from_slice(&[0x48, 0xb8]); // mov rax, imm64
    code[2..10].copy_from_slice(&(table as u64).to_le_bytes());
    code[10] = 0x50; // push rax
    code[11..13].copy_from_slice(&[0x48, 0xb8]); // mov rax, imm64
    code[13..21].copy_from_slice(&(function as usize as u64).to_le_bytes());
    code[21..23].copy_from_slice(&[0xff, 0xd0]); // call rax
    code[23..27].copy_from_slice(&[0x48, 0x83, 0xc4, 0x08]); // add rsp, 8
    code[27] = 0xc3; // ret
    code
}
