//! Which bits of each value matter.
//!
//! A bit of a value is demanded if it may change what the function does. The
//! analysis starts from what has effects and goes from results to operands;
//! block parameters pass on what is demanded of them. It assumes at first that
//! no bit is demanded, so that loops that only feed themselves are not either.
//!
//! A pass that relies on this may change bits that are not demanded, and must
//! then rely on nothing that was known of them: see `narrow`.

use cranelift_entity::{EntityRef, SecondaryMap};

use super::low_ones;
use crate::opcode::Effect;
use crate::passes::edges::Edges;
use crate::{Cond, Function, Inst, InstData, Opcode, Payload, Terminator, Type, Value, ValueDef};

/// The demanded bits of the values of a function.
pub(in crate::passes) struct Demand {
    of: SecondaryMap<Value, u64>,
    /// Number of values when it was found out.
    values: usize,
}

impl Demand {
    /// Finds it out.
    pub fn new(function: &Function) -> Demand {
        let mut solver = Solver { function, of: SecondaryMap::new(), todo: Vec::new() };
        for &block in &function.layout {
            let data = &function.blocks[block];
            for &inst in &data.insts {
                solver.effects(inst);
            }
            solver.terminator(&data.term);
        }
        solver.solve();
        Demand { of: solver.of, values: function.values.len() }
    }

    /// The demanded bits of a value; all of them of one that is newer.
    pub fn of(&self, value: Value) -> u64 {
        match value.index() < self.values {
            true => self.of[value],
            false => u64::MAX,
        }
    }
}

struct Solver<'f> {
    function: &'f Function,
    of: SecondaryMap<Value, u64>,
    /// Values of which more is demanded than when last visited.
    todo: Vec<Value>,
}

impl Solver<'_> {
    fn demand(&mut self, value: Value, bits: u64) {
        let bits = bits & self.function.ty(value).mask();
        let old = self.of[value];
        if bits & !old != 0 {
            self.of[value] = old | bits;
            self.todo.push(value);
        }
    }

    /// What an instruction demands whatever becomes of its result.
    fn effects(&mut self, inst: Inst) {
        let data = &self.function.insts[inst];
        match data.op.info().effect {
            Effect::Pure | Effect::Load => {}
            Effect::Store | Effect::Call => {
                for (index, &arg) in data.args.iter().enumerate() {
                    let bits = match (data.op, data.payload, index) {
                        (Opcode::Store, Payload::Mem { size, .. }, 1) => low_ones(size.bits()),
                        _ => u64::MAX,
                    };
                    self.demand(arg, bits);
                }
            }
        }
    }

    fn terminator(&mut self, term: &Terminator) {
        match *term {
            Terminator::Branch { cond: Cond::Set | Cond::Clear, lhs, rhs, .. } => {
                let mask = |value: Value| self.function.constant(value).unwrap_or(u64::MAX);
                let (left, right) = (mask(rhs), mask(lhs));
                self.demand(lhs, left);
                self.demand(rhs, right);
            }
            Terminator::TailCall { ctx, array, index, .. } => {
                self.demand(ctx, u64::MAX);
                self.demand(array, u64::MAX);
                self.demand(index, Type::I32.mask());
            }
            _ => {
                for value in term.operands() {
                    self.demand(value, u64::MAX);
                }
            }
        }
    }

    fn solve(&mut self) {
        let edges = Edges::new(self.function);
        while let Some(value) = self.todo.pop() {
            let bits = self.of[value];
            match self.function.values[value].def {
                ValueDef::Result(inst) => {
                    let data = &self.function.insts[inst];
                    self.operands(data, bits);
                }
                ValueDef::Param(block, position) => {
                    for edge in edges.to(block) {
                        let arg = edge.call(self.function).args[position as usize];
                        self.demand(arg, bits);
                    }
                }
            }
        }
    }

    /// Demands of the operands what some bits of the result need.
    fn operands(&mut self, data: &InstData, bits: u64) {
        match (data.op.info().effect, &data.args[..]) {
            (Effect::Store | Effect::Call, _) => {}
            (Effect::Pure, &[a]) => self.demand(a, of_operand(data.op, data.ty, bits)),
            (Effect::Pure, &[a, b]) => {
                let (left, right) = self.of_operands(data, bits, b);
                self.demand(a, left);
                self.demand(b, right);
            }
            (Effect::Pure | Effect::Load, args) => {
                args.iter().for_each(|&arg| self.demand(arg, u64::MAX));
            }
        }
    }

    fn of_operands(&self, data: &InstData, bits: u64, b: Value) -> (u64, u64) {
        let (ty, constant) = (data.ty, self.function.constant(b));
        let below = below(bits);
        let counting = u64::from(ty.bits() - 1);
        let count = constant.map(|count| (count & counting) as u32);
        match (data.op, count) {
            // Carries go up only.
            (Opcode::Iadd | Opcode::Isub | Opcode::Imul, _) => (below, below),
            (Opcode::And, _) => (bits & constant.unwrap_or(u64::MAX), bits),
            (Opcode::Or, _) => (bits & !constant.unwrap_or(0), bits),
            (Opcode::Xor, _) => (bits, bits),
            (Opcode::Shl, Some(count)) => (bits >> count, counting),
            (Opcode::Shl, None) => (below, counting),
            (Opcode::Lshr, Some(count)) => (bits << count, counting),
            (Opcode::Ashr, Some(count)) => {
                let sign = ty.mask() & !(ty.mask() >> 1);
                let copied = bits & !(ty.mask() >> count) != 0;
                (bits << count | if copied { sign } else { 0 }, counting)
            }
            (Opcode::Lshr | Opcode::Ashr, None) => (u64::MAX, counting),
            _ => (u64::MAX, u64::MAX),
        }
    }
}

