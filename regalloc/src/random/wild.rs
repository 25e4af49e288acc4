//! Functions of all shapes: loops with several entries and without any way out,
//! traps, tail calls anywhere, halves, objects, values that can be computed again.

use regalloc2::{Block, Operand, OperandKind, OperandPos, VReg};
use tailor_lower::x64::inst::{AluOp, Base, Cc, Extend, Mem, Rhs, Width};
use tailor_lower::{
    Convention, FuncRef, Gpr, MInst, MachBlock, MachFunction, MapRef, Role, Site, StackSlot,
    StackSlotData,
};

use super::{Random, dominators, empty, push};

/// How a block ends, and where it goes.
#[derive(Clone)]
enum End {
    Return,
    Trap,
    Goes(Vec<usize>),
}

impl End {
    fn succs(&self) -> &[usize] {
        match self {
            End::Goes(succs) => succs,
            _ => &[],
        }
    }
}

/// Any graph of reachable blocks, without critical edges, in reverse post-order.
fn shape(random: &mut Random) -> Vec<End> {
    let count = 2 + random.below(10);
    let mut ends: Vec<End> = (0..count)
        .map(|_| {
            let mut to = || 1 + random.below(count - 1);
            let (one, other) = (to(), to());
            match random.below(20) {
                0 | 1 => End::Return,
                2 => End::Trap,
                3..8 => End::Goes(vec![one]),
                _ if one == other => End::Goes(vec![one]),
                _ => End::Goes(vec![one, other]),
            }
        })
        .collect();
    let mut preds = vec![0; count];
    ends.iter().flat_map(End::succs).for_each(|&to| preds[to] += 1);
    for from in 0..count {
        let edge = ends.len();
        let End::Goes(succs) = &mut ends[from] else { continue };
        if succs.len() < 2 {
            continue;
        }
        let critical: Vec<usize> = succs.iter().copied().filter(|&to| preds[to] > 1).collect();
        let renamed = succs.iter_mut().filter(|to| preds[**to] > 1);
        renamed.zip(edge..).for_each(|(to, edge)| *to = edge);
        ends.extend(critical.into_iter().map(|to| End::Goes(vec![to])));
    }
    let mut order = Vec::new();
    let mut seen = vec![false; ends.len()];
    visit(&ends, 0, &mut seen, &mut order);
    order.reverse();
    let number = |old: usize| order.iter().position(|&at| at == old).unwrap();
    let renumbered = order.iter().map(|&old| match &ends[old] {
        End::Goes(succs) => End::Goes(succs.iter().map(|&to| number(to)).collect()),
        other => other.clone(),
    });
    renumbered.collect()
}

fn visit(ends: &[End], at: usize, seen: &mut [bool], order: &mut Vec<usize>) {
    if !std::mem::replace(&mut seen[at], true) {
        ends[at].succs().iter().for_each(|&to| visit(ends, to, seen, order));
        order.push(at);
    }
}

/// What is known in a block.
#[derive(Clone, Default)]
struct Known {
    wide: Vec<VReg>,
    narrow: Vec<VReg>,
    filled: Vec<StackSlot>,
}

struct Maker<'a> {
    random: &'a mut Random,
    function: MachFunction,
    known: Known,
    own: Known,
}

