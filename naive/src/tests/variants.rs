//! The older prologues and tail-call sites, and that the decoder notices when
//! one of them is broken by hand.

use tailor_bpf::facts::TailCall;
use tailor_bpf::text::parse_object;
use tailor_emit::{CompiledFunction, Gpr, frame};

use super::frames::{TAIL_CALLS, direct};
use super::{compile_as, facts, hex};
use crate::Variant;

const ALL: [Variant; 3] = [Variant::Fixed, Variant::V510, Variant::V612];

/// A program that tail-calls through a key that is not known.
const INDIRECT: &str = r#"
map map0 "jmp" prog_array key 4 value 4 entries 8

program f0 "main" raw
  r6 = r1
  r2 = map0 ll
  call 12
  r0 = 0
  exit
"#;

fn plain(variant: Variant, depth: u32) -> CompiledFunction {
    let text = "program f0 \"main\" raw\nr6 = r1\nr0 = 0\nexit";
    compile_as(variant, text, depth, TailCall::default()).remove(0)
}

fn assert_code(function: &CompiledFunction, expected: &str) {
    assert_eq!(hex(&function.code), expected.replace(' ', ""));
}

#[test]
fn the_fixed_frame() {
    let f = plain(Variant::Fixed, 3);
    assert_code(
        &f,
        "55 4889e5 4881ec08000000 53 4155 4156 4157 6a00 \
         4889fb 31c0 5b 415f 415e 415d 5b c9 c3",
    );
    assert_eq!((f.landing, f.frame.frame_bytes, f.frame.padding_bytes), (20, 56, 5));
    // The same length without any stack: tail calls land at one offset.
    assert!(hex(&plain(Variant::Fixed, 0).code).starts_with("554889e54881ec00000000534155"));
}

#[test]
fn a_fixed_site_unwinds_nothing() {
    let f = &compile_as(Variant::Fixed, INDIRECT, 8, TailCall::default())[0];
    assert_code(
        f,
        "55 4889e5 4881ec00020000 53 4155 4156 4157 6a00 \
         4889fb 48be0000000000000000 \
         89d2 395624 762b 8b85dcfdffff 83f820 7720 83c001 8985dcfdffff \
         488b8cd610010000 4885c9 740a 488b4930 4883c114 ffe1 \
         31c0 5b 415f 415e 415d 5b c9 c3",
    );
    assert_eq!(f.frame.frame_bytes, 8 + 512 + 32 + 8);
    let f = &compile_as(Variant::Fixed, INDIRECT, 8, direct())[0];
    assert_eq!(f.tail_sites[0].poke, None);
}

#[test]
fn the_frame_of_5_10() {
    let f = plain(Variant::V510, 3);
    assert_code(&f, "0f1f440000 6690 55 4889e5 4881ec08000000 53 4889fb 31c0 5b c9 c3");
    assert_eq!((f.landing, f.frame.frame_bytes), (11, 24));
}

#[test]
fn a_site_of_5_10_counts_before_it_looks() {
    let f = &compile_as(Variant::V510, TAIL_CALLS, 8, direct())[0];
    assert_code(
        f,
        "0f1f440000 31c0 55 4889e5 4881ec08000000 50 53 4155 \
         4889fb 41bd01000000 488b85f0ffffff e800000000 \
         4889df 48be0000000000000000 ba02000000 \
         8b85f4ffffff 83f820 771e 83c001 8985f4ffffff e910000000 \
         415d 5b 58 4881c408000000 0f1f440000 \
         31c0 415d 5b c9 c3",
    );
    assert_eq!(f.frame.frame_bytes, 8 + 8 + 8 + 16);
}

/// A load from the packet is a helper's call too, as the verifier rewrites it.
#[test]
fn helpers_of_5_10_get_the_counter() {
    let text = r#"
map map0 "jmp" prog_array key 4 value 4 entries 8

program f0 "main" socket_filter
  r6 = r1
  r0 = *(u8 *)skb[2]
  call 7
  r1 = r6
  r2 = map0 ll
  r3 = 2
  call 12
  exit
"#;
    let f = &compile_as(Variant::V510, text, 0, direct())[0];
    let code = hex(&f.code);
    let loads = code.matches("488b85f8ffffffe800000000").count();
    assert_eq!(loads, 2, "{code}");
}

#[test]
fn only_the_fixed_prologue_refuses() {
    let object = parse_object(TAIL_CALLS).expect("it parses");
    let facts = facts(&object, 8, direct());
    let both: Vec<_> = object.functions.keys().collect();
    let error = Variant::Fixed.admit(&object, &facts, &both).expect_err("it is refused");
    assert!(error.to_string().starts_with("main+7: a tail call in a program with subprograms"));
    assert_eq!(Variant::Fixed.admit(&object, &facts, &both[..1]), Ok(()));
    assert_eq!(Variant::V510.admit(&object, &facts, &both), Ok(()));
}

/// Offset of the first place where these bytes are.
fn find(function: &CompiledFunction, bytes: &[u8]) -> usize {
    let mut windows = function.code.windows(bytes.len());
    windows.position(|window| window == bytes).expect("the bytes are there")
}

#[test]
fn the_decoder_notices_broken_frames_of_every_variant() {
    for variant in ALL {
        let good = compile_as(variant, INDIRECT, 8, TailCall::default()).remove(0);
        let breaks = |what: &str, change: &dyn Fn(&mut CompiledFunction)| {
            let mut broken = good.clone();
            change(&mut broken);
            assert!(frame::check(&broken).is_err(), "{variant:?}: {what} goes unnoticed");
        };
        breaks("a push that is missing", &|f| {
            let push = find(f, &[0x53]);
            f.code[push] = 0x90;
        });
        breaks("a restore into another register", &|f| {
            let end = f.code.len() - 3;
            assert_eq!(f.code[end], 0x5b, "pop rbx");
            f.code[end] = 0x58;
        });
        breaks("a stack of another size", &|f| {
            let sub = find(f, &[0x48, 0x81, 0xec]);
            f.code[sub + 3] += 8;
        });
        breaks("a frame pointer that is not set", &|f| {
            let mov = find(f, &[0x48, 0x89, 0xe5]);
            f.code[mov..mov + 3].fill(0x90);
        });
        breaks("a wrong landing point", &|f| f.landing += 1);
        breaks("a belief in fewer registers", &|f| f.frame.saved.retain(|reg| *reg != Gpr::RBX));
        breaks("a site that is not there", &|f| f.tail_sites[0].exit += 2);
    }
}

/// A frame that a tail call entered has 512 bytes of stack, and what is saved
/// below: no more fits.
#[test]
fn the_fixed_frame_has_no_room_for_a_count_below_all_of_the_stack() {
    let text = "program f0 \"main\" raw\nr0 = 0\nmay_goto +0\nexit";
    let object = parse_object(text).expect("it parses");
    let functions: Vec<_> = object.functions.keys().collect();
    let admit = |variant: Variant, depth| {
        variant.admit(&object, &facts(&object, depth, TailCall::default()), &functions)
    };
    assert_eq!(admit(Variant::Fixed, 504), Ok(()));
    assert_eq!(admit(Variant::V510, 512), Ok(()));
    let error = admit(Variant::Fixed, 505).expect_err("it is refused").to_string();
    assert!(error.starts_with("main+1: may_goto counts in a slot below the stack"), "{error}");
}
