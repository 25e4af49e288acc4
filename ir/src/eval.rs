//! What operations compute: the one place that says so. Constant folding and
//! the interpreter both call it; the bytecode interpreter, the oracle, does not.
//!
//! A value of type `i32` is held zero-extended in a `u64`; what stands above it
//! in an argument is ignored.

use crate::opcode::{AtomicOp, Cond, Opcode, Size, Type};

/// The result of an operation of type `ty` that depends on its operands alone.
/// `None` for constants, addresses, memory and calls, and where the number of
/// operands is not the table's.
pub fn eval(op: Opcode, ty: Type, args: &[u64]) -> Option<u64> {
    let info = op.info();
    if info.args?.len() != args.len() {
        return None;
    }
    let (a, b) = (arg(op, ty, args, 0), arg(op, ty, args, 1));
    let count = b & u64::from(ty.bits() - 1);
    use Opcode::*;
    let bits = match op {
        Iadd => a.wrapping_add(b),
        Isub => a.wrapping_sub(b),
        Imul => a.wrapping_mul(b),
        Udiv => a.checked_div(b).unwrap_or(0),
        Urem => a.checked_rem(b).unwrap_or(a),
        Sdiv if b == 0 => 0,
        Sdiv => signed(ty, a).wrapping_div(signed(ty, b)) as u64,
        Srem if b == 0 => a,
        Srem => signed(ty, a).wrapping_rem(signed(ty, b)) as u64,
        And => a & b,
        Or => a | b,
        Xor => a ^ b,
        Shl => a << count,
        Lshr => a >> count,
        Ashr => (signed(ty, a) >> count) as u64,
        Neg => a.wrapping_neg(),
        Bswap16 => u64::from((a as u16).swap_bytes()),
        Bswap => a.swap_bytes() >> (64 - ty.bits()),
        Sext8 => sign_extend(a, 8),
        Sext16 => sign_extend(a, 16),
        Sext32 => sign_extend(a, 32),
        Uext32 | Trunc => a & Type::I32.mask(),
        Iconst | MapAddr | MapValue | FuncAddr | StackAddr | Load | Sload | Store | AtomicFetch
        | Atomic | AtomicCas | LoadAcquire | StoreRelease | CtxLoad | CtxStore | CallExt
        | CallNumber | Call => return None,
    };
    Some(bits & info.result?.resolve(ty).mask())
}

/// Operand `index` without what stands above its type; 0 where there is none.
fn arg(op: Opcode, ty: Type, args: &[u64], index: usize) -> u64 {
    let types = op.info().args.unwrap_or(&[]);
    match (types.get(index), args.get(index)) {
        (Some(&operand), Some(bits)) => bits & operand.resolve(ty).mask(),
        _ => 0,
    }
}

fn sign_extend(bits: u64, width: u32) -> u64 {
    let unused = 64 - width;
    ((bits << unused) as i64 >> unused) as u64
}

fn signed(ty: Type, bits: u64) -> i64 {
    sign_extend(bits, ty.bits()) as i64
}

/// Whether `a cond b`, both of type `ty`.
pub fn eval_cond(cond: Cond, ty: Type, a: u64, b: u64) -> bool {
    let (a, b) = (a & ty.mask(), b & ty.mask());
    let (sa, sb) = (signed(ty, a), signed(ty, b));
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Ult => a < b,
        Cond::Ule => a <= b,
        Cond::Ugt => a > b,
        Cond::Uge => a >= b,
        Cond::Slt => sa < sb,
        Cond::Sle => sa <= sb,
        Cond::Sgt => sa > sb,
        Cond::Sge => sa >= sb,
        Cond::Set => a & b != 0,
        Cond::Clear => a & b == 0,
    }
}

/// What an atomic operation leaves in memory that held `old`.
pub fn eval_atomic(op: AtomicOp, ty: Type, old: u64, operand: u64) -> u64 {
    let bits = match op {
        AtomicOp::Add => old.wrapping_add(operand),
        AtomicOp::Or => old | operand,
        AtomicOp::And => old & operand,
        AtomicOp::Xor => old ^ operand,
        AtomicOp::Xchg => operand,
    };
    bits & ty.mask()
}

