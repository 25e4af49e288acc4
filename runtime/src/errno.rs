//! Error numbers that maps and helpers return to programs, negated. The kernel
//! answers with the same number in the same case.

/// No such key.
pub const ENOENT: i64 = 2;
/// More entries, or a larger index, than there is room for.
pub const E2BIG: i64 = 7;
/// No room now.
pub const EAGAIN: i64 = 11;
/// No memory, and what the kernel says where a packet is too short to be pulled.
pub const ENOMEM: i64 = 12;
/// Not allowed.
pub const EACCES: i64 = 13;
/// Not a readable or writable place.
pub const EFAULT: i64 = 14;
/// The key exists already.
pub const EEXIST: i64 = 17;
/// No such device.
pub const ENODEV: i64 = 19;
/// Not an operation of this map, or a wrong argument.
pub const EINVAL: i64 = 22;
/// No room for another entry.
pub const ENOSPC: i64 = 28;
/// A number that does not fit.
pub const ERANGE: i64 = 34;
/// A value that is too large.
pub const EOVERFLOW: i64 = 75;
/// Not possible here.
pub const EOPNOTSUPP: i64 = 95;
/// Not a known family of addresses.
pub const EAFNOSUPPORT: i64 = 97;
/// Not supported (the kernel's own number, which user space has no name for).
pub const ENOTSUPP: i64 = 524;
/// Not the protocol that was asked for.
pub const EPROTO: i64 = 71;
/// Done already.
pub const EALREADY: i64 = 114;
