//! What each machine instruction has to look like.

use tailor_lower::x64::inst::{AluOp, Base, Extend, Mem, Rhs, ShiftOp, Width};
use tailor_lower::{AtomicOp, Convention, Gpr, MInst};

use super::line::{Line, Op, Place};
use super::{Check, IntentError, frame_base};
use crate::{RelocKind, Symbol};

/// The locations of an instruction's operands, in the order of `MInst`.
pub(super) struct Places {
    places: Vec<Place>,
    next: usize,
}

impl Places {
    pub(super) fn next(&mut self) -> Place {
        self.next += 1;
        self.places.get(self.next - 1).copied().unwrap_or(Place::Nowhere)
    }

    pub(super) fn reg(&mut self) -> Option<Gpr> {
        match self.next() {
            Place::Reg(reg) => Some(reg),
            _ => None,
        }
    }

    /// A definition in the register of a use.
    fn tied(&mut self) -> Place {
        let (def, used) = (self.next(), self.next());
        if def == used { def } else { Place::Nowhere }
    }
}

pub(super) fn alu(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "add",
        AluOp::Sub => "sub",
        AluOp::And => "and",
        AluOp::Or => "or",
        AluOp::Xor => "xor",
    }
}

/// The operation that a locked instruction, or the loop in its place, does.
pub(super) fn atomic(op: AtomicOp) -> &'static str {
    match op {
        AtomicOp::Add => "add",
        AtomicOp::And => "and",
        AtomicOp::Or => "or",
        AtomicOp::Xor => "xor",
        AtomicOp::Xchg => "xchg",
    }
}

fn shift(op: ShiftOp, by_any_register: bool) -> &'static str {
    match (op, by_any_register) {
        (ShiftOp::Shl, false) => "shl",
        (ShiftOp::Shr, false) => "shr",
        (ShiftOp::Sar, false) => "sar",
        (ShiftOp::Rol, false) => "rol",
        (ShiftOp::Ror, false) => "ror",
        (ShiftOp::Shl, true) => "shlx",
        (ShiftOp::Shr, true) => "shrx",
        (ShiftOp::Sar, true) => "sarx",
        (ShiftOp::Rol | ShiftOp::Ror, true) => "none",
    }
}

/// The instruction that extends, the bytes it writes and those it reads.
fn extension(extend: Extend) -> (&'static str, u32, u32) {
    match extend {
        Extend::Zero8 => ("movzx", 4, 1),
        Extend::Zero16 => ("movzx", 4, 2),
        Extend::Zero32 => ("mov", 4, 4),
        Extend::None64 => ("mov", 8, 8),
        Extend::Sign8To32 => ("movsx", 4, 1),
        Extend::Sign16To32 => ("movsx", 4, 2),
        Extend::Sign8 => ("movsx", 8, 1),
        Extend::Sign16 => ("movsx", 8, 2),
        Extend::Sign32 => ("movsxd", 8, 4),
    }
}

