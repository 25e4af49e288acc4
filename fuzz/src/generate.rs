//! From choices to a [`Case`].
//!
//! Functions are made from the last to the first, so that what a call costs is
//! known. Costs are bounds on the instructions that a run executes, tail calls
//! aside; loops and calls are made only as far as a function's budget goes. A
//! tail call starts a program again at most 33 times.

use tailor_bpf::insn::AtomicOp;
use tailor_bpf::{Op, ProgramKind, Reg, Size, Src, Width};

use crate::levers;
use crate::operations::{self, Extent, Limits, base, data, register, registers};
use crate::program::*;
use crate::source::Source;

/// Instructions that a program may execute, and a subprogram.
const PROGRAM_BUDGET: usize = 3000;
const SUBPROGRAM_BUDGET: usize = 500;
/// About what one statement executes at most without what it calls or contains.
const STATEMENT: usize = 12;
/// Instructions at a function's start and end.
const FRAME: usize = 60;

/// What may be generated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Only programs that the kernel can run, with results that it shares.
    pub kernel: bool,
}

/// Makes a case.
pub fn case(s: &mut Source, options: Options) -> Case {
    let kind = match s.below(4) {
        _ if options.kernel => s.pick(&[ProgramKind::Xdp, ProgramKind::SchedCls]),
        0 | 1 => ProgramKind::Raw,
        2 => ProgramKind::Xdp,
        _ => ProgramKind::SchedCls,
    };
    let length = match kind {
        ProgramKind::Raw => MEMORY,
        // The kernel takes no packets shorter than an Ethernet header.
        _ => 14 + s.pick(&[0, 1, 6, 20, 34, 50, 86]),
    };
    let mut data = s.bytes(length);
    if kind == ProgramKind::SchedCls && length >= 14 {
        // A type that nothing looks into.
        data[12..14].copy_from_slice(&[0x88, 0xb5]);
    }
    let input = std::array::from_fn(|_| s.extreme());
    let tail_calls = s.one_in(3);
    let programs = if tail_calls { 1 + s.below(3) } else { 1 };
    let subprograms = s.pick(&[0, 0, 1, 2, 3]);
    let callbacks = s.pick(&[0, 0, 0, 1]);
    let mut roles = vec![Role::Program; programs];
    roles.resize(programs + subprograms, Role::Subprogram);
    roles.resize(programs + subprograms + callbacks, Role::Callback);

    let mut slots = [None; SLOTS as usize];
    if tail_calls {
        let full = s.one_in(2);
        for slot in &mut slots {
            *slot = (full || s.one_in(2)).then(|| s.below(programs));
        }
    }
    let mut made = Vec::new();
    for (number, &role) in roles.iter().enumerate().rev() {
        let mut generator = Generator {
            limits: Limits { strict: kind != ProgramKind::Raw },
            kind,
            options,
            role,
            number,
            roles: &roles,
            made: &made,
            tail_calls,
            budget: if role == Role::Program { PROGRAM_BUDGET } else { SUBPROGRAM_BUDGET },
            times: 1,
            loops: 0,
            statements: 0,
        };
        let function = generator.function(s);
        let cost = generator.cost();
        made.push((function, cost));
    }
    let functions = made.into_iter().rev().map(|(function, _)| function).collect();
    // Takes nothing of the source: a program is the same whatever levers there are.
    let off = levers::off(input.iter().flat_map(|word| word.to_le_bytes()));
    Case { kind, data, input, functions, slots, off }
}

/// What programs add to a value in the input map where they start, so that the
/// number of tail calls shows.
const ADDEND: Reg = Reg::R6;

fn counted(s: &mut Source) -> Stmt {
    let op = Op::Atomic {
        op: AtomicOp::Add,
        w: Width::W64,
        fetch: false,
        base: Reg::R0,
        off: MEMORY as i16 - 8,
        src: ADDEND,
    };
    Stmt::Access { place: Place::Input, index: None, op, base: Reg::R0, refill: s.immediate() }
}

/// Frames above a tail call: all together they must be below 256 bytes, and one
/// is up to 120.
const MOST_CALLERS: usize = 2;

