//! Loads, stores and atomic operations.

use regalloc2::{Operand, VReg};
use smallvec::SmallVec;
use tailor_ir::{AtomicOp, Inst, InstData, Opcode, Payload, Size, Type, Value};

use super::Selector;
use crate::x64::inst::{AluOp, Extend, MInst, Width};
use crate::x64::regs::Gpr;

/// How many operations are looked through behind a stored value.
const STEPS: usize = 8;

/// The load that fills a register of a type from memory of a size.
fn extend_of(size: Size, signed: bool, ty: Type) -> Extend {
    match (size, signed, ty) {
        (Size::B, false, _) => Extend::Zero8,
        (Size::H, false, _) => Extend::Zero16,
        (Size::B, true, Type::I32) => Extend::Sign8To32,
        (Size::H, true, Type::I32) => Extend::Sign16To32,
        (Size::B, true, Type::I64) => Extend::Sign8,
        (Size::H, true, Type::I64) => Extend::Sign16,
        (Size::W, true, Type::I64) => Extend::Sign32,
        (Size::D, _, Type::I64) => Extend::None64,
        (Size::W | Size::D, _, _) => Extend::Zero32,
    }
}

impl Selector<'_> {
    /// A load into a register.
    pub(super) fn select_load(&mut self, inst: Inst, dst: VReg) {
        if let Some(load) = self.load_of(inst) {
            let extend = extend_of(load.size, load.signed, load.ty);
            self.load(extend, dst, load.address, load.offset);
        }
    }

    /// A load that no later access overtakes: any load of this processor.
    pub(super) fn select_load_acquire(&mut self, data: &InstData, dst: VReg) {
        if let Payload::Mem { offset, size, .. } = data.payload {
            self.load(extend_of(size, false, data.ty), dst, data.args[0], offset);
        }
    }

    /// A store of a register or a constant. None overtakes an earlier access on
    /// this processor.
    pub(super) fn select_store(&mut self, data: &InstData) {
        let Payload::Mem { offset, size, .. } = data.payload else {
            return;
        };
        let (address, value) = (data.args[0], data.args[1]);
        let bytes = size.min(Size::of(data.ty)).bytes() as u8;
        if bytes >= 4 && self.select_update(address, offset, value, bytes) {
            return;
        }
        if let Some(imm) = self.stored_immediate(value, bytes) {
            let (mem, regs) = self.address(address, offset);
            return self.out.push(MInst::StoreImm(bytes, imm, mem), &regs);
        }
        let width = if bytes == 8 { Width::W64 } else { Width::W32 };
        let value = self.low_bytes(value, bytes, |_| true);
        let value = self.reg(value, width);
        let (mem, regs) = self.address(address, offset);
        let mut operands: SmallVec<[Operand; 4]> = SmallVec::new();
        operands.push(Operand::reg_use(value));
        operands.extend(regs);
        self.out.push(MInst::Store(bytes, mem), &operands);
    }

    /// A store of something computed from what memory holds at the same place,
    /// as one instruction. False if it is not one.
    fn select_update(&mut self, address: Value, offset: i32, value: Value, bytes: u8) -> bool {
        // What is passed over must not want the result, or it would load once more.
        let value = self.low_bytes(value, bytes, |value| self.values.uses(value) == 1);
        let Some((op, other)) = self.update(address, offset, value, bytes) else {
            return false;
        };
        let width = if bytes == 8 { Width::W64 } else { Width::W32 };
        let imm = self.immediate(other, width);
        let mut operands: SmallVec<[Operand; 4]> = SmallVec::new();
        if imm.is_none() {
            operands.push(Operand::reg_use(self.reg(other, width)));
        }
        let (mem, regs) = self.address(address, offset);
        operands.extend(regs);
        self.out.push(MInst::AluMem(op, width, imm, mem), &operands);
        true
    }

    /// The operation behind a value that changes what memory holds, and its
    /// other operand, if only a store to the same place wants the result.
    fn update(
        &self,
        address: Value,
        offset: i32,
        value: Value,
        bytes: u8,
    ) -> Option<(AluOp, Value)> {
        let data = self.def(value)?;
        let op = match data.op {
            Opcode::Iadd => AluOp::Add,
            Opcode::Isub => AluOp::Sub,
            Opcode::And => AluOp::And,
            Opcode::Or => AluOp::Or,
            Opcode::Xor => AluOp::Xor,
            _ => return None,
        };
        let wide_enough = Size::of(data.ty).bytes() >= bytes.into();
        if !wide_enough || self.values.uses(value) != 1 || self.requested(value) {
            return None;
        }
        let (a, b) = (data.args[0], data.args[1]);
        let is_old = |operand| {
            let load = self.foldable_load(operand);
            load.is_some_and(|load| {
                load.size.bytes() >= bytes.into()
                    && load.offset == offset
                    && self.values.root(load.address) == self.values.root(address)
            })
        };
        if is_old(a) {
            Some((op, b))
        } else if op != AluOp::Sub && is_old(b) {
            Some((op, a))
        } else {
            None
        }
    }

    /// The low bytes of a constant, sign-extended, if a store can hold them.
    fn stored_immediate(&self, value: Value, bytes: u8) -> Option<i32> {
        let number = self.number(value)?;
        match bytes {
            1 => Some(i32::from(number as i8)),
            2 => Some(i32::from(number as i16)),
            4 => Some(number as i32),
            _ => i32::try_from(number as i64).ok(),
        }
    }

    /// A value with the same low bytes, without operations that only change
    /// what is above them and that may be passed over.
    fn low_bytes(&self, mut value: Value, bytes: u8, may_pass: impl Fn(Value) -> bool) -> Value {
        for _ in 0..STEPS {
            let Some(data) = self.def(value) else { break };
            // Something else wants it anyway: no need to keep its operand alive.
            if self.requested(value) || !may_pass(value) {
                break;
            }
            let src = data.args.first().copied();
            let same = match data.op {
                Opcode::Sext8 => bytes == 1,
                Opcode::Sext16 => bytes <= 2,
                Opcode::Sext32 | Opcode::Uext32 => bytes <= 4,
                Opcode::And => {
                    let low = u64::MAX >> (64 - 8 * u32::from(bytes));
                    let mask = self.number(data.args[1]);
                    mask.is_some_and(|mask| mask & low == low)
                }
                _ => false,
            };
            match src {
                Some(src) if same => value = src,
                _ => break,
            }
        }
        value
    }

    /// An atomic operation; `dst` is `None` if nobody wants the old value.
    pub(super) fn select_atomic(&mut self, data: &InstData, dst: Option<VReg>) {
        let Payload::Atomic { op, offset, .. } = data.payload else {
            return;
        };
        let width = Width::of(data.ty);
        let value = data.args[1];
        let simple = matches!(op, AtomicOp::Add | AtomicOp::Xchg);
        let mut operands: SmallVec<[Operand; 4]> = SmallVec::new();
        let dst = if op == AtomicOp::Xchg {
            Some(dst.unwrap_or_else(|| self.out.new_vreg()))
        } else {
            dst
        };
        let Some(dst) = dst else {
            if let Some(imm) = self.immediate(value, width) {
                let (mem, regs) = self.address(data.args[0], offset);
                return self.out.push(MInst::AtomicImm(op, width, imm, mem), &regs);
            }
            operands.push(Operand::reg_use(self.reg(value, width)));
            let (mem, regs) = self.address(data.args[0], offset);
            operands.extend(regs);
            return self.out.push(MInst::Atomic(op, width, mem), &operands);
        };
        if simple {
            operands.push(Operand::reg_reuse_def(dst, 1));
            operands.push(Operand::reg_use(self.own_reg(value, width)));
            let (mem, regs) = self.address(data.args[0], offset);
            operands.extend(regs);
            return self.out.push(MInst::AtomicFetch(op, width, mem), &operands);
        }
        // The loop writes both definitions before it is done with its uses.
        let temp = self.out.new_vreg();
        operands.push(Operand::reg_fixed_def_at_start(dst, Gpr::RAX.preg()));
        operands.push(Operand::reg_temp(temp));
        operands.push(Operand::reg_use(self.reg(value, width)));
        let (mem, regs) = self.address(data.args[0], offset);
        operands.extend(regs);
        self.out.push(MInst::AtomicLoop(op, width, mem), &operands);
    }

    /// Compare and exchange.
    pub(super) fn select_cas(&mut self, data: &InstData, dst: VReg) {
        let Payload::Mem { offset, .. } = data.payload else {
            return;
        };
        let width = Width::of(data.ty);
        let rax = Gpr::RAX.preg();
        let mut operands: SmallVec<[Operand; 4]> = SmallVec::new();
        let expected = self.own_reg(data.args[1], width);
        operands.push(Operand::reg_fixed_def(dst, rax));
        operands.push(Operand::reg_fixed_use(expected, rax));
        operands.push(Operand::reg_use(self.reg(data.args[2], width)));
        let (mem, regs) = self.address(data.args[0], offset);
        operands.extend(regs);
        self.out.push(MInst::CmpXchg(width, mem), &operands);
    }
}
