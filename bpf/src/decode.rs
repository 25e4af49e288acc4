//! Bytes to operations, strictly: what RFC 9669 reserves has to be zero.
//!
//! Decoding reads the fields that an opcode uses. Encoding is the judge of the
//! others: the operation must encode to the very slot that was read, so that no
//! reserved field goes unnoticed and nothing of the input is lost.

use crate::Error;
use crate::encode::{Slot, slot};
use crate::insn::{AtomicOp, Callee, EndKind, Imm64, Op, Reg, Size, Src, Width};
use crate::table::{self, SizeRow, X, class, code, mode, pseudo};

/// Decodes a function's bytes; refuses it at the first slot that is no instruction.
pub fn decode(function: &str, bytes: &[u8]) -> Result<Vec<Op>, Error> {
    match decode_all(function, bytes) {
        (ops, errors) if errors.is_empty() => Ok(ops),
        (_, mut errors) => Err(errors.swap_remove(0)),
    }
}

/// Decodes a function's bytes, and says which slots are no instructions. An
/// exit stands in for each of them.
pub(crate) fn decode_all(function: &str, bytes: &[u8]) -> (Vec<Op>, Vec<Error>) {
    let (slots, rest) = bytes.as_chunks::<8>();
    let (mut ops, mut errors) = (Vec::with_capacity(slots.len()), Vec::new());
    while let Some(bytes) = slots.get(ops.len()) {
        let pc = ops.len();
        let first = Slot::read(bytes);
        let is_wide = first.opcode == mode::IMM | 0x18 | class::LD;
        let op = match is_wide {
            true => load_imm(first, slots.get(pc + 1).map(Slot::read)),
            false => one_slot(first),
        };
        match op {
            Ok(op) => {
                ops.push(op);
                if is_wide {
                    ops.push(Op::LoadImmHi);
                }
            }
            Err(what) => {
                errors.push(Error::at(function, pc, what));
                ops.push(Op::Exit);
            }
        }
    }
    if !rest.is_empty() {
        errors.push(Error::at(function, slots.len(), "the code ends within an instruction"));
    }
    (ops, errors)
}

fn load_imm(first: Slot, second: Option<Slot>) -> Result<Op, String> {
    let second = second.ok_or("the code ends within a 64-bit immediate")?;
    let only_imm = Slot { imm: second.imm, ..Slot::default() };
    if second != only_imm {
        return Err("the second slot of a 64-bit immediate is not one".into());
    }
    let value = match first.src {
        pseudo::CONST => {
            Imm64::Const(u64::from(first.imm as u32) | u64::from(second.imm as u32) << 32)
        }
        src => Imm64::Pseudo(src, first.imm, second.imm),
    };
    let dst = reg(first.dst)?;
    check(first, Op::LoadImm { dst, value })
}

fn one_slot(s: Slot) -> Result<Op, String> {
    let op = match s.opcode & 7 {
        class::LD => packet(s),
        class::LDX => load(s),
        class::ST => store(s, Src::Imm(s.imm)),
        class::STX if s.opcode & 0xe0 == mode::ATOMIC => atomic(s),
        class::STX => store(s, Src::Reg(reg(s.src)?)),
        class::ALU => alu(s, Width::W32),
        class::ALU64 => alu(s, Width::W64),
        class::JMP => jump(s, Width::W64),
        _ => jump(s, Width::W32),
    };
    check(s, op?)
}

/// Refuses an operation that is not the whole meaning of its slot.
fn check(read: Slot, op: Op) -> Result<Op, String> {
    let Ok(again) = slot(&op) else {
        return unknown(read);
    };
    if again.opcode != read.opcode {
        return unknown(read);
    }
    let fields = [
        ("destination register", again.dst == read.dst),
        ("source register", again.src == read.src),
        ("offset", again.off == read.off),
        ("immediate", again.imm == read.imm),
    ];
    if let Some((name, _)) = fields.iter().find(|(_, same)| !same) {
        return Err(format!(
            "the {name} field of opcode {:#04x} has a reserved value",
            read.opcode
        ));
    }
    if op.def() == Some(Reg::FP) {
        return Err("r10 cannot be written".into());
    }
    Ok(op)
}

