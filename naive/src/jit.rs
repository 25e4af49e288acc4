//! The pass over a function's code.

use tailor_bpf::cfg::{is_tail_call, last_slot};
use tailor_bpf::facts::{Facts, FunctionFacts};
use tailor_bpf::{AluOp, Error, FuncRef, Function, Object, Op, Src, Width};
use tailor_emit::asm::{Label, Relaxation, Width as MachineWidth};
use tailor_emit::{Assembler, CompiledFunction, FunctionKind, WeightLabels};

use crate::frame::Frame;
use crate::regs;
use crate::tail::PendingSite;
use crate::variant::Variant;

/// Compiles one function as a generation of the kernel did.
pub fn compile(
    variant: Variant,
    object: &Object,
    facts: &Facts,
    func: FuncRef,
    kind: FunctionKind,
) -> Result<CompiledFunction, Error> {
    let function = object
        .functions
        .get(func)
        .ok_or_else(|| Error::new(format!("the object has no {func}")))?;
    let fail = |what: String| Error { function: Some(function.name.clone()), ..Error::new(what) };
    let facts =
        facts.functions.get(func).ok_or_else(|| fail("the function was not analysed".into()))?;
    let mut jit = Jit::new(variant, object, function, facts, kind);
    jit.run()?;
    let Jit { asm, frame, sites, weights, .. } = jit;
    let assembled = asm.finish().map_err(|error| fail(error.to_string()))?;
    let unwinds = frame.unwinds();
    Ok(CompiledFunction {
        name: function.name.clone(),
        kind,
        landing: frame.rules.landing,
        tail_sites: sites.iter().map(|site| site.resolve(&assembled, &unwinds)).collect(),
        insns: function.ops.len() as u32,
        frame: frame.belief(),
        weights: weights.place(&assembled),
        code: assembled.code,
        relocs: assembled.relocs,
    })
}

/// A function under compilation.
pub(crate) struct Jit<'a> {
    pub(crate) object: &'a Object,
    pub(crate) function: &'a Function,
    pub(crate) facts: &'a FunctionFacts,
    pub(crate) asm: Assembler,
    pub(crate) frame: Frame,
    /// Of each basic block.
    pub(crate) labels: Vec<Label>,
    /// For each slot, the first one from there on that leaves bytes.
    next_bytes: Vec<u32>,
    /// The one epilogue, once it is there.
    pub(crate) epilogue: Option<Label>,
    pub(crate) sites: Vec<PendingSite>,
    /// How often what is executed.
    pub(crate) weights: WeightLabels,
    /// Of the current block.
    pub(crate) frequency: f64,
}

impl<'a> Jit<'a> {
    fn new(
        variant: Variant,
        object: &'a Object,
        function: &'a Function,
        facts: &'a FunctionFacts,
        kind: FunctionKind,
    ) -> Jit<'a> {
        let slots = facts.cfg.blocks.iter().flat_map(|block| block.slots());
        let reachable = slots.filter_map(|pc| function.ops.get(pc));
        let frame = Frame::new(
            variant,
            facts.stack_depth,
            reachable.clone().any(|op| matches!(op, Op::MayGoto { .. })),
            kind,
            regs::callee_saved(reachable.clone()),
            facts.reaches_tail_call || reachable.clone().any(is_tail_call),
        );
        let mut asm = Assembler::new();
        asm.set_relaxation(Relaxation::Kernel);
        let labels = facts.cfg.blocks.iter().map(|_| asm.label()).collect();
        Jit {
            object,
            function,
            facts,
            asm,
            frame,
            labels,
            next_bytes: next_bytes(function, facts),
            epilogue: None,
            sites: Vec::new(),
            weights: WeightLabels::default(),
            frequency: 1.0,
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        let facts = self.facts;
        if facts.cfg.blocks.is_empty() {
            return Err(self.error(0, "the function has no code"));
        }
        self.frame.prologue(&mut self.asm, &mut self.weights);
        self.start_may_goto();
        for (index, block) in facts.cfg.blocks.iter().enumerate() {
            self.asm.bind(self.labels[index]);
            self.frequency = facts.frequency.get(index).copied().unwrap_or(1.0);
            self.weigh();
            for pc in block.slots() {
                let op = self.function.ops.get(pc);
                let op =
                    *op.ok_or_else(|| self.error(pc, "the function ends before its blocks do"))?;
                let object = op.accesses_memory() && !facts.accesses_slot(pc as u32);
                let start = object.then(|| self.asm.here());
                self.op(pc, op)?;
                if let Some(start) = start {
                    let end = self.asm.here();
                    self.weights.object(start, end);
                }
            }
            let last = last_slot(&self.function.ops, block);
            let leaves = matches!(
                self.function.ops[last],
                Op::Exit | Op::Jump { .. } | Op::IndirectJump { .. }
            );
            if !leaves && facts.cfg.block_at(block.end).is_none() {
                return Err(self.error(last, "execution falls off the end of the function"));
            }
        }
        Ok(())
    }

