//! Machine instructions that are several of the processor's.

use tailor_lower::x64::inst::{Mem, Site, Width};
use tailor_lower::{AtomicOp, Convention, Gpr};

use super::inst::atomic;
use super::line::{Line, Op, Place};
use super::{Check, IntentError};
use crate::kernel::{ARRAY_MAX_ENTRIES, ARRAY_SLOTS, DESCRIPTOR_ENTRY};
use crate::layout::{
    MAX_TAIL_CALLS, PROG_ARRAY_MAX_ENTRIES, PROG_ARRAY_SLOT_SHIFT, PROG_ARRAY_SLOTS,
    RECORD_TAIL_CALLS,
};
use crate::{RelocKind, Symbol};

const RAX: Place = Place::Reg(Gpr::RAX);
const RDX: Place = Place::Reg(Gpr::RDX);

fn at(base: Gpr, disp: i32) -> Place {
    Place::Mem { base, index: None, disp }
}

impl Check<'_> {
    /// The divisor, if everything else is where divisions have it.
    fn divisor(&self, inst: usize) -> Place {
        let mut p = self.places(inst);
        let fixed = [p.next(), p.next(), p.next()] == [RAX, RDX, RAX];
        match p.next() {
            divisor if fixed && divisor != RDX => divisor,
            _ => Place::Nowhere,
        }
    }

    /// Zero has no quotient but 0, and MIN / -1 none at all that fits: x / 0 and
    /// x / -1 are x times the divisor.
    pub(super) fn div(
        &mut self,
        inst: usize,
        signed: bool,
        w: Width,
        nonzero: bool,
    ) -> Result<(), IntentError> {
        let (divisor, bytes) = (self.divisor(inst), w.bytes());
        if signed {
            return self.divide_signed(divisor, w, nonzero, [RAX, divisor]);
        }
        self.zero_rdx()?;
        let out = match nonzero {
            true => None,
            false => {
                let twice = [divisor.sized(bytes); 2];
                self.reader.take(Line::of("test", twice))?;
                let zero = [RAX.sized(bytes), RDX.sized(bytes)];
                self.reader.take(Line::of("cmove", zero))?;
                Some(self.reader.take_branch("je")?)
            }
        };
        self.reader.take(Line::of("div", [divisor.sized(bytes)]))?;
        out.map_or(Ok(()), |out| self.reader.is_at(out))
    }

    /// A division, behind what the divisors 0 and -1 get instead: a product.
    fn divide_signed(
        &mut self,
        divisor: Place,
        w: Width,
        nonzero: bool,
        product: [Place; 2],
    ) -> Result<(), IntentError> {
        let out = match nonzero {
            true => None,
            false => {
                let usual = self.special(divisor, w)?;
                self.reader.take(Line::of("imul", product.map(|reg| reg.sized(w.bytes()))))?;
                let out = self.reader.take_branch("jmp")?;
                self.reader.is_at(usual)?;
                Some(out)
            }
        };
        self.divide(divisor, w, true, out)
    }

    /// x % 0 is x and x % -1 is 0: x times the divisor plus one.
    pub(super) fn rem(
        &mut self,
        inst: usize,
        signed: bool,
        w: Width,
        nonzero: bool,
    ) -> Result<(), IntentError> {
        let (divisor, bytes) = (self.divisor(inst), w.bytes());
        if signed {
            return self.divide_signed(divisor, w, nonzero, [RDX, RAX]);
        }
        let out = match nonzero {
            true => None,
            false => {
                self.reader.take(Line::of("mov", [RDX.sized(bytes), RAX.sized(bytes)]))?;
                let twice = [divisor.sized(bytes); 2];
                self.reader.take(Line::of("test", twice))?;
                Some(self.reader.take_branch("je")?)
            }
        };
        self.zero_rdx()?;
        self.divide(divisor, w, false, out)
    }

    /// Goes on to where the divisor is neither 0 nor -1, with the divisor plus
    /// one in rdx: unsigned, that is above 1 then.
    fn special(&mut self, divisor: Place, w: Width) -> Result<u32, IntentError> {
        let Place::Reg(reg) = divisor else {
            return self.reader.fail("a divisor in a register");
        };
        let rdx = RDX.sized(w.bytes());
        self.reader.take(Line::of("lea", [rdx, at(reg, 1).sized(0)]))?;
        self.reader.take(Line::of("cmp", [rdx, Op::Imm(1)]))?;
        self.reader.take_branch("ja")
    }

    fn zero_rdx(&mut self) -> Result<(), IntentError> {
        self.reader.take(Line::of("xor", [RDX.sized(4), RDX.sized(4)]))
    }

    fn divide(
        &mut self,
        divisor: Place,
        w: Width,
        signed: bool,
        out: Option<u32>,
    ) -> Result<(), IntentError> {
        if signed {
            let extend = if w == Width::W32 { "cdq" } else { "cqo" };
            self.reader.take(Line::of(extend, []))?;
        }
        let name = if signed { "idiv" } else { "div" };
        self.reader.take(Line::of(name, [divisor.sized(w.bytes())]))?;
        out.map_or(Ok(()), |out| self.reader.is_at(out))
    }

    /// The old value, and the exchange tried until it was still there.
    pub(super) fn atomic_loop(
        &mut self,
        inst: usize,
        op: AtomicOp,
        w: Width,
        mem: &Mem,
    ) -> Result<(), IntentError> {
        let mut p = self.places(inst);
        let bytes = w.bytes();
        let (old, new, src) = (p.next(), p.next(), p.next());
        let mem = self.memory(mem, &mut p);
        // What every round reads must not be what it writes.
        let read = match mem {
            Place::Mem { base, index, .. } => {
                [Some(base), index.map(|(reg, _)| reg)].map(|reg| reg.map(Place::Reg))
            }
            _ => [None; 2],
        };
        let written = [old, new];
        let kept = [Some(src)].into_iter().chain(read).flatten();
        if old != RAX || new == old || kept.clone().any(|place| written.contains(&place)) {
            return self.reader.fail("operands that last all rounds");
        }
        let (old, new) = (old.sized(bytes), new.sized(bytes));
        self.reader.take(Line::of("mov", [old, mem.sized(bytes)]))?;
        let again = self.reader.at();
        self.reader.take(Line::of("mov", [new, old]))?;
        self.reader.take(Line::of(atomic(op), [new, src.sized(bytes)]))?;
        self.reader.take(Line::locked("cmpxchg", [mem.sized(bytes), new]))?;
        self.reader.take(Line::of("jne", [Op::Code(again)]))
    }

    pub(super) fn cmpxchg(&mut self, inst: usize, w: Width, mem: &Mem) -> Result<(), IntentError> {
        let mut p = self.places(inst);
        if [p.next(), p.next()] != [RAX; 2] {
            return self.reader.fail("the expected value in rax");
        }
        let src = p.next().sized(w.bytes());
        let mem = self.memory(mem, &mut p).sized(w.bytes());
        self.reader.take(Line::locked("cmpxchg", [mem, src]))?;
        // Where it succeeds it leaves rax alone, the upper half included.
        if w == Width::W32 && self.is_wide(inst) {
            self.reader.take(Line::of("mov", [RAX.sized(4); 2]))?;
        }
        Ok(())
    }

    /// Nothing that can be observed happens beyond the limit, outside of the
    /// array, and where the slot is empty; else it counts, unwinds and leaves.
    pub(super) fn tail_call(&mut self, inst: usize, site: Site) -> Result<(), IntentError> {
        let mut outs = Vec::new();
        let patched = matches!(site, Site::Patched(..));
        let (first, target) = match self.function.convention {
            Convention::Saving => (self.saving_site(inst, site, &mut outs)?, Gpr::RAX),
            Convention::Kernel { landing } => {
                let target = Gpr::SCRATCH;
                (self.kernel_site(inst, site, landing as i32, target, &mut outs)?, target)
            }
        };
        if patched {
            self.reader.padding()?;
        }
        let exit = self.reader.at();
        match patched {
            true => self.reader.take_nop(5)?,
            false => self.reader.take(Line::of("jmp", [Op::r64(target)]))?,
        }
        self.reader.leaves(first, exit, site.slot())?;
        outs.into_iter().try_for_each(|out| self.reader.is_at(out))
    }

    /// The record has how many tail calls are left. Where the site begins.
    fn saving_site(
        &mut self,
        inst: usize,
        site: Site,
        outs: &mut Vec<u32>,
    ) -> Result<u32, IntentError> {
        if matches!(site, Site::Patched(..)) {
            self.reader.padding()?;
        }
        let first = self.reader.at();
        let rax = RAX.sized(8);
        let slot = match site {
            Site::Patched(..) => {
                outs.push(self.reader.take_bypass()?);
                None
            }
            Site::Slot(map, key) => {
                let line = Line::of("mov", [rax, Op::Loaded]);
                self.reader.take_loaded(line, RelocKind::Abs64, Symbol::MapSlot(map, key))?;
                Some(at(Gpr::RAX, 0))
            }
            Site::Array => {
                self.in_range(Gpr::RAX, PROG_ARRAY_MAX_ENTRIES, outs)?;
                let index = Some((Gpr::RAX, PROG_ARRAY_SLOT_SHIFT));
                Some(Place::Mem { base: Gpr::RSI, index, disp: PROG_ARRAY_SLOTS })
            }
        };
        if let Some(slot) = slot {
            self.full_slot(Gpr::RAX, slot, outs)?;
        }
        let left = at(Gpr::RECORD, RECORD_TAIL_CALLS).sized(8);
        self.reader.take(Line::of("sub", [left, Op::Imm(1)]))?;
        outs.push(self.reader.take_branch("jl")?);
        self.unwind(inst)?;
        Ok(first)
    }

    /// The counter has how many tail calls were made.
    fn kernel_site(
        &mut self,
        inst: usize,
        site: Site,
        landing: i32,
        target: Gpr,
        outs: &mut Vec<u32>,
    ) -> Result<u32, IntentError> {
        let first = self.reader.at();
        if site == Site::Array {
            self.in_range(target, ARRAY_MAX_ENTRIES, outs)?;
        }
        let place = self.counter_place().sized(8);
        self.reader.take(Line::of("mov", [RAX.sized(8), place]))?;
        let counter = at(Gpr::RAX, 0).sized(8);
        self.reader.take(Line::of("cmp", [counter, Op::Imm(i64::from(MAX_TAIL_CALLS))]))?;
        outs.push(self.reader.take_branch("jae")?);
        match site {
            Site::Patched(..) => {
                self.reader.padding()?;
                outs.push(self.reader.take_bypass()?);
            }
            Site::Slot(map, key) => {
                let line = Line::of("mov", [Op::r64(target), Op::Loaded]);
                self.reader.take_loaded(line, RelocKind::Abs64, Symbol::MapSlot(map, key))?;
                self.full_slot(target, at(target, 0), outs)?;
            }
            Site::Array => {
                let index = Some((target, 3));
                let slot = Place::Mem { base: Gpr::RSI, index, disp: ARRAY_SLOTS };
                self.full_slot(target, slot, outs)?;
            }
        }
        self.reader.take(Line::of("add", [counter, Op::Imm(1)]))?;
        self.unwind(inst)?;
        if !matches!(site, Site::Patched(..)) {
            let entry = at(target, DESCRIPTOR_ENTRY).sized(8);
            self.reader.take(Line::of("mov", [Op::r64(target), entry]))?;
            self.reader.take(Line::of("add", [Op::r64(target), Op::Imm(landing.into())]))?;
        }
        Ok(first)
    }

    /// The low half of the index, if it is below the array's size.
    fn in_range(
        &mut self,
        index: Gpr,
        entries: i32,
        outs: &mut Vec<u32>,
    ) -> Result<(), IntentError> {
        self.reader.take(Line::of("mov", [Op::Reg(index, 4), RDX.sized(4)]))?;
        let entries = at(Gpr::RSI, entries).sized(4);
        self.reader.take(Line::of("cmp", [Op::Reg(index, 4), entries]))?;
        outs.push(self.reader.take_branch("jae")?);
        Ok(())
    }

    /// What a slot holds, unless it is empty.
    fn full_slot(
        &mut self,
        target: Gpr,
        slot: Place,
        outs: &mut Vec<u32>,
    ) -> Result<(), IntentError> {
        self.reader.take(Line::of("mov", [Op::r64(target), slot.sized(8)]))?;
        self.reader.take(Line::of("test", [Op::r64(target); 2]))?;
        outs.push(self.reader.take_branch("je")?);
        Ok(())
    }
}
