//! Prologues, epilogues, calls and tail-call sites.

use tailor_bpf::facts::TailCall;
use tailor_bpf::{FuncRef, MapRef};
use tailor_emit::{CompiledFunction, Gpr, Poke, Reloc, RelocKind, Symbol};

use super::{compile, hex};

/// A program that tail-calls and a subprogram that does, saving rbx and r13.
pub(super) const TAIL_CALLS: &str = r#"
map map0 "jmp" prog_array key 4 value 4 entries 8

program f0 "main" raw
  r6 = r1
  r7 = 1
  call f1
  r1 = r6
  r2 = map0 ll
  r3 = 2
  call 12
  r0 = 0
  exit

function f1 "sub"
  r2 = map0 ll
  r3 = 2
  call 12
  r0 = 0
  exit
"#;

pub(super) fn direct() -> TailCall {
    TailCall { map: Some(MapRef::from_u32(0)), key: Some(2), ..TailCall::default() }
}

fn function(ops: &str, depth: u32) -> CompiledFunction {
    let text = format!("program f0 \"main\" raw\n{ops}\nexit");
    compile(&text, depth, TailCall::default()).remove(0)
}

#[test]
fn the_plain_frame() {
    let f = function("r0 = 0", 0);
    assert_eq!(hex(&f.code), "0f1f4400000f1f00554889e531c0c9c3");
    assert_eq!((f.landing, f.frame.frame_bytes, f.frame.padding_bytes), (12, 8, 0));
    assert!(f.frame.frame_pointer && f.frame.saved.is_empty());
}

#[test]
fn stack_and_saved_registers() {
    let f = function("r9 = r1\nr6 = 0\nr0 = 0\nr8 = r7", 13);
    let expected = "0f1f4400000f1f00554889e5 4881ec10000000 53415541564157 \
                    4989ff31db31c04d89ee 415f415e415d5bc9c3";
    assert_eq!(hex(&f.code), expected.replace(' ', ""));
    assert_eq!(f.frame.saved[..], [Gpr::RBX, Gpr::R13, Gpr::R14, Gpr::R15]);
    assert_eq!((f.frame.frame_bytes, f.frame.padding_bytes), (8 + 16 + 32, 3));
}

#[test]
fn dead_code_counts_and_unreachable_code_does_not() {
    let f = function("goto +1\nr9 = 1\nr7 = r7\nr0 = 0", 0);
    assert_eq!(f.frame.saved[..], [Gpr::R13]);
    assert_eq!(hex(&f.code), "0f1f4400000f1f00554889e5415531c0415dc9c3");
}

#[test]
fn a_programs_tail_call() {
    let f = &compile(TAIL_CALLS, 8, direct())[0];
    let expected = "0f1f440000 4831c0 55 4889e5 4881ec08000000 \
                    4883f821 7706 50 4889e0 eb01 50 50 53 4155 \
                    4889fb 41bd01000000 488b85e8ffffff e800000000 \
                    4889df 48be0000000000000000 ba02000000 \
                    488b85e8ffffff 48833821 731a e915000000 \
                    48830001 415d 5b 58 58 4881c408000000 0f1f440000 \
                    31c0 415d 5b c9 c3";
    assert_eq!(hex(&f.code), expected.replace(' ', ""));
    assert_eq!(f.frame.frame_bytes, 8 + 8 + 16 + 16);
    let sub = Symbol::Function(FuncRef::from_u32(1));
    let map = Symbol::Map(MapRef::from_u32(0));
    assert_eq!(
        f.relocs,
        [
            Reloc { offset: 53, kind: RelocKind::Rel32, target: sub },
            Reloc { offset: 62, kind: RelocKind::Abs64, target: map },
        ]
    );
}

#[test]
fn a_direct_sites_offsets() {
    let f = &compile(TAIL_CALLS, 8, direct())[0];
    let site = &f.tail_sites[0];
    assert_eq!((site.offset, site.exit), (75, 109));
    assert_eq!(site.direct, Some((MapRef::from_u32(0), 2)));
    assert_eq!(site.poke, Some(Poke { bypass: 88, target: 109, out: 114 }));
    assert_eq!(f.tail_sites.len(), 1);
}

#[test]
fn a_subprograms_tail_call() {
    let f = &compile(TAIL_CALLS, 0, direct())[1];
    let expected = "0f1f440000 0f1f00 55 4889e5 50 50 \
                    48be0000000000000000 ba02000000 \
                    488b85f0ffffff 48833821 7310 e90b000000 \
                    48830001 58 58 0f1f440000 31c0 c9 c3";
    assert_eq!(hex(&f.code), expected.replace(' ', ""));
    assert_eq!(f.frame.frame_bytes, 8 + 16);
}

#[test]
fn an_indirect_site() {
    let f = &compile(TAIL_CALLS, 12, TailCall { key: None, ..direct() })[1];
    let expected = "0f1f440000 0f1f00 55 4889e5 4881ec10000000 50 50 \
                    48be0000000000000000 ba02000000 \
                    89d2 395624 7631 488b85e0ffffff 48833821 7324 \
                    488b8cd610010000 4885c9 7417 48830001 58 58 4881c410000000 \
                    488b4930 4883c10c ffe1 31c0 c9 c3";
    assert_eq!(hex(&f.code), expected.replace(' ', ""));
    let site = &f.tail_sites[0];
    assert_eq!((site.direct, site.poke), (None, None));
    assert_eq!(f.code[site.exit as usize..][..2], [0xff, 0xe1]);
}

#[test]
fn a_key_beyond_the_array_is_no_direct_site() {
    let f = &compile(TAIL_CALLS, 0, TailCall { key: Some(8), ..direct() })[1];
    assert_eq!(f.tail_sites[0].poke, None);
}

#[test]
fn further_exits_jump_back_to_the_first() {
    let f = function("r6 = r1\nif r1 == 0 goto +1\nexit\nr0 = 1", 0);
    let expected = "0f1f4400000f1f00554889e5 53 4889fb 4885ff 7403 5bc9c3 b801000000 ebf6";
    assert_eq!(hex(&f.code), expected.replace(' ', ""));
}

#[test]
fn helpers_are_called_by_number() {
    let f = function("call 7\nr0 = 0", 0);
    let target = Symbol::Helper(7);
    assert_eq!(f.relocs, [Reloc { offset: 13, kind: RelocKind::Rel32, target }]);
}
