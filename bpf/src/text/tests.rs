//! Parsing what was printed gives the same object; what is wrong is named.

use proptest::prelude::*;

use super::*;
use crate::insn::{AluOp, AtomicOp, Callee, Cond, EndKind, Imm64, Op, Reg, Size, Src, Width};
use crate::{FuncRef, MapRef};

fn reg() -> impl Strategy<Value = Reg> {
    (0..=10u8).prop_map(|n| Reg::new(n).unwrap())
}

fn width() -> impl Strategy<Value = Width> {
    prop_oneof![Just(Width::W32), Just(Width::W64)]
}

fn size() -> impl Strategy<Value = Size> {
    prop::sample::select(vec![Size::B, Size::H, Size::W, Size::D])
}

fn imm() -> impl Strategy<Value = i32> {
    prop_oneof![any::<i32>(), -3..3i32, Just(i32::MIN), Just(i32::MAX)]
}

fn off() -> impl Strategy<Value = i16> {
    prop_oneof![any::<i16>(), -3..3i16, Just(i16::MIN), Just(i16::MAX)]
}

fn src() -> impl Strategy<Value = Src> {
    prop_oneof![reg().prop_map(Src::Reg), imm().prop_map(Src::Imm)]
}

fn alu() -> impl Strategy<Value = Op> {
    use AluOp::*;
    let ops = vec![Add, Sub, Mul, Div, Sdiv, Mod, Smod, Or, And, Xor, Lsh, Rsh, Arsh];
    let ends = vec![EndKind::Le, EndKind::Be, EndKind::Swap];
    let parts = vec![
        (Width::W32, Size::B),
        (Width::W32, Size::H),
        (Width::W64, Size::B),
        (Width::W64, Size::H),
        (Width::W64, Size::W),
    ];
    let sizes = vec![Size::H, Size::W, Size::D];
    prop_oneof![
        (prop::sample::select(ops), width(), reg(), src()).prop_map(|(op, w, dst, src)| Op::Alu {
            op,
            w,
            dst,
            src
        }),
        (width(), reg(), src()).prop_map(|(w, dst, src)| Op::Mov { w, dst, src }),
        (prop::sample::select(parts), reg(), reg()).prop_map(|((w, from), dst, src)| Op::MovSx {
            w,
            from,
            dst,
            src
        }),
        (width(), reg()).prop_map(|(w, dst)| Op::Neg { w, dst }),
        (prop::sample::select(ends), prop::sample::select(sizes), reg())
            .prop_map(|(kind, size, dst)| Op::End { kind, size, dst }),
        (reg(), imm64()).prop_map(|(dst, value)| Op::LoadImm { dst, value }),
    ]
}

fn imm64() -> impl Strategy<Value = Imm64> {
    let map = || (0..1000u32).prop_map(MapRef::from_u32);
    prop_oneof![
        any::<u64>().prop_map(Imm64::Const),
        map().prop_map(Imm64::Map),
        (map(), any::<u32>()).prop_map(|(map, off)| Imm64::MapValue(map, off)),
        (0..1000u32).prop_map(|f| Imm64::Function(FuncRef::from_u32(f))),
        (1..16u8, imm(), imm()).prop_map(|(src, lo, hi)| Imm64::Pseudo(src, lo, hi)),
    ]
}

fn memory() -> impl Strategy<Value = Op> {
    use AtomicOp::*;
    let ops = prop::sample::select(vec![Add, Or, And, Xor, Xchg]);
    let narrow = || prop::sample::select(vec![Size::B, Size::H, Size::W]);
    let load = |(size, signed, dst, base, off)| Op::Load { size, signed, dst, base, off };
    prop_oneof![
        (size(), Just(false), reg(), reg(), off()).prop_map(load),
        (narrow(), Just(true), reg(), reg(), off()).prop_map(load),
        (size(), reg(), off(), src()).prop_map(|(size, base, off, src)| Op::Store {
            size,
            base,
            off,
            src
        }),
        (ops, width(), any::<bool>(), reg(), off(), reg()).prop_map(
            |(op, w, fetch, base, off, src)| Op::Atomic {
                op,
                w,
                fetch: fetch || op == Xchg,
                base,
                off,
                src
            }
        ),
        (width(), reg(), off(), reg()).prop_map(|(w, base, off, src)| Op::CmpXchg {
            w,
            base,
            off,
            src
        }),
        (narrow(), prop::option::of(reg()), imm()).prop_map(|(size, index, off)| Op::LoadPacket {
            size,
            index,
            off
        }),
    ]
}

