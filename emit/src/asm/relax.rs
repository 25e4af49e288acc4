//! Branch relaxation.
//!
//! Problem: a branch to a label takes two bytes if the label is within 127 or
//! 128 bytes of its end, else five or six, and the sizes of the branches in
//! between decide which. Wanted is the least solution, in time linear in the
//! size of the code whatever the program.
//!
//! Idea: all branches start short. One that cannot reach is made long and put
//! on a list; taking it off the list adds its growth to the distance of every
//! short branch that spans it, some of which then no longer reach. A short
//! branch reaches over at most 127 bytes and thus over at most 63 other
//! branches, so only so many neighbours on either side have to be looked at,
//! and a branch grows at most once.
//!
//! Invariants: `distance` of a short branch is exact for the sizes that the
//! list has accounted for; a branch only grows; when the list is empty every
//! short branch reaches. Growing is forced at every step, so the result is
//! the least fixpoint.
//!
//! Padding before sites to be patched depends on offsets, which branches
//! change. It counts with the most that it can be until the sizes are chosen;
//! less padding only brings targets closer.

use cranelift_entity::PrimaryMap;

use super::control::NOPS;
use super::{AsmError, Assembled, Assembler, Branch, Cc, Label, MAX_CODE, Place, Relaxation};
use crate::Reloc;

/// A site to be patched lies within one word of this size, aligned to it.
const WORD: u32 = 8;
/// Bytes of such a site, a jump or a nop.
const POKED: u32 = 5;
/// The most padding that one needs.
const MAX_PAD: u32 = POKED - 1;
/// Bytes of a short branch, conditional or not.
const SHORT: u32 = 2;
/// How many branches before or after one can be short and span it.
const NEIGHBOURS: usize = 64;

fn long(cc: Option<Cc>) -> u32 {
    if cc.is_some() { 6 } else { 5 }
}

/// Lays out, resolves, and joins the pieces.
pub(super) fn finish(asm: Assembler) -> Result<Assembled, AsmError> {
    // Raw offsets are u32: nothing below may be trusted beyond this.
    let padding = MAX_PAD as usize * asm.pads.len();
    if asm.code.len() + 6 * asm.branches.len() + padding > MAX_CODE as usize {
        return Err(AsmError::TooLarge);
    }
    let targets = targets(&asm)?;
    let is_long = {
        let padded = |place: Place| Place { raw: place.raw + MAX_PAD * place.pads, ..place };
        let branch = |b: &Branch| Branch { place: padded(b.place), ..*b };
        let branches: Vec<Branch> = asm.branches.iter().map(branch).collect();
        let targets: Vec<Place> = targets.iter().copied().map(padded).collect();
        match asm.relaxation {
            Relaxation::Least => choose(&branches, &targets),
            Relaxation::Kernel => choose_shrinking(&branches, &targets),
        }
    };
    let before = sizes_before(&asm.branches, &is_long);
    let pads = pads_before(&asm.pads, &before);
    let offset =
        |place: Place| place.raw + before[place.branches as usize] + pads[place.pads as usize];

    let labels: PrimaryMap<Label, Option<u32>> =
        asm.labels.values().map(|place| place.map(offset)).collect();
    let mut code = join(&asm, &targets, &is_long, offset);
    for fixup in &asm.fixups {
        let field = offset(fixup.field);
        let target = labels[fixup.target].ok_or(AsmError::Unbound(fixup.target))?;
        let distance = target.wrapping_sub(field + 4);
        code[field as usize..][..4].copy_from_slice(&distance.to_le_bytes());
    }
    let relocs = asm.relocs.iter().map(|reloc| Reloc {
        offset: offset(reloc.field),
        kind: reloc.kind,
        target: reloc.target,
    });
    Ok(Assembled { relocs: relocs.collect(), code, labels })
}

/// Where each branch goes.
fn targets(asm: &Assembler) -> Result<Vec<Place>, AsmError> {
    let place = |b: &Branch| asm.labels[b.target].ok_or(AsmError::Unbound(b.target));
    asm.branches.iter().map(place).collect()
}

/// Which branches must be long.
fn choose(branches: &[Branch], targets: &[Place]) -> Vec<bool> {
    let mut distance: Vec<i64> =
        (0..branches.len()).map(|i| all_short_distance(branches, targets, i)).collect();
    let mut is_long: Vec<bool> = distance.iter().map(|&d| !reaches(d)).collect();
    let mut grown: Vec<usize> = (0..branches.len()).filter(|&i| is_long[i]).collect();
    while let Some(at) = grown.pop() {
        let growth = i64::from(long(branches[at].cc) - SHORT);
        let first = at.saturating_sub(NEIGHBOURS);
        let last = (at + NEIGHBOURS).min(branches.len() - 1);
        for i in first..=last {
            let target = targets[i].branches as usize;
            if is_long[i] {
                continue;
            }
            if i < at && at < target {
                distance[i] += growth;
            } else if target <= at && at < i {
                distance[i] -= growth;
            }
            if !reaches(distance[i]) {
                is_long[i] = true;
                grown.push(i);
            }
        }
    }
    is_long
}

