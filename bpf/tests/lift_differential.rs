//! What is lifted must do what the bytecode does: programs are run by the
//! bytecode interpreter and, lifted, by the IR's. Results, memory, packet and
//! map values must be equal. The two interpreters share no evaluator.

mod lift_differential {
    pub mod generator;
    pub mod harness;
}

use std::fmt::Write;

use lift_differential::generator;
use lift_differential::generator::address;
use lift_differential::harness::{self, agree_on_memory, agree_on_packet};
use tailor_bpf::{AluOp, Cond, Imm64, Op, Reg, Size, Src, Width};

/// Values at which operations change their behaviour.
const EXTREMES: [u64; 14] = [
    0,
    1,
    2,
    31,
    64,
    0x7f,
    0xff80,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x8000_0000_0000_0000,
    0xffff_ffff_8000_0000,
    u64::MAX,
];

const WIDTHS: [Width; 2] = [Width::W32, Width::W64];

fn reg(number: u8) -> Reg {
    Reg::new(number).unwrap()
}

fn constant(dst: u8, value: u64) -> [Op; 2] {
    [Op::LoadImm { dst: reg(dst), value: Imm64::Const(value) }, Op::LoadImmHi]
}

/// Stores the results of all pieces of code (in R3) one after the other, and
/// compares them all at once.
fn results_agree(pieces: &[Vec<Op>]) {
    let mut ops = vec![Op::Mov { w: Width::W64, dst: reg(6), src: Src::Reg(Reg::R1) }];
    for (index, piece) in pieces.iter().enumerate() {
        ops.extend_from_slice(piece);
        let (off, src) = (8 * index as i16, Src::Reg(reg(3)));
        ops.push(Op::Store { size: Size::D, base: reg(6), off, src });
    }
    ops.push(Op::Mov { w: Width::W64, dst: Reg::R0, src: Src::Imm(0) });
    ops.push(Op::Exit);
    let code = tailor_bpf::text::print_ops(&ops);
    agree_on_memory(&format!("program f0 \"main\" raw\n{code}"), vec![0; 8 * pieces.len()]);
}

/// All pairs of extreme operands, by register and by immediate.
fn binary_agrees(op: impl Fn(Width, Reg, Src) -> Vec<Op>) {
    for w in WIDTHS {
        let mut pieces = Vec::new();
        for a in EXTREMES {
            for b in EXTREMES {
                let (dst, src) = (constant(3, a), constant(4, b));
                let by_register = op(w, reg(3), Src::Reg(reg(4)));
                pieces.push([&dst[..], &src[..], &by_register[..]].concat());
                let by_immediate = op(w, reg(3), Src::Imm(b as i32));
                pieces.push([&dst[..], &by_immediate[..]].concat());
            }
            let with_itself = op(w, reg(3), Src::Reg(reg(3)));
            pieces.push([&constant(3, a)[..], &with_itself[..]].concat());
        }
        results_agree(&pieces);
    }
}

#[test]
fn arithmetic_agrees_on_extreme_operands() {
    use AluOp::*;
    for op in [Add, Sub, Mul, Div, Sdiv, Mod, Smod, Or, And, Xor, Lsh, Rsh, Arsh] {
        binary_agrees(|w, dst, src| vec![Op::Alu { op, w, dst, src }]);
    }
    binary_agrees(|w, dst, src| vec![Op::Mov { w, dst, src }]);
}

/// R3 becomes 1 where the jump is taken and 0 where it is not.
#[test]
fn comparisons_agree_on_extreme_operands() {
    use Cond::*;
    for cond in [Eq, Ne, Ult, Ule, Ugt, Uge, Slt, Sle, Sgt, Sge, Set] {
        binary_agrees(|w, dst, src| {
            let set = |value| Op::Mov { w: Width::W64, dst: reg(5), src: Src::Imm(value) };
            let result = Op::Mov { w: Width::W64, dst: reg(3), src: Src::Reg(reg(5)) };
            vec![set(1), Op::Branch { cond, w, dst, src, off: 1 }, set(0), result]
        });
    }
}

#[test]
fn extensions_and_byte_orders_agree() {
    let forms = [
        "r3 = (s8)r3",
        "r3 = (s16)r3",
        "r3 = (s32)r3",
        "w3 = (s8)w3",
        "w3 = (s16)w3",
        "r3 = -r3",
        "w3 = -w3",
        "r3 = le16 r3",
        "r3 = le32 r3",
        "r3 = le64 r3",
        "r3 = be16 r3",
        "r3 = be32 r3",
        "r3 = be64 r3",
        "r3 = bswap16 r3",
        "r3 = bswap32 r3",
        "r3 = bswap64 r3",
    ];
    let mut pieces = Vec::new();
    for form in forms {
        let op = tailor_bpf::text::parse_ops(form).unwrap();
        for value in EXTREMES.into_iter().chain([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]) {
            pieces.push([&constant(3, value)[..], &op[..]].concat());
        }
    }
    results_agree(&pieces);
}

