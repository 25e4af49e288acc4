//! What a function does, read off the states of the fixpoint.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::Env;
use super::calls::{Passed, Taker, callback, passed};
use super::cells::Cell;
use super::frame::Frame;
use super::range::Range;
use super::state::State;
use super::summary::{ParamUse, Summary};
use super::transfer::{Place, operand, place, step};
use super::value::{Base, Bases, Pointer, Val};
use crate::cfg::{Cfg, is_tail_call};
use crate::facts::TailCall;
use crate::insn::{Callee, Cond, Op, Reg, Src, Width};
use crate::interp::FRAME_BYTES;
use crate::{FuncRef, MapKind, Size};

/// What was found in one function.
pub(super) struct Found {
    pub frame: Frame,
    pub frame_pointers: BTreeMap<u32, i32>,
    pub frame_accesses: BTreeMap<u32, i32>,
    pub tail_calls: BTreeMap<u32, TailCall>,
    pub summary: Summary,
    /// Accesses through parameters, which may be contexts.
    pub accesses: Vec<ParamAccess>,
    /// Parameters that go where they cannot be followed.
    pub leaks: Vec<Leak>,
    pub calls: Vec<CallSite>,
    pub errors: Vec<(u32, String)>,
    /// A pointer to the frame went where it cannot be followed, so that others
    /// may read and write spilled values.
    pub escaped: bool,
}

/// An access through a parameter.
pub(super) struct ParamAccess {
    pub slot: u32,
    pub place: Place,
    pub kind: AccessKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessKind {
    Load { signed: bool },
    Store,
    Atomic,
}

/// A parameter that goes where it cannot be followed.
pub(super) struct Leak {
    pub slot: u32,
    pub bases: Bases,
    pub how: &'static str,
    /// It could be followed if this function had this cell.
    pub remedy: Option<(FuncRef, Cell)>,
}

/// A call of a function of the object, by itself or as a callback.
pub(super) struct CallSite {
    pub callee: FuncRef,
    /// What it gets, as far as it reads it.
    pub args: [Val; 5],
    /// What is in its cells.
    pub cells: SmallVec<[Val; 2]>,
}

/// Goes over all instructions once.
pub(super) fn record(env: &Env, cfg: &Cfg, entry: &[Option<State>]) -> Found {
    let mut recorder = Recorder { env, slot: 0, found: Found::new() };
    for (block, state) in cfg.blocks.iter().zip(entry) {
        let Some(mut state) = state.clone() else {
            continue;
        };
        for slot in block.slots() {
            let op = &env.ops[slot];
            recorder.slot = slot as u32;
            recorder.before(&state, op);
            let operands = operands(&state, op);
            step(env, &mut state, op);
            recorder.after(&state, op, operands);
        }
    }
    recorder.found
}

/// The values that arithmetic computes with.
fn operands(state: &State, op: &Op) -> [Val; 2] {
    match *op {
        Op::Alu { dst, src, .. } => [state.get(dst), operand(state, src)],
        Op::Neg { dst, .. } | Op::End { dst, .. } => [state.get(dst), Val::Undefined],
        Op::MovSx { src, .. } => [state.get(src), Val::Undefined],
        Op::Mov { w: Width::W32, src, .. } => [operand(state, src), Val::Undefined],
        _ => [Val::Undefined; 2],
    }
}

/// Whether a callee may write these bytes of the frame through an argument.
fn may_write(passed: &Passed, bytes: Range) -> bool {
    let Some(written) = passed.usage.written() else {
        return false;
    };
    match passed.value {
        Val::Pointer(Pointer { base: Base::Frame, at, .. }) => at.shift(written).overlaps(bytes),
        Val::Mixed(bases) => bases.has_frame(),
        _ => false,
    }
}

/// Where a pointer to the frame may point.
fn frame_at(value: Val) -> Option<Range> {
    match value {
        Val::Pointer(Pointer { base: Base::Frame, at, .. }) => Some(at),
        _ => None,
    }
}

impl Found {
    fn new() -> Found {
        Found {
            frame: Frame::default(),
            frame_pointers: BTreeMap::new(),
            frame_accesses: BTreeMap::new(),
            tail_calls: BTreeMap::new(),
            summary: Summary { params: [ParamUse::default(); 5], result: Val::Undefined },
            accesses: Vec::new(),
            leaks: Vec::new(),
            calls: Vec::new(),
            errors: Vec::new(),
            escaped: false,
        }
    }
}

struct Recorder<'a> {
    env: &'a Env<'a>,
    slot: u32,
    found: Found,
}

