//! From a [`Case`] to an object.
//!
//! A frame, from R10 down: the window, a counter for each nesting of loops, the
//! pointer to the caller's window, a key.

mod outside;

use std::collections::BTreeMap;

use tailor_bpf::{
    AluOp, Callee, Cond, FuncRef, Imm64, MapDef, MapKind, MapRef, Object, Op, ProgId, Program,
    ProgramKind, Reg, Size, Src, Width,
};

use crate::operations::{at, register};
use crate::program::*;

/// R9: the context.
const CONTEXT: Reg = Reg::R9;
const CALLER: i16 = -WINDOW - 8 * (MAX_LOOPS as i16 + 1);
const KEY: i16 = CALLER - 8;
/// Keys in registers are masked so.
const KEY_MASK: i32 = 7;

/// The object of a case. Its maps are those that it uses.
pub fn object(case: &Case) -> Object {
    let mut maps = Maps {
        object: Object { name: "generated".into(), ..Object::default() },
        refs: BTreeMap::new(),
    };
    let mut functions = Vec::new();
    for function in &case.functions {
        functions.push(Assembler::function(case, function, &mut maps));
    }
    let mut object = maps.object;
    for (number, (function, ops)) in case.functions.iter().zip(functions).enumerate() {
        let name = match function.role {
            Role::Program => format!("program{number}"),
            Role::Subprogram => format!("subprogram{number}"),
            Role::Callback => format!("callback{number}"),
        };
        let section = match function.role {
            Role::Program => section(case.kind),
            _ => ".text",
        };
        let func = object.functions.push(tailor_bpf::Function {
            name: name.clone(),
            section: section.into(),
            ops,
            refused: None,
            further: Vec::new(),
            lines: Default::default(),
        });
        if function.role == Role::Program {
            let section = section.into();
            object.programs.push(Program { name, function: func, section, kind: case.kind });
        }
    }
    if let Some(&programs) = maps.refs.get(&TestMap::Programs) {
        let slots = (0u32..).zip(case.slots);
        let full =
            slots.filter_map(|(slot, number)| Some((slot, ProgId::from_u32(number? as u32))));
        object.maps[programs].slots = full.collect();
    }
    object
}

fn section(kind: ProgramKind) -> &'static str {
    match kind {
        ProgramKind::Xdp => "xdp",
        ProgramKind::SchedCls => "tc",
        _ => "",
    }
}

/// The object's maps, each made when it is first used.
struct Maps {
    object: Object,
    refs: BTreeMap<TestMap, MapRef>,
}

impl Maps {
    fn get(&mut self, case: &Case, map: TestMap) -> MapRef {
        let object = &mut self.object;
        *self.refs.entry(map).or_insert_with(|| object.maps.push(definition(case, map)))
    }
}

fn definition(case: &Case, map: TestMap) -> MapDef {
    let (kind, entries) = match map {
        TestMap::Input => (MapKind::Array, 1),
        TestMap::Array => (MapKind::Array, 4),
        TestMap::Hash => (MapKind::Hash, 4),
        TestMap::PercpuArray => (MapKind::PercpuArray, 4),
        TestMap::Programs => (MapKind::ProgArray, SLOTS),
    };
    let initial = match map {
        TestMap::Input => case.input.iter().flat_map(|word| word.to_le_bytes()).collect(),
        _ => Vec::new(),
    };
    MapDef {
        key_size: 4,
        value_size: map.value_size() as u32,
        max_entries: entries,
        initial,
        ..MapDef::new(map.name(), kind)
    }
}

struct Assembler<'a> {
    case: &'a Case,
    function: &'a Function,
    maps: &'a mut Maps,
    ops: Vec<Op>,
    loops: i16,
    /// Jumps out of the innermost loop, to be completed at its end.
    leaves: Vec<usize>,
    uses_window: bool,
}

