//! Moves, loads, stores, addresses, the stack.

use cranelift_assembler_x64::inst;
use tailor_lower::Gpr;

use super::operand::{Regs, sized};
use super::{Assembler, Extend, Label, Mem, Rm, Width};
use crate::{RelocKind, Symbol};

impl Assembler {
    /// `mov dst, src`; 32 bits wide it clears the upper half.
    pub fn mov(&mut self, w: Width, dst: Gpr, src: Gpr) {
        sized!(self, w, movl_mr / movq_mr, dst.enc(), src.enc());
    }

    /// `mov dst, imm` in the shortest form that leaves the flags alone.
    pub fn mov_imm(&mut self, dst: Gpr, imm: u64) {
        if let Ok(imm) = u32::try_from(imm) {
            inst::movl_oi::<Regs>::new(dst.enc(), imm).encode(&mut self.code);
        } else if let Ok(imm) = i32::try_from(imm as i64) {
            self.mov_simm32(dst, imm);
        } else {
            self.movabs(dst, imm);
        }
    }

    /// `mov r64, imm`: sign-extended, always four bytes of immediate.
    pub fn mov_simm32(&mut self, dst: Gpr, imm: i32) {
        inst::movq_mi_sxl::<Regs>::new(dst.enc(), imm).encode(&mut self.code);
    }

    /// `movabs dst, imm`: always eight bytes of immediate.
    pub fn movabs(&mut self, dst: Gpr, imm: u64) {
        inst::movabsq_oi::<Regs>::new(dst.enc(), imm).encode(&mut self.code);
    }

    /// `movabs dst, symbol`
    pub fn movabs_symbol(&mut self, dst: Gpr, symbol: Symbol) {
        self.movabs(dst, 0);
        self.code.truncate(self.code.len() - 8);
        self.put_reloc(RelocKind::Abs64, symbol);
    }

    /// Loads or moves, extending: what [`Extend`] says, in the shortest form.
    /// From a register, `None64` is a plain move.
    pub fn extend(&mut self, extend: Extend, dst: Gpr, src: impl Into<Rm>) {
        let src = src.into();
        let (d, s) = (dst.enc(), src.encode());
        let start = self.code.len();
        let code = &mut self.code;
        match extend {
            Extend::Zero8 => inst::movzbl_rm::<Regs>::new(d, s).encode(code),
            Extend::Zero16 => inst::movzwl_rm::<Regs>::new(d, s).encode(code),
            Extend::Zero32 => inst::movl_rm::<Regs>::new(d, s).encode(code),
            Extend::None64 => inst::movq_rm::<Regs>::new(d, s).encode(code),
            Extend::Sign8To32 => inst::movsbl_rm::<Regs>::new(d, s).encode(code),
            Extend::Sign16To32 => inst::movswl_rm::<Regs>::new(d, s).encode(code),
            Extend::Sign8 => inst::movsbq_rm::<Regs>::new(d, s).encode(code),
            Extend::Sign16 => inst::movswq_rm::<Regs>::new(d, s).encode(code),
            Extend::Sign32 => inst::movslq_rm::<Regs>::new(d, s).encode(code),
        }
        let is_byte_of_4_to_7 = matches!(src, Rm::Reg(reg) if (4..8).contains(&reg.enc()));
        if !is_byte_of_4_to_7 {
            self.drop_empty_rex(start);
        }
    }

    /// `mov dst, [mem]` of 4 (upper half cleared) or 8 bytes.
    pub fn load(&mut self, w: Width, dst: Gpr, mem: Mem) {
        sized!(self, w, movl_rm / movq_rm, dst.enc(), mem.amode());
    }

    /// Stores the low `bytes` (1, 2, 4 or 8) of a register.
    pub fn store(&mut self, bytes: u8, mem: Mem, src: Gpr) {
        let (m, s) = (mem.amode(), src.enc());
        let code = &mut self.code;
        match bytes {
            1 => inst::movb_mr::<Regs>::new(m, s).encode(code),
            2 => inst::movw_mr::<Regs>::new(m, s).encode(code),
            4 => inst::movl_mr::<Regs>::new(m, s).encode(code),
            8 => inst::movq_mr::<Regs>::new(m, s).encode(code),
            _ => unreachable!("access of {bytes} bytes"),
        }
    }

    /// Stores the low `bytes` (1, 2, 4, or 8: sign-extended) of an immediate.
    pub fn store_imm(&mut self, bytes: u8, mem: Mem, imm: i32) {
        let m = mem.amode();
        let code = &mut self.code;
        match bytes {
            1 => inst::movb_mi::<Regs>::new(m, imm as u8).encode(code),
            2 => inst::movw_mi::<Regs>::new(m, imm as u16).encode(code),
            4 => inst::movl_mi::<Regs>::new(m, imm).encode(code),
            8 => inst::movq_mi_sxl::<Regs>::new(m, imm).encode(code),
            _ => unreachable!("access of {bytes} bytes"),
        }
    }

    /// `lea dst, [mem]`
    pub fn lea(&mut self, w: Width, dst: Gpr, mem: Mem) {
        sized!(self, w, leal_rm / leaq_rm, dst.enc(), mem.amode());
    }

    /// `lea dst, [rip + label]`
    pub fn lea_label(&mut self, dst: Gpr, label: Label) {
        let rex = 0x48 | (dst.enc() >> 3) << 2;
        self.bytes(&[rex, 0x8d, 0o005 | (dst.enc() & 7) << 3]);
        self.put_distance(label);
    }

    /// `xchg a, b` between registers.
    pub fn xchg(&mut self, w: Width, a: Gpr, b: Gpr) {
        let wide = u8::from(w == Width::W64) << 3;
        let rex = 0x40 | wide | (a.enc() >> 3) << 2 | b.enc() >> 3;
        if rex != 0x40 {
            self.bytes(&[rex]);
        }
        self.bytes(&[0x87, 0o300 | (a.enc() & 7) << 3 | b.enc() & 7]);
    }

    /// `push src`
    pub fn push(&mut self, src: impl Into<Rm>) {
        match src.into() {
            Rm::Reg(reg) => inst::pushq_o::<Regs>::new(reg.enc()).encode(&mut self.code),
            mem => inst::pushq_m::<Regs>::new(mem.encode()).encode(&mut self.code),
        }
    }

    /// `push imm`: sign-extended to eight bytes.
    pub fn push_imm(&mut self, imm: i32) {
        match i8::try_from(imm) {
            Ok(imm) => inst::pushq_i8::new(imm).encode(&mut self.code),
            Err(_) => inst::pushq_i32::new(imm).encode(&mut self.code),
        }
    }

    /// `pop dst`
    pub fn pop(&mut self, dst: Gpr) {
        inst::popq_o::<Regs>::new(dst.enc()).encode(&mut self.code);
    }
}