fn unknown(s: Slot) -> Result<Op, String> {
    Err(format!("unknown opcode {:#04x}", s.opcode))
}

fn unsupported(what: &str) -> Result<Op, String> {
    Err(format!("{what} is not supported"))
}

fn reg(number: u8) -> Result<Reg, String> {
    Reg::new(number).ok_or_else(|| format!("there is no register r{number}"))
}

/// The right operand of arithmetic or of a jump.
fn operand(s: Slot) -> Result<Src, String> {
    if s.opcode & X == 0 { Ok(Src::Imm(s.imm)) } else { Ok(Src::Reg(reg(s.src)?)) }
}

fn alu(s: Slot, w: Width) -> Result<Op, String> {
    let dst = reg(s.dst)?;
    let code = s.opcode & 0xf0;
    Ok(match code {
        code::NEG => Op::Neg { w, dst },
        code::MOV => return mov(s, w, dst),
        code::END => {
            let size = match s.imm {
                16 => Size::H,
                32 => Size::W,
                64 => Size::D,
                _ => return Err(format!("a byte-order operation on {} bits", s.imm)),
            };
            let kind = match (w, s.opcode & X) {
                (Width::W32, 0) => EndKind::Le,
                (Width::W32, _) => EndKind::Be,
                (Width::W64, _) => EndKind::Swap,
            };
            Op::End { kind, size, dst }
        }
        _ => {
            // An offset that no row has is refused as a reserved value.
            let rows = || table::ALU.iter().filter(|row| row.code == code);
            let row = rows().find(|row| row.off == s.off).or(rows().next());
            let Some(row) = row else {
                return unknown(s);
            };
            let src = operand(s)?;
            let op = row.op;
            Op::Alu { op, w, dst, src }
        }
    })
}

fn mov(s: Slot, w: Width, dst: Reg) -> Result<Op, String> {
    let src = operand(s)?;
    let from = match s.off {
        8 => Size::B,
        16 => Size::H,
        32 => Size::W,
        1 if w == Width::W64 => return unsupported("a cast between address spaces"),
        _ => return Ok(Op::Mov { w, dst, src }),
    };
    Ok(match src {
        Src::Reg(src) => Op::MovSx { w, from, dst, src },
        Src::Imm(_) => Op::Mov { w, dst, src },
    })
}

fn packet(s: Slot) -> Result<Op, String> {
    let size = SizeRow::of_opcode(s.opcode).size;
    let index = match s.opcode & 0xe0 {
        mode::ABS => None,
        mode::IND => Some(reg(s.src)?),
        _ => return unknown(s),
    };
    let off = s.imm;
    Ok(Op::LoadPacket { size, index, off })
}

fn load(s: Slot) -> Result<Op, String> {
    let signed = match s.opcode & 0xe0 {
        mode::MEM => false,
        mode::MEMSX => true,
        _ => return unknown(s),
    };
    Ok(Op::Load {
        size: SizeRow::of_opcode(s.opcode).size,
        signed,
        dst: reg(s.dst)?,
        base: reg(s.src)?,
        off: s.off,
    })
}

fn store(s: Slot, src: Src) -> Result<Op, String> {
    if s.opcode & 0xe0 != mode::MEM {
        return unknown(s);
    }
    Ok(Op::Store { size: SizeRow::of_opcode(s.opcode).size, base: reg(s.dst)?, off: s.off, src })
}