fn reaches(distance: i64) -> bool {
    i8::try_from(distance).is_ok()
}

/// Which branches stay long where all are long at first (see
/// [`Relaxation::Kernel`]): the greatest solution, found like the least one. A
/// long branch that is to become short spans few others by then, for each
/// takes two bytes at least.
fn choose_shrinking(branches: &[Branch], targets: &[Place]) -> Vec<bool> {
    let reaches = |distance| (-128..=123).contains(&distance);
    let all_long = vec![true; branches.len()];
    let before = sizes_before(branches, &all_long);
    let offset = |raw: u32, count: usize| i64::from(raw) + i64::from(before[count]);
    let mut distance: Vec<i64> = branches
        .iter()
        .zip(targets)
        .enumerate()
        .map(|(i, (branch, target))| {
            offset(target.raw, target.branches as usize) - offset(branch.place.raw, i + 1)
        })
        .collect();
    let mut is_long = all_long;
    let mut shrunk: Vec<usize> = (0..branches.len()).filter(|&i| reaches(distance[i])).collect();
    shrunk.iter().for_each(|&i| is_long[i] = false);
    while let Some(at) = shrunk.pop() {
        let gain = i64::from(long(branches[at].cc) - SHORT);
        let first = at.saturating_sub(NEIGHBOURS);
        let last = (at + NEIGHBOURS).min(branches.len() - 1);
        for i in first..=last {
            let target = targets[i].branches as usize;
            if !is_long[i] {
                continue;
            }
            if i < at && at < target {
                distance[i] -= gain;
            } else if target <= at && at < i {
                distance[i] += gain;
            }
            if reaches(distance[i]) {
                is_long[i] = false;
                shrunk.push(i);
            }
        }
    }
    is_long
}

/// From the end of branch `i` to its target, all branches being short.
fn all_short_distance(branches: &[Branch], targets: &[Place], i: usize) -> i64 {
    let start = |raw: u32, before: usize| i64::from(raw) + i64::from(SHORT) * before as i64;
    let target = targets[i];
    start(target.raw, target.branches as usize) - start(branches[i].place.raw, i + 1)
}

/// Bytes of the first n branches, for every n.
fn sizes_before(branches: &[Branch], is_long: &[bool]) -> Vec<u32> {
    let mut sum = 0;
    let mut before = Vec::with_capacity(branches.len() + 1);
    before.push(0);
    for (branch, &is_long) in branches.iter().zip(is_long) {
        sum += if is_long { long(branch.cc) } else { SHORT };
        before.push(sum);
    }
    before
}

/// Bytes of the first n paddings, for every n.
fn pads_before(pads: &[Place], branches_before: &[u32]) -> Vec<u32> {
    let mut sum = 0;
    let mut before = vec![0];
    for pad in pads {
        let at = pad.raw + branches_before[pad.branches as usize] + sum;
        let behind = at % WORD;
        sum += if behind + POKED > WORD { WORD - behind } else { 0 };
        before.push(sum);
    }
    before
}

/// The bytes, with branches and padding in their places.
fn join(
    asm: &Assembler,
    targets: &[Place],
    is_long: &[bool],
    offset: impl Fn(Place) -> u32,
) -> Vec<u8> {
    let mut code = Vec::with_capacity(asm.code.len() + 6 * asm.branches.len());
    let mut copied = 0;
    let mut copy = |code: &mut Vec<u8>, to: u32| {
        code.extend_from_slice(&asm.code[copied as usize..to as usize]);
        copied = to;
    };
    let mut pads = asm.pads.iter().peekable();
    let pad = |code: &mut Vec<u8>, at: &Place| {
        let end = offset(Place { pads: at.pads + 1, ..*at });
        match end - offset(*at) {
            0 => {}
            bytes => code.extend_from_slice(NOPS[bytes as usize - 1]),
        }
    };
    for (i, branch) in asm.branches.iter().enumerate() {
        while let Some(at) = pads.next_if(|pad| pad.branches as usize <= i) {
            copy(&mut code, at.raw);
            pad(&mut code, at);
        }
        copy(&mut code, branch.place.raw);
        let end = offset(Place { branches: i as u32 + 1, ..branch.place });
        let distance = offset(targets[i]).wrapping_sub(end);
        match (is_long[i], branch.cc) {
            (false, None) => code.extend_from_slice(&[0xeb, distance as u8]),
            (false, Some(cc)) => code.extend_from_slice(&[0x70 | cc as u8, distance as u8]),
            (true, None) => code.push(0xe9),
            (true, Some(cc)) => code.extend_from_slice(&[0x0f, 0x80 | cc as u8]),
        }
        if is_long[i] {
            code.extend_from_slice(&distance.to_le_bytes());
        }
    }
    for at in pads {
        copy(&mut code, at.raw);
        pad(&mut code, at);
    }
    copy(&mut code, asm.code.len() as u32);
    code
}
