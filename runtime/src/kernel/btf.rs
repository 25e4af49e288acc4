//! Type information of a program's functions, as little as the kernel asks for
//! where it insists: all are static, take nothing and return an `int`. Without
//! it callbacks, and tail calls in subprograms, are refused.
//!
//! The format is that of the kernel's Documentation/bpf/btf.rst.

use std::io;
use std::os::fd::OwnedFd;

use super::Attr;

const BTF_LOAD: libc::c_int = 18;
const MAGIC: u16 = 0xeb9f;
const HEADER: u32 = 24;
const KIND_INT: u32 = 1;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
/// The types: the number, the signature of all functions, then the functions.
const INT: u32 = 1;
const SIGNATURE: u32 = 2;
/// Number of the first function's type.
pub const FIRST_FUNCTION: u32 = 3;

/// The bytes for functions of these names.
pub fn functions(names: &[&str]) -> Vec<u8> {
    let mut strings = b"\0int\0".to_vec();
    // Name, information (kind and what is specific to it), size or type.
    let mut types = vec![1, KIND_INT << 24, 4, 1 << 24 | 32, 0, KIND_FUNC_PROTO << 24, INT];
    for name in names {
        types.extend([strings.len() as u32, KIND_FUNC << 24, SIGNATURE]);
        strings.extend(name.bytes());
        strings.push(0);
    }
    let type_bytes = 4 * types.len() as u32;
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    bytes.extend([1, 0]); // Version and flags.
    for word in [HEADER, 0, type_bytes, type_bytes, strings.len() as u32].iter().chain(&types) {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(strings);
    bytes
}

/// Loads them into the kernel.
pub fn load(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = Attr::new().u64(0, bytes.as_ptr() as u64).u32(16, bytes.len() as u32);
    // SAFETY: the bytes outlive the call.
    unsafe { attr.open(BTF_LOAD) }
}
