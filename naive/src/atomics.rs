//! Atomic operations.

use tailor_bpf::{AtomicOp, Op, Size, Width};
use tailor_emit::Gpr;
use tailor_emit::asm::{AluOp as Simple, Cc, Width as MachineWidth};

use crate::jit::{Jit, width};
use crate::memory::{Opcode, REX_W};
use crate::regs::{AUX, AX, gpr};

const XADD: &[u8] = &[0x0f, 0xc1];
const XCHG: &[u8] = &[0x87];
const CMPXCHG: &[u8] = &[0x0f, 0xb1];

impl Jit<'_> {
    /// A read-modify-write or a compare-and-exchange.
    pub(crate) fn atomic(&mut self, op: Op) {
        match op {
            Op::Atomic { op, w, fetch, base, off, src } => {
                let (base, off, src) = (gpr(base), i32::from(off), gpr(src));
                match (op, fetch) {
                    (AtomicOp::Xchg, _) => self.locked(XCHG, w, base, off, src),
                    (AtomicOp::Add, true) => self.locked(XADD, w, base, off, src),
                    (AtomicOp::Add, false) => self.locked(&[0x01], w, base, off, src),
                    (AtomicOp::And, false) => self.locked(&[0x21], w, base, off, src),
                    (AtomicOp::Or, false) => self.locked(&[0x09], w, base, off, src),
                    (AtomicOp::Xor, false) => self.locked(&[0x31], w, base, off, src),
                    (AtomicOp::And, true) => self.fetch_loop(Simple::And, w, base, off, src),
                    (AtomicOp::Or, true) => self.fetch_loop(Simple::Or, w, base, off, src),
                    (AtomicOp::Xor, true) => self.fetch_loop(Simple::Xor, w, base, off, src),
                }
            }
            Op::CmpXchg { w, base, off, src } => {
                self.locked(CMPXCHG, w, gpr(base), off.into(), gpr(src));
                // The processor leaves rax alone where the exchange was made,
                // its upper half included; the verifier clears that.
                if w == Width::W32 {
                    self.asm.mov(MachineWidth::W32, Gpr::RAX, Gpr::RAX);
                }
            }
            _ => {}
        }
    }

    /// `lock op [base + off], src`
    fn locked(&mut self, bytes: &'static [u8], w: Width, base: Gpr, off: i32, src: Gpr) {
        let rex = if w == Width::W64 { REX_W } else { 0 };
        let opcode = Opcode { prefix: Some(0xf0), rex, bytes };
        self.memory(opcode, src.enc(), base, off);
    }

    /// What no instruction does at once: R0 gives way to the comparison.
    fn fetch_loop(&mut self, op: Simple, w: Width, base: Gpr, off: i32, src: Gpr) {
        let moved = |reg| if reg == Gpr::RAX { AX } else { reg };
        let (base, src) = (moved(base), moved(src));
        let size = match w {
            Width::W32 => Size::W,
            Width::W64 => Size::D,
        };
        self.mov_reg(Width::W64, AX, Gpr::RAX);
        let again = self.asm.here();
        self.load(size, false, Gpr::RAX, base, off);
        self.mov_reg(w, AUX, Gpr::RAX);
        self.asm.alu(op, width(w), AUX, src);
        self.locked(CMPXCHG, w, base, off, AUX);
        self.asm.jcc(Cc::Ne, again);
        self.mov_reg(w, src, Gpr::RAX);
        self.mov_reg(Width::W64, Gpr::RAX, AX);
    }
}
