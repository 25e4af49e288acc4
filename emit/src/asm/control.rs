//! Jumps, calls, conditions, padding.

use cranelift_assembler_x64::inst;
use tailor_lower::Gpr;

use super::arith::NO_TRAP;
use super::operand::Regs;
use super::{Assembler, Branch, Cc, Label, Rm, Width};
use crate::{RelocKind, Symbol};

/// Nops of 1 to 9 bytes, as the processors' manuals recommend them.
pub(super) const NOPS: [&[u8]; 9] = [
    &[0x90],
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0],
    &[0x0f, 0x1f, 0x44, 0, 0],
    &[0x66, 0x0f, 0x1f, 0x44, 0, 0],
    &[0x0f, 0x1f, 0x80, 0, 0, 0, 0],
    &[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
    &[0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
];

impl Assembler {
    /// `jmp label`, two or five bytes.
    pub fn jmp(&mut self, target: Label) {
        self.branch(None, target);
    }

    /// `jcc label`, two or six bytes.
    pub fn jcc(&mut self, cc: Cc, target: Label) {
        self.branch(Some(cc), target);
    }

    fn branch(&mut self, cc: Option<Cc>, target: Label) {
        let place = self.place();
        self.branches.push(Branch { place, cc, target });
    }

    /// `jmp label`, always five bytes: a site to be patched.
    pub fn jmp_long(&mut self, target: Label) {
        self.bytes(&[0xe9]);
        self.put_distance(target);
    }

    /// A label for the next five bytes, which are going to be patched: padding
    /// before it sees to it that they lie within one aligned word, given that
    /// the code is placed at a multiple of its size.
    pub fn poke_site(&mut self) -> Label {
        self.pads.push(self.place());
        self.here()
    }

    /// `jmp symbol`, five bytes.
    pub fn jmp_symbol(&mut self, target: Symbol) {
        self.bytes(&[0xe9]);
        self.put_reloc(RelocKind::Rel32, target);
    }

    /// `jmp` to the address in a register or in memory.
    pub fn jmp_rm(&mut self, target: impl Into<Rm>) {
        inst::jmpq_m::<Regs>::new(target.into().encode()).encode(&mut self.code);
    }

    /// `call symbol`
    pub fn call_symbol(&mut self, target: Symbol) {
        self.bytes(&[0xe8]);
        self.put_reloc(RelocKind::Rel32, target);
    }

    /// `call label`
    pub fn call_label(&mut self, target: Label) {
        self.bytes(&[0xe8]);
        self.put_distance(target);
    }

    /// `call [rip + cell]`: calls the address that the symbol's eight bytes hold.
    pub fn call_cell(&mut self, cell: Symbol) {
        self.bytes(&[0xff, 0o025]);
        self.put_reloc(RelocKind::Rel32, cell);
    }

    /// `jmp [rip + cell]`
    pub fn jmp_cell(&mut self, cell: Symbol) {
        self.bytes(&[0xff, 0o045]);
        self.put_reloc(RelocKind::Rel32, cell);
    }

    /// `call` of the address in a register or in memory.
    pub fn call_rm(&mut self, target: impl Into<Rm>) {
        inst::callq_m::<Regs>::new(target.into().encode()).encode(&mut self.code);
    }

    /// `ret`
    pub fn ret(&mut self) {
        inst::retq_zo::new().encode(&mut self.code);
    }

    /// `leave`: rsp = rbp, pop rbp
    pub fn leave(&mut self) {
        self.bytes(&[0xc9]);
    }

    /// `ud2`
    pub fn ud2(&mut self) {
        inst::ud2_zo::new(NO_TRAP).encode(&mut self.code);
    }

    /// `int3`
    pub fn int3(&mut self) {
        self.bytes(&[0xcc]);
    }

    /// So many bytes of nothing, in as few instructions as possible.
    pub fn nop(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let size = bytes.min(NOPS.len());
            self.bytes(NOPS[size - 1]);
            bytes -= size;
        }
    }

    /// `setcc dst8`: the rest of the register stays.
    pub fn setcc(&mut self, cc: Cc, dst: Gpr) {
        let low = dst.enc() & 7;
        match dst.enc() {
            0..4 => {}
            // Without a prefix 4 to 7 would be ah to bh.
            4..8 => self.bytes(&[0x40]),
            _ => self.bytes(&[0x41]),
        }
        self.bytes(&[0x0f, 0x90 | cc as u8, 0o300 | low]);
    }

    /// `cmovcc dst, src`; 32 bits wide it clears the upper half either way.
    pub fn cmov(&mut self, cc: Cc, w: Width, dst: Gpr, src: impl Into<Rm>) {
        let start = self.code.len();
        let (d, s) = (dst.enc(), src.into().encode());
        match w {
            Width::W32 => inst::cmovel_rm::<Regs>::new(d, s).encode(&mut self.code),
            Width::W64 => inst::cmoveq_rm::<Regs>::new(d, s).encode(&mut self.code),
        }
        // `cmove` with another condition in its opcode, which follows the prefix and 0x0f.
        let rex = usize::from(self.code[start] & 0xf0 == 0x40);
        self.code[start + rex + 1] = 0x40 | cc as u8;
    }
}
