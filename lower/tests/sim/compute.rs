//! What single instructions do.

use tailor_ir::AtomicOp;
use tailor_lower::x64::inst::{AluOp, ShiftOp};

use super::*;

impl Frame<'_> {
    /// Executes an instruction that neither calls nor ends a block.
    pub fn execute(&mut self, world: &mut World) -> Result<(), String> {
        let uses = self.uses()?;
        let inst = self.f.insts[self.inst];
        let result = match inst {
            MInst::Mov(w) => cut(w, uses[0]),
            MInst::Imm(value) => value,
            MInst::Addr(symbol) => address_of(world, symbol)?,
            MInst::Lea(w, mem) => cut(w, self.address(mem, &uses)),
            MInst::Alu(op, w, rhs) => {
                let right = self.right(world, rhs, w, &uses)?;
                cut(w, alu(op, uses[0], right))
            }
            MInst::Imul(w, rhs) => {
                let right = self.right(world, rhs, w, &uses)?;
                cut(w, uses[0].wrapping_mul(right))
            }
            MInst::ImulImm(w, imm) => cut(w, uses[0].wrapping_mul(imm as i64 as u64)),
            MInst::Neg(w) => cut(w, uses[0].wrapping_neg()),
            MInst::ShiftImm(op, w, count) => shift(op, w, uses[0], count.into()),
            MInst::ShiftCl(op, w) | MInst::ShiftX(op, w) => shift(op, w, uses[0], uses[1]),
            MInst::Bswap(w) => cut(w, uses[0]).swap_bytes() >> (64 - 8 * w.bytes()),
            MInst::Swap16 => uses[0] & !0xffff | u64::from((uses[0] as u16).swap_bytes()),
            MInst::Bswap16 => (uses[0] as u16).swap_bytes().into(),
            MInst::Ext(extend) => extended(extend, uses[0]),
            MInst::Load(extend, mem) => {
                let address = self.address(mem, &uses);
                extended(extend, world.load(address, size_read(extend))?)
            }
            MInst::Div { signed: s, w, nonzero } => divide(s, w, nonzero, uses[0], uses[1])?.0,
            MInst::Rem { signed: s, w, nonzero } => {
                let (_, remainder) = divide(s, w, nonzero, uses[0], uses[1])?;
                self.define(1, remainder);
                0xbad
            }
            _ => return self.execute_effect(world, inst, &uses),
        };
        self.define(0, result);
        Ok(())
    }

    /// Instructions that set flags or change memory.
    fn execute_effect(
        &mut self,
        world: &mut World,
        inst: MInst,
        uses: &[u64],
    ) -> Result<(), String> {
        match inst {
            MInst::Store(bytes, mem) => {
                world.store(self.address(mem, uses), size(bytes), uses[0])?;
            }
            MInst::StoreImm(bytes, imm, mem) => {
                world.store(self.address(mem, uses), size(bytes), imm as i64 as u64)?;
            }
            MInst::AluMem(op, w, imm, mem) => {
                let address = self.address(mem, uses);
                let old = world.load(address, size_of(w))?;
                let right = imm.map_or_else(|| uses[0], |imm| imm as i64 as u64);
                world.store(address, size_of(w), alu(op, old, right))?;
            }
            MInst::TestMemImm(bytes, imm, mem) => {
                let memory = world.load(self.address(mem, uses), size(bytes))?;
                let up = 64 - 8 * u32::from(bytes);
                self.flags = Flags::Test(Width::W64, memory << up & (imm as i64 as u64) << up);
            }
            MInst::Cmp(w, rhs) => {
                self.flags = Flags::Cmp(w, uses[0], self.right(world, rhs, w, uses)?);
            }
            MInst::Test(w, rhs) => {
                self.flags = Flags::Test(w, uses[0] & self.right(world, rhs, w, uses)?);
            }
            MInst::CmpMemImm(bytes, imm, mem) => {
                let memory = world.load(self.address(mem, uses), size(bytes))?;
                // In the upper bits the order is that of the whole.
                let up = 64 - 8 * u32::from(bytes);
                self.flags = Flags::Cmp(Width::W64, memory << up, (imm as i64 as u64) << up);
            }
            MInst::Atomic(op, w, mem) => {
                let address = self.address(mem, uses);
                let old = world.load(address, size_of(w))?;
                world.store(address, size_of(w), atomic(op, old, uses[0]))?;
            }
            MInst::AtomicImm(op, w, imm, mem) => {
                let address = self.address(mem, uses);
                let old = world.load(address, size_of(w))?;
                world.store(address, size_of(w), atomic(op, old, imm as i64 as u64))?;
            }
            MInst::AtomicFetch(op, w, mem) | MInst::AtomicLoop(op, w, mem) => {
                let fetch = matches!(inst, MInst::AtomicFetch(..));
                if fetch != matches!(op, AtomicOp::Add | AtomicOp::Xchg) {
                    return Err("no such atomic instruction".into());
                }
                let address = self.address(mem, uses);
                let old = world.load(address, size_of(w))?;
                world.store(address, size_of(w), atomic(op, old, uses[0]))?;
                self.define(0, old);
            }
            MInst::CmpXchg(w, mem) => {
                let (address, expected) = (self.address(mem, uses), uses[0]);
                let old = world.load(address, size_of(w))?;
                if old == cut(w, expected) {
                    world.store(address, size_of(w), uses[1])?;
                    self.define(0, expected);
                } else {
                    self.define(0, old);
                }
            }
            _ => return Err("not here".into()),
        }
        Ok(())
    }
}