impl Recorder<'_> {
    fn before(&mut self, state: &State, op: &Op) {
        if let Some(place) = place(state, op) {
            self.access(place, op);
            self.stored(state, place, op);
        }
        match *op {
            Op::Branch { cond, dst, src, .. } => {
                self.compared(cond, state.get(dst), operand(state, src));
            }
            Op::Call(callee) => self.call(state, callee),
            Op::Exit => self.result(state.get(Reg::R0)),
            _ => {}
        }
        if is_tail_call(op) {
            self.tail_call(state);
        }
    }

    /// Notes pointers to the frame that an instruction computed.
    fn after(&mut self, state: &State, op: &Op, operands: [Val; 2]) {
        let result = op.def().map_or(Val::Undefined, |dst| state.get(dst));
        let computes = matches!(op.plain(), Op::Alu { .. } | Op::Mov { .. } | Op::Load { .. });
        if let (true, Some(offset)) = (computes, result.frame_offset()) {
            self.found.frame_pointers.insert(self.slot, offset);
        }
        let at = frame_at(result);
        if let Some(at) = at {
            self.found.frame.made(at);
        } else if matches!(op, Op::Alu { .. }) && result.bases().has_frame() {
            // The sum of two pointers: one of them is a number of any size.
            self.found.frame.made(Range::ALL);
        }
        let used: Vec<Range> = operands.into_iter().filter_map(frame_at).collect();
        let hull = used.iter().copied().chain(at).reduce(Range::join);
        match hull {
            // A constant was added: each pointer is what it is.
            _ if result.frame_offset().is_some() && used.iter().all(|p| p.exact().is_some()) => {}
            Some(hull) if !used.is_empty() => self.found.frame.link(hull),
            _ => {}
        }
    }

    fn access(&mut self, place: Place, op: &Op) {
        let kind = match *op {
            Op::Load { signed, .. } => AccessKind::Load { signed },
            Op::Store { .. } => AccessKind::Store,
            _ => AccessKind::Atomic,
        };
        let writes = !matches!(kind, AccessKind::Load { .. });
        match place.base {
            Val::Pointer(pointer) => match pointer.base {
                Base::Frame => self.frame_access(pointer, place, kind),
                Base::Param(index) => {
                    let usage = &mut self.found.summary.params[usize::from(index)];
                    usage.touch(place.bytes(pointer), writes);
                }
                Base::Cell(_) => {}
            },
            Val::Mixed(bases) => {
                if bases.has_frame() {
                    self.found.frame.freeze(place.off.into());
                }
                for index in bases.params() {
                    self.found.summary.params[index].touch(Range::ALL, writes);
                }
            }
            _ => return,
        }
        if self.env.has_contexts && !place.base.bases().outside_frame().is_empty() {
            let slot = self.slot;
            self.found.accesses.push(ParamAccess { slot, place, kind });
        }
    }

    fn frame_access(&mut self, pointer: Pointer, place: Place, kind: AccessKind) {
        let bytes = place.bytes(pointer);
        let Some(offset) = place.base.frame_offset() else {
            self.found.frame.access_through(pointer.at, bytes);
            return;
        };
        let first = i64::from(offset) + i64::from(place.off);
        if bytes.lo < -i64::from(FRAME_BYTES) || bytes.hi > 0 {
            let what = format!(
                "access of {} bytes at r10{first:+}, outside of the frame of {FRAME_BYTES} bytes",
                place.size.bytes()
            );
            self.found.errors.push((self.slot, what));
            return;
        }
        self.found.frame_accesses.insert(self.slot, first as i32);
        self.found.frame.access(bytes);
        if kind == AccessKind::Atomic {
            self.found.frame.link(Range::exactly(first));
        }
    }

    /// A pointer that is written to memory.
    fn stored(&mut self, state: &State, place: Place, op: &Op) {
        let value = match op.plain() {
            Op::Store { src: Src::Reg(src), .. }
            | Op::Atomic { src, .. }
            | Op::CmpXchg { src, .. } => state.get(src),
            _ => return,
        };
        self.used(value);
        let followed = match place.base {
            Val::Pointer(to) => to.base == Base::Frame && to.sure && !self.env.opaque,
            _ => false,
        };
        if place.size == Size::D && !followed {
            self.lost(value.bases(), "stored where it cannot be followed", None);
        }
    }

    /// The address itself is used, not only what it points to.
    fn used(&mut self, value: Val) {
        if let Some(at) = frame_at(value) {
            self.found.frame.link(at);
        }
    }

    /// A pointer goes where it cannot be followed.
    fn lost(&mut self, bases: Bases, how: &'static str, remedy: Option<(FuncRef, Cell)>) {
        if bases.has_frame() {
            self.found.frame.freeze(0);
            self.found.escaped = true;
        }
        self.kept_params(bases);
        let bases = bases.outside_frame();
        if self.env.has_contexts && !bases.is_empty() {
            self.found.leaks.push(Leak { slot: self.slot, bases, how, remedy });
        }
    }

    fn compared(&mut self, cond: Cond, left: Val, right: Val) {
        self.used(left);
        self.used(right);
        if let (Some(a), Some(b)) = (frame_at(left), frame_at(right)) {
            let equality = matches!(cond, Cond::Eq | Cond::Ne);
            let exact = left.frame_offset().is_some() && right.frame_offset().is_some();
            if !(equality && exact) {
                self.found.frame.link(a.join(b));
            }
        }
    }

    fn call(&mut self, state: &State, callee: Callee) {
        let all = passed(self.env, state, callee);
        for passed in &all {
            self.used(passed.value);
            self.pass(state, passed, &all);
        }
        let args = state.args();
        match callee {
            Callee::Function(callee) => {
                let mut args = args;
                args[self.env.arity(callee)..].fill(Val::Undefined);
                self.call_site(state, callee, args);
            }
            Callee::Helper(id) => {
                let row = self.env.object.helper(id);
                let passed = row.args.iter().position(|arg| arg.is_passed_on());
                if let Some((callee, param)) = callback(row, &args) {
                    let mut given = [Val::ANY; 5];
                    given[param] = passed.map_or(Val::ANY, |index| args[index]);
                    self.call_site(state, callee, given);
                }
            }
            _ => {}
        }
    }

    fn call_site(&mut self, state: &State, callee: FuncRef, args: [Val; 5]) {
        let cells = self.env.contents(state, callee, &args);
        self.found.calls.push(CallSite { callee, args, cells });
    }

    /// What a call does with one of `all` its arguments.
    fn pass(&mut self, state: &State, passed: &Passed, all: &[Passed]) {
        let usage = passed.usage;
        match passed.value {
            Val::Pointer(pointer) => match pointer.base {
                Base::Frame => {
                    if let Some(bytes) = usage.touched() {
                        let bytes = pointer.at.shift(bytes);
                        self.found.frame.pass(pointer.at, bytes);
                        for (slot, bases) in state.spilled_at(bytes) {
                            self.read_by_callee(pointer, slot, bases, passed.taker, all);
                        }
                    }
                    if usage.kept {
                        self.kept_with(state, passed.taker);
                    }
                }
                Base::Param(index) => {
                    self.found.summary.params[usize::from(index)].pass(pointer.at, &usage);
                    let touched = usage.touched().map(|bytes| pointer.at.shift(bytes));
                    self.cells_passed(index, pointer, touched, passed.taker, all);
                }
                Base::Cell(_) => {}
            },
            Val::Mixed(bases) => {
                if bases.has_frame() {
                    self.kept_with(state, passed.taker);
                    if let Some(bytes) = usage.touched() {
                        self.found.frame.freeze(bytes.lo);
                    }
                }
                for index in bases.params() {
                    self.found.summary.params[index].pass(Range::ALL, &usage);
                    let cells = self.env.cells_in(index as u8, Range::ALL);
                    self.lost_in_memory(cells, passed.taker, None);
                }
            }
            _ => {}
        }
    }

    /// A pointer to the frame is given away with all that is spilled.
    fn kept_with(&mut self, state: &State, taker: Taker) {
        self.lost_in_memory(state.spilled(Range::ALL), taker, None);
        self.lost(Bases::of(Base::Frame), "", None);
    }

    /// Cells of this function lie where a callee may read them.
    fn cells_passed(
        &mut self,
        param: u8,
        pointer: Pointer,
        touched: Option<Range>,
        taker: Taker,
        all: &[Passed],
    ) {
        let cells = self.env.cells[self.env.function].iter().enumerate();
        for (index, cell) in cells.filter(|(_, cell)| cell.param == param) {
            if touched.is_some_and(|touched| touched.overlaps(cell.bytes())) {
                let bases = Bases::of(Base::Cell(index as u8));
                self.read_by_callee(pointer, cell.at, bases, taker, all);
            }
        }
    }

    /// A pointer is stored at distance `at` from the base of an argument, where
    /// a callee may read it. (What is written to a parameter's cells counts
    /// where the parameter comes from the frame.)
    fn read_by_callee(
        &mut self,
        argument: Pointer,
        at: i64,
        bases: Bases,
        taker: Taker,
        all: &[Passed],
    ) {
        let stored = Range::new(at, at.saturating_add(8));
        let kept_there =
            argument.base != Base::Frame || !all.iter().any(|other| may_write(other, stored));
        let remedy = match (taker, argument.at.exact()) {
            (Taker::Function(callee, param), Some(from)) if argument.sure && kept_there => {
                Some((callee, Cell { param, at: at.saturating_sub(from) }))
            }
            _ => None,
        };
        let has_cell = |(callee, cell)| self.env.cells[callee].contains(&cell);
        if remedy.is_some_and(has_cell) && !bases.has_frame() {
            // The callee knows a context when it is one, and may follow others.
            self.kept_params(bases);
        } else {
            self.lost_in_memory(bases, taker, remedy);
        }
    }

    fn lost_in_memory(&mut self, bases: Bases, taker: Taker, remedy: Option<(FuncRef, Cell)>) {
        if taker != Taker::Helper {
            self.lost(bases, "passed in memory, where it cannot be followed", remedy);
            return;
        }
        if bases.has_frame() {
            self.found.frame.freeze(0);
        }
        self.kept_params(bases);
    }

    /// Parameters may be followed in ways that are not known.
    fn kept_params(&mut self, bases: Bases) {
        for index in bases.params() {
            let usage = &mut self.found.summary.params[index];
            usage.pass(Range::exactly(0), &ParamUse::KEPT);
        }
    }

    fn result(&mut self, value: Val) {
        self.used(value);
        if value.bases().cells().next().is_some() {
            self.lost(value.bases().outside_frame(), "returned from where it was in memory", None);
        }
        let result = &mut self.found.summary.result;
        *result = result.join(value);
    }

    fn tail_call(&mut self, state: &State) {
        let [_, array, key, ..] = state.args();
        let mut site = TailCall::default();
        if let Val::Map(map) = array {
            match self.env.object.maps.get(map) {
                Some(def) if def.kind == MapKind::ProgArray => site.map = Some(map),
                Some(def) => {
                    let what =
                        format!("tail call on map `{}`, which is no program array", def.name);
                    self.found.errors.push((self.slot, what));
                }
                None => {}
            }
        }
        // Only the low half of the key counts.
        if let Val::Number(key) = key {
            site.key = key.low_half().exact().map(|key| key as u32);
        }
        // A slot that the array does not have cannot be reached directly.
        if let Some(map) = site.map {
            let slots = self.env.object.maps[map].max_entries;
            site.key = site.key.filter(|&key| key < slots);
        }
        self.found.tail_calls.insert(self.slot, site);
        // The caller may get the target's result.
        self.result(Val::ANY);
    }
}
