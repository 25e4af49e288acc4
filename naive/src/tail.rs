//! Tail-call sites.
//!
//! Where map and key are known the site is direct: two instructions are
//! patched when the slot changes (the bypass before the unwinding, the target
//! after it), and nothing else is looked at. All others load the slot.
//! Since 6.12 the counter goes up only when the jump is made, before that
//! whenever it is not exhausted. Under the fixed prologue no site is patched.

use tailor_bpf::{MapKind, MapRef};
use tailor_emit::asm::{AluOp, Cc, Label, Mem, Width};
use tailor_emit::kernel::{ARRAY_MAX_ENTRIES, ARRAY_SLOTS, DESCRIPTOR_ENTRY};
use tailor_emit::{Assembled, Gpr, Poke, TailSite, Unwound};

use crate::frame::MAX_TAIL_CALLS;
use crate::jit::Jit;

/// A site whose offsets are not known yet.
pub(crate) struct PendingSite {
    start: Label,
    leave: Label,
    out: Label,
    direct: Option<(MapRef, u32)>,
    /// Of a direct site.
    bypass: Option<Label>,
}

impl PendingSite {
    pub(crate) fn resolve(&self, code: &Assembled, unwinds: &Unwound) -> TailSite {
        TailSite {
            offset: code.offset(self.start),
            exit: code.offset(self.leave),
            direct: self.direct,
            poke: self.bypass.map(|bypass| Poke {
                bypass: code.offset(bypass),
                target: code.offset(self.leave),
                out: code.offset(self.out),
            }),
            unwinds: unwinds.clone(),
        }
    }
}

impl Jit<'_> {
    /// `bpf_tail_call(ctx, array, key)`
    pub(crate) fn tail_call(&mut self, pc: usize) {
        let site = self.facts.tail_calls.get(&(pc as u32)).copied().unwrap_or_default();
        let leaves = self.frequency * site.succeeds;
        let start = self.asm.here();
        let out = self.asm.label();
        // A key that is too large fails at run time like any other.
        let site = match site
            .direct()
            .filter(|&(map, key)| self.has_slot(map, key) && !self.frame.rules.fixed)
        {
            Some(slot) => self.direct_site(start, out, slot, leaves),
            None => self.indirect_site(start, out, leaves),
        };
        self.asm.bind(out);
        self.sites.push(site);
    }

    fn has_slot(&self, map: MapRef, key: u32) -> bool {
        let map = self.object.maps.get(map);
        map.is_some_and(|map| map.kind == MapKind::ProgArray && key < map.max_entries)
    }

    fn direct_site(
        &mut self,
        start: Label,
        out: Label,
        slot: (MapRef, u32),
        leaves: f64,
    ) -> PendingSite {
        self.check_counter(out);
        let bypass = self.asm.here();
        self.asm.jmp_long(out);
        self.weights.from(bypass, leaves);
        self.count();
        self.frame.unwind_to_landing(&mut self.asm);
        let leave = self.asm.here();
        self.asm.nop(5);
        PendingSite { start, leave, out, direct: Some(slot), bypass: Some(bypass) }
    }

    fn indirect_site(&mut self, start: Label, out: Label, leaves: f64) -> PendingSite {
        let asm = &mut self.asm;
        asm.mov(Width::W32, Gpr::RDX, Gpr::RDX);
        asm.cmp_mem(Width::W32, Mem::new(Gpr::RSI, ARRAY_MAX_ENTRIES), Gpr::RDX);
        asm.jcc(Cc::Be, out);
        self.check_counter(out);
        let asm = &mut self.asm;
        asm.load(Width::W64, Gpr::RCX, Mem::indexed(Gpr::RSI, Gpr::RDX, 3, ARRAY_SLOTS));
        asm.test(Width::W64, Gpr::RCX, Gpr::RCX);
        asm.jcc(Cc::E, out);
        let found = self.asm.here();
        self.weights.from(found, leaves);
        self.count();
        self.frame.unwind_to_landing(&mut self.asm);
        let landing = self.frame.rules.landing as i32;
        let asm = &mut self.asm;
        asm.load(Width::W64, Gpr::RCX, Mem::new(Gpr::RCX, DESCRIPTOR_ENTRY));
        asm.alu_imm(AluOp::Add, Width::W64, Gpr::RCX, landing);
        let leave = asm.here();
        asm.jmp_rm(Gpr::RCX);
        PendingSite { start, leave, out, direct: None, bypass: None }
    }

    /// Leaves if the counter is exhausted; else counts, where the variant does
    /// so before it looks at the slot.
    fn check_counter(&mut self, out: Label) {
        if self.frame.rules.shares_counter {
            self.load_counter();
            let counter = Mem::new(Gpr::RAX, 0);
            self.asm.cmp_imm(Width::W64, counter, i32::from(MAX_TAIL_CALLS));
            self.asm.jcc(Cc::Ae, out);
            return;
        }
        // In place: the upper half of what is handed on.
        let place = self.frame.counter() + 4;
        self.asm.bytes(&[0x8b, 0x85]);
        self.asm.bytes(&place.to_le_bytes());
        self.asm.cmp_imm(Width::W32, Gpr::RAX, i32::from(MAX_TAIL_CALLS) - 1);
        self.asm.jcc(Cc::A, out);
        self.asm.alu_imm(AluOp::Add, Width::W32, Gpr::RAX, 1);
        self.asm.bytes(&[0x89, 0x85]);
        self.asm.bytes(&place.to_le_bytes());
    }

    /// Counts through the pointer that [`Jit::check_counter`] left in rax.
    fn count(&mut self) {
        if self.frame.rules.shares_counter {
            self.asm.alu_imm(AluOp::Add, Width::W64, Mem::new(Gpr::RAX, 0), 1);
        }
    }

    /// `mov rax, [rbp + slot]`, always with a displacement of four bytes.
    pub(crate) fn load_counter(&mut self) {
        let slot = self.frame.counter();
        self.asm.bytes(&[0x48, 0x8b, 0x85]);
        self.asm.bytes(&slot.to_le_bytes());
    }
}