struct Generator<'a> {
    limits: Limits,
    kind: ProgramKind,
    options: Options,
    role: Role,
    number: usize,
    roles: &'a [Role],
    /// The functions behind this one, the last first, and what they cost.
    made: &'a [(Function, usize)],
    tail_calls: bool,
    /// Instructions that are left.
    budget: usize,
    /// How often the current place is executed.
    times: usize,
    loops: usize,
    statements: usize,
}

impl Generator<'_> {
    fn cost(&self) -> usize {
        let all = if self.role == Role::Program { PROGRAM_BUDGET } else { SUBPROGRAM_BUDGET };
        all - self.budget + FRAME
    }

    /// The most frames that can lie above this function's.
    fn callers(&self) -> usize {
        let programs = self.roles.iter().filter(|role| **role == Role::Program).count();
        match self.role {
            Role::Program => 0,
            Role::Subprogram | Role::Callback => 1 + self.number - programs,
        }
    }

    fn function(&mut self, s: &mut Source) -> Function {
        let mut initial = std::array::from_fn(|_| {
            Some(match s.one_in(2) {
                true => Initial::Input(s.below(INPUTS)),
                false => Initial::Constant(s.extreme()),
            })
        });
        let most = if self.role == Role::Program { 24 } else { 10 };
        let mut body = self.block(s, most, 0);
        // What ends in a tail call makes chains up to the limit.
        if self.role == Role::Program && self.tail_calls && (body.len() < 3 || !s.one_in(3)) {
            body.extend(self.tail_call(s));
        }
        if self.role == Role::Program && self.tail_calls {
            initial[ADDEND.index()] = Some(Initial::Constant(s.extreme() | 1));
            body.insert(0, counted(s));
        }
        let registers = (0..DATA).map(|number| Observed::Register(register(number)));
        let slots = (0..WINDOW / 8).map(Observed::Slot);
        Function { role: self.role, initial, body, observed: registers.chain(slots).collect() }
    }

    fn block(&mut self, s: &mut Source, most: usize, depth: usize) -> Vec<Stmt> {
        let mut body = Vec::new();
        let count = if most == 0 { 0 } else { s.below(most) + 1 };
        while body.len() < count && !s.is_empty() && self.statements < 60 {
            let Some(stmt) = self.statement(s, depth) else {
                break;
            };
            body.push(stmt);
        }
        body
    }

    /// Takes from the budget, if there is so much.
    fn spend(&mut self, cost: usize) -> bool {
        let cost = cost.saturating_mul(self.times);
        let enough = cost <= self.budget;
        if enough {
            self.budget -= cost;
        }
        enough
    }

    fn statement(&mut self, s: &mut Source, depth: usize) -> Option<Stmt> {
        if !self.spend(STATEMENT) {
            return None;
        }
        self.statements += 1;
        let simple = Stmt::Op(operations::on_registers(s, self.limits));
        let made = match s.below(27) {
            0..=7 => None,
            8..=11 => self.direct(s),
            12..=14 => self.access(s),
            15 | 16 if depth < 4 => Some(self.branch(s, depth)),
            17 if depth < 4 => self.repeated(s, depth),
            18 => self.call(s),
            19 => self.callback(s),
            20 | 21 => Some(Stmt::Helper(self.helper(s), None, s.immediate())),
            22 if self.tail_calls => self.tail_call(s),
            23 => self.context(s),
            24 if depth < 4 => Some(self.may_goto(s, depth)),
            // Kernel 6.18 takes neither of these.
            25 if depth < 4 && !self.options.kernel => Some(self.switch(s, depth)),
            26 if !self.options.kernel => Some(self.call_by_number(s)),
            _ => None,
        };
        Some(made.unwrap_or(simple))
    }

    fn has_context(&self) -> bool {
        self.role != Role::Callback
    }

    fn is_raw(&self) -> bool {
        self.kind == ProgramKind::Raw
    }

    /// An access at a fixed place.
    fn direct(&mut self, s: &mut Source) -> Option<Stmt> {
        let memory = self.is_raw() && self.has_context() && s.one_in(2);
        let aligned = !self.is_raw();
        let op = operations::on_memory(s, Extent { bytes: WINDOW, aligned, atomics: true });
        Some(Stmt::Op(match memory {
            true => operations::at(op, Reg::R9, 0),
            false => operations::at(op, Reg::FP, -WINDOW),
        }))
    }

    /// Two data registers that are none of these.
    fn others(s: &mut Source, used: &[Reg]) -> [Reg; 2] {
        let mut free: Vec<Reg> =
            (0..DATA).map(register).filter(|reg| !used.contains(reg)).collect();
        let first = free.remove(s.below(free.len()));
        let second = free.remove(s.below(free.len()));
        [first, second]
    }

    fn access(&mut self, s: &mut Source) -> Option<Stmt> {
        let (place, bytes) = match s.below(6) {
            0 => (Place::Window, WINDOW),
            1 if self.is_raw() && self.has_context() => (Place::Memory, MEMORY as i16),
            1 | 2 if self.has_context() && !self.is_raw() => {
                let length = s.pick(&[8, 14, 16, 24, 34, 64]);
                (Place::Packet { length, end: Reg::R0 }, length)
            }
            3 => (Place::Input, TestMap::Input.value_size()),
            4 if self.role != Role::Program => (Place::Caller, LENT),
            _ => {
                let map = s.pick(&[TestMap::Array, TestMap::Hash, TestMap::PercpuArray]);
                (Place::Element(map, self.key(s)), map.value_size())
            }
        };
        let on_stack = matches!(place, Place::Window | Place::Caller);
        let atomics = !matches!(place, Place::Packet { .. });
        let aligned = on_stack && !self.is_raw();
        // What the index can add at most.
        let reach = bytes.min(32) / 2;
        let indexed = reach > 8 && s.one_in(2);
        let bytes = if indexed { bytes - reach } else { bytes };
        let op = operations::on_memory(s, Extent { bytes, aligned, atomics });
        let mut used = registers(&op);
        let index = indexed.then(|| {
            let needs = aligned || !matches!(op, Op::Load { .. } | Op::Store { .. });
            let mask = i32::from(if reach >= 16 { 15i16 } else { 7 });
            (data(s), if needs { mask & !7 } else { mask })
        });
        used.extend(index.map(|(reg, _)| reg));
        if let Place::Element(..) = place {
            // R0 is the lookup's result; R1 to R5 are lost before the access.
            used.push(Reg::R0);
        }
        let [base, end] = Self::others(s, &used);
        let place = match place {
            Place::Packet { length, .. } => Place::Packet { length, end },
            place => place,
        };
        Some(Stmt::Access { place, index, op, base, refill: s.immediate() })
    }

    fn key(&self, s: &mut Source) -> Key {
        match s.one_in(2) {
            true => Key::Constant(s.below(6) as i32 - 1),
            false => Key::Register(data(s)),
        }
    }

    fn branch(&mut self, s: &mut Source, depth: usize) -> Stmt {
        let branch = operations::branch(s);
        let mut then = self.block(s, 5, depth + 1);
        let mut other = self.block(s, 4, depth + 1);
        if s.one_in(6) {
            let arm = if s.one_in(2) { &mut then } else { &mut other };
            arm.push(Stmt::Return(data(s)));
        }
        Stmt::If(branch, then, other)
    }

    fn repeated(&mut self, s: &mut Source, depth: usize) -> Option<Stmt> {
        if self.loops == MAX_LOOPS {
            return None;
        }
        let count = 1 + s.below(5);
        self.loops += 1;
        self.times *= count;
        let body = self.block(s, 6, depth + 1);
        self.times /= count;
        self.loops -= 1;
        Some(Stmt::Loop(count as u8, data(s), body))
    }

    fn may_goto(&mut self, s: &mut Source, depth: usize) -> Stmt {
        let leaves = self.loops > 0 && s.one_in(2);
        Stmt::MayGoto(leaves, self.block(s, 4, depth + 1))
    }

    fn switch(&mut self, s: &mut Source, depth: usize) -> Stmt {
        let count = s.pick(&[1, 2, 3, 4, 5]);
        let mut arms: Vec<_> = (0..count).map(|_| self.block(s, 3, depth + 1)).collect();
        if s.one_in(6) {
            arms[s.below(count)].push(Stmt::Return(data(s)));
        }
        let [index, target] = Self::others(s, &[]);
        Stmt::Switch { index, target, arms, refill: s.immediate() }
    }

    /// A function behind this one with a role.
    fn callee(&self, s: &mut Source, role: Role) -> Option<(usize, usize)> {
        let found: Vec<usize> =
            (self.number + 1..self.roles.len()).filter(|&n| self.roles[n] == role).collect();
        let callee = *found.get(s.below(found.len().max(1)))?;
        let cost = self.made[self.roles.len() - 1 - callee].1;
        Some((callee, cost))
    }

    fn call(&mut self, s: &mut Source) -> Option<Stmt> {
        let (callee, cost) = self.callee(s, Role::Subprogram)?;
        if !self.has_context() || !self.spend(cost) {
            return None;
        }
        Some(Stmt::Call(callee, self.lent(s), s.immediate()))
    }

    /// Where in the window the part starts that a callee gets.
    fn lent(&self, s: &mut Source) -> i16 {
        8 * s.below(((WINDOW - LENT) / 8) as usize + 1) as i16
    }

    fn callback(&mut self, s: &mut Source) -> Option<Stmt> {
        let (callee, cost) = self.callee(s, Role::Callback)?;
        let rounds = s.pick(&[0, 1, 2, 5]);
        if self.role == Role::Callback || !self.spend(cost * rounds as usize) {
            return None;
        }
        Some(Stmt::Repeat { callee, rounds, at: self.lent(s), refill: s.immediate() })
    }

    fn call_by_number(&mut self, s: &mut Source) -> Stmt {
        let helper = match s.below(4) {
            0 => Helper::RandomOrProcessor(data(s)),
            1 => Helper::NoHelper(match s.one_in(2) {
                true => Src::Reg(data(s)),
                // Beside numbers that are none, the tail call's.
                false => Src::Imm(s.pick(&[0, tailor_bpf::cfg::TAIL_CALL as i32, 10_000, -1])),
            }),
            _ => {
                // No argument is in one of these.
                let by = s.pick(&[Reg::R0, Reg::R6, register(7), register(8)]);
                return Stmt::Helper(self.helper(s), Some(by), s.immediate());
            }
        };
        Stmt::Helper(helper, Some(data(s)), s.immediate())
    }

    fn helper(&mut self, s: &mut Source) -> Helper {
        let map = s.pick(&[TestMap::Hash, TestMap::Array, TestMap::PercpuArray]);
        let key = self.key(s);
        let slot =
            |s: &mut Source, size: i16| 8 * s.below(((WINDOW - size) / 8) as usize + 1) as i16;
        let on_packet = self.has_context() && !self.is_raw();
        match s.below(8) {
            0 => Helper::Delete { map: TestMap::Hash, key },
            1 => {
                let sizes = [s.pick(&[0, 4, 8, 20, 32]), s.pick(&[0, 4, 16, 32])];
                let (from, to) = (slot(s, 32), slot(s, 32));
                let [from_size, to_size] = sizes;
                let seed = operations::src(s);
                Helper::ChecksumDifference { from, from_size, to, to_size, seed }
            }
            2 | 3 if on_packet => {
                let at = match s.one_in(2) {
                    true => Key::Constant(s.below(60) as i32),
                    false => Key::Register(data(s)),
                };
                let (size, stack) = (1 + s.below(16) as i32, slot(s, 16));
                match s.one_in(2) {
                    true => Helper::StoreBytes { at, from: stack, size },
                    false => Helper::LoadBytes { at, to: stack, size },
                }
            }
            // In the kernel these are what they are.
            4 if !self.options.kernel => s.pick(&[Helper::Time, Helper::Random, Helper::Processor]),
            _ => {
                let flags = s.pick(&[0, 0, 0, 1, 2, 3]);
                Helper::Update { map, key, value: slot(s, map.value_size()), flags }
            }
        }
    }

    fn tail_call(&mut self, s: &mut Source) -> Option<Stmt> {
        if !self.has_context() || self.callers() > MOST_CALLERS {
            return None;
        }
        let index = match s.one_in(2) {
            true => Index::Constant(s.pick(&[0, 1, 2, 3, 4, -1])),
            false => Index::Register(data(s), s.pick(&[3, 3, 7, -1])),
        };
        Some(Stmt::TailCall(index, s.immediate()))
    }

    /// Something of the context, beside the packet's bytes.
    fn context(&mut self, s: &mut Source) -> Option<Stmt> {
        if self.is_raw() || !self.has_context() {
            return None;
        }
        let [a, b] = Self::others(s, &[]);
        if s.one_in(3) {
            return Some(Stmt::Length(a, b));
        }
        let load = |off| Op::Load { size: Size::W, signed: false, dst: a, base: Reg::R9, off };
        if self.kind == ProgramKind::Xdp {
            // ingress_ifindex, rx_queue_index.
            return Some(Stmt::Op(load(s.pick(&[12, 16]))));
        }
        Some(match s.below(4) {
            // len, mark, protocol, priority, tc_index, cb.
            0 => Stmt::Op(load(s.pick(&[0, 8, 16, 32, 44, 48, 52, 56, 60, 64]))),
            // LD_ABS in a subprogram takes type information, or the kernel refuses it.
            1 if self.role == Role::Program => {
                let size = s.pick(&[Size::B, Size::H, Size::W]);
                let index = s.one_in(2).then(|| s.pick(&[Reg::R0, Reg::R1, register(7)]));
                let off = s.below(40) as i32;
                Stmt::LoadPacket(Op::LoadPacket { size, index, off }, s.immediate())
            }
            // mark, priority, cb.
            _ => Stmt::Op(Op::Store {
                size: Size::W,
                base: Reg::R9,
                off: s.pick(&[8, 32, 48, 52, 56, 60, 64]),
                src: Src::Reg(b),
            }),
        })
    }
}

