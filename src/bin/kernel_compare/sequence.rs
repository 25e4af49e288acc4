//! Two codes of one function, instruction by instruction.
//!
//! Addresses are left out: what we relocate, distances of calls and jumps
//! (jumps must lead to the same instruction), and the bytes that are patched
//! when a tail call's slot changes, and offsets in the kernel's own structures.
//! So are the kernel's mitigations, for which
//! naive-6.12 has nothing: a return may be a jump to the return thunk, and an
//! indirect jump one to a retpoline.

use iced_x86::{FlowControl, Instruction, Register};
use tailor::emit::{CompiledFunction, TailSite};

use super::image::{instructions, sites};

/// Where the kernel's code is not ours: what instructions are there.
pub fn difference(ours: &CompiledFunction, theirs: &[u8]) -> Option<String> {
    let pair = Pair {
        ours,
        theirs,
        left: instructions(&ours.code),
        right: instructions(theirs),
        patched: sites(&ours.code)
            .iter()
            .filter_map(|site| site.poke)
            .flat_map(|poke| [poke.bypass, poke.target])
            .collect(),
    };
    for (a, b) in pair.left.iter().zip(&pair.right) {
        if !pair.same(a, b) {
            return Some(format!("{:#x}: {a} | {:#x}: {b}", a.ip(), b.ip()));
        }
    }
    let (left, right) = (pair.left.len(), pair.right.len());
    (left != right).then(|| format!("{left} and {right} instructions"))
}

struct Pair<'a> {
    ours: &'a CompiledFunction,
    theirs: &'a [u8],
    left: Vec<Instruction>,
    right: Vec<Instruction>,
    /// Offsets of our instructions that are patched.
    patched: Vec<u32>,
}

impl Pair<'_> {
    fn same(&self, a: &Instruction, b: &Instruction) -> bool {
        if self.patched.contains(&(a.ip() as u32)) {
            return a.len() == b.len();
        }
        let outside = b.is_jmp_near() && b.near_branch_target() >= self.theirs.len() as u64;
        match a.flow_control() {
            FlowControl::Return | FlowControl::IndirectBranch if outside => true,
            FlowControl::Call => b.is_call_near(),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                a.mnemonic() == b.mnemonic()
                    && index(&self.left, a.near_branch_target())
                        == index(&self.right, b.near_branch_target())
            }
            _ => self.same_bytes(a, b) || self.same_but_offset(a, b),
        }
    }

    /// Equal but for the bytes of an address.
    fn same_bytes(&self, a: &Instruction, b: &Instruction) -> bool {
        let at = a.ip() as usize..a.next_ip() as usize;
        let reloc = self.ours.relocs.iter().find(|r| at.contains(&(r.offset as usize)));
        let compared = reloc.map_or(at.end, |reloc| reloc.offset as usize) - at.start;
        let (left, right) = (&self.ours.code[at.start..], &self.theirs[b.ip() as usize..]);
        a.len() == b.len() && left[..compared] == right[..compared]
    }
}

impl Pair<'_> {
    /// The same access to the map or the program of an indirect tail call,
    /// whose fields lie elsewhere in each build of the kernel.
    fn same_but_offset(&self, a: &Instruction, b: &Instruction) -> bool {
        let fields = [0x24, 0x110, 0x30];
        let near = |site: &TailSite| {
            // The index is compared with the map's size some 16 bytes before the counter.
            (site.offset.saturating_sub(24)..site.exit).contains(&(a.ip() as u32))
        };
        let offset = a.memory_displacement64();
        let shape =
            |i: &Instruction| (i.code(), i.memory_base(), i.memory_index(), i.op0_register());
        self.ours.tail_sites.iter().any(near)
            && fields.contains(&offset)
            && matches!(a.memory_base(), Register::RSI | Register::RCX)
            && shape(a) == shape(b)
            && a.op1_register() == b.op1_register()
    }
}

/// The number of the instruction at an offset.
fn index(instructions: &[Instruction], at: u64) -> Option<usize> {
    instructions.binary_search_by_key(&at, |i| i.ip()).ok()
}
