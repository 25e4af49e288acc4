//! Tail-call sites.
//!
//! A site falls through, with everything in place, if the index is out of
//! range, the slot is empty or the invocation has had its tail calls; else it
//! counts, undoes its frame and jumps. The counter changes nothing that can be
//! observed while the slot is empty.
//!
//! A patched site has two instructions of five bytes that whoever changes the
//! slot rewrites, each within one aligned word: the bypass before everything
//! that counts or unwinds (`jmp out` while the slot is empty, else a nop), and
//! the target behind it (a nop while it is empty, else the jump). Under the
//! saving convention the bypass comes first of all, so that an empty slot costs
//! one jump; the record's counter goes down, so that one instruction counts and
//! compares. Under a kernel's convention sites are the kernel's, in its order,
//! but for the register that holds the target.

use regalloc2::Block;
use tailor_lower::{Convention, Gpr, Symbol};

use super::{EmitError, Emitter, PendingSite};
use crate::asm::{AluOp, Cc, Label, Mem, Width};
use crate::kernel::{ARRAY_MAX_ENTRIES, ARRAY_SLOTS, DESCRIPTOR_ENTRY};
use crate::layout::{
    MAX_TAIL_CALLS, PROG_ARRAY_MAX_ENTRIES, PROG_ARRAY_SLOT_SHIFT, PROG_ARRAY_SLOTS,
    RECORD_TAIL_CALLS,
};
use tailor_lower::x64::inst::Site;

impl Emitter<'_> {
    /// A site of either convention. Array, index and context keep their registers.
    pub(super) fn tail_call(
        &mut self,
        inst: usize,
        site: Site,
        block: Block,
    ) -> Result<(), EmitError> {
        let frequency = self.frequencies[block.index()];
        let leaves = frequency * self.function.blocks[block.index()].leaves;
        let out = self.asm.label();
        let patched = matches!(site, Site::Patched(..));
        // Padding is no part of the site.
        let first = match (patched, self.function.convention) {
            (true, Convention::Saving) => self.asm.poke_site(),
            _ => self.asm.here(),
        };
        let bypass = match self.function.convention {
            Convention::Saving => self.saving_site(inst, site, first, out, leaves)?,
            Convention::Kernel { landing } => self.kernel_site(inst, site, landing, out, leaves)?,
        };
        let exit = match patched {
            true => {
                let target = self.asm.poke_site();
                self.asm.nop(5);
                target
            }
            false => {
                let exit = self.asm.here();
                self.asm.jmp_rm(self.target_register());
                exit
            }
        };
        self.asm.bind(out);
        self.weights.from(out, frequency - leaves);
        let (direct, unwinds) = (site.slot(), self.unwinds(inst));
        self.sites.push(PendingSite { first, exit, out, bypass, direct, unwinds });
        Ok(())
    }

    /// Free at a site and left alone by what unwinds.
    fn target_register(&self) -> Gpr {
        match self.function.convention {
            Convention::Saving => Gpr::RAX,
            Convention::Kernel { .. } => Gpr::SCRATCH,
        }
    }

    /// Everything before the jump. The bypass, if there is one.
    fn saving_site(
        &mut self,
        inst: usize,
        site: Site,
        first: Label,
        out: Label,
        leaves: f64,
    ) -> Result<Option<Label>, EmitError> {
        let asm = &mut self.asm;
        let bypass = match site {
            Site::Patched(..) => {
                asm.jmp_long(out);
                Some(first)
            }
            Site::Slot(map, key) => {
                asm.movabs_symbol(Gpr::RAX, Symbol::MapSlot(map, key));
                asm.load(Width::W64, Gpr::RAX, Mem::new(Gpr::RAX, 0));
                None
            }
            Site::Array => {
                // Only the low half of the index counts.
                asm.mov(Width::W32, Gpr::RAX, Gpr::RDX);
                asm.cmp(Width::W32, Gpr::RAX, Mem::new(Gpr::RSI, PROG_ARRAY_MAX_ENTRIES));
                asm.jcc(Cc::Ae, out);
                let shift = PROG_ARRAY_SLOT_SHIFT;
                let slot = Mem::indexed(Gpr::RSI, Gpr::RAX, shift, PROG_ARRAY_SLOTS);
                asm.load(Width::W64, Gpr::RAX, slot);
                None
            }
        };
        if bypass.is_none() {
            asm.test(Width::W64, Gpr::RAX, Gpr::RAX);
            asm.jcc(Cc::E, out);
        }
        let left = Mem::new(Gpr::RECORD, RECORD_TAIL_CALLS);
        asm.alu_imm(AluOp::Sub, Width::W64, left, 1);
        asm.jcc(Cc::L, out);
        self.succeed(inst, leaves)?;
        Ok(bypass)
    }

    /// The same under a kernel's convention.
    fn kernel_site(
        &mut self,
        inst: usize,
        site: Site,
        landing: u32,
        out: Label,
        leaves: f64,
    ) -> Result<Option<Label>, EmitError> {
        let target = self.target_register();
        let asm = &mut self.asm;
        if site == Site::Array {
            asm.mov(Width::W32, target, Gpr::RDX);
            asm.cmp(Width::W32, target, Mem::new(Gpr::RSI, ARRAY_MAX_ENTRIES));
            asm.jcc(Cc::Ae, out);
        }
        let place = Mem::new(Gpr::RBP, self.allocated.frame.counter());
        asm.load(Width::W64, Gpr::COUNTER, place);
        let counter = Mem::new(Gpr::COUNTER, 0);
        asm.cmp_imm(Width::W64, counter, MAX_TAIL_CALLS);
        asm.jcc(Cc::Ae, out);
        let bypass = match site {
            Site::Patched(..) => {
                let bypass = asm.poke_site();
                asm.jmp_long(out);
                Some(bypass)
            }
            Site::Slot(map, key) => {
                asm.movabs_symbol(target, Symbol::MapSlot(map, key));
                asm.load(Width::W64, target, Mem::new(target, 0));
                None
            }
            Site::Array => {
                asm.load(Width::W64, target, Mem::indexed(Gpr::RSI, target, 3, ARRAY_SLOTS));
                None
            }
        };
        if bypass.is_none() {
            asm.test(Width::W64, target, target);
            asm.jcc(Cc::E, out);
        }
        asm.alu_imm(AluOp::Add, Width::W64, counter, 1);
        self.succeed(inst, leaves)?;
        if bypass.is_none() {
            let asm = &mut self.asm;
            asm.load(Width::W64, target, Mem::new(target, DESCRIPTOR_ENTRY));
            asm.alu_imm(AluOp::Add, Width::W64, target, landing as i32);
        }
        Ok(bypass)
    }

    /// Undoes the frame, on the path that leaves.
    fn succeed(&mut self, inst: usize, leaves: f64) -> Result<(), EmitError> {
        let here = self.asm.here();
        self.weights.from(here, leaves);
        self.unwind(inst)
    }
}