/// Every size of load and store at every offset, on the stack and in memory.
#[test]
fn accesses_agree_at_every_alignment() {
    for (base, start) in [("r10", -16), ("r6", 0), ("r7", 0)] {
        let mut code = String::from("r6 = r1\nr7 = r10\nr7 += -16\n");
        code += "r2 = 0x8182838485868788 ll\n*(u64 *)(r10 - 16) = r2\n*(u64 *)(r10 - 8) = r2\n";
        for (size, bytes) in [("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8)] {
            for off in 0..=16 - bytes {
                let to = address(base, start + off);
                writeln!(code, "*({size} *)({to}) = {}", -off).unwrap();
                writeln!(code, "r2 = {}\n*({size} *)({to}) = r2", 0x1f1e_1d1c + off).unwrap();
                for (load, bytes) in generator::LOADS {
                    let from = address(base, start + off.min(16 - bytes));
                    writeln!(code, "r3 = *({load} *)({from})\nr0 *= 31\nr0 += r3").unwrap();
                }
            }
        }
        agree_on_memory(&format!("program f0 \"main\" raw\n{code}exit\n"), vec![0x5a; 16]);
    }
}

#[test]
fn generated_programs_agree() {
    for seed in 1..=2000 {
        agree_on_memory(&generator::program(seed), generator::memory());
    }
}

#[test]
fn atomic_operations_agree_with_every_register() {
    let forms = [
        "lock *(u64 *)(A) += rS",
        "lock *(u32 *)(A) |= wS",
        "lock *(u64 *)(A) &= rS",
        "lock *(u32 *)(A) ^= wS",
        "rS = atomic_fetch_add((u64 *)(A), rS)",
        "wS = atomic_fetch_or((u32 *)(A), wS)",
        "rS = atomic_fetch_and((u64 *)(A), rS)",
        "wS = atomic_fetch_xor((u32 *)(A), wS)",
        "rS = xchg_64(A, rS)",
        "wS = xchg32_32(A, wS)",
        "r0 = cmpxchg_64(A, r0, rS)",
        "w0 = cmpxchg32_32(A, w0, wS)",
    ];
    for (base, off) in [("r1", 8), ("r10", -8)] {
        let mut code = String::from("r9 = 0\n");
        for form in forms {
            for source in [0, 3] {
                // R0 once as memory holds it and once not.
                for r0 in [0x8899_aabb_ccdd_eeff_u64, 5] {
                    let at = address(base, off);
                    let form = form.replace('A', &at).replace('S', &source.to_string());
                    code += "r2 = 0x8899aabbccddeeff ll\nr3 = -3\n";
                    writeln!(code, "*(u64 *)({at}) = r2\nr0 = {r0:#x} ll\n{form}").unwrap();
                    writeln!(code, "r4 = *(u64 *)({at})").unwrap();
                    for register in [0, 3, 4] {
                        writeln!(code, "r9 *= 31\nr9 += r{register}").unwrap();
                    }
                }
            }
        }
        let text = format!("program f0 \"main\" raw\n{code}r0 = r9\nexit\n");
        agree_on_memory(&text, vec![0x5a; 16]);
    }
}

#[test]
fn control_flow_agrees() {
    let programs = [
        "r0 += 3\nr1 = 0\nr2 += -1\nif r2 s> 0 goto -4\nexit",
        "goto +1\nexit\nr0 = 5\ngoto -3",
        "if r2 == 16 goto +0\nr0 = r2\nexit",
        "r0 = 1\ngotol out\nr0 = 2\nout: exit",
        // A loop entered in its middle.
        "r3 = 10\nif r2 > 5 goto middle\ntop: r0 += r3\nmiddle: r3 -= 1\nr0 ^= r3\nif r3 != 0 goto top\nexit",
        // Values that swap places each time round.
        "r3 = 1\nr4 = 2\ntop: r5 = r3\nr3 = r4\nr4 = r5\nr2 -= 1\nif r2 s> 0 goto top\nr0 = r3\nr0 <<= 8\nr0 |= r4\nexit",
        // Undefined registers, also after a helper call.
        "r1 = 9\ncall 7\nr0 += r1\nr0 += r5\nr0 += r8\nexit",
        // Helpers that take five arguments and none.
        "r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\ncall 10\nr6 = r0\nr1 = 5\ncall 118\nr0 += r6\nexit",
        "r6 = r10\nr6 += -8\nif r2 == 1 goto +1\nr6 += -8\n*(u64 *)(r10 - 16) = 1\n*(u64 *)(r10 - 8) = 2\nr0 = *(u64 *)(r6 + 0)\nexit",
    ];
    for code in programs {
        for length in [0, 1, 6, 16] {
            agree_on_memory(&format!("program f0 \"main\" raw\n{code}\n"), vec![7; length]);
        }
    }
}

#[test]
fn local_calls_agree() {
    let text = "
        map map0 \".data\" array key 4 value 8 entries 1 { 01 02 03 04 05 06 07 08 }
        program f0 \"main\" raw
          r6 = r1
          *(u64 *)(r10 - 8) = 1
          *(u64 *)(r10 - 16) = 2
          *(u64 *)(r10 - 24) = 3
          r1 = r10
          r1 += -16
          r2 = 100
          call f1
          r7 = r0
          r2 = *(u64 *)(r10 - 16)
          r3 = *(u64 *)(r10 - 8)
          r1 = r6
          call f2
          r0 += r7
          r1 = *(u64 *)(r10 - 24)
          r0 += r1
          exit
        function f1 \"changes_the_callers_stack\"
          *(u64 *)(r10 - 8) = r2
          r6 = *(u64 *)(r1 + 0)
          r3 = *(u64 *)(r10 - 8)
          r6 += r3
          *(u64 *)(r1 + 8) = r6
          *(u64 *)(r1 + 0) = 77
          r0 = r6
          exit
        function f2 \"changes_memory\"
          *(u64 *)(r1 + 0) = r2
          r4 = map0[4] ll
          r5 = *(u32 *)(r4 + 0)
          *(u32 *)(r4 - 4) = r3
          r0 = r5
          exit
        ";
    agree_on_memory(text, vec![0; 16]);
}

#[test]
fn tail_calls_agree() {
    let text = "
        map map0 \"jmp\" prog_array key 4 value 4 entries 4 { 1 = \"second\", 2 = \"main\" }
        program f0 \"main\" raw
          r6 = r1
          r3 = *(u64 *)(r1 + 0)
          r3 += 1
          *(u64 *)(r1 + 0) = r3
          r7 = r3
          *(u64 *)(r10 - 8) = r3
          call f2
          r8 = r0
          r1 = r6
          r2 = map0 ll
          r3 = INDEX
          call 12
          r0 = r7
          r1 = *(u64 *)(r10 - 8)
          r0 += r1
          exit
        program f1 \"second\" raw
          r0 = *(u64 *)(r1 + 0)
          r0 += 1000
          exit
        function f2 \"sub\"
          r2 = map0 ll
          r3 = *(u64 *)(r1 + 8)
          call 12
          r0 = 5
          exit
        ";
    for index in ["0", "1", "2", "3", "4", "-1", "0x7fffffff"] {
        for in_subprogram in [0u64, 1, 2, 1 << 32 | 1] {
            let memory = [0u64.to_le_bytes(), in_subprogram.to_le_bytes()].concat();
            agree_on_memory(&text.replace("INDEX", index), memory);
        }
    }
}

#[test]
fn context_accesses_agree() {
    let text = "
        program f0 \"xdp\" xdp
          r6 = r1
          r6 += 4
          *(u64 *)(r10 - 8) = r6
          r2 = *(u32 *)(r1 + 0)
          r7 = *(u64 *)(r10 - 8)
          r3 = *(u32 *)(r7 + 0)
          r4 = r2
          r4 += 4
          r0 = 1
          if r4 > r3 goto out
          r0 = *(u8 *)(r2 + 3)
          *(u8 *)(r2 + 0) = r0
          r5 = *(u32 *)(r6 + 8)
          r0 += r5
          PARTS
          r3 -= r2
          r0 += r3
        out:
          exit
        ";
    let mut parts = String::new();
    for (size, bytes) in generator::LOADS.into_iter().filter(|&(_, bytes)| bytes <= 4) {
        for at in (12..24).step_by(bytes as usize) {
            writeln!(parts, "r5 = *({size} *)(r1 + {at})\nr0 *= 31\nr0 += r5").unwrap();
        }
    }
    for length in [0, 3, 4, 64] {
        agree_on_packet(&text.replace("PARTS", &parts), (0..length).collect());
    }
}

/// What is not supported yet is an error that names it.
#[test]
fn what_is_not_supported_is_named() {
    let text = "program f0 \"main\" opaque\ncall kfunc 12\nexit\n";
    let error = harness::lift_first(text).unwrap_err();
    let expected = "main+0: call of kernel function 12: kfuncs are not supported";
    assert_eq!(error.to_string(), expected);
}
