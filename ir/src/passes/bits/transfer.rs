//! What is known of a result, given what is known of the operands.

use super::{Bits, low_ones};
use crate::{Function, InstData, Opcode, Payload, Size, Type, Value};

/// What is known of the result of an instruction.
pub(super) fn result(function: &Function, data: &InstData, known: impl Fn(Value) -> Bits) -> Bits {
    let Some(ty) = data.op.info().result.map(|ty| data.resolve(ty)) else {
        return Bits::NONE;
    };
    let args: smallvec::SmallVec<[Bits; 3]> = data.args.iter().map(|&arg| known(arg)).collect();
    if args.contains(&Bits::NONE) {
        return Bits::NONE;
    }
    match (data.op, data.payload, &args[..]) {
        (_, Payload::Imm(value), _) => Bits::constant(ty, value),
        (Opcode::Load, Payload::Mem { size, .. }, _) => Bits::new(ty, !low_ones(size.bits()), 0, 1),
        (Opcode::Sload, Payload::Mem { size, .. }, _) => sign_extended(ty, size),
        (op, Payload::None, &[a]) => unary(op, ty, a),
        (Opcode::Shl | Opcode::Lshr | Opcode::Ashr, _, &[a, _]) => {
            let count = function.constant(data.args[1]);
            match count.map(|count| count as u32 % ty.bits()) {
                Some(count) => shift(data.op, ty, a, count),
                None => any_shift(data.op, ty, a),
            }
        }
        (op, Payload::None, &[a, b]) => binary(op, ty, a, b),
        _ => Bits::any(ty),
    }
}

fn sign_extended(ty: Type, size: Size) -> Bits {
    Bits::new(ty, 0, 0, ty.bits().saturating_sub(size.bits()) + 1)
}

fn unary(op: Opcode, ty: Type, a: Bits) -> Bits {
    match op {
        Opcode::Neg => subtract(ty, Bits::constant(ty, 0), a),
        Opcode::Bswap16 => {
            let swap = |bits: u64| u64::from((bits as u16).swap_bytes());
            Bits::new(ty, swap(a.zero) | !0xffff, swap(a.one), 1)
        }
        Opcode::Bswap => {
            let swap = |bits: u64| bits.swap_bytes() >> (64 - ty.bits());
            Bits::new(ty, swap(a.zero), swap(a.one), 1)
        }
        Opcode::Sext8 => extend_sign(ty, a, 8, a.sign),
        Opcode::Sext16 => extend_sign(ty, a, 16, a.sign),
        Opcode::Sext32 => extend_sign(ty, a, 32, 32 + a.sign),
        Opcode::Uext32 => Bits::new(ty, a.zero, a.one, 1),
        Opcode::Trunc => Bits::new(ty, a.zero, a.one, a.sign.saturating_sub(32)),
        _ => Bits::any(ty),
    }
}

/// The low `width` bits with their sign; `sign` equal bits were there before.
fn extend_sign(ty: Type, a: Bits, width: u32, sign: u32) -> Bits {
    let extend = |bits: u64| ((bits << (64 - width)) as i64 >> (64 - width)) as u64;
    let sign = sign.max(ty.bits() - width + 1);
    Bits::new(ty, extend(a.zero), extend(a.one), sign)
}

fn binary(op: Opcode, ty: Type, a: Bits, b: Bits) -> Bits {
    let sign = a.sign.min(b.sign);
    match op {
        Opcode::And => Bits::new(ty, a.zero | b.zero, a.one & b.one, sign),
        Opcode::Or => Bits::new(ty, a.zero & b.zero, a.one | b.one, sign),
        Opcode::Xor => {
            let zero = a.zero & b.zero | a.one & b.one;
            Bits::new(ty, zero, a.zero & b.one | a.one & b.zero, sign)
        }
        Opcode::Iadd => sum(ty, a, b, 0),
        Opcode::Isub => subtract(ty, a, b),
        Opcode::Imul => {
            let leading = a.leading_zeros(ty) + b.leading_zeros(ty);
            let low = low_ones(a.trailing_zeros() + b.trailing_zeros());
            high_zeros(ty, leading.saturating_sub(ty.bits()), low)
        }
        // At least 2^n divides away n bits; by zero the quotient is zero.
        Opcode::Udiv => {
            let divisor = b.min().checked_ilog2().unwrap_or(0);
            high_zeros(ty, a.leading_zeros(ty) + divisor, 0)
        }
        // By zero the remainder is the dividend.
        Opcode::Urem if b.min() > 0 => {
            high_zeros(ty, a.leading_zeros(ty).max(b.leading_zeros(ty)), 0)
        }
        Opcode::Urem => high_zeros(ty, a.leading_zeros(ty), 0),
        _ => Bits::any(ty),
    }
}

