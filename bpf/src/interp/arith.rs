//! What arithmetic and comparisons of bytecode compute.
//!
//! Written from RFC 9669 for the interpreter alone. The IR's evaluator must
//! not be used here, nor this there: that each is checked against the other is
//! the point of having two. (The analysis of pointers folds constants with it,
//! which is on this side of the line.)

use crate::Size;
use crate::insn::{AluOp, AtomicOp, Cond, EndKind, Width};

/// `a op b`. Operands of 32-bit operations are the low halves, and their
/// results are zero-extended.
pub(crate) fn alu(op: AluOp, w: Width, a: u64, b: u64) -> u64 {
    match w {
        Width::W64 => alu64(op, a, b),
        Width::W32 => u64::from(alu32(op, a as u32, b as u32)),
    }
}

fn alu64(op: AluOp, a: u64, b: u64) -> u64 {
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Sdiv if b == 0 => 0,
        AluOp::Sdiv => (a as i64).wrapping_div(b as i64) as u64,
        AluOp::Smod if b == 0 => a,
        AluOp::Smod => (a as i64).wrapping_rem(b as i64) as u64,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a << (b & 63),
        AluOp::Rsh => a >> (b & 63),
        AluOp::Arsh => ((a as i64) >> (b & 63)) as u64,
    }
}

fn alu32(op: AluOp, a: u32, b: u32) -> u32 {
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Sdiv if b == 0 => 0,
        AluOp::Sdiv => (a as i32).wrapping_div(b as i32) as u32,
        AluOp::Smod if b == 0 => a,
        AluOp::Smod => (a as i32).wrapping_rem(b as i32) as u32,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a << (b & 31),
        AluOp::Rsh => a >> (b & 31),
        AluOp::Arsh => ((a as i32) >> (b & 31)) as u32,
    }
}

/// `-a`.
pub(crate) fn negate(w: Width, a: u64) -> u64 {
    truncate(w, a.wrapping_neg())
}

/// The value as an operation of this width leaves it in a register.
pub(crate) fn truncate(w: Width, a: u64) -> u64 {
    match w {
        Width::W64 => a,
        Width::W32 => u64::from(a as u32),
    }
}

/// The low part of a value, zero-extended.
pub(crate) fn low(size: Size, a: u64) -> u64 {
    match size {
        Size::B => u64::from(a as u8),
        Size::H => u64::from(a as u16),
        Size::W => u64::from(a as u32),
        Size::D => a,
    }
}

/// The low part of a value, sign-extended to 64 bits.
pub(crate) fn sign_extend(from: Size, a: u64) -> u64 {
    match from {
        Size::B => a as i8 as u64,
        Size::H => a as i16 as u64,
        Size::W => a as i32 as u64,
        Size::D => a,
    }
}

/// Byte-order conversion; on a little-endian machine `Le` only truncates.
pub(crate) fn byte_order(kind: EndKind, size: Size, a: u64) -> u64 {
    match (kind, size) {
        (EndKind::Le, _) | (_, Size::B) => low(size, a),
        (_, Size::H) => u64::from((a as u16).swap_bytes()),
        (_, Size::W) => u64::from((a as u32).swap_bytes()),
        (_, Size::D) => a.swap_bytes(),
    }
}

