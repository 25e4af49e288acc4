//! Instructions with the bytes that a kernel has been seen to emit for them.

use tailor_bpf::FuncRef;
use tailor_bpf::ctx::XDP;
use tailor_bpf::facts::{CtxAccess, TailCall};
use tailor_bpf::text::parse_object;
use tailor_emit::FunctionKind;

use super::{body, facts, hex};

fn check(rows: &[(&str, &str)]) {
    for (ops, bytes) in rows {
        assert_eq!(body(ops), bytes.replace(' ', ""), "{ops}");
    }
}

#[test]
fn ordered_accesses_are_plain() {
    check(&[
        ("w0 = load_acquire((u8 *)(r1 + 1))", "480fb64701"),
        ("w6 = load_acquire((u32 *)(r1 + 0))", "8b5f00"),
        ("r0 = load_acquire((u64 *)(r1 + 0))", "488b4700"),
        ("store_release((u16 *)(r1 + 2), w0)", "66894702"),
        ("store_release((u64 *)(r1 + 0), r6)", "48895f00"),
    ]);
}

#[test]
fn calls_through_a_register() {
    // The number in r9, then a call like any helper's.
    check(&[("callx r6", "4989d9 e800000000"), ("callx r0", "4989c1 e800000000")]);
}

#[test]
fn moves() {
    check(&[
        ("r0 = 0", "31c0"),
        ("r5 = 0", "4531c0"),
        ("w8 = 0", "4531f6"),
        ("r0 = 1", "b801000000"),
        ("r9 = 1", "41bf01000000"),
        ("r0 = -1", "48c7c0ffffffff"),
        ("w0 = -1", "b8ffffffff"),
        ("r1 = r2", "4889f7"),
        ("r1 = r1", ""),
        ("w1 = w1", "89ff"),
        ("w6 = w5", "4489c3"),
        ("r0 = 0 ll", "31c0"),
        ("r0 = 0xffffffff ll", "b8ffffffff"),
        ("r0 = 0xffffffff80000000 ll", "48c7c000000080"),
        ("r0 = 0x100000000 ll", "48b80000000001000000"),
        ("r7 = (s8)r1", "4c0fbeef"),
        ("w0 = (s8)w3", "400fbec2"),
        ("w0 = (s16)w3", "0fbfc2"),
        ("r0 = (s32)r8", "4963c6"),
    ]);
}

#[test]
fn arithmetic() {
    check(&[
        ("r0 += 1", "4883c001"),
        ("r0 += 1000", "4805e8030000"),
        ("w0 -= 1000", "2de8030000"),
        ("r2 &= 255", "4881e6ff000000"),
        ("w6 |= -128", "83cb80"),
        ("r9 ^= r1", "4931ff"),
        ("w2 -= w5", "4429c6"),
        ("r3 *= r8", "490fafd6"),
        ("r7 *= 3", "4d6bed03"),
        ("w1 *= 300", "69ff2c010000"),
        ("r6 = -r6", "48f7db"),
        ("w9 = -w9", "41f7df"),
        ("r1 <<= 1", "48d1e7"),
        ("r1 >>= 32", "48c1ef20"),
        ("w7 s>>= 0", "41c1fd00"),
        ("r1 <<= r2", "c4e2c9f7ff"),
        ("w1 >>= w2", "c4e24bf7ff"),
        ("r4 s>>= r4", "48d3f9"),
        ("r4 s>>= r1", "c4e2c2f7c9"),
        ("r1 <<= r4", "48d3e7"),
    ]);
}

#[test]
fn byte_order() {
    check(&[
        ("r1 = le16 r1", "0fb7ff"),
        ("r1 = le32 r1", "89ff"),
        ("r1 = le64 r1", ""),
        ("r1 = be16 r1", "66c1cf08 0fb7ff"),
        ("r7 = be16 r7", "6641c1cd08 450fb7ed"),
        ("r7 = be32 r7", "410fcd"),
        ("r0 = bswap64 r0", "480fc8"),
    ]);
}

#[test]
fn comparisons() {
    check(&[
        ("if r0 == 1000 goto +0", "4881f8e8030000 7400"),
        ("if w0 > 5 goto +0", "83f805 7700"),
        ("if r1 s< 0 goto +0", "4885ff 7c00"),
        ("if r1 & 0 goto +0", "48f7c700000000 7500"),
        ("if w0 & 1 goto +0", "f7c001000000 7500"),
        ("if r1 & r9 goto +0", "4c85ff 7500"),
        ("if w8 s>= w2 goto +0", "4139f6 7d00"),
    ]);
}

