//! Locked read-modify-write.

use cranelift_assembler_x64::{Fixed, inst};
use tailor_lower::Gpr;

use super::operand::{Regs, sized, table};
use super::{AluOp, Assembler, Mem, Width};

impl Assembler {
    /// `lock op [mem], src`
    pub fn lock_alu(&mut self, op: AluOp, w: Width, mem: Mem, src: Gpr) {
        table!(self, op, w, (mem.amode(), src.enc()), {
            AluOp::Add => lock_addl_mr / lock_addq_mr,
            AluOp::Sub => lock_subl_mr / lock_subq_mr,
            AluOp::And => lock_andl_mr / lock_andq_mr,
            AluOp::Or => lock_orl_mr / lock_orq_mr,
            AluOp::Xor => lock_xorl_mr / lock_xorq_mr,
        });
    }

    /// `lock op [mem], imm` with an immediate of one byte if it fits.
    pub fn lock_alu_imm(&mut self, op: AluOp, w: Width, mem: Mem, imm: i32) {
        if let Ok(imm) = i8::try_from(imm) {
            table!(self, op, w, (mem.amode(), imm), {
                AluOp::Add => lock_addl_mi_sxb / lock_addq_mi_sxb,
                AluOp::Sub => lock_subl_mi_sxb / lock_subq_mi_sxb,
                AluOp::And => lock_andl_mi_sxb / lock_andq_mi_sxb,
                AluOp::Or => lock_orl_mi_sxb / lock_orq_mi_sxb,
                AluOp::Xor => lock_xorl_mi_sxb / lock_xorq_mi_sxb,
            });
        } else {
            table!(self, op, w, (mem.amode(), imm), {
                AluOp::Add => lock_addl_mi / lock_addq_mi_sxl,
                AluOp::Sub => lock_subl_mi / lock_subq_mi_sxl,
                AluOp::And => lock_andl_mi / lock_andq_mi_sxl,
                AluOp::Or => lock_orl_mi / lock_orq_mi_sxl,
                AluOp::Xor => lock_xorl_mi / lock_xorq_mi_sxl,
            });
        }
    }

    /// `lock xadd [mem], reg`: adds, and leaves the old value in `reg`.
    pub fn lock_xadd(&mut self, w: Width, mem: Mem, reg: Gpr) {
        sized!(self, w, lock_xaddl_mr / lock_xaddq_mr, mem.amode(), reg.enc());
    }

    /// `xchg [mem], reg` (locked by itself)
    pub fn xchg_mem(&mut self, w: Width, mem: Mem, reg: Gpr) {
        sized!(self, w, xchgl_rm / xchgq_rm, reg.enc(), mem.amode());
    }

    /// `lock cmpxchg [mem], src`: if memory holds rax, stores `src`, else loads
    /// rax; a 32-bit one that succeeds leaves the upper half of rax alone.
    pub fn lock_cmpxchg(&mut self, w: Width, mem: Mem, src: Gpr) {
        let (m, s) = (mem.amode(), src.enc());
        sized!(self, w, lock_cmpxchgl_mr / lock_cmpxchgq_mr, m, s, Fixed(0));
    }
}
