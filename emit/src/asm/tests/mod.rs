//! Every method against an independent decoder.
//!
//! A check assembles one instruction, decodes all its bytes as one instruction,
//! and compares the decoder's text with what the test says was meant; the
//! text is put together here from the method's arguments.

mod encodings;
mod relaxation;

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use tailor_lower::Gpr;

use super::{Assembler, Mem, Rm, Width};

/// All registers by number.
fn regs() -> impl Iterator<Item = Gpr> + Clone {
    (0..16).map(Gpr::from_enc)
}

const WIDTHS: [Width; 2] = [Width::W32, Width::W64];

const DISPS: [i32; 9] = [0, 1, -1, 127, -128, 128, -129, i32::MAX, i32::MIN];

/// Around every boundary of immediates.
const IMMS: [i32; 12] = [0, 1, -1, 5, 127, -128, 128, -129, 255, 65535, i32::MAX, i32::MIN];

/// Every base with every displacement, then every index and scale with a few bases.
fn mems() -> Vec<Mem> {
    let mut mems = Vec::new();
    for base in regs() {
        mems.extend(DISPS.map(|disp| Mem::new(base, disp)));
    }
    for base in [Gpr::RAX, Gpr::RSP, Gpr::RBP, Gpr::R12, Gpr::R13, Gpr::R15] {
        for index in regs().filter(|&index| index != Gpr::RSP) {
            for shift in 0..4 {
                for disp in [0, -128, 128] {
                    mems.push(Mem::indexed(base, index, shift, disp));
                }
            }
        }
    }
    mems
}

/// One of each shape, for instructions that share their operand encoding with others.
fn some_mems() -> Vec<Mem> {
    vec![
        Mem::new(Gpr::RAX, 0),
        Mem::new(Gpr::RSP, 8),
        Mem::new(Gpr::RBP, 0),
        Mem::new(Gpr::R12, -128),
        Mem::new(Gpr::R13, 128),
        Mem::indexed(Gpr::RSI, Gpr::RDX, 3, 16),
        Mem::indexed(Gpr::R13, Gpr::R12, 0, 0),
    ]
}

fn bits(w: Width) -> u32 {
    match w {
        Width::W32 => 32,
        Width::W64 => 64,
    }
}

/// The name of a register at a width in bits.
fn name(reg: Gpr, bits: u32) -> String {
    let n = reg.enc();
    let old = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
    match (n, bits) {
        (8.., 64) => format!("r{n}"),
        (8.., 32) => format!("r{n}d"),
        (8.., 16) => format!("r{n}w"),
        (8.., _) => format!("r{n}b"),
        (_, 64) => format!("r{}", old[n as usize]),
        (_, 32) => format!("e{}", old[n as usize]),
        (_, 16) => old[n as usize].to_string(),
        (0..4, _) => format!("{}l", &old[n as usize][..1]),
        _ => format!("{}l", old[n as usize]),
    }
}

/// A number as the formatter is told to write it.
fn number(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}0x{:x}", value.unsigned_abs())
}

/// The address in brackets.
fn address(mem: Mem) -> String {
    let mut text = mem.base.name().to_string();
    if let Some((index, shift)) = mem.index {
        text += &format!("+{index}*{}", 1 << shift);
    }
    match mem.disp {
        0 => {}
        disp if disp < 0 => text += &number(i64::from(disp)),
        disp => text += &format!("+{}", number(i64::from(disp))),
    }
    format!("[{text}]")
}

/// A register or memory of so many bits.
fn operand(rm: impl Into<Rm>, bits: u32) -> String {
    let size = match bits {
        8 => "byte",
        16 => "word",
        32 => "dword",
        _ => "qword",
    };
    match rm.into() {
        Rm::Reg(reg) => name(reg, bits),
        Rm::Mem(mem) => format!("{size} ptr {}", address(mem)),
    }
}

/// Bytes of one instruction.
fn assemble(build: impl FnOnce(&mut Assembler)) -> Vec<u8> {
    let mut asm = Assembler::new();
    build(&mut asm);
    asm.finish().unwrap().code
}

fn disassemble(code: &[u8]) -> Vec<String> {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_small_hex_numbers_in_decimal(false);
    options.set_signed_immediate_operands(true);
    options.set_always_show_scale(true);
    options.set_use_pseudo_ops(false);
    options.set_memory_size_options(iced_x86::MemorySizeOptions::Always);
    let mut texts = Vec::new();
    for instruction in Decoder::new(64, code, DecoderOptions::NONE) {
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        texts.push(text);
    }
    texts
}

/// Checks one instruction and returns its size.
#[track_caller]
fn check(expected: String, build: impl FnOnce(&mut Assembler)) -> usize {
    let code = assemble(build);
    assert_eq!(disassemble(&code), [expected], "bytes {code:02x?}");
    code.len()
}
