//! Arithmetic, comparisons, multiplication and division.

use cranelift_assembler_x64::{Fixed, TrapCode, inst};
use tailor_lower::Gpr;

use super::operand::{Regs, sized, table};
use super::{AluOp, Assembler, Mem, Rm, Width};

/// The encoder wants one for what can fault; a plain byte buffer ignores it.
pub(super) const NO_TRAP: TrapCode = TrapCode(std::num::NonZeroU8::MIN);

const RAX: Fixed<u8, 0> = Fixed(0);
const RDX: Fixed<u8, 2> = Fixed(2);

impl Assembler {
    /// `op dst, src`
    pub fn alu(&mut self, op: AluOp, w: Width, dst: Gpr, src: impl Into<Rm>) {
        match src.into() {
            Rm::Reg(src) => self.alu_rm_reg(op, w, Rm::Reg(dst), src),
            mem => table!(self, op, w, (dst.enc(), mem.encode()), {
                AluOp::Add => addl_rm / addq_rm,
                AluOp::Sub => subl_rm / subq_rm,
                AluOp::And => andl_rm / andq_rm,
                AluOp::Or => orl_rm / orq_rm,
                AluOp::Xor => xorl_rm / xorq_rm,
            }),
        }
    }

    /// `op [mem], src`
    pub fn alu_store(&mut self, op: AluOp, w: Width, mem: Mem, src: Gpr) {
        self.alu_rm_reg(op, w, Rm::Mem(mem), src);
    }

    fn alu_rm_reg(&mut self, op: AluOp, w: Width, dst: Rm, src: Gpr) {
        table!(self, op, w, (dst.encode(), src.enc()), {
            AluOp::Add => addl_mr / addq_mr,
            AluOp::Sub => subl_mr / subq_mr,
            AluOp::And => andl_mr / andq_mr,
            AluOp::Or => orl_mr / orq_mr,
            AluOp::Xor => xorl_mr / xorq_mr,
        });
    }

    /// `op dst, imm` with an immediate of one byte if it fits.
    pub fn alu_imm(&mut self, op: AluOp, w: Width, dst: impl Into<Rm>, imm: i32) {
        let dst = dst.into();
        if let Ok(imm) = i8::try_from(imm) {
            table!(self, op, w, (dst.encode(), imm), {
                AluOp::Add => addl_mi_sxb / addq_mi_sxb,
                AluOp::Sub => subl_mi_sxb / subq_mi_sxb,
                AluOp::And => andl_mi_sxb / andq_mi_sxb,
                AluOp::Or => orl_mi_sxb / orq_mi_sxb,
                AluOp::Xor => xorl_mi_sxb / xorq_mi_sxb,
            });
        } else if dst == Rm::Reg(Gpr::RAX) {
            table!(self, op, w, (RAX, imm), {
                AluOp::Add => addl_i / addq_i_sxl,
                AluOp::Sub => subl_i / subq_i_sxl,
                AluOp::And => andl_i / andq_i_sxl,
                AluOp::Or => orl_i / orq_i_sxl,
                AluOp::Xor => xorl_i / xorq_i_sxl,
            });
        } else {
            self.alu_imm32(op, w, dst, imm);
        }
    }

    /// `op dst, imm` with an immediate of four bytes.
    pub fn alu_imm32(&mut self, op: AluOp, w: Width, dst: impl Into<Rm>, imm: i32) {
        table!(self, op, w, (dst.into().encode(), imm), {
            AluOp::Add => addl_mi / addq_mi_sxl,
            AluOp::Sub => subl_mi / subq_mi_sxl,
            AluOp::And => andl_mi / andq_mi_sxl,
            AluOp::Or => orl_mi / orq_mi_sxl,
            AluOp::Xor => xorl_mi / xorq_mi_sxl,
        });
    }

    /// `xor dst, dst` of 32 bits: the shortest zero, at the price of the flags.
    pub fn zero(&mut self, dst: Gpr) {
        self.alu(AluOp::Xor, Width::W32, dst, dst);
    }

    /// `cmp a, b`
    pub fn cmp(&mut self, w: Width, a: Gpr, b: impl Into<Rm>) {
        match b.into() {
            Rm::Reg(b) => sized!(self, w, cmpl_mr / cmpq_mr, a.enc(), b.enc()),
            mem => sized!(self, w, cmpl_rm / cmpq_rm, a.enc(), mem.encode()),
        }
    }

    /// `cmp [mem], b`
    pub fn cmp_mem(&mut self, w: Width, mem: Mem, b: Gpr) {
        sized!(self, w, cmpl_mr / cmpq_mr, mem.amode(), b.enc());
    }

    /// `cmp a, imm` with an immediate of one byte if it fits.
    pub fn cmp_imm(&mut self, w: Width, a: impl Into<Rm>, imm: i32) {
        let a = a.into();
        if let Ok(imm) = i8::try_from(imm) {
            sized!(self, w, cmpl_mi_sxb / cmpq_mi_sxb, a.encode(), imm);
        } else if a == Rm::Reg(Gpr::RAX) {
            sized!(self, w, cmpl_i / cmpq_i, RAX, imm);
        } else {
            self.cmp_imm32(w, a, imm);
        }
    }

    /// `cmp a, imm` with an immediate of four bytes.
    pub fn cmp_imm32(&mut self, w: Width, a: impl Into<Rm>, imm: i32) {
        sized!(self, w, cmpl_mi / cmpq_mi, a.into().encode(), imm);
    }

