//! Emission of a machine function with its registers.
//!
//! One walk over the blocks in layout order. Each instruction reads its
//! locations in the order that [`MInst`] documents for its operands, with the
//! allocator's moves before and after it. rsp stays where the prologue put it
//! until an exit, so frame objects and spill slots are at fixed distances.
//!
//! A block that consists of one jump and no moves (a split critical edge that
//! needed none) gets no code; branches to it go where it goes.

mod control;
mod divide;
mod flags;
mod memory;
mod operands;
mod plain;
mod prologue;
mod stub;
mod tail;
#[cfg(test)]
pub(crate) mod tests;
mod threading;

use regalloc2::{Allocation, Block};
use tailor_lower::x64::inst::{Base, Rhs};
use tailor_lower::{Gpr, MInst, MachFunction, MapRef};
use tailor_regalloc::Allocated;
use tailor_regalloc::steps::Step;

use crate::asm::{Assembled, Assembler, Cc, Label, Width};
use crate::listing::listing;
use crate::{
    CompiledFunction, EmitError, FunctionKind, Poke, TailSite, Unwound, WeightLabels, frame,
    intent, walk,
};
use operands::Operands;
pub use stub::entry_stub;

/// Emits `function` with the registers and the frame in `allocated`. `insns` is
/// the number of bytecode slots that it was compiled from.
pub fn emit(
    function: &MachFunction,
    allocated: &Allocated,
    kind: FunctionKind,
    insns: u32,
) -> Result<CompiledFunction, EmitError> {
    let mut emitter = Emitter::new(function, allocated);
    emitter.prologue(kind);
    emitter.body()?;
    let (landing, frame) = (emitter.landing(), emitter.belief());
    let Emitter { asm, sites, weights, labels, .. } = emitter;
    let assembled = asm.finish()?;
    let blocks: Vec<u32> = labels.into_iter().map(|label| assembled.offset(label)).collect();
    let compiled = CompiledFunction {
        name: function.name.clone(),
        kind,
        tail_sites: sites.into_iter().map(|site| site.place(&assembled)).collect(),
        weights: weights.place(&assembled),
        code: assembled.code,
        relocs: assembled.relocs,
        landing,
        insns,
        frame,
    };
    if cfg!(debug_assertions)
        && let Err(error) = intent::check(function, allocated, &compiled, &blocks)
    {
        panic!("the bytes of {}: {error}\n{}", compiled.name, listing(&compiled));
    }
    check(&compiled);
    Ok(compiled)
}

/// In debug builds, that the bytes keep the stack and the registers as they
/// must, and have the frame that the compiler believes in.
fn check(compiled: &CompiledFunction) {
    if !cfg!(debug_assertions) {
        return;
    }
    if let Err(error) = frame::check(compiled) {
        panic!("the frame of {}: {error}\n{}", compiled.name, listing(compiled));
    }
    if let Err(error) = walk::check(compiled) {
        panic!("the code of {}: {error}\n{}", compiled.name, listing(compiled));
    }
}

/// A tail-call site before offsets are known.
struct PendingSite {
    first: Label,
    exit: Label,
    out: Label,
    /// Of a patched one.
    bypass: Option<Label>,
    direct: Option<(MapRef, u32)>,
    unwinds: Unwound,
}

impl PendingSite {
    fn place(self, assembled: &Assembled) -> TailSite {
        let offset = |label| assembled.offset(label);
        TailSite {
            offset: offset(self.first),
            exit: offset(self.exit),
            direct: self.direct,
            poke: self.bypass.map(|bypass| Poke {
                bypass: offset(bypass),
                target: offset(self.exit),
                out: offset(self.out),
            }),
            unwinds: self.unwinds,
        }
    }
}

/// A return that several blocks end in.
#[derive(Clone, Copy)]
struct SharedReturn {
    /// The block that has it; the others jump there.
    block: Block,
    /// Where it starts.
    label: Label,
    /// How often it is executed.
    frequency: f64,
}

struct Emitter<'a> {
    function: &'a MachFunction,
    allocated: &'a Allocated,
    asm: Assembler,
    /// Of each block; blocks without code have the label of where they go.
    labels: Vec<Label>,
    /// Blocks that get code, in layout order.
    layout: Vec<Block>,
    /// Where in the current block the flags must be left alone.
    flags: flags::Awaited,
    /// The register whose value the flags were set by last, with the width, if
    /// it has not changed since.
    flagged: Option<(Gpr, Width)>,
    sites: Vec<PendingSite>,
    /// Of each block.
    frequencies: Vec<f64>,
    weights: WeightLabels,
    /// The return that all blocks share, if they do.
    shared_return: Option<SharedReturn>,
}