/// So many zeros at the top, and these zeros.
fn high_zeros(ty: Type, count: u32, zero: u64) -> Bits {
    let rest = low_ones(ty.bits() - count.min(ty.bits()));
    Bits::new(ty, zero | !rest, 0, 1)
}

fn subtract(ty: Type, a: Bits, b: Bits) -> Bits {
    let inverse = Bits { zero: b.one | !ty.mask(), one: b.zero & ty.mask(), sign: b.sign };
    sum(ty, a, inverse, 1)
}

/// `a + b + carry`. The greatest and the least sum agree with every other sum
/// in those bits where the carries into them do.
fn sum(ty: Type, a: Bits, b: Bits, carry: u64) -> Bits {
    let greatest = a.max().wrapping_add(b.max()).wrapping_add(carry);
    let least = a.min().wrapping_add(b.min()).wrapping_add(carry);
    let no_carry = !(greatest ^ a.zero ^ b.zero);
    let always_carry = least ^ a.one ^ b.one;
    let known = (a.zero | a.one) & (b.zero | b.one) & (no_carry | always_carry);
    let sign = a.sign.min(b.sign) - 1;
    Bits::new(ty, !greatest & known, least & known, sign)
}

/// A shift by a count below the width.
fn shift(op: Opcode, ty: Type, a: Bits, count: u32) -> Bits {
    let unused = 64 - ty.bits();
    match op {
        Opcode::Shl => {
            let sign = a.sign.saturating_sub(count);
            Bits::new(ty, a.zero << count | low_ones(count), a.one << count, sign)
        }
        Opcode::Lshr => {
            let zero = (a.zero & ty.mask()) >> count | !(ty.mask() >> count);
            Bits::new(ty, zero, a.one >> count, 1)
        }
        _ => {
            let arithmetic = |bits: u64| ((bits << unused) as i64 >> unused >> count) as u64;
            Bits::new(ty, arithmetic(a.zero), arithmetic(a.one), a.sign + count)
        }
    }
}