fn address_of(world: &mut World, symbol: Symbol) -> Result<u64, String> {
    match symbol {
        Symbol::Map(map) => world.map_address(map),
        Symbol::MapValue(map, offset) => Ok(world.map_value_address(map)? + u64::from(offset)),
        Symbol::Function(func) | Symbol::Entry(func) => world.func_address(func),
        _ => Err("an unexpected symbol".into()),
    }
}

fn size(bytes: u8) -> Size {
    Size::ALL[bytes.trailing_zeros() as usize]
}

fn size_read(extend: Extend) -> Size {
    match extend {
        Extend::Zero8 | Extend::Sign8To32 | Extend::Sign8 => Size::B,
        Extend::Zero16 | Extend::Sign16To32 | Extend::Sign16 => Size::H,
        Extend::Zero32 | Extend::Sign32 => Size::W,
        Extend::None64 => Size::D,
    }
}

fn extended(extend: Extend, value: u64) -> u64 {
    match extend {
        Extend::Zero8 => value as u8 as u64,
        Extend::Zero16 => value as u16 as u64,
        Extend::Zero32 => value as u32 as u64,
        Extend::None64 => value,
        Extend::Sign8To32 => value as i8 as i32 as u32 as u64,
        Extend::Sign16To32 => value as i16 as i32 as u32 as u64,
        Extend::Sign8 => value as i8 as i64 as u64,
        Extend::Sign16 => value as i16 as i64 as u64,
        Extend::Sign32 => value as i32 as i64 as u64,
    }
}

fn alu(op: AluOp, a: u64, b: u64) -> u64 {
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::And => a & b,
        AluOp::Or => a | b,
        AluOp::Xor => a ^ b,
    }
}

fn atomic(op: AtomicOp, old: u64, operand: u64) -> u64 {
    match op {
        AtomicOp::Add => old.wrapping_add(operand),
        AtomicOp::Or => old | operand,
        AtomicOp::And => old & operand,
        AtomicOp::Xor => old ^ operand,
        AtomicOp::Xchg => operand,
    }
}

fn shift(op: ShiftOp, w: Width, value: u64, count: u64) -> u64 {
    let (bits, value) = (8 * w.bytes(), cut(w, value));
    let count = count as u32 & (bits - 1);
    cut(
        w,
        match op {
            ShiftOp::Shl => value << count,
            ShiftOp::Shr => value >> count,
            ShiftOp::Sar => (signed(w, value) >> count) as u64,
            ShiftOp::Rol => value << count | value.checked_shr(bits - count).unwrap_or(0),
            ShiftOp::Ror => value >> count | value.checked_shl(bits - count).unwrap_or(0),
        },
    )
}

/// Quotient and remainder as the documentation of `MInst` has them.
fn divide(s: bool, w: Width, nonzero: bool, a: u64, b: u64) -> Result<(u64, u64), String> {
    let (a, b) = (cut(w, a), cut(w, b));
    let (sa, sb) = (signed(w, a), signed(w, b));
    if nonzero && (b == 0 || s && sb == -1) {
        return Err("a divisor that was said not to be".into());
    }
    let (quotient, remainder) = match (s, b) {
        (_, 0) => (0, a),
        (false, _) => (a / b, a % b),
        (true, _) => (sa.wrapping_div(sb) as u64, sa.wrapping_rem(sb) as u64),
    };
    Ok((cut(w, quotient), cut(w, remainder)))
}