impl Assembler<'_> {
    fn function(case: &Case, function: &Function, maps: &mut Maps) -> Vec<Op> {
        let uses_window = function.uses_window();
        let mut this = Assembler {
            case,
            function,
            maps,
            ops: Vec::new(),
            loops: 0,
            leaves: Vec::new(),
            uses_window,
        };
        this.entry();
        if this.block(&function.body) {
            this.mix();
            this.exit();
        }
        this.ops
    }

    fn mov(&mut self, dst: Reg, src: Src) {
        self.ops.push(Op::Mov { w: Width::W64, dst, src });
    }

    fn alu(&mut self, op: AluOp, dst: Reg, src: Src) {
        self.ops.push(Op::Alu { op, w: Width::W64, dst, src });
    }

    fn load(&mut self, size: Size, dst: Reg, base: Reg, off: i16) {
        self.ops.push(Op::Load { size, signed: false, dst, base, off });
    }

    fn store(&mut self, size: Size, base: Reg, off: i16, src: Src) {
        self.ops.push(Op::Store { size, base, off, src });
    }

    fn immediate(&mut self, dst: Reg, value: Imm64) {
        self.ops.extend([Op::LoadImm { dst, value }, Op::LoadImmHi]);
    }

    fn call(&mut self, helper: u32) {
        self.ops.push(Op::Call(Callee::Helper(helper)));
    }

    fn frame_pointer(&mut self, dst: Reg, off: i16) {
        self.mov(dst, Src::Reg(Reg::FP));
        self.alu(AluOp::Add, dst, Src::Imm(off.into()));
    }

    /// Arguments to their places, then the data registers and the window.
    fn entry(&mut self) {
        let keeps_pointer = self
            .function
            .statements()
            .into_iter()
            .any(|stmt| matches!(stmt, Stmt::Access { place: Place::Caller, .. }));
        match self.function.role {
            Role::Program => self.mov(CONTEXT, Src::Reg(Reg::R1)),
            role => {
                if keeps_pointer {
                    self.store(Size::D, Reg::FP, CALLER, Src::Reg(Reg::R2));
                }
                match role {
                    Role::Callback => self.mov(Reg::R3, Src::Reg(Reg::R1)),
                    _ => self.mov(CONTEXT, Src::Reg(Reg::R1)),
                }
            }
        }
        let given = match self.function.role {
            Role::Program => 0..0,
            Role::Subprogram => 3..6,
            Role::Callback => 3..4,
        };
        let inputs = |initial: &Option<Initial>| matches!(initial, Some(Initial::Input(_)));
        let initial = self.function.initial;
        if initial.iter().any(inputs) {
            // The last register that is set holds the address until then.
            let map = self.maps.get(self.case, TestMap::Input);
            let own = |number: &usize| initial[*number].is_some() && !given.contains(number);
            if let Some(address) = (0..DATA).rfind(own) {
                self.initialise(&initial, &given, Some((register(address), map)));
            }
        } else {
            self.initialise(&initial, &given, None);
        }
        let slots = if self.uses_window { WINDOW / 8 } else { 0 };
        for slot in 0..slots {
            let src = match initial[slot as usize] {
                Some(_) => Src::Reg(register(slot as usize)),
                None => Src::Imm(0),
            };
            self.store(Size::D, Reg::FP, 8 * slot - WINDOW, src);
        }
    }

    fn initialise(
        &mut self,
        initial: &[Option<Initial>; DATA],
        given: &std::ops::Range<usize>,
        address: Option<(Reg, MapRef)>,
    ) {
        if let Some((reg, map)) = address {
            self.immediate(reg, Imm64::MapValue(map, 0));
        }
        for (number, initial) in initial.iter().enumerate() {
            let dst = register(number);
            // What the caller gave stays.
            match initial {
                _ if given.contains(&number) => {}
                None => {}
                Some(Initial::Constant(value)) => self.immediate(dst, Imm64::Const(*value)),
                Some(Initial::Input(word)) => match address {
                    Some((base, _)) => self.load(Size::D, dst, base, 8 * *word as i16),
                    None => self.mov(dst, Src::Imm(0)),
                },
            }
        }
    }

    /// R0 = 31 R0 + each thing that is observed.
    fn mix(&mut self) {
        let mut first = true;
        for &observed in &self.function.observed {
            let (src, scratch) = match observed {
                Observed::Register(reg) => (reg, None),
                Observed::Slot(slot) => (Reg::R1, Some(8 * slot - WINDOW)),
            };
            if let Some(off) = scratch {
                self.load(Size::D, src, Reg::FP, off);
            }
            if first {
                if src != Reg::R0 {
                    self.mov(Reg::R0, Src::Reg(src));
                }
            } else {
                self.alu(AluOp::Mul, Reg::R0, Src::Imm(31));
                self.alu(AluOp::Add, Reg::R0, Src::Reg(src));
            }
            first = false;
        }
        if first {
            self.mov(Reg::R0, Src::Imm(0));
        } else if self.function.role == Role::Program && self.case.kind != ProgramKind::Raw {
            // The host sees the low half only.
            self.mov(Reg::R1, Src::Reg(Reg::R0));
            self.alu(AluOp::Rsh, Reg::R1, Src::Imm(32));
            self.alu(AluOp::Add, Reg::R0, Src::Reg(Reg::R1));
        }
    }

    fn exit(&mut self) {
        if self.function.role == Role::Callback {
            self.alu(AluOp::And, Reg::R0, Src::Imm(1));
        }
        self.ops.push(Op::Exit);
    }

    /// Whether control comes out at the end.
    fn block(&mut self, body: &[Stmt]) -> bool {
        body.iter().all(|stmt| self.statement(stmt))
    }

    fn statement(&mut self, stmt: &Stmt) -> bool {
        match stmt {
            Stmt::Op(op) => {
                self.ops.push(*op);
                if op.slots() == 2 {
                    self.ops.push(Op::LoadImmHi);
                }
            }
            Stmt::If(branch, then, other) => return self.branch(*branch, then, other),
            Stmt::Loop(count, counter, body) => return self.repeat(*count, *counter, body),
            Stmt::MayGoto(leaves, body) => return self.may_goto(*leaves, body),
            Stmt::Switch { index, target, arms, refill } => {
                return self.switch(*index, *target, arms, *refill);
            }
            Stmt::Access { place, index, op, base, refill } => {
                self.access(*place, *index, *op, *base, *refill);
            }
            Stmt::Call(callee, lent, refill) => {
                self.mov(Reg::R1, Src::Reg(CONTEXT));
                self.frame_pointer(Reg::R2, lent - WINDOW);
                let callee = FuncRef::from_u32(*callee as u32);
                self.ops.push(Op::Call(Callee::Function(callee)));
                self.refill(*refill);
            }
            Stmt::Repeat { callee, rounds, at, refill } => {
                self.mov(Reg::R1, Src::Imm(*rounds));
                self.immediate(Reg::R2, Imm64::Function(FuncRef::from_u32(*callee as u32)));
                self.frame_pointer(Reg::R3, at - WINDOW);
                self.mov(Reg::R4, Src::Imm(0));
                self.call(181);
                self.refill(*refill);
            }
            Stmt::Helper(helper, by, refill) => {
                let number = self.arguments(*helper);
                self.call_helper(*helper, number, *by);
                self.refill(*refill);
            }
            Stmt::TailCall(index, refill) => self.tail_call(*index, *refill),
            Stmt::Length(dst, other) => {
                let (start, end) = self.packet_fields();
                self.load(Size::W, *other, CONTEXT, start);
                self.load(Size::W, *dst, CONTEXT, end);
                self.alu(AluOp::Sub, *dst, Src::Reg(*other));
                self.mov(*other, Src::Imm(1));
            }
            Stmt::LoadPacket(op, refill) => {
                self.mov(Reg::R6, Src::Reg(CONTEXT));
                self.ops.push(*op);
                self.mov(Reg::R6, Src::Imm(*refill));
                self.refill(*refill);
            }
            Stmt::Return(reg) => {
                if *reg != Reg::R0 {
                    self.mov(Reg::R0, Src::Reg(*reg));
                }
                self.exit();
                return false;
            }
        }
        true
    }

    /// Sets R1 to R5, which a call left undefined.
    fn refill(&mut self, value: i32) {
        match self.uses_window {
            true => self.load(Size::D, Reg::R1, Reg::FP, -WINDOW),
            false => self.mov(Reg::R1, Src::Imm(!value)),
        }
        self.mov(Reg::R2, Src::Imm(value));
        self.mov(Reg::R3, Src::Reg(Reg::R6));
        self.ops.push(Op::Mov { w: Width::W32, dst: Reg::R4, src: Src::Reg(register(7)) });
        self.ops.push(Op::Mov { w: Width::W32, dst: Reg::R5, src: Src::Imm(value) });
    }

    /// A jump over what is to come, which [`Assembler::land`] completes.
    fn skip(&mut self, cond: Cond, dst: Reg, src: Src) -> usize {
        self.ops.push(Op::Branch { cond, w: Width::W64, dst, src, off: 0 });
        self.ops.len() - 1
    }

    fn land(&mut self, jump: usize) {
        let distance = self.ops.len() - jump - 1;
        match &mut self.ops[jump] {
            Op::Branch { off, .. } | Op::MayGoto { off } => *off = distance as i16,
            Op::Jump { off, .. } => *off = distance as i32,
            _ => {}
        }
    }

    fn branch(&mut self, branch: Op, then: &[Stmt], other: &[Stmt]) -> bool {
        let taken = self.ops.len();
        self.ops.push(branch);
        let falls = self.block(other);
        // No jump that nothing reaches: the kernel refuses it.
        let out = falls.then(|| {
            self.ops.push(Op::Jump { off: 0, long: false });
            self.ops.len() - 1
        });
        self.land(taken);
        let comes = self.block(then);
        if let Some(out) = out {
            self.land(out);
        }
        falls || comes
    }

    fn repeat(&mut self, count: u8, counter: Reg, body: &[Stmt]) -> bool {
        let off = -WINDOW - 8 * (self.loops + 1);
        self.store(Size::D, Reg::FP, off, Src::Imm(count.into()));
        let start = self.ops.len();
        self.loops += 1;
        let outer = std::mem::take(&mut self.leaves);
        let comes = self.block(body);
        let leaves = std::mem::replace(&mut self.leaves, outer);
        self.loops -= 1;
        if comes {
            self.count_down(off, counter, start);
        }
        leaves.iter().for_each(|&jump| self.land(jump));
        comes || !leaves.is_empty()
    }

    /// A loop's end: its count is at this place, its first slot there.
    fn count_down(&mut self, off: i16, counter: Reg, start: usize) {
        self.load(Size::D, counter, Reg::FP, off);
        self.alu(AluOp::Sub, counter, Src::Imm(1));
        self.store(Size::D, Reg::FP, off, Src::Reg(counter));
        let back = start as i64 - self.ops.len() as i64 - 1;
        let (cond, w, src) = (Cond::Ne, Width::W64, Src::Imm(0));
        self.ops.push(Op::Branch { cond, w, dst: counter, src, off: back as i16 });
    }

    fn may_goto(&mut self, leaves: bool, body: &[Stmt]) -> bool {
        let jump = self.ops.len();
        self.ops.push(Op::MayGoto { off: 0 });
        if leaves && self.loops > 0 {
            self.leaves.push(jump);
            return self.block(body);
        }
        self.block(body);
        self.land(jump);
        true
    }

    fn switch(&mut self, index: Reg, target: Reg, arms: &[Vec<Stmt>], refill: i32) -> bool {
        let entries = arms.len().next_power_of_two();
        let tables = self.maps.object.maps.len();
        let table = self.maps.object.maps.push(MapDef {
            key_size: 4,
            value_size: 8,
            max_entries: entries as u32,
            // Read-only to programs.
            flags: 0x80,
            ..MapDef::new(&format!("table{tables}"), MapKind::InsnArray)
        });
        self.alu(AluOp::And, index, Src::Imm(entries as i32 - 1));
        self.alu(AluOp::Lsh, index, Src::Imm(3));
        self.immediate(target, Imm64::MapValue(table, 0));
        self.alu(AluOp::Add, target, Src::Reg(index));
        self.load(Size::D, target, target, 0);
        self.ops.push(Op::IndirectJump { target });
        let (mut starts, mut outs) = (Vec::new(), Vec::new());
        for arm in arms {
            starts.push(self.ops.len() as u64);
            self.mov(target, Src::Imm(refill));
            if self.block(arm) {
                outs.push(self.ops.len());
                self.ops.push(Op::Jump { off: 0, long: false });
            }
        }
        outs.iter().for_each(|&jump| self.land(jump));
        let slots = starts.iter().cycle().take(entries);
        self.maps.object.maps[table].initial = slots.flat_map(|slot| slot.to_le_bytes()).collect();
        !outs.is_empty()
    }
}