    /// Compares `bytes` (1, 2, 4 or 8) bytes of memory with an immediate, of
    /// which the low `bytes` count (for 8: sign-extended).
    pub fn cmp_mem_imm(&mut self, bytes: u8, mem: Mem, imm: i32) {
        let m = mem.amode();
        match bytes {
            1 => {
                let start = self.code.len();
                inst::cmpb_mi::<Regs>::new(m, imm as u8).encode(&mut self.code);
                self.drop_empty_rex(start);
            }
            2 => match i8::try_from(imm as i16) {
                Ok(imm) => inst::cmpw_mi_sxb::<Regs>::new(m, imm).encode(&mut self.code),
                // An immediate of two bytes behind a size prefix stalls the decoder; still right.
                Err(_) => inst::cmpw_mi::<Regs>::new(m, imm as u16).encode(&mut self.code),
            },
            4 => self.cmp_imm(Width::W32, mem, imm),
            8 => self.cmp_imm(Width::W64, mem, imm),
            _ => unreachable!("access of {bytes} bytes"),
        }
    }

    /// `test a, b`
    pub fn test(&mut self, w: Width, a: impl Into<Rm>, b: Gpr) {
        sized!(self, w, testl_mr / testq_mr, a.into().encode(), b.enc());
    }

    /// `test a, imm` in the shortest form that sets the same flags.
    pub fn test_imm(&mut self, w: Width, a: Gpr, imm: i32) {
        match imm {
            // What is above the immediate's highest bit takes no part, nor does the sign.
            0..=0x7f if a == Gpr::RAX => {
                inst::testb_i::<Regs>::new(RAX, imm as u8).encode(&mut self.code);
            }
            0..=0x7f => inst::testb_mi::<Regs>::new(a.enc(), imm as u8).encode(&mut self.code),
            _ => {
                let w = if imm >= 0 { Width::W32 } else { w };
                match a {
                    Gpr::RAX => sized!(self, w, testl_i / testq_i, RAX, imm),
                    _ => self.test_imm32(w, a, imm),
                }
            }
        }
    }

    /// `test byte [mem], imm`
    pub fn test_byte_imm(&mut self, mem: Mem, imm: u8) {
        let start = self.code.len();
        inst::testb_mi::<Regs>::new(mem.amode(), imm).encode(&mut self.code);
        self.drop_empty_rex(start);
    }

    /// `test a, imm` with an immediate of four bytes.
    pub fn test_imm32(&mut self, w: Width, a: impl Into<Rm>, imm: i32) {
        sized!(self, w, testl_mi / testq_mi, a.into().encode(), imm);
    }

    /// `imul dst, src`
    pub fn imul(&mut self, w: Width, dst: Gpr, src: impl Into<Rm>) {
        sized!(self, w, imull_rm / imulq_rm, dst.enc(), src.into().encode());
    }

    /// `imul dst, src, imm`
    pub fn imul_imm(&mut self, w: Width, dst: Gpr, src: impl Into<Rm>, imm: i32) {
        let src = src.into().encode();
        match i8::try_from(imm) {
            Ok(imm) => sized!(self, w, imull_rmi_sxb / imulq_rmi_sxb, dst.enc(), src, imm),
            Err(_) => sized!(self, w, imull_rmi / imulq_rmi_sxl, dst.enc(), src, imm),
        }
    }

    /// `mul src`: rdx:rax = rax * src
    pub fn mul(&mut self, w: Width, src: impl Into<Rm>) {
        sized!(self, w, mull_m / mulq_m, RAX, RDX, src.into().encode());
    }

    /// `div src`: rax = rdx:rax / src, rdx = the remainder
    pub fn div(&mut self, w: Width, src: impl Into<Rm>) {
        let src = src.into().encode();
        sized!(self, w, divl_m / divq_m, RAX, RDX, src, NO_TRAP);
    }

    /// `idiv src`: as `div`, signed
    pub fn idiv(&mut self, w: Width, src: impl Into<Rm>) {
        let src = src.into().encode();
        sized!(self, w, idivl_m / idivq_m, RAX, RDX, src, NO_TRAP);
    }

    /// `cdq` or `cqo`: rdx = the sign of rax
    pub fn sign_to_rdx(&mut self, w: Width) {
        sized!(self, w, cltd_zo / cqto_zo, RDX, RAX);
    }

    /// `neg dst`
    pub fn neg(&mut self, w: Width, dst: impl Into<Rm>) {
        sized!(self, w, negl_m / negq_m, dst.into().encode());
    }

    /// `not dst`
    pub fn not(&mut self, w: Width, dst: impl Into<Rm>) {
        sized!(self, w, notl_m / notq_m, dst.into().encode());
    }

    /// `inc dst` (the carry flag stays)
    pub fn inc(&mut self, w: Width, dst: impl Into<Rm>) {
        self.unary_ff(w, 0, dst.into());
    }

    /// `dec dst` (the carry flag stays)
    pub fn dec(&mut self, w: Width, dst: impl Into<Rm>) {
        self.unary_ff(w, 1, dst.into());
    }

    /// `FF /digit`. The encoder lacks inc and dec, but has `jmp r/m` (`FF /4`):
    /// its prefix and operand bytes are theirs.
    fn unary_ff(&mut self, w: Width, digit: u8, dst: Rm) {
        let mut bytes = Vec::with_capacity(12);
        inst::jmpq_m::<Regs>::new(dst.encode()).encode(&mut bytes);
        let has_rex = bytes[0] & 0xf0 == 0x40;
        if w == Width::W64 {
            if has_rex {
                bytes[0] |= 8;
            } else {
                bytes.insert(0, 0x48);
            }
        }
        let modrm = 1 + usize::from(has_rex || w == Width::W64);
        bytes[modrm] = bytes[modrm] & !0o070 | digit << 3;
        self.bytes(&bytes);
    }
}
