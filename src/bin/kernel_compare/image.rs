//! A kernel image through the frame decoder.
//!
//! A live image has no relocations and no list of tail-call sites. Sites are
//! found by the comparison of the counter, which nothing else emits: the jump
//! behind it leads behind the site, whose last jump is the one that leaves.

use iced_x86::{Decoder, DecoderOptions, Instruction};
use tailor::emit::frame::{DecodeError, FrameFacts, FrameHints, decode_frame};
use tailor::emit::{Poke, TailSite};

/// `cmp qword [rax], 33`
const COUNTER: [u8; 4] = [0x48, 0x83, 0x38, 33];
/// Bytes of the prologue that tail calls skip.
const LANDING: u32 = 12;

/// All instructions in order.
pub fn instructions(code: &[u8]) -> Vec<Instruction> {
    Decoder::new(64, code, DecoderOptions::NONE).iter().collect()
}

/// The tail-call sites of an image.
pub fn sites(code: &[u8]) -> Vec<TailSite> {
    let all = instructions(code);
    let is_counter = |i: &Instruction| code[i.ip() as usize..i.next_ip() as usize] == COUNTER;
    let mut sites = Vec::new();
    for (at, compare) in all.iter().enumerate().filter(|(_, i)| is_counter(i)) {
        let Some([leave, bypass]) = all.get(at + 1..at + 3) else {
            continue;
        };
        let out = leave.near_branch_target();
        let inside = all[at..].iter().take_while(|i| i.next_ip() <= out);
        let patched = code
            .get(bypass.next_ip() as usize..)
            .is_some_and(|rest| bypass.len() == 5 && rest.starts_with(&[0x48, 0x83, 0x00, 0x01]));
        let exit = match patched {
            true => out as u32 - 5,
            false => match inside.filter(|i| i.is_jmp_near() || i.is_jmp_near_indirect()).last() {
                Some(jump) => jump.ip() as u32,
                None => continue,
            },
        };
        let poke =
            patched.then(|| Poke { bypass: bypass.ip() as u32, target: exit, out: out as u32 });
        sites.push(TailSite {
            offset: compare.ip() as u32,
            exit,
            direct: None,
            poke,
            unwinds: Default::default(),
        });
    }
    sites
}

/// The frame of an image.
pub fn frame(code: &[u8]) -> Result<FrameFacts, DecodeError> {
    let sites = sites(code);
    decode_frame(code, &FrameHints { sites: &sites, landing: LANDING, ..FrameHints::default() })
}

/// Whether the eBPF stack lies elsewhere: r9 is loaded with the address of this
/// processor's part of it, `movabs r9, imm; add r9, gs:[..]`.
pub fn has_private_stack(code: &[u8]) -> bool {
    let head = &code[..code.len().min(64)];
    let at = head.windows(2).position(|bytes| bytes == [0x49, 0xb9]);
    at.is_some_and(|at| head[at + 10..].starts_with(&[0x65, 0x4c, 0x03, 0x0c, 0x25]))
}