impl Maker<'_> {
    fn new_value(&mut self, bytes: u8) -> VReg {
        self.function.vreg_bytes.push(bytes);
        let vreg = VReg::new(self.function.vreg_bytes.len() - 1, regalloc2::RegClass::Int);
        let list = |known: &mut Known| match bytes {
            4 => known.narrow.push(vreg),
            _ => known.wide.push(vreg),
        };
        list(&mut self.known);
        list(&mut self.own);
        vreg
    }

    fn plain(&mut self, inst: MInst, operands: &[Operand]) {
        push(&mut self.function, inst, Role::Plain, operands);
    }

    fn wide(&mut self) -> VReg {
        // Mostly of the latest ones.
        let from = if self.random.chance(60) { self.known.wide.len().saturating_sub(6) } else { 0 };
        let list = self.known.wide[from..].to_vec();
        self.random.one_of(&list)
    }

    fn any(&mut self) -> VReg {
        match self.known.narrow.is_empty() || self.random.chance(50) {
            true => self.wide(),
            false => self.random.one_of(&self.known.narrow.clone()),
        }
    }

    fn width(&self, vreg: VReg) -> Width {
        if self.function.vreg_bytes[vreg.vreg()] == 4 { Width::W32 } else { Width::W64 }
    }

    fn compare(&mut self) {
        let a = self.any();
        let b = if self.width(a) == Width::W32 { self.any() } else { self.wide() };
        let operands = [Operand::reg_use(a), Operand::any_use(b)];
        self.plain(MInst::Cmp(self.width(a), Rhs::Reg), &operands);
    }

    fn call(&mut self) {
        let helper = 1 + self.random.below(2) as u32;
        let mut operands = Vec::new();
        for reg in &Gpr::ARGS[..self.random.below(6)] {
            let value = self.any();
            operands.push(Operand::reg_fixed_use(value, reg.preg()));
        }
        let bytes = self.random.one_of(&[4, 8]);
        let result = self.new_value(bytes);
        operands.insert(0, Operand::reg_fixed_def(result, Gpr::RAX.preg()));
        let callee = FuncRef::from_u32(1);
        let (call, role) = match self.random.chance(20) {
            true => (MInst::CallLocal(callee), Role::CallLocal(callee)),
            false => (MInst::CallHelper(helper), Role::CallC),
        };
        push(&mut self.function, call, role, &operands);
    }

    fn tail_call(&mut self) {
        self.function.reaches_tail_call = true;
        let (ctx, record) = (self.wide(), self.wide());
        self.function.vreg_bytes.push(8);
        let scratch = VReg::new(self.function.vreg_bytes.len() - 1, regalloc2::RegClass::Int);
        let rax = regalloc2::OperandConstraint::FixedReg(Gpr::RAX.preg());
        let mut operands = vec![Operand::new(scratch, rax, OperandKind::Def, OperandPos::Early)];
        operands.push(Operand::reg_fixed_use(ctx, Gpr::RDI.preg()));
        if self.function.convention == Convention::Saving {
            operands.push(Operand::reg_fixed_use(record, Gpr::RECORD.preg()));
        }
        let site = MInst::TailCall(Site::Slot(MapRef::from_u32(0), 0));
        push(&mut self.function, site, Role::TailCall, &operands);
    }

    fn pure(&mut self) {
        match self.random.below(5) {
            0 => {
                let bytes = self.random.one_of(&[4, 8]);
                let value = self.new_value(bytes);
                self.plain(MInst::Imm(7 + value.vreg() as u64), &[Operand::reg_def(value)]);
            }
            1 => {
                let from = self.any();
                let value = self.new_value(8);
                let operands = [Operand::reg_def(value), Operand::any_use(from)];
                self.plain(MInst::Ext(Extend::Zero32), &operands);
            }
            2 => {
                let from = self.wide();
                let value = self.new_value(8);
                let mem = Mem { base: Base::Reg, index: None, disp: 14 };
                self.plain(
                    MInst::Lea(Width::W64, mem),
                    &[Operand::reg_def(value), Operand::reg_use(from)],
                );
            }
            kind => {
                let a = self.any();
                let width = self.width(a);
                let b = if width == Width::W32 { self.any() } else { self.wide() };
                let value = self.new_value(width.bytes() as u8);
                let mut operands = vec![Operand::reg_reuse_def(value, 1), Operand::reg_use(a)];
                let rhs = if kind == 3 { Rhs::Imm(3) } else { Rhs::Reg };
                if kind != 3 {
                    operands.push(Operand::any_use(b));
                }
                self.plain(MInst::Alu(AluOp::Add, width, rhs), &operands);
            }
        }
    }

    fn object(&mut self) {
        let new = self.known.filled.is_empty() || self.random.chance(30);
        if new || self.random.chance(30) {
            let slot = if new && self.function.stack_slots.len() < 4 {
                let size = self.random.one_of(&[8, 16]);
                let data = StackSlotData { size, align: 8, escapes: true };
                self.function.stack_slots.push(data)
            } else {
                let all: Vec<StackSlot> = self.function.stack_slots.keys().collect();
                self.random.one_of(&all)
            };
            // One that has all of its bytes may get a part of them anew.
            let filled = self.known.filled.contains(&slot);
            for disp in (0..self.function.stack_slots[slot].size as i32).step_by(8) {
                if !filled || self.random.chance(60) {
                    let value = self.wide();
                    let mem = Mem { base: Base::Slot(slot), index: None, disp };
                    self.plain(MInst::Store(8, mem), &[Operand::reg_use(value)]);
                }
            }
            self.known.filled.push(slot);
            self.own.filled.push(slot);
            return;
        }
        let slot = self.random.one_of(&self.known.filled.clone());
        let words = self.function.stack_slots[slot].size as usize / 8;
        let disp = 8 * self.random.below(words) as i32;
        let mem = Mem { base: Base::Slot(slot), index: None, disp };
        let value = self.new_value(8);
        let code = match self.random.chance(60) {
            true => MInst::Load(Extend::None64, mem),
            false => MInst::Lea(Width::W64, Mem { disp: 0, ..mem }),
        };
        self.plain(code, &[Operand::reg_def(value)]);
    }

    fn block(&mut self, calls: usize, objects: usize) {
        for _ in 0..self.random.below(7) {
            match self.random.below(100) {
                chance if chance < calls => self.call(),
                chance if chance < calls + 8 => self.tail_call(),
                chance if chance < calls + 8 + objects => self.object(),
                chance if chance < calls + 20 + objects => self.compare(),
                _ => self.pure(),
            }
        }
    }
}