/// What some bits of the result of a unary operation need.
fn of_operand(op: Opcode, ty: Type, bits: u64) -> u64 {
    let extended = |width: u32| {
        let above = bits & !low_ones(width) != 0;
        bits & low_ones(width) | if above { 1 << (width - 1) } else { 0 }
    };
    match op {
        Opcode::Neg => below(bits),
        Opcode::Bswap16 => u64::from((bits as u16).swap_bytes()),
        Opcode::Bswap => bits.swap_bytes() >> (64 - ty.bits()),
        Opcode::Sext8 => extended(8),
        Opcode::Sext16 => extended(16),
        Opcode::Sext32 => extended(32),
        Opcode::Uext32 | Opcode::Trunc => bits & Type::I32.mask(),
        _ => u64::MAX,
    }
}

/// All bits up to the highest of these.
fn below(bits: u64) -> u64 {
    low_ones(64 - bits.leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FuncRef;
    use crate::eval::eval;
    use crate::opcode::Ty;
    use crate::passes::bits::random::Random;

    /// Some values with structure and some without.
    fn samples() -> Vec<u64> {
        let mut samples =
            vec![0, 1, 0x80, 0xff, 0x8000, 1 << 31, u32::MAX.into(), 1 << 63, u64::MAX];
        let mut bits = 1u64;
        for _ in 0..24 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            samples.push(bits);
        }
        samples
    }

    /// The demanded bits of both operands of an operation of whose result some
    /// are; the right one is a constant if it is given.
    fn demanded(op: Opcode, ty: Type, bits: u64, constant: Option<u64>) -> Vec<u64> {
        let mut function = Function::new(FuncRef::from_u32(0), "one");
        let entry = function.entry;
        let types = op.info().args.unwrap_or(&[]);
        let mut args: Vec<Value> =
            types.iter().map(|of: &Ty| function.add_param(entry, of.resolve(ty))).collect();
        if let Some(constant) = constant {
            let payload = Payload::Imm(constant & ty.mask());
            let inst = function.make_inst(InstData::new(Opcode::Iconst, ty, &[], payload));
            args[1] = function.result(inst).unwrap();
        }
        let data = InstData::new(op, ty, &args, Payload::None);
        let mut solver = Solver { function: &function, of: SecondaryMap::new(), todo: Vec::new() };
        solver.operands(&data, bits);
        args.iter().map(|&arg| solver.of[arg]).collect()
    }

    /// Changes of bits that are not demanded change no demanded bit.
    #[test]
    fn what_is_not_demanded_does_not_matter() {
        let samples = samples();
        for &op in Opcode::ALL {
            let arity = op.info().args.map_or(0, <[_]>::len);
            for ty in [Type::I32, Type::I64] {
                if eval(op, ty, &[1; 2][..arity.min(2)]).is_none() {
                    continue;
                }
                let result = op.info().result.map_or(ty, |of| of.resolve(ty));
                for (i, &x) in samples.iter().enumerate() {
                    let y = samples[(i * 7 + 3) % samples.len()];
                    for (j, &mask) in samples.iter().enumerate() {
                        let bits = mask & samples[(i + j) % samples.len()] & result.mask();
                        let noise = samples[(i * 5 + j) % samples.len()];
                        check(op, ty, &[x, y][..arity], bits, noise);
                    }
                }
            }
        }
    }

    /// The same of random operands, demands and changes.
    #[test]
    fn what_is_not_demanded_does_not_matter_at_random() {
        let mut random = Random(2);
        for &op in Opcode::ALL {
            let arity = op.info().args.map_or(0, <[_]>::len);
            for ty in [Type::I32, Type::I64] {
                if eval(op, ty, &[1; 2][..arity.min(2)]).is_none() {
                    continue;
                }
                let result = op.info().result.map_or(ty, |of| of.resolve(ty));
                for _ in 0..3000 {
                    let [x, y, bits, noise] = [0; 4].map(|_| random.number());
                    check(op, ty, &[x, y][..arity], bits & result.mask(), noise);
                }
            }
        }
    }

    fn check(op: Opcode, ty: Type, args: &[u64], bits: u64, noise: u64) {
        let wanted = eval(op, ty, args).unwrap() & bits;
        let constants = [None, args.get(1).copied(), args.get(1).map(|y| y % 64)];
        for constant in constants.into_iter().take(if args.len() > 1 { 3 } else { 1 }) {
            let demanded = demanded(op, ty, bits, constant);
            let mut fixed = args.to_vec();
            if let Some(constant) = constant {
                fixed[1] = constant;
            }
            let wanted =
                if constant.is_some() { eval(op, ty, &fixed).unwrap() & bits } else { wanted };
            let mut other: Vec<u64> =
                fixed.iter().zip(&demanded).map(|(arg, bits)| arg ^ noise & !bits).collect();
            if constant.is_some() {
                other[1] = fixed[1];
            }
            let got = eval(op, ty, &other).unwrap() & bits;
            assert_eq!(got, wanted, "{}.{ty} {fixed:x?} {other:x?} {bits:x}", op.info().name);
        }
    }
}
