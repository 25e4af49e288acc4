//! The instructions, by group.

use super::*;
use crate::asm::{AluOp, Cc, Extend, ShiftOp};
use crate::{FuncRef, RelocKind, Symbol};
use cranelift_entity::EntityRef;

const ALU: [(AluOp, &str); 5] = [
    (AluOp::Add, "add"),
    (AluOp::Sub, "sub"),
    (AluOp::And, "and"),
    (AluOp::Or, "or"),
    (AluOp::Xor, "xor"),
];

const CCS: [(Cc, &str); 10] = [
    (Cc::B, "b"),
    (Cc::Ae, "ae"),
    (Cc::E, "e"),
    (Cc::Ne, "ne"),
    (Cc::Be, "be"),
    (Cc::A, "a"),
    (Cc::L, "l"),
    (Cc::Ge, "ge"),
    (Cc::Le, "le"),
    (Cc::G, "g"),
];

/// All pairs of registers.
fn pairs() -> impl Iterator<Item = (Gpr, Gpr)> {
    regs().flat_map(|a| regs().map(move |b| (a, b)))
}

/// Two operands of one width, as text.
fn two(mnemonic: &str, a: impl Into<Rm>, b: impl Into<Rm>, bits: u32) -> String {
    format!("{mnemonic} {},{}", operand(a, bits), operand(b, bits))
}

/// An operand and an immediate.
fn with_imm(mnemonic: &str, a: impl Into<Rm>, imm: i32, bits: u32) -> String {
    format!("{mnemonic} {},{}", operand(a, bits), number(i64::from(imm)))
}

#[test]
fn memory_operands() {
    for mem in mems() {
        for reg in [Gpr::RAX, Gpr::RSP, Gpr::R13] {
            check(two("mov", reg, mem, 64), |asm| asm.load(Width::W64, reg, mem));
        }
    }
}

#[test]
fn moves() {
    for w in WIDTHS {
        let bits = bits(w);
        for (d, s) in pairs() {
            check(two("mov", d, s, bits), |asm| asm.mov(w, d, s));
        }
        for mem in some_mems() {
            for reg in regs() {
                check(two("mov", reg, mem, bits), |asm| asm.load(w, reg, mem));
                let lea = format!("lea {},{}", name(reg, bits), address(mem));
                check(lea, |asm| asm.lea(w, reg, mem));
            }
        }
    }
    for reg in regs() {
        check(format!("push {reg}"), |asm| asm.push(reg));
        check(format!("pop {reg}"), |asm| asm.pop(reg));
    }
    for mem in some_mems() {
        check(format!("push {}", operand(mem, 64)), |asm| asm.push(mem));
    }
    for imm in IMMS {
        let text = format!("push {}", number(i64::from(imm)));
        check(text, |asm| asm.push_imm(imm));
    }
}

/// A swap has no direction; the decoder names r/m first.
#[test]
fn exchanges() {
    for w in WIDTHS {
        for (a, b) in pairs() {
            check(two("xchg", b, a, bits(w)), |asm| asm.xchg(w, a, b));
        }
    }
}

#[test]
fn constants_take_the_shortest_form() {
    for reg in regs() {
        let high = usize::from(reg.enc() >= 8);
        let wide = name(reg, 64);
        for (imm, text, size) in [
            (0, format!("mov {},0x0", name(reg, 32)), 5 + high),
            (0x7fff_ffff, format!("mov {},0x7fffffff", name(reg, 32)), 5 + high),
            // The decoder shows 32 bits as signed.
            (0xffff_ffff, format!("mov {},-0x1", name(reg, 32)), 5 + high),
            (0x8000_0000, format!("mov {},-0x80000000", name(reg, 32)), 5 + high),
            (u64::MAX, format!("mov {wide},-0x1"), 7),
            (-0x8000_0000_i64 as u64, format!("mov {wide},-0x80000000"), 7),
            (0x1_0000_0000, format!("mov {wide},0x100000000"), 10),
            (-0x8000_0001_i64 as u64, format!("mov {wide},-0x80000001"), 10),
        ] {
            assert_eq!(check(text, |asm| asm.mov_imm(reg, imm)), size);
        }
        let long = check(format!("mov {wide},0x5"), |asm| asm.movabs(reg, 5));
        assert_eq!(long, 10);
        let simm = check(format!("mov {wide},0x5"), |asm| asm.mov_simm32(reg, 5));
        assert_eq!(simm, 7);
    }
}