impl Check<'_> {
    pub(super) fn places(&self, inst: usize) -> Places {
        let info = &self.function.info[inst];
        let first = info.first as usize;
        let locations = &self.allocated.locations[first..first + usize::from(info.count)];
        Places { places: locations.iter().map(|&at| self.place(at)).collect(), next: 0 }
    }

    /// A memory operand, whose registers are the next places.
    pub(super) fn memory(&self, mem: &Mem, places: &mut Places) -> Place {
        let (base, offset) = match mem.base {
            Base::Reg => (places.reg(), 0),
            Base::Slot(slot) => {
                let frame = &self.allocated.frame;
                (Some(frame_base(frame)), frame.slots[slot])
            }
        };
        let index = mem.index.map(|shift| (places.reg(), shift));
        match (base, index) {
            (Some(base), None) => Place::Mem { base, index: None, disp: offset + mem.disp },
            (Some(base), Some((Some(reg), shift))) => {
                Place::Mem { base, index: Some((reg, shift)), disp: offset + mem.disp }
            }
            _ => Place::Nowhere,
        }
    }

    /// A right-hand side.
    fn right(&self, rhs: &Rhs, w: Width, places: &mut Places) -> Op {
        match rhs {
            Rhs::Reg => places.next().sized(w.bytes()),
            Rhs::Mem(mem) => self.memory(mem, places).sized(w.bytes()),
            Rhs::Imm(imm) => Op::Imm(i64::from(*imm)),
        }
    }

    /// Whether the upper half of what an instruction defines is meaningful.
    pub(super) fn is_wide(&self, inst: usize) -> bool {
        let operands = self.function.inst_operands(inst);
        operands.first().is_none_or(|def| self.function.vreg_bytes[def.vreg().vreg()] > 4)
    }

    /// The table.
    pub(super) fn inst(&mut self, at: usize, block: usize) -> Result<(), IntentError> {
        let mut p = self.places(at);
        let line = match self.function.insts[at] {
            MInst::Args => return Ok(()),
            MInst::Mov(w) => return self.mov(at, w),
            MInst::Imm(value) => return self.imm(value, p.next()),
            MInst::Addr(symbol) => {
                let line = Line::of("mov", [p.next().sized(8), Op::Loaded]);
                return self.reader.take_loaded(line, RelocKind::Abs64, symbol);
            }
            MInst::Lea(w, ref mem) => {
                let dst = p.next().sized(w.bytes());
                return self.lea(w, dst, self.memory(mem, &mut p));
            }
            MInst::Alu(op, w, ref rhs) => {
                let dst = p.tied();
                let right = self.right(rhs, w, &mut p);
                return self.arithmetic(op, w, dst, right);
            }
            MInst::Imul(..)
            | MInst::ImulImm(..)
            | MInst::Neg(_)
            | MInst::ShiftImm(..)
            | MInst::ShiftCl(..)
            | MInst::ShiftX(..)
            | MInst::Bswap(_)
            | MInst::Swap16 => self.computation(at, &mut p),
            MInst::Bswap16 => {
                let dst = p.tied();
                self.reader.take(Line::of("rol", [dst.sized(2), Op::Imm(8)]))?;
                Line::of("movzx", [dst.sized(4), dst.sized(2)])
            }
            MInst::Ext(extend) => {
                let ((name, to, from), dst, src) = (extension(extend), p.next(), p.next());
                // All eight bytes of a register are there already.
                if extend == Extend::None64 && dst == src {
                    return Ok(());
                }
                Line::of(name, [dst.sized(to), src.sized(from)])
            }
            MInst::Load(..) | MInst::Store(..) | MInst::StoreImm(..) | MInst::AluMem(..) => {
                self.access(at, &mut p)
            }
            MInst::Div { signed, w, nonzero } => return self.div(at, signed, w, nonzero),
            MInst::Rem { signed, w, nonzero } => return self.rem(at, signed, w, nonzero),
            MInst::Cmp(w, ref rhs) => return self.cmp(at, w, rhs),
            MInst::Test(w, ref rhs) => return self.test(at, w, rhs),
            MInst::CmpMemImm(size, imm, ref mem) => {
                let a = self.memory(mem, &mut p).sized(size.into());
                return self.compares(&[Line::of("cmp", [a, Op::Imm(i64::from(imm))])]);
            }
            MInst::TestMemImm(size, imm, ref mem) => {
                let a = self.memory(mem, &mut p).sized(size.into());
                return self.compares(&[Line::of("test", [a, Op::Imm(i64::from(imm))])]);
            }
            MInst::Atomic(..) | MInst::AtomicImm(..) | MInst::AtomicFetch(..) => {
                self.locked(at, &mut p)
            }
            MInst::AtomicLoop(op, w, ref mem) => return self.atomic_loop(at, op, w, mem),
            MInst::CmpXchg(w, ref mem) => return self.cmpxchg(at, w, mem),
            MInst::Counter => Line::of("mov", [p.next().sized(8), self.counter_place().sized(8)]),
            MInst::CallHelper(_)
            | MInst::CallLocal(_)
            | MInst::TailCall(_)
            | MInst::Jcc(_)
            | MInst::Jmp
            | MInst::Ret
            | MInst::Trap => return self.control(at, block),
        };
        self.reader.take(line)
    }

    /// One instruction on registers, whose right-hand side may be in memory.
    fn computation(&self, at: usize, p: &mut Places) -> Line {
        let bytes = |w: Width| w.bytes();
        match self.function.insts[at] {
            MInst::Imul(w, ref rhs) => {
                let dst = p.tied().sized(bytes(w));
                Line::of("imul", [dst, self.right(rhs, w, p)])
            }
            MInst::ImulImm(w, imm) => {
                let (dst, src) = (p.next().sized(bytes(w)), p.next().sized(bytes(w)));
                Line::of("imul", [dst, src, Op::Imm(i64::from(imm))])
            }
            MInst::Neg(w) => Line::of("neg", [p.tied().sized(bytes(w))]),
            MInst::ShiftImm(op, w, count) => {
                Line::of(shift(op, false), [p.tied().sized(bytes(w)), Op::Imm(count.into())])
            }
            MInst::ShiftCl(op, w) => {
                let dst = p.tied().sized(bytes(w));
                let count = p.reg().filter(|&reg| reg == Gpr::RCX);
                Line::of(shift(op, false), [dst, count.map_or(Op::Nothing, |reg| Op::Reg(reg, 1))])
            }
            MInst::ShiftX(op, w) => {
                let ops = [0; 3].map(|_| p.next().sized(bytes(w)));
                Line::of(shift(op, true), ops)
            }
            MInst::Bswap(w) => Line::of("bswap", [p.tied().sized(bytes(w))]),
            MInst::Swap16 => Line::of("rol", [p.tied().sized(2), Op::Imm(8)]),
            _ => Line::of("none", []),
        }
    }

    /// One instruction that loads or stores.
    fn access(&self, at: usize, p: &mut Places) -> Line {
        match self.function.insts[at] {
            MInst::Load(extend, ref mem) => {
                let ((name, to, from), dst) = (extension(extend), p.next());
                Line::of(name, [dst.sized(to), self.memory(mem, p).sized(from)])
            }
            MInst::Store(size, ref mem) => {
                let src = p.next().sized(size.into());
                Line::of("mov", [self.memory(mem, p).sized(size.into()), src])
            }
            MInst::StoreImm(size, imm, ref mem) => {
                let to = self.memory(mem, p).sized(size.into());
                Line::of("mov", [to, Op::Imm(i64::from(imm))])
            }
            MInst::AluMem(op, w, imm, ref mem) => {
                let src = match imm {
                    Some(imm) => Op::Imm(i64::from(imm)),
                    None => p.next().sized(w.bytes()),
                };
                Line::of(alu(op), [self.memory(mem, p).sized(w.bytes()), src])
            }
            _ => Line::of("none", []),
        }
    }

    /// One instruction that is atomic.
    fn locked(&self, at: usize, p: &mut Places) -> Line {
        match self.function.insts[at] {
            MInst::Atomic(op, w, ref mem) => {
                let src = p.next().sized(w.bytes());
                Line::locked(atomic(op), [self.memory(mem, p).sized(w.bytes()), src])
            }
            MInst::AtomicImm(op, w, imm, ref mem) => {
                let to = self.memory(mem, p).sized(w.bytes());
                Line::locked(atomic(op), [to, Op::Imm(i64::from(imm))])
            }
            MInst::AtomicFetch(op, w, ref mem) => {
                let reg = p.tied().sized(w.bytes());
                let ops = [self.memory(mem, p).sized(w.bytes()), reg];
                match op {
                    AtomicOp::Add => Line::locked("xadd", ops),
                    // Locked by itself.
                    AtomicOp::Xchg => Line::of("xchg", ops),
                    _ => Line::of("none", ops),
                }
            }
            _ => Line::of("none", []),
        }
    }

    /// What control goes through or ends at.
    fn control(&mut self, at: usize, block: usize) -> Result<(), IntentError> {
        let call = Line::of("call", [Op::Loaded]);
        match self.function.insts[at] {
            MInst::CallHelper(id) => {
                let target = match self.function.convention {
                    Convention::Saving => Symbol::HelperCell(id),
                    // Through a thunk that aligns the stack.
                    Convention::Kernel { .. } => Symbol::Helper(id),
                };
                self.reader.take_loaded(call, RelocKind::Rel32, target)
            }
            MInst::CallLocal(callee) => {
                self.reader.take_loaded(call, RelocKind::Rel32, Symbol::Function(callee))
            }
            MInst::TailCall(site) => self.tail_call(at, site),
            MInst::Jcc(cc) => self.branch(cc, block),
            MInst::Jmp => match self.function.blocks[block].succs[..] {
                [next] => self.goes_to(next),
                _ => self.reader.fail("one successor"),
            },
            MInst::Ret => {
                self.reader.follow_jump()?;
                self.epilogue()?;
                self.reader.take(Line::of("ret", []))
            }
            MInst::Trap => self.reader.take(Line::of("ud2", [])),
            _ => self.reader.fail("control flow"),
        }
    }

    fn mov(&mut self, at: usize, w: Width) -> Result<(), IntentError> {
        let mut p = self.places(at);
        let (dst, src) = (p.next(), p.next());
        let wide = self.is_wide(at);
        // Onto itself it matters only if it clears a half that is meaningful.
        if dst == src && (!wide || w == Width::W64) {
            return Ok(());
        }
        let bytes = if wide { w.bytes() } else { 4 };
        self.reader.take(Line::of("mov", [dst.sized(bytes), src.sized(bytes)]))
    }

    /// A number in any form that gives all 64 bits of it.
    fn imm(&mut self, value: u64, dst: Place) -> Result<(), IntentError> {
        let mut forms = vec![Line::of("mov", [dst.sized(8), Op::Imm(value as i64)])];
        if value <= u64::from(u32::MAX) {
            forms.push(Line::of("mov", [dst.sized(4), Op::Imm(value as i64)]));
        }
        if value == 0 {
            forms.push(Line::of("xor", [dst.sized(4), dst.sized(4)]));
        }
        self.reader.take_one(&forms)
    }

    fn lea(&mut self, w: Width, dst: Op, mem: Place) -> Result<(), IntentError> {
        let mut forms = vec![Line::of("lea", [dst, mem.sized(0)])];
        if let Place::Mem { base, index: None, disp: 0 } = mem {
            forms.push(Line::of("mov", [dst, Op::Reg(base, w.bytes())]));
        }
        self.reader.take_one(&forms)
    }

    fn arithmetic(
        &mut self,
        op: AluOp,
        w: Width,
        dst: Place,
        right: Op,
    ) -> Result<(), IntentError> {
        let to = dst.sized(w.bytes());
        let mut forms = vec![Line::of(alu(op), [to, right])];
        // The opposite operation with the opposite number.
        match (op, right) {
            (AluOp::Add, Op::Imm(n)) => forms.push(Line::of("sub", [to, Op::Imm(-n)])),
            (AluOp::Sub, Op::Imm(n)) => forms.push(Line::of("add", [to, Op::Imm(-n)])),
            _ => {}
        }
        self.reader.take_one(&forms)?;
        if let Place::Reg(reg) = dst {
            self.reader.computes(reg, w);
        }
        Ok(())
    }

    fn compares(&mut self, forms: &[Line]) -> Result<(), IntentError> {
        self.reader.take_one(forms)?;
        self.reader.compares();
        Ok(())
    }

    /// Whether a comparison with zero is left out, which is right if the
    /// arithmetic just before it tells as much as the branch asks.
    fn is_left_out(&mut self, at: usize, w: Width, reg: Option<Gpr>, forms: &[Line]) -> bool {
        let told = reg.is_some_and(|reg| self.reader.tells_zero(reg, w));
        let left_out = told
            && self.asks_for_zero(at + 1)
            && !forms.iter().any(|form| self.reader.is_next(form));
        if left_out {
            self.reader.compares();
        }
        left_out
    }

    fn cmp(&mut self, at: usize, w: Width, rhs: &Rhs) -> Result<(), IntentError> {
        let mut p = self.places(at);
        let reg = p.reg();
        let a = reg.map_or(Op::Nothing, |reg| Op::Reg(reg, w.bytes()));
        let mut forms = vec![Line::of("cmp", [a, self.right(rhs, w, &mut p)])];
        if *rhs == Rhs::Imm(0) {
            // Leaves the same flags.
            forms.push(Line::of("test", [a, a]));
            if self.is_left_out(at, w, reg, &forms) {
                return Ok(());
            }
        }
        self.compares(&forms)
    }

    fn test(&mut self, at: usize, w: Width, rhs: &Rhs) -> Result<(), IntentError> {
        let mut p = self.places(at);
        let reg = p.reg();
        let a = |bytes: u32| reg.map_or(Op::Nothing, |reg| Op::Reg(reg, bytes));
        let whole = a(w.bytes());
        let b = self.right(rhs, w, &mut p);
        let mut forms = vec![Line::of("test", [whole, b]), Line::of("test", [b, whole])];
        if let Rhs::Imm(imm) = *rhs {
            // Bits above the highest of a positive number are zero in the result.
            let imm = i64::from(imm);
            if imm >= 0 {
                forms.push(Line::of("test", [a(4), Op::Imm(imm)]));
            }
            if (0..=0x7f).contains(&imm) {
                forms.push(Line::of("test", [a(1), Op::Imm(imm)]));
            }
        } else if b == whole && self.is_left_out(at, w, reg, &forms) {
            return Ok(());
        }
        self.compares(&forms)
    }
}