/// `a cond b`, on the low halves where the width says so.
pub(crate) fn compare(cond: Cond, w: Width, a: u64, b: u64) -> bool {
    let (a, b) = (truncate(w, a), truncate(w, b));
    let (sa, sb) = match w {
        Width::W64 => (a as i64, b as i64),
        Width::W32 => (i64::from(a as i32), i64::from(b as i32)),
    };
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

/// What an atomic operation leaves in memory.
pub(crate) fn atomic(op: AtomicOp, old: u64, operand: u64) -> u64 {
    match op {
        AtomicOp::Add => old.wrapping_add(operand),
        AtomicOp::Or => old | operand,
        AtomicOp::And => old & operand,
        AtomicOp::Xor => old ^ operand,
        AtomicOp::Xchg => operand,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AluOp::*;
    use Width::{W32, W64};

    const MIN64: u64 = 1 << 63;
    const MIN32: u64 = 1 << 31;

    #[test]
    fn arithmetic() {
        let high = 0xdead_beef_0000_0029; // low half 41
        let cases: &[(AluOp, Width, u64, u64, u64)] = &[
            // Division by zero, and by what is zero in the low half only.
            (Div, W64, high, 0, 0),
            (Mod, W64, high, 0, high),
            (Div, W32, high, 0, 0),
            (Mod, W32, high, 0, 41),
            (Div, W32, high, 1 << 32, 0),
            (Mod, W32, high, 1 << 32, 41),
            (Sdiv, W64, high, 0, 0),
            (Smod, W64, high, 0, high),
            (Sdiv, W32, high, 0, 0),
            (Smod, W32, high, 0, 41),
            // A negative divisor of an unsigned division is a large number.
            (Div, W64, 100, -2i64 as u64, 0),
            (Div, W64, u64::MAX, -2i64 as u64, 1),
            (Div, W32, 0xffff_ffff, -2i64 as u64, 1),
            (Sdiv, W64, MIN64, u64::MAX, MIN64),
            (Sdiv, W32, MIN32, u64::MAX, MIN32),
            (Smod, W64, MIN64, u64::MAX, 0),
            (Smod, W32, MIN32, u64::MAX, 0),
            (Sdiv, W64, -7i64 as u64, 2, -3i64 as u64),
            (Smod, W64, -41i64 as u64, -2i64 as u64, -1i64 as u64),
            (Smod, W64, 41, -2i64 as u64, 1),
            (Smod, W32, -41i64 as u64, -2i64 as u64, 0xffff_ffff),
            // 32-bit operations zero-extend, those that change nothing too.
            (Add, W32, high, 0, 41),
            (Lsh, W32, high, 32, 41),
            (Lsh, W32, 1, 33, 2),
            (Rsh, W32, 0xffff_ffff_8000_0000, 31, 1),
            (Arsh, W32, 0x8000_0000, 4, 0xf800_0000),
            (Arsh, W32, 0x7fff_ffff_8000_0000, 63, 0xffff_ffff),
            (Lsh, W64, 1, 64, 1),
            (Rsh, W64, MIN64, 127, 1),
            (Arsh, W64, MIN64, 63, u64::MAX),
            (Mul, W32, 0xffff_ffff, 0xffff_ffff, 1),
            (Mul, W64, 3, -1i64 as u64, -3i64 as u64),
            (Sub, W32, 0, 1, 0xffff_ffff),
            (Sub, W64, 0, 1, u64::MAX),
            (Xor, W32, u64::MAX, 0, 0xffff_ffff),
            (Or, W64, 1, MIN64, MIN64 | 1),
            (And, W64, u64::MAX, -2i64 as u64, -2i64 as u64),
        ];
        for &(op, w, a, b, expected) in cases {
            let got = alu(op, w, a, b);
            assert_eq!(got, expected, "{a:#x} {op:?} {b:#x}, {w:?}: {got:#x}");
        }
        assert_eq!(negate(W64, MIN64), MIN64);
        assert_eq!(negate(W32, MIN32), MIN32);
        assert_eq!(negate(W32, 1), 0xffff_ffff);
    }

    #[test]
    fn parts_and_byte_order() {
        let a = 0x8899_aabb_ccdd_eeff;
        let orders = [
            (EndKind::Le, Size::H, 0xeeff),
            (EndKind::Le, Size::W, 0xccdd_eeff),
            (EndKind::Le, Size::D, a),
            (EndKind::Be, Size::H, 0xffee),
            (EndKind::Be, Size::W, 0xffee_ddcc),
            (EndKind::Swap, Size::H, 0xffee),
            (EndKind::Swap, Size::W, 0xffee_ddcc),
            (EndKind::Swap, Size::D, 0xffee_ddcc_bbaa_9988),
        ];
        for (kind, size, expected) in orders {
            assert_eq!(byte_order(kind, size, a), expected, "{kind:?} {size:?}");
        }
        assert_eq!(sign_extend(Size::B, a), u64::MAX);
        assert_eq!(sign_extend(Size::H, 0x7fff), 0x7fff);
        assert_eq!(sign_extend(Size::W, a), 0xffff_ffff_ccdd_eeff);
    }

    #[test]
    fn comparisons() {
        let minus = -1i64 as u64;
        let cases: &[(Cond, Width, u64, u64, bool)] = &[
            (Cond::Eq, W64, 0xffff_ffff_8000_0000, i32::MIN as u64, true),
            (Cond::Eq, W32, 0xdead_0000_0001, 1, true),
            (Cond::Eq, W64, 0xdead_0000_0001, 1, false),
            (Cond::Set, W64, 1 << 40, i32::MIN as u64, true),
            (Cond::Set, W32, 1 << 40, minus, false),
            (Cond::Clear, W32, 1 << 40, minus, true),
            (Cond::Slt, W32, 0x8000_0000, 0, true),
            (Cond::Slt, W64, 0x8000_0000, 0, false),
            (Cond::Ult, W64, minus, 0, false),
            (Cond::Sge, W64, minus, minus, true),
            (Cond::Sle, W32, 0x1_0000_0000, 0, true),
            (Cond::Ugt, W32, 0x1_0000_0000, 0, false),
            (Cond::Uge, W64, 1, 2, false),
            (Cond::Ule, W64, 2, 2, true),
            (Cond::Sgt, W64, 0, minus, true),
            (Cond::Ne, W32, 0x1_0000_0001, 1, false),
        ];
        for &(cond, w, a, b, expected) in cases {
            assert_eq!(compare(cond, w, a, b), expected, "{a:#x} {cond:?} {b:#x}");
        }
    }
}