#[test]
fn extensions() {
    let forms = [
        (Extend::Zero8, "movzx", 32, 8),
        (Extend::Zero16, "movzx", 32, 16),
        (Extend::Zero32, "mov", 32, 32),
        (Extend::None64, "mov", 64, 64),
        (Extend::Sign8To32, "movsx", 32, 8),
        (Extend::Sign16To32, "movsx", 32, 16),
        (Extend::Sign8, "movsx", 64, 8),
        (Extend::Sign16, "movsx", 64, 16),
        (Extend::Sign32, "movsxd", 64, 32),
    ];
    for (extend, mnemonic, to, from) in forms {
        let text = |d, s: Rm| format!("{mnemonic} {},{}", name(d, to), operand(s, from));
        for (d, s) in pairs() {
            check(text(d, s.into()), |asm| asm.extend(extend, d, s));
        }
        for d in regs() {
            for mem in some_mems() {
                check(text(d, mem.into()), |asm| asm.extend(extend, d, mem));
            }
        }
    }
}

/// The prefix that tells sil from dh is there only where a byte register needs it.
#[test]
fn no_empty_prefix() {
    for dst in [Gpr::RDX, Gpr::RDI] {
        let byte = |src: Rm| assemble(|asm| asm.extend(Extend::Zero8, dst, src)).len();
        assert_eq!(byte(Gpr::RBX.into()), 3);
        assert_eq!(byte(Gpr::RSI.into()), 4);
        assert_eq!(byte(Mem::new(Gpr::RSI, 1).into()), 4);
    }
    let mem = Mem::new(Gpr::RSI, 1);
    assert_eq!(assemble(|asm| asm.cmp_mem_imm(1, mem, 0)).len(), 4);
    assert_eq!(assemble(|asm| asm.test_byte_imm(mem, 1)).len(), 4);
    assert_eq!(assemble(|asm| asm.store(1, mem, Gpr::RBX)).len(), 3);
    assert_eq!(assemble(|asm| asm.store(1, mem, Gpr::RDI)).len(), 4);
}

#[test]
fn stores() {
    for mem in some_mems() {
        for bytes in [1, 2, 4, 8] {
            let bits = 8 * u32::from(bytes);
            for reg in regs() {
                check(two("mov", mem, reg, bits), |asm| asm.store(bytes, mem, reg));
            }
            for imm in IMMS {
                let shown = match bytes {
                    1 => i32::from(imm as i8),
                    2 => i32::from(imm as i16),
                    _ => imm,
                };
                check(with_imm("mov", mem, shown, bits), |asm| asm.store_imm(bytes, mem, imm));
                check(with_imm("cmp", mem, shown, bits), |asm| asm.cmp_mem_imm(bytes, mem, imm));
            }
        }
    }
}

#[test]
fn arithmetic() {
    for (op, mnemonic) in ALU {
        for w in WIDTHS {
            let bits = bits(w);
            for (d, s) in pairs() {
                check(two(mnemonic, d, s, bits), |asm| asm.alu(op, w, d, s));
            }
            for mem in some_mems() {
                for reg in regs() {
                    check(two(mnemonic, reg, mem, bits), |asm| asm.alu(op, w, reg, mem));
                    check(two(mnemonic, mem, reg, bits), |asm| asm.alu_store(op, w, mem, reg));
                    check(format!("lock {}", two(mnemonic, mem, reg, bits)), |asm| {
                        asm.lock_alu(op, w, mem, reg)
                    });
                }
            }
        }
    }
}

#[test]
fn immediates() {
    for w in WIDTHS {
        let bits = bits(w);
        let wide = usize::from(w == Width::W64);
        for imm in IMMS {
            let is_byte = i8::try_from(imm).is_ok();
            for reg in regs() {
                let rex = usize::from(wide == 1 || reg.enc() >= 8);
                let accumulator = usize::from(reg == Gpr::RAX);
                let short = rex + if is_byte { 3 } else { 6 - accumulator };
                for (op, mnemonic) in ALU {
                    let text = with_imm(mnemonic, reg, imm, bits);
                    let size = check(text.clone(), |asm| asm.alu_imm(op, w, reg, imm));
                    assert_eq!(size, short, "{text}");
                    let size = check(text.clone(), |asm| asm.alu_imm32(op, w, reg, imm));
                    assert_eq!(size, rex + 6, "{text}");
                }
                let text = with_imm("cmp", reg, imm, bits);
                let size = check(text.clone(), |asm| asm.cmp_imm(w, reg, imm));
                assert_eq!(size, short, "{text}");
                let size = check(text, |asm| asm.cmp_imm32(w, reg, imm));
                assert_eq!(size, rex + 6);
                let text = with_imm("test", reg, imm, bits);
                check(text, |asm| asm.test_imm32(w, reg, imm));
            }
            for mem in some_mems() {
                for (op, mnemonic) in ALU {
                    let text = with_imm(mnemonic, mem, imm, bits);
                    check(format!("lock {text}"), |asm| asm.lock_alu_imm(op, w, mem, imm));
                    check(text, |asm| asm.alu_imm(op, w, mem, imm));
                }
                check(with_imm("cmp", mem, imm, bits), |asm| asm.cmp_imm(w, mem, imm));
            }
        }
    }
}