/// What a compare-and-exchange leaves in memory that held `old`.
pub fn eval_cas(ty: Type, old: u64, expected: u64, replacement: u64) -> u64 {
    match eval_cond(Cond::Eq, ty, old, expected) {
        true => replacement & ty.mask(),
        false => old & ty.mask(),
    }
}

/// The result of a load (`op` says which) whose `size` bytes in memory are the
/// low ones of `bits`.
pub fn eval_load(op: Opcode, ty: Type, size: Size, bits: u64) -> u64 {
    let bits = bits & (u64::MAX >> (64 - size.bits()));
    match op {
        Opcode::Sload => sign_extend(bits, size.bits()) & ty.mask(),
        _ => bits & ty.mask(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::{Effect, PayloadKind, Ty};
    use Opcode::*;
    use Type::{I32, I64};

    const MIN32: u64 = 1 << 31;
    const MIN64: u64 = 1 << 63;
    const ONES32: u64 = u32::MAX as u64;
    const ONES64: u64 = u64::MAX;

    /// Operation, type, operands, result; results from RFC 9669 and the list of
    /// its forty traps.
    const CASES: &[(Opcode, Type, &[u64], u64)] = &[
        (Iadd, I64, &[ONES64, 2], 1),
        (Iadd, I32, &[ONES32, 2], 1),
        (Isub, I64, &[1, 2], ONES64),
        (Isub, I32, &[1, 2], ONES32),
        (Imul, I64, &[1 << 33, 1 << 32], 0),
        (Imul, I32, &[0x10001, 0x10001], 0x20001),
        (Udiv, I64, &[7, 0], 0),
        (Udiv, I64, &[ONES64, 2], ONES64 / 2),
        (Udiv, I32, &[7, 1 << 32], 0),
        (Udiv, I32, &[ONES64, 2], ONES32 / 2),
        (Urem, I64, &[ONES64, 0], ONES64),
        (Urem, I64, &[ONES64, 10], 5),
        (Urem, I32, &[ONES64, 0], ONES32),
        (Sdiv, I64, &[MIN64, ONES64], MIN64),
        (Sdiv, I64, &[7, 0], 0),
        (Sdiv, I64, &[-7i64 as u64, 2], -3i64 as u64),
        (Sdiv, I32, &[MIN32, ONES32], MIN32),
        (Sdiv, I32, &[-7i32 as u32 as u64, 2], -3i32 as u32 as u64),
        (Srem, I64, &[MIN64, ONES64], 0),
        (Srem, I64, &[MIN64, 0], MIN64),
        (Srem, I64, &[-41i64 as u64, -2i64 as u64], ONES64),
        (Srem, I64, &[41, -2i64 as u64], 1),
        (Srem, I32, &[MIN32, ONES32], 0),
        (Srem, I32, &[-41i32 as u32 as u64, 2], ONES32),
        (And, I32, &[0xf_0000_000c, 0xf_0000_000a], 8),
        (Or, I64, &[0xc, 0xa], 0xe),
        (Xor, I64, &[0xc, 0xa], 6),
        (Shl, I64, &[1, 65], 2),
        (Shl, I64, &[1, 63], MIN64),
        (Shl, I32, &[3, 31], MIN32),
        (Shl, I32, &[3, 32], 3),
        (Lshr, I64, &[MIN64, 63], 1),
        (Lshr, I32, &[MIN32, 33], 1 << 30),
        (Ashr, I64, &[MIN64, 63], ONES64),
        (Ashr, I32, &[MIN32, 31], ONES32),
        (Ashr, I32, &[MIN32 - 1, 30], 1),
        (Neg, I64, &[MIN64], MIN64),
        (Neg, I32, &[1], ONES32),
        (Bswap16, I64, &[0x11_2233], 0x3322),
        (Bswap, I32, &[0x5566_1122_3344], 0x4433_2211),
        (Bswap, I64, &[0x1122_3344_5566_7788], 0x8877_6655_4433_2211),
        (Sext8, I64, &[0x180], -128i64 as u64),
        (Sext8, I32, &[0x80], 0xffff_ff80),
        (Sext16, I32, &[0x8000], 0xffff_8000),
        (Sext16, I64, &[0x7fff], 0x7fff),
        (Sext32, I64, &[0xf_8000_0000], 0xffff_ffff_8000_0000),
        (Uext32, I64, &[ONES64], ONES32),
        (Trunc, I32, &[0x1_2345_6789], 0x2345_6789),
    ];

    #[test]
    fn operations_compute_what_the_table_says() {
        for &(op, ty, args, result) in CASES {
            let name = op.info().name;
            assert_eq!(eval(op, ty, args), Some(result), "{name}.{ty} {args:x?}");
        }
    }

    /// Exactly the pure operations that carry nothing, each with a case above.
    #[test]
    fn every_computing_operation_is_covered() {
        for &op in Opcode::ALL {
            let info = op.info();
            let computes = info.effect == Effect::Pure && info.payload == PayloadKind::None;
            assert_eq!(CASES.iter().any(|case| case.0 == op), computes);
            let args = vec![5; info.args.map_or(5, <[Ty]>::len)];
            assert_eq!(eval(op, I64, &args).is_some(), computes);
            assert_eq!(eval(op, I64, &[1; 6]), None);
        }
    }

    /// The table's `commutes` column, on enough pairs to tell.
    #[test]
    fn what_commutes_is_what_the_table_says() {
        let samples = [0, 1, 2, 7, MIN32, ONES32, MIN64, ONES64, 0x1234_5678_9abc];
        for &op in Opcode::ALL {
            for ty in [I32, I64] {
                let swaps = |a, b| eval(op, ty, &[a, b]) == eval(op, ty, &[b, a]);
                let all = samples.iter().all(|&a| samples.iter().all(|&b| swaps(a, b)));
                if eval(op, ty, &[1, 1]).is_some() {
                    assert_eq!(all, op.info().commutes, "{}", op.info().name);
                }
            }
        }
    }

    #[test]
    fn conditions_negate_and_swap() {
        let samples = [0, 1, 6, MIN32, ONES32, MIN64, ONES64, 0x1_0000_0001];
        for cond in Cond::ALL {
            for (&a, &b, ty) in samples
                .iter()
                .flat_map(|a| samples.iter().flat_map(move |b| [(a, b, I32), (a, b, I64)]))
            {
                let holds = eval_cond(cond, ty, a, b);
                assert_eq!(eval_cond(cond.negate(), ty, a, b), !holds);
                assert_eq!(eval_cond(cond.swap(), ty, b, a), holds);
            }
        }
        assert!(eval_cond(Cond::Slt, I32, MIN32, 0));
        assert!(!eval_cond(Cond::Slt, I64, MIN32, 0));
        assert!(eval_cond(Cond::Slt, I64, MIN64, 0));
        assert!(eval_cond(Cond::Eq, I32, 1 << 32, 0));
        assert!(!eval_cond(Cond::Set, I32, MIN64, MIN64));
        assert!(eval_cond(Cond::Ult, I64, 1, MIN64));
    }

    #[test]
    fn atomics_and_loads() {
        assert_eq!(eval_atomic(AtomicOp::Add, I32, ONES32, 1), 0);
        assert_eq!(eval_atomic(AtomicOp::Add, I64, ONES32, 1), 1 << 32);
        assert_eq!(eval_atomic(AtomicOp::Or, I64, 0xc, 0xa), 0xe);
        assert_eq!(eval_atomic(AtomicOp::And, I64, 0xc, 0xa), 8);
        assert_eq!(eval_atomic(AtomicOp::Xor, I64, 0xc, 0xa), 6);
        assert_eq!(eval_atomic(AtomicOp::Xchg, I32, 1, ONES64), ONES32);
        assert_eq!(eval_cas(I32, 5, 0xf_0000_0005, 7), 7);
        assert_eq!(eval_cas(I64, 5, 0xf_0000_0005, 7), 5);
        assert_eq!(eval_load(Load, I64, Size::H, 0x1_8001), 0x8001);
        assert_eq!(eval_load(Sload, I64, Size::H, 0x8001), 0xffff_ffff_ffff_8001);
        assert_eq!(eval_load(Sload, I32, Size::B, 0x80), 0xffff_ff80);
        assert_eq!(eval_load(Sload, I64, Size::D, ONES64), ONES64);
    }
}
