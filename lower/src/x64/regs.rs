//! General-purpose registers and the roles that conventions give them.

use std::fmt;

use regalloc2::{PReg, PRegSet, RegClass};

/// A general-purpose register, by its number in encodings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gpr(u8);

#[allow(missing_docs)] // the names are the documentation
impl Gpr {
    pub const RAX: Gpr = Gpr(0);
    pub const RCX: Gpr = Gpr(1);
    pub const RDX: Gpr = Gpr(2);
    pub const RBX: Gpr = Gpr(3);
    pub const RSP: Gpr = Gpr(4);
    pub const RBP: Gpr = Gpr(5);
    pub const RSI: Gpr = Gpr(6);
    pub const RDI: Gpr = Gpr(7);
    pub const R8: Gpr = Gpr(8);
    pub const R9: Gpr = Gpr(9);
    pub const R10: Gpr = Gpr(10);
    pub const R11: Gpr = Gpr(11);
    pub const R12: Gpr = Gpr(12);
    pub const R13: Gpr = Gpr(13);
    pub const R14: Gpr = Gpr(14);
    pub const R15: Gpr = Gpr(15);
}

impl Gpr {
    /// Result of functions and helpers (R0).
    pub const RESULT: Gpr = Gpr::RAX;
    /// Where R1 to R5 travel: the first five arguments of the C convention.
    pub const ARGS: [Gpr; 5] = [Gpr::RDI, Gpr::RSI, Gpr::RDX, Gpr::RCX, Gpr::R8];
    /// The sixth.
    pub const SIXTH_ARG: Gpr = Gpr::R9;
    /// Where the address of the invocation record travels.
    pub const RECORD: Gpr = Gpr::SIXTH_ARG;
    /// Where kernels pass the tail-call counter, or its address.
    pub const COUNTER: Gpr = Gpr::RAX;
    /// Never allocated: parallel moves and emission sequences may use it.
    pub const SCRATCH: Gpr = Gpr::R11;
    /// Free for any function to change, in the order of preference.
    pub const CALLER_SAVED: [Gpr; 8] =
        [Gpr::RAX, Gpr::RCX, Gpr::RDX, Gpr::RSI, Gpr::RDI, Gpr::R8, Gpr::R9, Gpr::R10];
    /// To be preserved, in the order of preference: the two that need no prefix first.
    pub const CALLEE_SAVED: [Gpr; 6] = [Gpr::RBX, Gpr::RBP, Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];

    /// The register with this number in encodings.
    pub fn from_enc(enc: u8) -> Gpr {
        debug_assert!(enc < 16);
        Gpr(enc & 15)
    }

    /// Number in encodings, 0 to 15.
    pub fn enc(self) -> u8 {
        self.0
    }

    /// The allocator's name for it.
    pub fn preg(self) -> PReg {
        PReg::new(self.0 as usize, RegClass::Int)
    }

    /// The register that the allocator calls `preg`.
    pub fn from_preg(preg: PReg) -> Gpr {
        Gpr(preg.hw_enc() as u8)
    }

    /// Whether a function must preserve it.
    pub fn is_callee_saved(self) -> bool {
        Gpr::CALLEE_SAVED.contains(&self)
    }

    /// Everything that a call destroys under the C convention, scratch included.
    pub fn call_clobbers() -> PRegSet {
        let mut set = PRegSet::empty();
        for reg in Gpr::CALLER_SAVED {
            set.add(reg.preg());
        }
        set.add(Gpr::SCRATCH.preg());
        set
    }

    /// Name of the 64-bit register.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 16] = [
            "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11",
            "r12", "r13", "r14", "r15",
        ];
        NAMES[self.0 as usize]
    }
}

impl fmt::Display for Gpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Gpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