/// Whether a statement may read a data register before it writes it, what is in
/// it included. Registers behind calls are made of R6 and R7.
pub fn reads(stmt: &Stmt, reg: Reg) -> bool {
    let call = |more: bool| (6..=7).contains(&reg.index()) || more;
    let key = |key: &Key| matches!(key, Key::Register(other) if *other == reg);
    match stmt {
        Stmt::Op(op) => registers(op).contains(&reg) || base(op) == Some(reg),
        Stmt::If(op, then, other) => {
            registers(op).contains(&reg) || then.iter().chain(other).any(|stmt| reads(stmt, reg))
        }
        Stmt::Loop(_, _, body) | Stmt::MayGoto(_, body) => body.iter().any(|stmt| reads(stmt, reg)),
        Stmt::Switch { index, arms, .. } => {
            *index == reg || arms.iter().flatten().any(|stmt| reads(stmt, reg))
        }
        Stmt::Access { place, index, op, .. } => {
            let by_lookup = matches!(place, Place::Element(_, k) if call(key(k)));
            by_lookup
                || index.is_some_and(|(index, _)| index == reg)
                || registers(op).contains(&reg)
        }
        Stmt::Helper(helper, ..) => call(match helper {
            Helper::Update { key: k, .. }
            | Helper::Delete { key: k, .. }
            | Helper::LoadBytes { at: k, .. }
            | Helper::StoreBytes { at: k, .. } => key(k),
            Helper::ChecksumDifference { seed: src, .. } | Helper::NoHelper(src) => {
                *src == Src::Reg(reg)
            }
            Helper::RandomOrProcessor(other) => *other == reg,
            _ => false,
        }),
        Stmt::TailCall(index, _) => {
            call(matches!(index, Index::Register(other, _) if *other == reg))
        }
        Stmt::Call(..) => call((3..=5).contains(&reg.index())),
        Stmt::Repeat { .. } => call(false),
        Stmt::LoadPacket(Op::LoadPacket { index, .. }, _) => call(*index == Some(reg)),
        Stmt::LoadPacket(..) => true,
        Stmt::Length(..) => false,
        Stmt::Return(other) => *other == reg,
    }
}
