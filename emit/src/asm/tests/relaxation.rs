//! Branch sizes, and what moves with them.

use super::*;
use crate::asm::{AsmError, Cc, Label};

/// Branches of a finished program: offset, size, target.
fn branches(code: &[u8]) -> Vec<(u64, usize, u64)> {
    Decoder::new(64, code, DecoderOptions::NONE)
        .into_iter()
        .filter(|i| i.is_jmp_short_or_near() || i.is_jcc_short_or_near())
        .map(|i| (i.ip(), i.len(), i.near_branch_target()))
        .collect()
}

#[test]
fn forward_boundary() {
    for (gap, jmp, jcc) in [(0, 2, 2), (127, 2, 2), (128, 5, 6), (129, 5, 6)] {
        for (conditional, size) in [(false, jmp), (true, jcc)] {
            let mut asm = Assembler::new();
            let label = asm.label();
            if conditional {
                asm.jcc(Cc::L, label);
            } else {
                asm.jmp(label);
            }
            asm.nop(gap);
            asm.bind(label);
            let done = asm.finish().unwrap();
            let target = (size + gap) as u64;
            assert_eq!(branches(&done.code), [(0, size, target)]);
            assert_eq!(u64::from(done.offset(label)), target);
        }
    }
}

#[test]
fn backward_boundary() {
    // A short branch itself is two of the 128 bytes.
    for (gap, jmp, jcc) in [(0, 2, 2), (126, 2, 2), (127, 5, 6), (128, 5, 6)] {
        for (conditional, size) in [(false, jmp), (true, jcc)] {
            let mut asm = Assembler::new();
            let label = asm.here();
            asm.nop(gap);
            if conditional {
                asm.jcc(Cc::G, label);
            } else {
                asm.jmp(label);
            }
            let done = asm.finish().unwrap();
            assert_eq!(branches(&done.code), [(gap as u64, size, 0)]);
        }
    }
}

/// Each branch reaches only if the next does: the last one makes all of them long.
#[test]
fn growth_cascades() {
    for last in [122, 123] {
        let mut asm = Assembler::new();
        let count = 100;
        let labels: Vec<Label> = (0..count).map(|_| asm.label()).collect();
        // Between a branch and its label: 125 bytes and the next branch.
        for (i, &label) in labels.iter().enumerate() {
            asm.jcc(Cc::E, label);
            if i >= 1 {
                asm.bind(labels[i - 1]);
            }
            asm.nop(if i + 1 == count { last } else { 125 });
        }
        asm.nop(5);
        asm.bind(labels[count - 1]);
        let done = asm.finish().unwrap();
        let size = if last == 122 { 2 } else { 6 };
        let sizes: Vec<usize> = branches(&done.code).iter().map(|b| b.1).collect();
        assert_eq!(sizes, vec![size; count], "last gap {last}");
    }
}

/// Positions behind branches move with them: labels, long jumps, addresses, relocations.
#[test]
fn everything_moves_along() {
    let mut asm = Assembler::new();
    let far = asm.label();
    let near = asm.label();
    asm.jmp(far);
    asm.jcc(Cc::Ne, near);
    asm.jmp_long(near);
    asm.lea_label(Gpr::R9, near);
    asm.call_label(far);
    let mark = asm.here();
    asm.call_symbol(crate::Symbol::Helper(1));
    asm.bind(near);
    asm.nop(200);
    asm.bind(far);
    asm.ret();
    let done = asm.finish().unwrap();
    assert_eq!(done.offset(mark), 5 + 2 + 5 + 7 + 5);
    assert_eq!(done.relocs[0].offset, done.offset(mark) + 1);
    let (near, far) = (u64::from(done.offset(near)), u64::from(done.offset(far)));
    assert_eq!(branches(&done.code), [(0, 5, far), (5, 2, near), (7, 5, near)]);
    let code: Vec<_> = Decoder::new(64, &done.code, DecoderOptions::NONE).into_iter().collect();
    assert_eq!(code[3].ip_rel_memory_address(), near);
    assert_eq!(code[4].near_branch_target(), far);
}