fn control() -> impl Strategy<Value = Op> {
    use Cond::*;
    let conds = vec![Eq, Ne, Ult, Ule, Ugt, Uge, Slt, Sle, Sgt, Sge, Set];
    prop_oneof![
        off().prop_map(|off| Op::Jump { off: off.into(), long: false }),
        imm().prop_map(|off| Op::Jump { off, long: true }),
        (prop::sample::select(conds), width(), reg(), src(), off())
            .prop_map(|(cond, w, dst, src, off)| Op::Branch { cond, w, dst, src, off }),
        any::<u32>().prop_map(|n| Op::Call(Callee::Helper(n))),
        imm().prop_map(|off| Op::Call(Callee::Relative(off))),
        (0..1000u32).prop_map(|f| Op::Call(Callee::Function(FuncRef::from_u32(f)))),
        reg().prop_map(|r| Op::Call(Callee::Register(r))),
        imm().prop_map(|id| Op::Call(Callee::Kfunc(id))),
        Just(Op::Exit),
    ]
}

fn code() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![alu(), memory(), control()];
    prop::collection::vec(op, 1..20).prop_map(|ops| {
        let slots = ops.into_iter().flat_map(|op| match op.slots() {
            2 => vec![op, Op::LoadImmHi],
            _ => vec![op],
        });
        slots.collect()
    })
}

proptest! {
    #[test]
    fn printing_and_parsing_are_inverse(ops in code()) {
        let text = print_ops(&ops);
        prop_assert_eq!(parse_ops(&text).map_err(|e| e.to_string()), Ok(ops), "{}", text);
    }

    #[test]
    fn encoding_and_decoding_are_inverse(ops in code()) {
        let linked = |op: &Op| matches!(op, Op::Call(Callee::Function(_)) | Op::LoadImm {
            value: Imm64::Map(_) | Imm64::MapValue(..) | Imm64::Function(_), ..
        });
        prop_assume!(!ops.iter().any(|op| linked(op) || op.def() == Some(Reg::FP)));
        let bytes = crate::encode::encode("f", &ops).unwrap();
        prop_assert_eq!(crate::decode::decode("f", &bytes).map_err(|e| e.to_string()), Ok(ops));
    }

    #[test]
    fn no_text_panics(text in "(r[0-9]|w1|\\*|\\(u32 \\*\\)|\\(|\\)| |=|s>|[+-]|[0-9]|ll|if|goto|a|:|\"|\\\\u\\{|[\\{\\}]|map|map0|program f0|xdp|\n){0,30}") {
        let _ = parse_ops(&text);
        let _ = parse_object(&text);
    }
}

/// Text that prints as it is.
#[test]
fn spelling() {
    let text = "  r0 = 1
  w1 += w2
  r1 = *(u32 *)(r2 + 4)
  r1 = *(s16 *)(r2 - 2)
  *(u8 *)(r10 - 1) = 7
  *(u64 *)(r10 - 8) = r1
  if r1 s> -5 goto +3
  if w1 & 4 goto -2
  goto +1
  gotol -1
  r1 = be16 r1
  r1 = bswap32 r1
  r1 = -r1
  lock *(u64 *)(r1 + 0) += r2
  lock *(u32 *)(r1 + 0) ^= w2
  r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)
  w2 = atomic_fetch_or((u32 *)(r1 - 4), w2)
  r2 = xchg_64(r1 + 0, r2)
  w0 = cmpxchg32_32(r1 + 0, w0, w2)
  r1 = 0x1122334455667788 ll
  call 5
  call f3
  call +7
  call kfunc 12
  callx r3
  r1 = (s8)r2
  r1 s/= r2
  w1 s>>= 3
  r1 = map0 ll
  r1 = map0[16] ll
  r1 = f2 ll
  r0 = *(u16 *)skb[12]
  r0 = *(u8 *)skb[r6 + 1]
  exit