/// Any function.
pub fn function(random: &mut Random) -> MachFunction {
    let shape = shape(random);
    let mut preds = vec![Vec::new(); shape.len()];
    for (from, end) in shape.iter().enumerate() {
        end.succs().iter().for_each(|&to| preds[to].push(from));
    }
    let above = dominators(&preds);
    let blocks = |list: &[usize]| list.iter().map(|&block| Block::new(block)).collect();
    let (calls, objects) = (random.one_of(&[0, 10, 25]), random.one_of(&[0, 10, 35]));
    let mut maker =
        Maker { random, function: empty(), known: Known::default(), own: Known::default() };
    if maker.random.chance(25) {
        maker.function.convention = Convention::Kernel { landing: 12 };
    }
    let mut known = vec![Known::default(); shape.len()];
    for (number, end) in shape.iter().enumerate() {
        maker.known = Known::default();
        maker.own = Known::default();
        for &block in above[number].iter().filter(|&&block| block != number) {
            maker.known.wide.extend(&known[block].wide);
            maker.known.narrow.extend(&known[block].narrow);
            maker.known.filled.extend(&known[block].filled);
        }
        let Known { wide, narrow, filled } = &mut maker.known;
        wide.sort_unstable_by_key(|vreg| vreg.vreg());
        narrow.sort_unstable_by_key(|vreg| vreg.vreg());
        filled.sort_unstable();
        let mut data = MachBlock {
            start: maker.function.insts.len() as u32,
            succs: blocks(end.succs()),
            preds: blocks(&preds[number]),
            frequency: maker.random.one_of(&[1.0, 0.5, 0.125, 4.0]),
            ..MachBlock::default()
        };
        if number == 0 {
            data.frequency = 1.0;
            let regs = Gpr::ARGS.into_iter().chain([Gpr::RECORD]);
            let args: Vec<Operand> = regs
                .map(|reg| {
                    let bytes = maker.random.one_of(&[8, 8, 4]);
                    let bytes = if reg == Gpr::RDI { 8 } else { bytes };
                    Operand::reg_fixed_def(maker.new_value(bytes), reg.preg())
                })
                .collect();
            maker.plain(MInst::Args, &args);
        } else if preds[number].len() > 1 {
            let most = maker.random.one_of(&[2, 4, 4, 14]);
            for _ in 0..maker.random.below(most) {
                let bytes = maker.random.one_of(&[4, 8]);
                data.params.push(maker.new_value(bytes));
            }
        }
        maker.block(calls, objects);
        match end {
            End::Return => {
                let value = maker.any();
                let operands = [Operand::reg_fixed_use(value, Gpr::RAX.preg())];
                push(&mut maker.function, MInst::Ret, Role::Return, &operands);
            }
            End::Trap => push(&mut maker.function, MInst::Trap, Role::Trap, &[]),
            End::Goes(to) if to.len() == 1 => {
                push(&mut maker.function, MInst::Jmp, Role::Branch, &[]);
            }
            End::Goes(_) => {
                maker.compare();
                push(&mut maker.function, MInst::Jcc(Cc::E), Role::Branch, &[]);
            }
        }
        data.end = maker.function.insts.len() as u32;
        maker.function.blocks.push(data);
        known[number] = maker.own.clone();
    }
    let Maker { random, mut function, .. } = maker;
    for (number, end) in shape.iter().enumerate() {
        let &[succ] = end.succs() else { continue };
        for param in function.blocks[succ].params.clone() {
            let wide = function.vreg_bytes[param.vreg()] == 8;
            let mut all: Vec<VReg> = Vec::new();
            for &block in &above[number] {
                all.extend(&known[block].wide);
                if !wide {
                    all.extend(&known[block].narrow);
                }
            }
            all.sort_unstable_by_key(|vreg| vreg.vreg());
            function.blocks[number].args.push(random.one_of(&all));
        }
    }
    tidy(&mut function);
    function
}

/// As selection has it: no parameter without a use, and no upper half that counts
/// though nobody reads it.
fn tidy(function: &mut MachFunction) {
    let count = function.vreg_bytes.len();
    let mut bytes = vec![0u8; count];
    for inst in 0..function.insts.len() {
        for operand in function.inst_operands(inst) {
            let vreg = operand.vreg().vreg();
            let read = match operand.kind() {
                OperandKind::Use => function.vreg_bytes[vreg].min(function.slot_bytes(inst) as u8),
                OperandKind::Def => 4,
            };
            bytes[vreg] = bytes[vreg].max(read.max(4));
        }
    }
    let mut changed = true;
    while changed {
        changed = false;
        for block in &function.blocks {
            let [succ] = block.succs[..] else { continue };
            let params = &function.blocks[succ.index()].params;
            for (arg, param) in block.args.iter().zip(params) {
                let wanted = bytes[param.vreg()];
                changed |= bytes[arg.vreg()] < wanted;
                bytes[arg.vreg()] = bytes[arg.vreg()].max(wanted);
            }
        }
    }
    for block in 0..function.blocks.len() {
        let is_used: Vec<bool> =
            function.blocks[block].params.iter().map(|param| bytes[param.vreg()] > 0).collect();
        let kept = |list: &mut Vec<VReg>| {
            let mut used = is_used.iter();
            list.retain(|_| *used.next().unwrap());
        };
        kept(&mut function.blocks[block].params);
        for pred in function.blocks[block].preds.clone() {
            kept(&mut function.blocks[pred.index()].args);
        }
    }
    function.vreg_bytes = bytes.into_iter().map(|bytes| bytes.max(4)).collect();
}
