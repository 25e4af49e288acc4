//! Extensions and byte swaps.

use regalloc2::{Operand, VReg};
use smallvec::SmallVec;
use tailor_ir::{InstData, Opcode, Payload, Size, Type, Value};

use super::Selector;
use crate::x64::inst::{Extend, MInst, Width};

impl Selector<'_> {
    /// `dst = extend(src)`; a load of what is extended becomes one that extends.
    pub(super) fn extend(&mut self, extend: Extend, dst: VReg, src: Value) {
        let load = self.foldable_load(src);
        if let Some(load) = load.filter(|load| load.size.bytes() >= extend.bytes()) {
            return self.load(extend, dst, load.address, load.offset);
        }
        let src = self.reg(src, Width::W32);
        self.out.push(MInst::Ext(extend), &[Operand::reg_def(dst), Operand::any_use(src)]);
    }

    /// `dst = extend(memory)`.
    pub(super) fn load(&mut self, extend: Extend, dst: VReg, address: Value, offset: i32) {
        let (mem, regs) = self.address(address, offset);
        let mut operands: SmallVec<[Operand; 4]> = SmallVec::new();
        operands.push(Operand::reg_def(dst));
        operands.extend(regs);
        self.out.push(MInst::Load(extend, mem), &operands);
    }

    /// Whether all that is above the low two bytes of a value's register is zero.
    fn fits_two_bytes(&self, value: Value) -> bool {
        let Some(data) = self.def(value) else {
            return false;
        };
        match (data.op, data.payload) {
            (Opcode::Load, Payload::Mem { size, .. }) => size <= Size::H,
            (Opcode::And, _) => self.number(data.args[1]).is_some_and(|mask| mask <= 0xffff),
            (Opcode::Bswap16, _) => true,
            _ => false,
        }
    }

    /// The rules for opcodes of this group.
    pub(super) fn select_extend(&mut self, data: &InstData, dst: VReg) {
        let src = data.args[0];
        let width = Width::of(data.ty);
        match (data.op, data.ty) {
            (Opcode::Sext8, Type::I32) => self.extend(Extend::Sign8To32, dst, src),
            (Opcode::Sext8, Type::I64) => self.extend(Extend::Sign8, dst, src),
            (Opcode::Sext16, Type::I32) => self.extend(Extend::Sign16To32, dst, src),
            (Opcode::Sext16, Type::I64) => self.extend(Extend::Sign16, dst, src),
            (Opcode::Sext32, _) => self.extend(Extend::Sign32, dst, src),
            (Opcode::Bswap16, _) if self.fits_two_bytes(src) => {
                // The upper half stays, and it has to stay zero.
                self.unary(MInst::Swap16, Width::W64, dst, src);
            }
            (Opcode::Bswap16, _) => self.unary(MInst::Bswap16, Width::W32, dst, src),
            (Opcode::Bswap, _) => self.unary(MInst::Bswap(width), width, dst, src),
            // Uext32 of what is not zero-extended yet.
            _ => self.extend(Extend::Zero32, dst, src),
        }
    }
}