/// Shorter forms look at fewer bits, all others of the result being zero.
#[test]
fn tests_with_immediates() {
    for reg in regs() {
        for imm in IMMS {
            for w in WIDTHS {
                let bits = match imm {
                    0..=0x7f => 8,
                    0x80.. => 32,
                    _ => bits(w),
                };
                let text = with_imm("test", reg, imm, bits);
                check(text, |asm| asm.test_imm(w, reg, imm));
            }
        }
    }
}

#[test]
fn comparisons() {
    for w in WIDTHS {
        let bits = bits(w);
        for (a, b) in pairs() {
            check(two("cmp", a, b, bits), |asm| asm.cmp(w, a, b));
            check(two("test", a, b, bits), |asm| asm.test(w, a, b));
        }
        for reg in regs() {
            for mem in some_mems() {
                check(two("cmp", reg, mem, bits), |asm| asm.cmp(w, reg, mem));
                check(two("cmp", mem, reg, bits), |asm| asm.cmp_mem(w, mem, reg));
                check(two("test", mem, reg, bits), |asm| asm.test(w, mem, reg));
            }
        }
        for (cc, suffix) in CCS {
            let mnemonic = format!("cmov{suffix}");
            for (d, s) in pairs() {
                check(two(&mnemonic, d, s, bits), |asm| asm.cmov(cc, w, d, s));
            }
            for mem in some_mems() {
                let text = two(&mnemonic, Gpr::R9, mem, bits);
                check(text, |asm| asm.cmov(cc, w, Gpr::R9, mem));
            }
        }
    }
    for (cc, suffix) in CCS {
        for reg in regs() {
            let text = format!("set{suffix} {}", name(reg, 8));
            check(text, |asm| asm.setcc(cc, reg));
        }
    }
}

#[test]
fn multiplication_and_division() {
    for w in WIDTHS {
        let bits = bits(w);
        for (d, s) in pairs() {
            check(two("imul", d, s, bits), |asm| asm.imul(w, d, s));
            let text = two("imul", d, s, bits) + ",0x7f";
            check(text, |asm| asm.imul_imm(w, d, s, 127));
            let text = two("imul", d, s, bits) + ",0x80";
            check(text, |asm| asm.imul_imm(w, d, s, 128));
        }
        let mut sources: Vec<Rm> = regs().map(Rm::Reg).collect();
        sources.extend(some_mems().into_iter().map(Rm::Mem));
        for source in sources {
            type Method = fn(&mut Assembler, Width, Rm);
            let methods: [(&str, Method); 7] = [
                ("mul", Assembler::mul),
                ("div", Assembler::div),
                ("idiv", Assembler::idiv),
                ("neg", Assembler::neg),
                ("not", Assembler::not),
                ("inc", Assembler::inc),
                ("dec", Assembler::dec),
            ];
            for (mnemonic, method) in methods {
                let text = format!("{mnemonic} {}", operand(source, bits));
                check(text, |asm| method(asm, w, source));
            }
        }
        for mem in some_mems() {
            check(two("imul", Gpr::R8, mem, bits), |asm| asm.imul(w, Gpr::R8, mem));
            let text = two("imul", Gpr::R8, mem, bits) + ",-0x81";
            check(text, |asm| asm.imul_imm(w, Gpr::R8, mem, -129));
        }
    }
    check("cdq".into(), |asm| asm.sign_to_rdx(Width::W32));
    check("cqo".into(), |asm| asm.sign_to_rdx(Width::W64));
    check("xor r9d,r9d".into(), |asm| asm.zero(Gpr::R9));
}