/// A shift by an unknown count.
fn any_shift(op: Opcode, ty: Type, a: Bits) -> Bits {
    match op {
        Opcode::Shl => Bits::new(ty, low_ones(a.trailing_zeros().min(ty.bits())), 0, 1),
        Opcode::Lshr => high_zeros(ty, a.leading_zeros(ty), 0),
        _ if a.leading_zeros(ty) > 0 => high_zeros(ty, a.leading_zeros(ty), 0),
        _ => Bits::new(ty, 0, 0, a.sign),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::eval;
    use crate::passes::bits::random::Random;

    /// All values of few bits at both ends of the type that fit what is known.
    fn samples(ty: Type) -> Vec<u64> {
        let mut samples = Vec::new();
        for low in 0..8u64 {
            for high in [0, 1, 2, 3, 0x7f, 0xff] {
                samples.push((high << (ty.bits() - 8) | low) & ty.mask());
            }
        }
        samples.extend([0x7f, 0x80, 0xff, 0x8000, 0xffff, 0x8000_0000, 0xffff_ffff]);
        samples
            .extend([1 << 32, 0xffff_ffff_8000_0000, 0xffff_8000, u64::MAX].map(|n| n & ty.mask()));
        samples
    }

    fn bits_of(ty: Type, values: &[u64]) -> Bits {
        let each = values.iter().map(|&value| Bits::constant(ty, value));
        each.fold(Bits::NONE, Bits::meet)
    }

    fn admits(ty: Type, bits: Bits, value: u64) -> bool {
        let exact = Bits::constant(ty, value);
        bits.both(exact) == exact
    }

    /// Whatever is known of a result holds of the results of all operands
    /// that fit what is known of those.
    #[test]
    fn nothing_false_is_known() {
        for &op in Opcode::ALL {
            let arity = op.info().args.map_or(0, <[_]>::len);
            for ty in [Type::I32, Type::I64] {
                if eval(op, ty, &[1; 2][..arity.min(2)]).is_none() {
                    continue;
                }
                check(op, ty, arity);
            }
        }
    }

    fn check(op: Opcode, ty: Type, arity: usize) {
        let info = op.info();
        let from = info.args.map_or(ty, |args| args[0].resolve(ty));
        let to = info.result.map_or(ty, |result| result.resolve(ty));
        let samples = samples(from);
        for (i, &a) in samples.iter().enumerate() {
            for (j, &b) in samples.iter().enumerate() {
                let lefts = [a, samples[(i + 7) % samples.len()]];
                let rights = [b, samples[(j + 1) % samples.len()]];
                let (left, right) = (bits_of(from, &lefts), bits_of(from, &rights));
                let known = match (op, arity) {
                    (_, 1) => unary(op, to, left),
                    (Opcode::Shl | Opcode::Lshr | Opcode::Ashr, _) => any_shift(op, to, left),
                    _ => binary(op, to, left, right),
                };
                for x in lefts {
                    for y in rights {
                        let result = eval(op, ty, &[x, y][..arity]).unwrap();
                        let name = info.name;
                        assert!(admits(to, known, result), "{name}.{ty} {x:#x} {y:#x}: {known:x?}");
                        if matches!(op, Opcode::Shl | Opcode::Lshr | Opcode::Ashr) {
                            let known = shift(op, ty, left, y as u32 % ty.bits());
                            assert!(admits(to, known, result), "{name}.{ty} {x:#x} by {y}");
                        }
                    }
                }
            }
        }
    }

    /// Two values, and something true of both.
    fn claim(random: &mut Random, ty: Type) -> ([u64; 2], Bits) {
        let (value, mask) = (random.number() & ty.mask(), random.number());
        let other = (value & mask | random.number() & !mask) & ty.mask();
        let unused = 64 - ty.bits();
        let sign = |value: u64| {
            let top = value << unused;
            top.leading_ones().max(top.leading_zeros()).min(ty.bits())
        };
        let both = sign(value).min(sign(other));
        let sign = if random.next() & 1 == 0 { both } else { 1 + random.next() as u32 % both };
        ([value, other], Bits::new(ty, !value & mask, value & mask, sign))
    }

    /// The same of claims about any bits at all.
    #[test]
    fn nothing_false_is_known_of_random_claims() {
        let mut random = Random(1);
        for &op in Opcode::ALL {
            let arity = op.info().args.map_or(0, <[_]>::len);
            for ty in [Type::I32, Type::I64] {
                if eval(op, ty, &[1; 2][..arity.min(2)]).is_some() {
                    (0..5000).for_each(|_| check_claim(&mut random, op, ty, arity));
                }
            }
        }
    }

    fn check_claim(random: &mut Random, op: Opcode, ty: Type, arity: usize) {
        let info = op.info();
        let from = info.args.map_or(ty, |args| args[0].resolve(ty));
        let to = info.result.map_or(ty, |result| result.resolve(ty));
        let ((lefts, left), (rights, right)) = (claim(random, from), claim(random, from));
        for (x, y) in [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(i, j)| (lefts[i], rights[j])) {
            let known = match (op, arity) {
                (_, 1) => unary(op, to, left),
                (Opcode::Shl | Opcode::Lshr | Opcode::Ashr, _) => {
                    let by_constant = shift(op, ty, left, y as u32 % ty.bits());
                    by_constant.both(any_shift(op, to, left))
                }
                _ => binary(op, to, left, right),
            };
            let result = eval(op, ty, &[x, y][..arity]).unwrap();
            assert!(
                admits(to, known, result),
                "{}.{ty} {x:#x} {y:#x}: {left:x?} {right:x?} {known:x?}",
                info.name
            );
        }
    }
}