fn atomic(s: Slot) -> Result<Op, String> {
    let (size, off) = (SizeRow::of_opcode(s.opcode).size, s.off);
    match s.imm {
        table::atomic::LOAD_ACQUIRE => {
            return Ok(Op::LoadAcquire { size, dst: reg(s.dst)?, base: reg(s.src)?, off });
        }
        table::atomic::STORE_RELEASE => {
            return Ok(Op::StoreRelease { size, base: reg(s.dst)?, off, src: reg(s.src)? });
        }
        _ => {}
    }
    let w = match size {
        Size::W => Width::W32,
        Size::D => Width::W64,
        _ => return unknown(s),
    };
    let (base, src) = (reg(s.dst)?, reg(s.src)?);
    if s.imm == table::atomic::CMPXCHG {
        return Ok(Op::CmpXchg { w, base, off, src });
    }
    let fetch = s.imm & table::atomic::FETCH != 0;
    let row = table::ATOMIC.iter().find(|row| row.imm == s.imm & !table::atomic::FETCH);
    let op = match row {
        Some(row) => row.op,
        None if s.imm == table::atomic::XCHG => AtomicOp::Xchg,
        None => return Err(format!("unknown atomic operation {:#x}", s.imm)),
    };
    Ok(Op::Atomic { op, w, fetch, base, off, src })
}

fn jump(s: Slot, w: Width) -> Result<Op, String> {
    let code = s.opcode & 0xf0;
    Ok(match code {
        code::JA if s.opcode & X != 0 && w == Width::W64 => {
            Op::IndirectJump { target: reg(s.dst)? }
        }
        code::JA if s.opcode & X != 0 => return unknown(s),
        code::MAY_GOTO if s.opcode & X == 0 && w == Width::W64 => Op::MayGoto { off: s.off },
        code::JA => match w {
            Width::W32 => Op::Jump { off: s.imm, long: true },
            Width::W64 => Op::Jump { off: s.off.into(), long: false },
        },
        code::CALL => Op::Call(callee(s)?),
        code::EXIT => Op::Exit,
        _ => {
            let Some(row) = table::COND.iter().find(|row| row.code == code) else {
                return unknown(s);
            };
            Op::Branch { cond: row.cond, w, dst: reg(s.dst)?, src: operand(s)?, off: s.off }
        }
    })
}

