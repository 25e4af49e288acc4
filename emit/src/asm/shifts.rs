//! Shifts, rotations, byte swaps.

use cranelift_assembler_x64::{Fixed, inst};
use tailor_lower::Gpr;

use super::operand::{Regs, sized, table};
use super::{Assembler, Rm, ShiftOp, Width};

impl Assembler {
    /// `op dst, count`
    pub fn shift_imm(&mut self, op: ShiftOp, w: Width, dst: impl Into<Rm>, count: u8) {
        let dst = dst.into().encode();
        if count == 1 {
            table!(self, op, w, (dst), {
                ShiftOp::Shl => shll_m1 / shlq_m1,
                ShiftOp::Shr => shrl_m1 / shrq_m1,
                ShiftOp::Sar => sarl_m1 / sarq_m1,
                ShiftOp::Rol => roll_m1 / rolq_m1,
                ShiftOp::Ror => rorl_m1 / rorq_m1,
            });
        } else {
            table!(self, op, w, (dst, count), {
                ShiftOp::Shl => shll_mi / shlq_mi,
                ShiftOp::Shr => shrl_mi / shrq_mi,
                ShiftOp::Sar => sarl_mi / sarq_mi,
                ShiftOp::Rol => roll_mi / rolq_mi,
                ShiftOp::Ror => rorl_mi / rorq_mi,
            });
        }
    }

    /// `op dst, cl`
    pub fn shift_cl(&mut self, op: ShiftOp, w: Width, dst: impl Into<Rm>) {
        table!(self, op, w, (dst.into().encode(), Fixed(1)), {
            ShiftOp::Shl => shll_mc / shlq_mc,
            ShiftOp::Shr => shrl_mc / shrq_mc,
            ShiftOp::Sar => sarl_mc / sarq_mc,
            ShiftOp::Rol => roll_mc / rolq_mc,
            ShiftOp::Ror => rorl_mc / rorq_mc,
        });
    }

    /// `shlx`, `shrx` or `sarx dst, src, count` (BMI2): leaves the flags alone.
    ///
    /// # Panics
    /// For rotations, which have no such form.
    pub fn shift_x(&mut self, op: ShiftOp, w: Width, dst: Gpr, src: impl Into<Rm>, count: Gpr) {
        let (d, s, c) = (dst.enc(), src.into().encode(), count.enc());
        match op {
            ShiftOp::Shl => sized!(self, w, shlxl_rmv / shlxq_rmv, d, s, c),
            ShiftOp::Shr => sized!(self, w, shrxl_rmv / shrxq_rmv, d, s, c),
            ShiftOp::Sar => sized!(self, w, sarxl_rmv / sarxq_rmv, d, s, c),
            ShiftOp::Rol | ShiftOp::Ror => unreachable!("BMI2 has no rotation by a register"),
        }
    }

    /// `bswap dst`
    pub fn bswap(&mut self, w: Width, dst: Gpr) {
        sized!(self, w, bswapl_o / bswapq_o, dst.enc());
    }

    /// `rol dst16, count`: the other 48 bits stay.
    pub fn rol16(&mut self, dst: Gpr, count: u8) {
        inst::rolw_mi::<Regs>::new(dst.enc(), count).encode(&mut self.code);
    }
}