#[test]
fn memory() {
    check(&[
        ("r0 = *(u8 *)(r1 + 0)", "480fb64700"),
        ("r0 = *(u16 *)(r7 + 200)", "490fb785c8000000"),
        ("r9 = *(u32 *)(r10 - 4)", "448b7dfc"),
        ("r0 = *(u64 *)(r1 - 128)", "488b4780"),
        ("r0 = *(s8 *)(r1 + 1)", "480fbe4701"),
        ("r0 = *(s16 *)(r1 + 1)", "480fbf4701"),
        ("r0 = *(s32 *)(r1 + 1)", "48634701"),
        ("*(u8 *)(r10 - 1) = r0", "8845ff"),
        ("*(u8 *)(r10 - 1) = r1", "40887dff"),
        ("*(u16 *)(r10 - 2) = r8", "66448975fe"),
        ("*(u32 *)(r10 - 4) = r3", "8955fc"),
        ("*(u64 *)(r10 - 256) = r6", "48899d00ffffff"),
        ("*(u8 *)(r1 + 0) = 300", "c647002c"),
        ("*(u16 *)(r5 + 0) = -1", "6641c74000ffff"),
        ("*(u32 *)(r1 + 0) = 1", "c7470001000000"),
        ("*(u64 *)(r1 + 0) = -1", "48c74700ffffffff"),
    ]);
}

#[test]
fn atomics() {
    check(&[
        ("lock *(u64 *)(r10 - 8) += r1", "f048017df8"),
        ("lock *(u32 *)(r1 + 0) |= w9", "f044097f00"),
        ("r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)", "f0480fc17700"),
        ("w2 = xchg32_32(r1 + 0, w2)", "f0877700"),
        ("r0 = cmpxchg_64(r1 + 0, r0, r2)", "f0480fb17700"),
        ("w0 = cmpxchg32_32(r1 + 0, w0, w2)", "f00fb17700 89c0"),
        (
            "r2 = atomic_fetch_and((u64 *)(r1 + 8), r2)",
            "4989c2 488b4708 4989c3 4921f3 f04c0fb15f08 75ee 4889c6 4c89d0",
        ),
        (
            "w0 = atomic_fetch_xor((u32 *)(r0 + 0), w0)",
            "4989c2 418b4200 4189c3 4531d3 f0450fb15a00 75ee 4189c2 4c89d0",
        ),
    ]);
}

#[test]
fn division_by_a_constant() {
    check(&[
        ("r0 /= 3", "52 49c7c303000000 31d2 49f7f3 5a"),
        ("w3 %= 3", "50 49c7c303000000 89d0 31d2 41f7f3 58"),
        ("r6 s/= 7", "50 52 49c7c307000000 4889d8 4899 49f7fb 4889c3 5a 58"),
        ("r1 s/= -1", "48f7df"),
        ("w1 s%= -1", "31ff"),
        ("r1 /= 0", "31ff"),
        ("r1 %= 0", ""),
        ("w1 %= 0", "89ff"),
    ]);
}

#[test]
fn division_by_a_register_is_guarded() {
    check(&[
        ("r1 /= r2", "4885f6 7504 31ff eb0f 50 52 4889f8 31d2 48f7f6 4889c7 5a 58"),
        ("r0 %= r6", "4885db 740a 52 31d2 48f7f3 4889d0 5a"),
        ("w0 %= w3", "85d2 740e 52 4989d3 31d2 41f7f3 89d0 5a eb02 89c0"),
        (
            "w1 s/= w2",
            "4989f2 4183c201 4183fa01 770b 4585d2 7402 31ff f7df eb0b \
             50 52 89f8 99 f7fe 89c7 5a 58",
        ),
        (
            "w1 s%= w2",
            "4989f2 4183c201 4183fa01 770a 4183fa01 7411 31ff eb0b \
             50 52 89f8 99 f7fe 89d7 5a 58 eb02 89ff",
        ),
    ]);
}

#[test]
fn context_fields() {
    let load = |ops: &str, field: u8, part: u8| {
        let object =
            parse_object(&format!("program f0 \"main\" xdp\n{ops}\nexit")).expect("parses");
        let mut facts = facts(&object, 0, TailCall::default());
        let func = FuncRef::from_u32(0);
        let access = CtxAccess { kind: XDP, field, part };
        facts.functions[func].ctx_accesses.insert(0, access);
        let code =
            crate::compile(crate::Variant::V612, &object, &facts, func, FunctionKind::Program)
                .expect("compiles");
        hex(&code.code[12..code.code.len() - 2])
    };
    assert_eq!(load("r2 = *(u32 *)(r1 + 0)", 0, 0), "488b7700");
    assert_eq!(load("r2 = *(u32 *)(r1 + 4)", 1, 0), "488b7708");
    assert_eq!(load("r0 = *(u32 *)(r1 + 12)", 3, 0), "8b4718");
    assert_eq!(load("r0 = *(u8 *)(r1 + 13)", 3, 1), "8b4718c1e80825ff000000");
    assert_eq!(load("r0 = *(u16 *)(r1 + 12)", 3, 0), "8b471825ffff0000");
    assert_eq!(load("r2 = *(s8 *)(r1 + 15)", 3, 3), "8b7718c1ee1881e6ff000000480fbef6");
    assert_eq!(load("r0 = *(s32 *)(r1 + 12)", 3, 0), "8b47184863c0");
}