impl<'a> Emitter<'a> {
    fn new(function: &'a MachFunction, allocated: &'a Allocated) -> Emitter<'a> {
        let mut asm = Assembler::new();
        let goals = threading::goals(function, allocated);
        let own: Vec<Label> = goals.iter().map(|_| asm.label()).collect();
        let has_code = |b: &Block| goals[b.index()] == *b;
        let layout: Vec<Block> = (0..goals.len()).map(Block::new).filter(has_code).collect();
        let labels = goals.iter().map(|goal| own[goal.index()]).collect();
        let frequencies = threading::frequencies(function, allocated, &goals);
        let shared_return = control::is_longer_than_a_jump(allocated)
            .then(|| threading::shared_return(function, allocated, &layout))
            .flatten();
        let shared_return = shared_return.map(|(block, is_all, sharing)| SharedReturn {
            block,
            label: if is_all { own[block.index()] } else { asm.label() },
            frequency: sharing.iter().map(|block| frequencies[block.index()]).sum(),
        });
        Emitter {
            function,
            allocated,
            asm,
            labels,
            layout,
            flags: flags::Awaited::default(),
            flagged: None,
            sites: Vec::new(),
            frequencies,
            weights: WeightLabels::default(),
            shared_return,
        }
    }

    fn body(&mut self) -> Result<(), EmitError> {
        if !self.allocated.edits.is_sorted_by_key(|(point, _)| *point) {
            return Err(self.broken(0, "a move is out of order"));
        }
        let located = self.allocated.located(self.function);
        for at in 0..self.layout.len() {
            let block = self.layout[at];
            let next = self.layout.get(at + 1).copied();
            let label = self.labels[block.index()];
            self.asm.bind(label);
            self.weights.from(label, self.frequencies[block.index()]);
            let range = &self.function.blocks[block.index()];
            let insts = range.start as usize..range.end as usize;
            self.flags = flags::awaited(&self.function.insts[insts]);
            for step in located.steps(block.index()) {
                match step {
                    Step::Move { edit, from, to } => {
                        let bytes = self.allocated.move_bytes(edit);
                        self.move_value(located.inst(step), from, to, bytes)?;
                    }
                    Step::Inst(inst) => {
                        self.weighed(inst, block, next)?;
                        self.flags.step();
                    }
                }
            }
        }
        Ok(())
    }

    /// An instruction, with what is to be known of its part in the frame's cost.
    fn weighed(&mut self, inst: usize, block: Block, next: Option<Block>) -> Result<(), EmitError> {
        let (object, recomputed) = (self.object_access(inst), self.function.info[inst].recomputed);
        if !object && !recomputed {
            return self.inst(inst, block, next);
        }
        let start = self.asm.here();
        self.inst(inst, block, next)?;
        let end = self.asm.here();
        if object {
            self.weights.object(start, end);
        }
        if recomputed {
            self.weights.recomputed(start, end);
        }
        Ok(())
    }

    /// A move of so many bytes (4 or 8). Four in a register clear the upper half.
    fn move_value(
        &mut self,
        inst: usize,
        from: Allocation,
        to: Allocation,
        bytes: u32,
    ) -> Result<(), EmitError> {
        let frame = &self.allocated.frame;
        self.flagged = None;
        let width = if bytes == 4 { Width::W32 } else { Width::W64 };
        match (from.as_reg(), to.as_reg()) {
            (Some(from), Some(to)) if from == to => {}
            (Some(from), Some(to)) => {
                let (to, from) = (Gpr::from_preg(to), Gpr::from_preg(from));
                self.asm.mov(width, to, from);
            }
            (Some(from), None) if let Some(slot) = operands::spill_slot(frame, to) => {
                self.asm.store(bytes as u8, slot, Gpr::from_preg(from));
            }
            (None, Some(to)) if let Some(slot) = operands::spill_slot(frame, from) => {
                self.asm.load(width, Gpr::from_preg(to), slot);
            }
            _ => return Err(self.broken(inst, "a move that is not to or from a register")),
        }
        Ok(())
    }

    /// Whether an instruction accesses a stack object that is the program's memory.
    fn object_access(&self, inst: usize) -> bool {
        let base = self.function.insts[inst].mem().map(|mem| mem.base);
        matches!(base, Some(Base::Slot(slot)) if self.function.stack_slots[slot].escapes)
    }

    fn operands(&self, inst: usize) -> Operands<'a> {
        let info = &self.function.info[inst];
        let first = info.first as usize;
        let end = first + info.count as usize;
        Operands::new(
            inst,
            info.origin,
            &self.allocated.frame,
            &self.allocated.locations[first..end],
        )
    }

    fn broken(&self, inst: usize, what: &'static str) -> EmitError {
        EmitError::Broken { inst: inst as u32, origin: self.function.info[inst].origin, what }
    }

    /// Bytes that matter of the first operand, a definition.
    fn result_bytes(&self, inst: usize) -> u8 {
        let operands = self.function.inst_operands(inst);
        let vreg = operands.first().map(|operand| operand.vreg().vreg());
        let bytes = vreg.and_then(|vreg| self.function.vreg_bytes.get(vreg));
        bytes.copied().unwrap_or(8)
    }

    /// Whether a comparison of a value with zero asks for what the flags say
    /// already: the result of the arithmetic just before, for (in)equality.
    fn is_known(&self, at: usize, flagged: Option<(Gpr, Width)>, w: Width, rhs: &Rhs) -> bool {
        let mut ops = self.operands(at);
        let (Some((reg, width)), Ok(a)) = (flagged, ops.reg()) else { return false };
        let zero = match (self.function.insts[at], rhs) {
            (MInst::Cmp(..), Rhs::Imm(0)) => true,
            (MInst::Test(..), Rhs::Reg) => ops.reg().is_ok_and(|b| b == a),
            _ => false,
        };
        // 32-bit arithmetic clears the upper half.
        let all = width == w || width == Width::W32;
        let next = self.function.insts.get(at + 1);
        zero && all && reg == a && matches!(next, Some(MInst::Jcc(Cc::E | Cc::Ne)))
    }

    /// The table of what emits what.
    fn inst(&mut self, at: usize, block: Block, next: Option<Block>) -> Result<(), EmitError> {
        let ops = self.operands(at);
        let flagged = self.flagged.take();
        match self.function.insts[at] {
            MInst::Args => Ok(()),
            MInst::Mov(w) => self.mov(at, w, ops),
            MInst::Imm(value) => self.imm(value, ops),
            MInst::Addr(symbol) => self.addr(symbol, ops),
            MInst::Lea(w, ref mem) => self.lea(w, mem, ops),
            MInst::Alu(op, w, ref rhs) => self.alu(op, w, rhs, ops),
            MInst::Imul(w, ref rhs) => self.imul(at, w, rhs, ops),
            MInst::ImulImm(w, imm) => self.imul_imm(w, imm, ops),
            MInst::Neg(w) => self.neg(w, ops),
            MInst::ShiftImm(op, w, count) => self.shift_imm(op, w, count, ops),
            MInst::ShiftCl(op, w) => self.shift_cl(op, w, ops),
            MInst::ShiftX(op, w) => self.shift_x(op, w, ops),
            MInst::Bswap(w) => self.bswap(w, ops),
            MInst::Bswap16 => self.bswap16(ops),
            MInst::Swap16 => self.swap16(ops),
            MInst::Ext(extend) => self.ext(extend, ops),
            MInst::Cmp(w, ref rhs) if self.is_known(at, flagged, w, rhs) => Ok(()),
            MInst::Cmp(w, ref rhs) => self.cmp(w, rhs, ops),
            MInst::CmpMemImm(bytes, imm, ref mem) => self.cmp_mem_imm(bytes, imm, mem, ops),
            MInst::TestMemImm(bytes, imm, ref mem) => self.test_mem_imm(bytes, imm, mem, ops),
            MInst::AluMem(op, w, imm, ref mem) => self.alu_mem(op, w, imm, mem, ops),
            MInst::Test(w, ref rhs) if self.is_known(at, flagged, w, rhs) => Ok(()),
            MInst::Test(w, ref rhs) => self.test(w, rhs, ops),
            MInst::Load(extend, ref mem) => self.load(extend, mem, ops),
            MInst::Store(bytes, ref mem) => self.store(bytes, mem, ops),
            MInst::StoreImm(bytes, imm, ref mem) => self.store_imm(bytes, imm, mem, ops),
            MInst::Atomic(op, w, ref mem) => self.atomic(at, op, w, mem, ops),
            MInst::AtomicImm(op, w, imm, ref mem) => self.atomic_imm(at, op, w, imm, mem, ops),
            MInst::AtomicFetch(op, w, ref mem) => self.atomic_fetch(at, op, w, mem, ops),
            MInst::AtomicLoop(op, w, ref mem) => self.atomic_loop(at, op, w, mem, ops),
            MInst::CmpXchg(w, ref mem) => self.cmpxchg(at, w, mem, ops),
            MInst::Div { signed, w, nonzero } => self.div(at, signed, w, nonzero, ops),
            MInst::Rem { signed, w, nonzero } => self.rem(at, signed, w, nonzero, ops),
            MInst::Jcc(cc) => self.jcc(cc, block, next),
            MInst::Jmp => self.jmp(block, next),
            MInst::CallHelper(helper) => self.call_helper(helper),
            MInst::CallLocal(callee) => self.call_local(callee),
            MInst::Counter => self.counter(ops),
            MInst::TailCall(site) => self.tail_call(at, site, block),
            MInst::Ret => self.ret(block, next),
            MInst::Trap => self.trap(),
        }
    }
}
