//! The running kernel, through bpf(2): loading programs, reading back what its
//! JIT made of them, and running them with BPF_PROG_TEST_RUN. Needs root.
//!
//! Attributes of the system call are written field by field at their offsets
//! in `union bpf_attr`; the kernel takes what is shorter than it knows.

mod btf;
mod libbpf;
mod object;
pub mod run;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

pub use libbpf::{Libbpf, Loaded};
pub use object::KernelObject;

const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
const MAP_GET_FD_BY_ID: libc::c_int = 14;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;

/// `union bpf_attr`, as far as it is used here.
pub(crate) struct Attr(pub(crate) [u8; 128]);

impl Attr {
    pub(crate) fn new() -> Attr {
        Attr([0; 128])
    }

    pub(crate) fn u32(mut self, at: usize, value: u32) -> Attr {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn u64(mut self, at: usize, value: u64) -> Attr {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// # Safety
    /// Every address in it is of memory of the length that it says, and lives.
    pub(crate) unsafe fn call(&mut self, command: libc::c_int) -> io::Result<i32> {
        let (attr, size) = (self.0.as_mut_ptr(), self.0.len());
        // SAFETY: the attributes are valid; the caller vouches for what they point to.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
    }

    /// A call that returns a descriptor.
    ///
    /// # Safety
    /// As for [`Attr::call`].
    pub(crate) unsafe fn open(&mut self, command: libc::c_int) -> io::Result<OwnedFd> {
        // SAFETY: passed on; a successful call returned a descriptor that is ours.
        unsafe { Ok(OwnedFd::from_raw_fd(self.call(command)?)) }
    }
}

pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// A program in the kernel.
pub struct KernelProgram(OwnedFd);

/// What the kernel made of a program.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// `BPF_PROG_TYPE_*`.
    pub kind: u32,
    /// Machine code of each function, the program's entry first.
    pub functions: Vec<Vec<u8>>,
    /// Their addresses.
    pub addresses: Vec<u64>,
    /// The instructions that were compiled, after the verifier's rewriting.
    pub translated: Vec<u8>,
    /// The slots where functions start in them, if the program has type information.
    pub starts: Vec<u32>,
}

/// A map's figures.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)] // they are the kernel's
pub struct MapFigures {
    pub kind: u32,
    pub id: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
}

/// Why bpf(2) cannot be used here, if it cannot.
pub fn unavailable() -> Option<String> {
    // r0 = 0; exit
    let nothing = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    KernelProgram::load(1, &nothing).err().map(|error| format!("bpf(2): {error}"))
}

impl KernelProgram {
    /// Loads plain instructions as a program of this `BPF_PROG_TYPE_*`.
    pub fn load(kind: u32, code: &[u8]) -> io::Result<KernelProgram> {
        let license = c"GPL";
        let mut attr = Attr::new()
            .u32(0, kind)
            .u32(4, (code.len() / 8) as u32)
            .u64(8, code.as_ptr() as u64)
            .u64(16, license.as_ptr() as u64);
        // SAFETY: the code and the license outlive the call.
        unsafe { attr.open(PROG_LOAD).map(KernelProgram) }
    }

    /// Reads back code and translated instructions.
    pub fn image(&self) -> io::Result<Image> {
        // Offsets in `struct bpf_prog_info`.
        const JITED: usize = 16;
        const TRANSLATED: usize = 20;
        const ADDRESSES: usize = 104;
        const LENGTHS: usize = 108;
        const RECORD: usize = 132;
        const RECORDS: usize = 144;
        let mut sizes = [0; 232];
        info(self.0.as_fd(), &mut sizes)?;
        let size = |at| get_u32(&sizes, at) as usize;
        let mut code = vec![0u8; size(JITED)];
        let mut translated = vec![0u8; size(TRANSLATED)];
        let mut addresses = vec![0u64; size(ADDRESSES)];
        let mut lengths = vec![0u32; size(LENGTHS)];
        let mut records = vec![0u8; size(RECORD) * size(RECORDS)];
        let mut wanted = [0; 232];
        for at in [JITED, TRANSLATED, ADDRESSES, LENGTHS, RECORD, RECORDS] {
            wanted[at..at + 4].copy_from_slice(&sizes[at..at + 4]);
        }
        let buffers = [
            (24, code.as_mut_ptr() as u64),
            (32, translated.as_mut_ptr() as u64),
            (112, addresses.as_mut_ptr() as u64),
            (120, lengths.as_mut_ptr() as u64),
            (136, records.as_mut_ptr() as u64),
        ];
        for (at, buffer) in buffers {
            wanted[at..at + 8].copy_from_slice(&buffer.to_le_bytes());
        }
        info(self.0.as_fd(), &mut wanted)?;
        let mut rest = code.as_slice();
        let mut functions = Vec::new();
        for length in lengths {
            let (function, behind) =
                rest.split_at_checked(length as usize).ok_or(io::ErrorKind::InvalidData)?;
            functions.push(function.to_vec());
            rest = behind;
        }
        let starts = records.chunks(size(RECORD).max(4)).map(|record| get_u32(record, 0)).collect();
        Ok(Image { kind: get_u32(&sizes, 0), functions, addresses, translated, starts })
    }

    /// Runs it `repeat` times on a packet: R0 and nanoseconds per run.
    pub fn test_run(&self, packet: &[u8], repeat: u32) -> io::Result<(u32, u32)> {
        let mut out = vec![0u8; packet.len() + 512];
        let mut attr = Attr::new()
            .u32(0, self.0.as_raw_fd() as u32)
            .u32(8, packet.len() as u32)
            .u32(12, out.len() as u32)
            .u64(16, packet.as_ptr() as u64)
            .u64(24, out.as_mut_ptr() as u64)
            .u32(32, repeat);
        // SAFETY: both buffers outlive the call and are as long as it says.
        unsafe { attr.call(PROG_TEST_RUN)? };
        Ok((get_u32(&attr.0, 4), get_u32(&attr.0, 36)))
    }
}

/// Fills an information structure, which may name buffers.
fn info(fd: BorrowedFd, into: &mut [u8]) -> io::Result<()> {
    let mut attr = Attr::new()
        .u32(0, fd.as_raw_fd() as u32)
        .u32(4, into.len() as u32)
        .u64(8, into.as_mut_ptr() as u64);
    // SAFETY: the structure outlives the call, as do the buffers of our two
    // callers, which are as large as the kernel said before.
    unsafe { attr.call(OBJ_GET_INFO_BY_FD).map(|_| ()) }
}

fn map_figures(fd: BorrowedFd) -> io::Result<MapFigures> {
    let mut bytes = [0; 80];
    info(fd, &mut bytes)?;
    let figure = |at| get_u32(&bytes, at);
    Ok(MapFigures {
        kind: figure(0),
        id: figure(4),
        key_size: figure(8),
        value_size: figure(12),
        max_entries: figure(16),
    })
}

/// The figures of a map by its id.
pub fn map_figures_by_id(id: u32) -> io::Result<MapFigures> {
    // SAFETY: there is no address in it.
    let fd = unsafe { Attr::new().u32(0, id).open(MAP_GET_FD_BY_ID)? };
    map_figures(fd.as_fd())
}