    /// From here on the current block's frequency holds.
    pub(crate) fn weigh(&mut self) {
        let here = self.asm.here();
        self.weights.from(here, self.frequency);
    }

    /// Executions of exits per execution of the function.
    pub(crate) fn exits(&self) -> f64 {
        let blocks = self.facts.cfg.blocks.iter().zip(&self.facts.frequency);
        let ops = &self.function.ops;
        let exits = blocks.filter(|(block, _)| ops[last_slot(ops, block)] == Op::Exit);
        exits.map(|(_, frequency)| frequency).sum()
    }

    fn op(&mut self, pc: usize, op: Op) -> Result<(), Error> {
        match op {
            Op::Alu { op, w, dst, src } => match op {
                AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod => self.divide(op, w, dst, src),
                _ => self.alu(op, w, dst, src),
            },
            Op::Mov { w, dst, src } => self.mov(w, dst, src),
            Op::MovSx { w, from, dst, src } => self.mov_sx(w, from, dst, src),
            Op::Neg { w, dst } => self.asm.neg(width(w), regs::gpr(dst)),
            Op::End { kind, size, dst } => self.byte_order(kind, size, dst),
            Op::LoadImm { dst, value } => self.load_imm(pc, dst, value)?,
            Op::LoadImmHi => {}
            Op::Load { .. } | Op::Store { .. } => self.access(pc, op)?,
            // Every load and store of this processor keeps that order.
            Op::LoadAcquire { .. } | Op::StoreRelease { .. } => self.access(pc, op.plain())?,
            Op::MayGoto { .. } => self.may_goto(pc, op)?,
            Op::IndirectJump { target } => self.indirect_jump(pc, target)?,
            Op::Atomic { .. } | Op::CmpXchg { .. } => self.atomic(op),
            Op::LoadPacket { size, index, off } => self.load_packet(size, index, off),
            Op::Jump { .. } => self.jump(pc, op)?,
            Op::Branch { .. } => self.branch(pc, op)?,
            Op::Call(callee) => self.call(pc, callee)?,
            Op::Exit => self.exit(),
        }
        Ok(())
    }

    /// The label of a jump's target.
    pub(crate) fn target(&self, pc: usize, op: Op) -> Result<Label, Error> {
        let slot = op.jump_target(pc).and_then(|slot| u32::try_from(slot).ok());
        let block = slot.and_then(|slot| {
            let block = self.facts.cfg.block_at(slot)?;
            (self.facts.cfg.blocks[block as usize].start == slot).then_some(block)
        });
        match block {
            Some(block) => Ok(self.labels[block as usize]),
            None => Err(self.error(pc, "the jump leaves the function")),
        }
    }

    /// Whether the instruction at this slot leaves no bytes.
    pub(crate) fn is_empty(&self, pc: usize) -> bool {
        self.next_bytes[pc] != pc as u32
    }

    /// An error at an instruction.
    pub(crate) fn error(&self, pc: usize, what: impl Into<String>) -> Error {
        Error::at(&self.function.name, pc, what)
    }
}

/// Jumps over nothing are left out, which makes others jumps over nothing.
fn next_bytes(function: &Function, facts: &FunctionFacts) -> Vec<u32> {
    let mut reachable = vec![false; function.ops.len()];
    for block in &facts.cfg.blocks {
        let slots = block.start as usize..reachable.len().min(block.end as usize);
        reachable[slots].fill(true);
    }
    let mut next = vec![function.ops.len() as u32; function.ops.len() + 1];
    for (pc, op) in function.ops.iter().enumerate().rev() {
        let after = next[pc + 1];
        let empty = !reachable[pc]
            || match *op {
                Op::LoadImmHi => true,
                Op::Mov { w: Width::W64, dst, src: Src::Reg(src) } => dst == src,
                Op::End { kind: tailor_bpf::EndKind::Le, size: tailor_bpf::Size::D, .. } => true,
                Op::Jump { .. } => op
                    .jump_target(pc)
                    .is_some_and(|target| (pc as i64 + 1..=i64::from(after)).contains(&target)),
                _ => false,
            };
        next[pc] = if empty { after } else { pc as u32 };
    }
    next
}

/// The assembler's name for a width.
pub(crate) fn width(w: Width) -> MachineWidth {
    match w {
        Width::W32 => MachineWidth::W32,
        Width::W64 => MachineWidth::W64,
    }
}