";
    assert_eq!(print_ops(&parse_ops(text).unwrap()), text);
}

#[test]
fn labels_and_other_spellings() {
    let text = "again: w1 = *(u8 *)(r2 + 0x10) ; comment
        *(u32 *)(r2 + 0) = w1 # another
        r3 = 5 ll
        if w1 == 0xffffffff goto again
        r0 = *(u32 *)skb[r1]

        goto out
        gotol out
        r1 = r1
    out:
        exit";
    let printed = "  r1 = *(u8 *)(r2 + 16)
  *(u32 *)(r2 + 0) = r1
  r3 = 0x5 ll
  if w1 == -1 goto -5
  r0 = *(u32 *)skb[r1]
  goto +2
  gotol +1
  r1 = r1
  exit
";
    assert_eq!(print_ops(&parse_ops(text).unwrap()), printed);
}

fn refusal(text: &str) -> String {
    parse_object(text).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn refusals_name_place_and_reason() {
    let cases = [
        ("r0 = r11", "main+0: line 2: expected a number, found `r11`"),
        ("exit\nr0 = w1", "main+1: line 3: expected a 64-bit register, found `w1`"),
        ("goto nowhere", "main+0: line 2: cannot jump: there is no label `nowhere`"),
        ("r0 = 0x100000000", "main+0: line 2: the number is not within -2147483648 and 2147483647"),
        ("w1 = (s32)w2", "main+0: line 2: this is no sign extension to the destination's width"),
        ("if r1 ! r2 goto +1", "main+0: line 2: unexpected '!'"),
        ("exit exit", "main+0: line 2: expected the end of the line, found `exit`"),
    ];
    for (code, expected) in cases {
        let text = format!("program f0 \"main\" raw\n{code}\n");
        let expected = expected
            .strip_prefix("main+0: line 2: unexpected")
            .map_or(expected.to_string(), |rest| format!("line 2: unexpected{rest}"));
        assert_eq!(refusal(&text), expected, "{code}");
    }
    assert_eq!(refusal("program f1 \"x\" raw"), "line 1: the next one is `f0`");
    assert_eq!(
        refusal("map map0 \"x\" prog_array key 4 value 4 entries 1 { 0 = \"y\" }"),
        "line 1: there is no such program"
    );
}

#[test]
fn objects() {
    let text = "object \"lb.o\"
map map0 \"counters\" array key 4 value 8 entries 16
map map1 \"jmp\" prog_array key 4 value 4 entries 8 { 0 = \"parse\", 2 = \"parse\" }
map map2 \".rodata\" array key 4 value 8 entries 1 flags 0x80 { 01 02 }
map map3 \"big\" array key 4 value 40 entries 1 {
  01 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01
  ff
}
map map4 \"q\\\"\\\\\" type 26 key 0 value 0 entries 4096

program f0 \"main\" raw
  r1 = map0[3] ll
  call f1
  exit

function f1 \"sub\"
  r0 = 1
  exit

program f2 \"parse\" xdp section \"xdp/parse\" refused 7 \"no\"
  exit
";
    let object = parse_object(text).unwrap();
    assert_eq!(object.maps[MapRef::from_u32(2)].initial, [1, 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!(object.maps[MapRef::from_u32(3)].initial.len(), 40);
    assert_eq!(object.functions[FuncRef::from_u32(0)].ops.len(), 4);
    assert_eq!(object.programs.len(), 2);
    assert_eq!(print_object(&object), text);
}
