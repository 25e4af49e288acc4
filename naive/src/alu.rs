//! Moves, arithmetic without division, byte order.

use tailor_bpf::{AluOp, EndKind, Error, Imm64, Reg, Size, Src, Width};
use tailor_emit::asm::{AluOp as Simple, Extend, ShiftOp, Width as MachineWidth};
use tailor_emit::{Gpr, Symbol};

use crate::jit::{Jit, width};
use crate::regs::gpr;

impl Jit<'_> {
    /// Two-operand arithmetic; division has a module of its own.
    pub(crate) fn alu(&mut self, op: AluOp, w: Width, dst: Reg, src: Src) {
        match op {
            AluOp::Add => self.simple(Simple::Add, w, dst, src),
            AluOp::Sub => self.simple(Simple::Sub, w, dst, src),
            AluOp::And => self.simple(Simple::And, w, dst, src),
            AluOp::Or => self.simple(Simple::Or, w, dst, src),
            AluOp::Xor => self.simple(Simple::Xor, w, dst, src),
            AluOp::Lsh => self.shift(ShiftOp::Shl, w, dst, src),
            AluOp::Rsh => self.shift(ShiftOp::Shr, w, dst, src),
            AluOp::Arsh => self.shift(ShiftOp::Sar, w, dst, src),
            AluOp::Mul => match src {
                Src::Reg(src) => self.asm.imul(width(w), gpr(dst), gpr(src)),
                Src::Imm(imm) => self.asm.imul_imm(width(w), gpr(dst), gpr(dst), imm),
            },
            AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod => self.divide(op, w, dst, src),
        }
    }

    fn simple(&mut self, op: Simple, w: Width, dst: Reg, src: Src) {
        match src {
            Src::Reg(src) => self.asm.alu(op, width(w), gpr(dst), gpr(src)),
            Src::Imm(imm) => self.asm.alu_imm(op, width(w), gpr(dst), imm),
        }
    }

    /// BMI2's shifts gain nothing where the count is in rcx already.
    fn shift(&mut self, op: ShiftOp, w: Width, dst: Reg, src: Src) {
        let (w, dst) = (width(w), gpr(dst));
        match src {
            Src::Imm(imm) => self.asm.shift_imm(op, w, dst, imm as u8),
            Src::Reg(src) if gpr(src) == Gpr::RCX => self.asm.shift_cl(op, w, dst),
            Src::Reg(src) => self.asm.shift_x(op, w, dst, dst, gpr(src)),
        }
    }

    /// `dst = src`
    pub(crate) fn mov(&mut self, w: Width, dst: Reg, src: Src) {
        match src {
            Src::Reg(src) => self.mov_reg(w, gpr(dst), gpr(src)),
            Src::Imm(imm) => {
                let value = match w {
                    Width::W32 => u64::from(imm as u32),
                    Width::W64 => i64::from(imm) as u64,
                };
                self.mov_imm(gpr(dst), value);
            }
        }
    }

    /// `dst = src`; 64 bits wide, a register's move to itself is nothing.
    pub(crate) fn mov_reg(&mut self, w: Width, dst: Gpr, src: Gpr) {
        if w == Width::W32 || dst != src {
            self.asm.mov(width(w), dst, src);
        }
    }

    /// The shortest form, of which for zero is `xor`.
    pub(crate) fn mov_imm(&mut self, dst: Gpr, value: u64) {
        match value {
            0 => self.asm.zero(dst),
            _ => self.asm.mov_imm(dst, value),
        }
    }

    /// A two-slot load.
    pub(crate) fn load_imm(&mut self, pc: usize, dst: Reg, value: Imm64) -> Result<(), Error> {
        let dst = gpr(dst);
        match value {
            Imm64::Const(value) => self.mov_imm(dst, value),
            Imm64::Map(map) => self.asm.movabs_symbol(dst, Symbol::Map(map)),
            Imm64::MapValue(map, offset) => {
                self.asm.movabs_symbol(dst, Symbol::MapValue(map, offset));
            }
            Imm64::Function(func) => self.asm.movabs_symbol(dst, Symbol::Entry(func)),
            Imm64::Pseudo(..) => return Err(self.error(pc, "the load was not linked")),
        }
        Ok(())
    }

    /// A sign-extending move.
    pub(crate) fn mov_sx(&mut self, w: Width, from: Size, dst: Reg, src: Reg) {
        let (dst, src) = (gpr(dst), gpr(src));
        let extend = match (w, from) {
            // With a prefix even where none is needed.
            (Width::W32, Size::B) => {
                let rex = 0x40 | (dst.enc() >> 3) << 2 | src.enc() >> 3;
                let modrm = 0xc0 | (dst.enc() & 7) << 3 | src.enc() & 7;
                return self.asm.bytes(&[rex, 0x0f, 0xbe, modrm]);
            }
            (Width::W32, Size::H) => Extend::Sign16To32,
            (Width::W64, Size::B) => Extend::Sign8,
            (Width::W64, Size::H) => Extend::Sign16,
            (Width::W64, Size::W) => Extend::Sign32,
            // Not encodable: nothing is left to extend.
            (_, Size::W | Size::D) => return self.mov_reg(w, dst, src),
        };
        self.asm.extend(extend, dst, src);
    }

    /// Byte order; this machine is little-endian.
    pub(crate) fn byte_order(&mut self, kind: EndKind, size: Size, dst: Reg) {
        let dst = gpr(dst);
        match (kind, size) {
            (EndKind::Le, Size::H) => self.asm.extend(Extend::Zero16, dst, dst),
            (EndKind::Le, Size::W) => self.asm.mov(MachineWidth::W32, dst, dst),
            // One byte has no order and no encoding.
            (EndKind::Le, Size::D) | (_, Size::B) => {}
            (_, Size::H) => {
                self.rotate16(dst);
                self.asm.extend(Extend::Zero16, dst, dst);
            }
            (_, Size::W) => self.asm.bswap(MachineWidth::W32, dst),
            (_, Size::D) => self.asm.bswap(MachineWidth::W64, dst),
        }
    }

    /// `ror dst16, 8`
    fn rotate16(&mut self, dst: Gpr) {
        let modrm = 0xc8 | dst.enc() & 7;
        match dst.enc() {
            0..8 => self.asm.bytes(&[0x66, 0xc1, modrm, 8]),
            _ => self.asm.bytes(&[0x66, 0x41, 0xc1, modrm, 8]),
        }
    }
}