#[test]
fn shifts() {
    let ops = [
        (ShiftOp::Shl, "shl"),
        (ShiftOp::Shr, "shr"),
        (ShiftOp::Sar, "sar"),
        (ShiftOp::Rol, "rol"),
        (ShiftOp::Ror, "ror"),
    ];
    for (op, mnemonic) in ops {
        for w in WIDTHS {
            let bits = bits(w);
            for reg in regs() {
                for count in 0..bits as u8 {
                    let text = with_imm(mnemonic, reg, i32::from(count), bits);
                    check(text, |asm| asm.shift_imm(op, w, reg, count));
                }
                let text = format!("{mnemonic} {},cl", name(reg, bits));
                check(text, |asm| asm.shift_cl(op, w, reg));
            }
            if matches!(op, ShiftOp::Rol | ShiftOp::Ror) {
                continue;
            }
            let mnemonic = format!("{mnemonic}x");
            for (d, s) in pairs() {
                for count in [Gpr::RAX, Gpr::RSI, Gpr::R15] {
                    let text = two(&mnemonic, d, s, bits) + "," + &name(count, bits);
                    check(text, |asm| asm.shift_x(op, w, d, s, count));
                }
            }
            for mem in some_mems() {
                let text = two(&mnemonic, Gpr::R11, mem, bits) + "," + &name(Gpr::R10, bits);
                check(text, |asm| asm.shift_x(op, w, Gpr::R11, mem, Gpr::R10));
            }
        }
    }
    for reg in regs() {
        for w in WIDTHS {
            let text = format!("bswap {}", name(reg, bits(w)));
            check(text, |asm| asm.bswap(w, reg));
        }
        check(format!("rol {},0x8", name(reg, 16)), |asm| asm.rol16(reg, 8));
    }
}

#[test]
fn locked() {
    for w in WIDTHS {
        let bits = bits(w);
        for mem in some_mems() {
            for reg in regs() {
                let text = "lock ".to_string() + &two("xadd", mem, reg, bits);
                check(text, |asm| asm.lock_xadd(w, mem, reg));
                let text = "lock ".to_string() + &two("cmpxchg", mem, reg, bits);
                check(text, |asm| asm.lock_cmpxchg(w, mem, reg));
                check(two("xchg", mem, reg, bits), |asm| asm.xchg_mem(w, mem, reg));
            }
        }
    }
}

#[test]
fn control() {
    for reg in regs() {
        check(format!("jmp {reg}"), |asm| asm.jmp_rm(reg));
        check(format!("call {reg}"), |asm| asm.call_rm(reg));
    }
    for mem in some_mems() {
        check(format!("jmp {}", operand(mem, 64)), |asm| asm.jmp_rm(mem));
        check(format!("call {}", operand(mem, 64)), |asm| asm.call_rm(mem));
    }
    check("ret".into(), Assembler::ret);
    check("leave".into(), Assembler::leave);
    check("ud2".into(), Assembler::ud2);
    check("int3".into(), Assembler::int3);
}

#[test]
fn padding() {
    for bytes in 0..40 {
        let code = assemble(|asm| asm.nop(bytes));
        assert_eq!(code.len(), bytes);
        let texts = disassemble(&code);
        // The decoder's name for the nop of two bytes is `xchg ax, ax`.
        let is_nop = |text: &String| text.contains("nop") || text == "xchg ax,ax";
        assert!(texts.iter().all(is_nop), "{texts:?}");
        assert_eq!(texts.len(), bytes.div_ceil(9));
    }
}

/// Relocated fields are where the relocation says, and of its width.
#[test]
fn symbols() {
    let symbol = Symbol::Function(FuncRef::new(7));
    type Method = fn(&mut Assembler, Symbol);
    let forms: [(Method, RelocKind, &[u8]); 5] = [
        (Assembler::call_symbol, RelocKind::Rel32, &[0xe8]),
        (Assembler::jmp_symbol, RelocKind::Rel32, &[0xe9]),
        (Assembler::call_cell, RelocKind::Rel32, &[0xff, 0x15]),
        (Assembler::jmp_cell, RelocKind::Rel32, &[0xff, 0x25]),
        (|asm, symbol| asm.movabs_symbol(Gpr::R11, symbol), RelocKind::Abs64, &[0x49, 0xbb]),
    ];
    for (method, kind, opcode) in forms {
        let mut asm = Assembler::new();
        asm.nop(3);
        method(&mut asm, symbol);
        asm.ret();
        let done = asm.finish().unwrap();
        let [reloc] = done.relocs[..] else {
            panic!("one relocation");
        };
        assert_eq!((reloc.kind, reloc.target), (kind, symbol));
        let field = reloc.offset as usize;
        assert_eq!(&done.code[3..field], opcode);
        assert_eq!(done.code[field..], [&[0; 8][..kind.bytes()], &[0xc3]].concat());
    }
}