#[test]
fn unbound_labels_are_reported() {
    let mut asm = Assembler::new();
    let label = asm.label();
    asm.jmp(label);
    assert_eq!(asm.finish().unwrap_err(), AsmError::Unbound(label));
}

/// Against the plain algorithm: grow what does not reach, lay out again, until nothing changes.
#[test]
fn agrees_with_the_naive_fixpoint() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..300 {
        let count = 1 + random(200) as usize;
        let labels = 1 + random(100) as usize;
        let spread = 1 + random(12);
        // (bytes before it, conditional, target); labels are bound before branch `at`.
        let program: Vec<(usize, bool, usize)> = (0..count)
            .map(|_| {
                let gap = random(spread) as usize;
                (gap, random(2) == 0, random(labels as u64) as usize)
            })
            .collect();
        let at: Vec<usize> = (0..labels).map(|_| random(count as u64 + 1) as usize).collect();
        check_program(&program, &at);
    }
}

fn check_program(program: &[(usize, bool, usize)], at: &[usize]) {
    let mut asm = Assembler::new();
    let labels: Vec<Label> = at.iter().map(|_| asm.label()).collect();
    for i in 0..=program.len() {
        for (label, _) in labels.iter().zip(at).filter(|(_, at)| **at == i) {
            asm.bind(*label);
        }
        if let Some(&(gap, conditional, target)) = program.get(i) {
            asm.nop(gap);
            if conditional {
                asm.jcc(Cc::B, labels[target]);
            } else {
                asm.jmp(labels[target]);
            }
        }
    }
    let done = asm.finish().unwrap();
    let (starts, sizes) = naive_layout(program, at);
    let expected: Vec<(u64, usize, u64)> = program
        .iter()
        .zip(&sizes)
        .enumerate()
        .map(|(i, (&(gap, _, target), &size))| {
            let place = (starts[i] + gap) as u64;
            (place, size, starts[at[target]] as u64)
        })
        .collect();
    assert_eq!(branches(&done.code), expected);
}

/// Where the bytes before each branch start (and where the program ends), and
/// the branches' sizes.
fn naive_layout(program: &[(usize, bool, usize)], at: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut sizes = vec![2; program.len()];
    loop {
        let mut starts = vec![0];
        for (i, (gap, _, _)) in program.iter().enumerate() {
            starts.push(starts[i] + gap + sizes[i]);
        }
        let mut changed = false;
        for (i, &(_, conditional, target)) in program.iter().enumerate() {
            let distance = starts[at[target]] as i64 - starts[i + 1] as i64;
            if sizes[i] == 2 && i8::try_from(distance).is_err() {
                sizes[i] = if conditional { 6 } else { 5 };
                changed = true;
            }
        }
        if !changed {
            return (starts, sizes);
        }
    }
}

/// The five bytes of a site to be patched lie in one aligned word wherever they
/// fall, and branches over the padding, short and long, still go where they should.
#[test]
fn poke_sites_lie_in_one_word() {
    for start in 0..16 {
        for gap in 0..140 {
            let mut asm = Assembler::new();
            let out = asm.label();
            let back = asm.here();
            asm.nop(start);
            asm.jcc(Cc::E, out);
            let first = asm.poke_site();
            asm.jmp_long(out);
            asm.nop(gap);
            asm.jcc(Cc::Ne, back);
            let second = asm.poke_site();
            asm.nop(5);
            asm.bind(out);
            asm.ret();
            let done = asm.finish().unwrap();
            let out = done.offset(out);
            for site in [first, second] {
                assert!(done.offset(site) % 8 <= 3, "start {start}, gap {gap}");
            }
            assert_eq!(done.code[done.offset(first) as usize], 0xe9);
            assert_eq!(done.code[done.offset(second) as usize..][..5], [0x0f, 0x1f, 0x44, 0, 0]);
            assert_eq!(done.offset(second) + 5, out);
            assert_eq!(done.code.len() as u32, out + 1);
            let found = branches(&done.code);
            let targets: Vec<u64> = found.iter().map(|branch| branch.2).collect();
            assert_eq!(targets, [u64::from(out), u64::from(out), 0]);
            assert_eq!(found[1].0, u64::from(done.offset(first)));
        }
    }
}