fn callee(s: Slot) -> Result<Callee, String> {
    if s.opcode & X != 0 {
        return Ok(Callee::Register(reg(s.dst)?));
    }
    Ok(match s.src {
        pseudo::HELPER => Callee::Helper(s.imm as u32),
        pseudo::RELATIVE => Callee::Relative(s.imm),
        pseudo::KFUNC => Callee::Kfunc(s.imm),
        other => return Err(format!("a call of unknown kind {other}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::encode;

    /// Every opcode with the boundary values of every other field.
    fn all_slots() -> impl Iterator<Item = Slot> {
        let offs = [0, 1, 2, 8, 16, 32, -1, i16::MIN];
        let imms = [
            0,
            1,
            3,
            16,
            32,
            64,
            -1,
            i32::MIN,
            i32::MAX,
            0x41,
            0xe0,
            0xe1,
            0xf0,
            0xf1,
            0x100,
            0x110,
        ];
        let regs = [0, 1, 2, 3, 10, 11, 15];
        (0..=255u8).flat_map(move |opcode| {
            regs.into_iter().flat_map(move |dst| {
                regs.into_iter().flat_map(move |src| {
                    offs.into_iter().flat_map(move |off| {
                        imms.into_iter().map(move |imm| Slot { opcode, dst, src, off, imm })
                    })
                })
            })
        })
    }

    #[test]
    fn what_decodes_encodes_to_itself_and_prints_what_parses() {
        for slot in all_slots() {
            let mut bytes = slot.bytes().to_vec();
            if slot.opcode == 0x18 {
                bytes.extend([0, 0, 0, 0, 1, 2, 3, 0x84]);
            }
            let Ok(ops) = decode("f", &bytes) else {
                continue;
            };
            assert_eq!(encode("f", &ops).unwrap(), bytes, "{slot:?}");
            let text = crate::text::print_ops(&ops);
            assert_eq!(crate::text::parse_ops(&text).unwrap(), ops, "{text}");
        }
    }

    #[test]
    fn exactly_the_opcodes_of_the_standard_and_the_kernel_decode() {
        let mut found: Vec<u8> =
            all_slots().filter(|slot| one_slot(*slot).is_ok()).map(|slot| slot.opcode).collect();
        found.dedup();
        let mut expected: Vec<u8> = vec![
            // Packet loads, loads, stores, atomics.
            0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x61, 0x69, 0x71, 0x79, 0x81, 0x89, 0x91, 0x62,
            0x6a, 0x72, 0x7a, 0x63, 0x6b, 0x73, 0x7b, 0xc3, 0xdb,
            // The kernel's: load-acquire and store-release of 8 and 16 bits,
            // the indirect jump, may_goto.
            0xd3, 0xcb, 0x0d, 0xe5, // Negation and byte order.
            0x84, 0x87, 0xd4, 0xdc, 0xd7, // Jumps, calls, exit.
            0x05, 0x06, 0x85, 0x8d, 0x95,
        ];
        for code in (0..=0xc0).step_by(0x10).filter(|code| *code != 0x80) {
            expected.extend([0x04, 0x0c, 0x07, 0x0f].map(|low| code | low));
        }
        for code in (0x10..=0xd0).step_by(0x10) {
            if code != 0x80 && code != 0x90 {
                expected.extend([0x05, 0x0d, 0x06, 0x0e].map(|low| code | low));
            }
        }
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    fn refusal(bytes: &[u8]) -> String {
        decode("f", bytes).unwrap_err().to_string()
    }

    #[test]
    fn refusals_say_why() {
        let cases: [(&[u8], &str); 14] = [
            (&[0x95, 0, 0], "f+0: the code ends within an instruction"),
            (&[0xff, 0, 0, 0, 0, 0, 0, 0], "f+0: unknown opcode 0xff"),
            (&[0x18, 1, 0, 0, 0, 0, 0, 0], "f+0: the code ends within a 64-bit immediate"),
            (
                &[0x18, 1, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0],
                "f+0: the second slot of a 64-bit immediate is not one",
            ),
            (
                &[0x95, 0, 0, 0, 1, 0, 0, 0],
                "f+0: the immediate field of opcode 0x95 has a reserved value",
            ),
            (
                &[0x37, 1, 2, 0, 1, 0, 0, 0],
                "f+0: the offset field of opcode 0x37 has a reserved value",
            ),
            (&[0xb7, 11, 0, 0, 1, 0, 0, 0], "f+0: there is no register r11"),
            (&[0xb7, 10, 0, 0, 1, 0, 0, 0], "f+0: r10 cannot be written"),
            (&[0xdb, 0xa1, 0, 0, 1, 0, 0, 0], "f+0: r10 cannot be written"),
            (
                &[0xe5, 0x10, 0, 0, 0, 0, 0, 0],
                "f+0: the source register field of opcode 0xe5 has a reserved value",
            ),
            (&[0x0e, 1, 0, 0, 0, 0, 0, 0], "f+0: unknown opcode 0x0e"),
            (&[0xd3, 0x21, 0, 0, 0, 0, 0, 0], "f+0: unknown opcode 0xd3"),
            (
                &[0xbf, 0x21, 1, 0, 0, 0, 0, 0],
                "f+0: a cast between address spaces is not supported",
            ),
            (&[0xd4, 1, 0, 0, 8, 0, 0, 0], "f+0: a byte-order operation on 8 bits"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(refusal(bytes), expected);
        }
        let second = [&[0xb7, 0, 0, 0, 0, 0, 0, 0][..], &[0; 8]].concat();
        assert_eq!(refusal(&second), "f+1: unknown opcode 0x00");
    }
}
