//! What instructions do to the state.

use super::Env;
use super::calls::passed;
use super::range::Range;
use super::state::State;
use super::value::{Base, Bases, Pointer, Val};
use crate::Size;
use crate::insn::{AluOp, AtomicOp, Callee, Cond, EndKind, Imm64, Op, Reg, Src, Width};

/// An access to memory: a base register's value, an offset and a size.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub base: Val,
    pub off: i16,
    pub size: Size,
}

impl Place {
    /// The bytes accessed, relative to the base of a pointer.
    pub fn bytes(&self, pointer: Pointer) -> Range {
        let off = i64::from(self.off);
        let size = i64::from(self.size.bytes());
        pointer.at.shift(Range::new(off, off + size))
    }

    /// The offset from R10 of an aligned 8-byte access.
    fn spill_slot(&self) -> Option<i64> {
        let offset = i64::from(self.base.frame_offset()?) + i64::from(self.off);
        (self.size == Size::D && offset % 8 == 0).then_some(offset)
    }
}

/// The place that an instruction accesses.
pub(super) fn place(state: &State, op: &Op) -> Option<Place> {
    let (base, off, size) = match op.plain() {
        Op::Load { size, base, off, .. } | Op::Store { size, base, off, .. } => (base, off, size),
        Op::Atomic { w, base, off, .. } | Op::CmpXchg { w, base, off, .. } => {
            (base, off, atomic_size(w))
        }
        _ => return None,
    };
    let base = state.get(base);
    Some(Place { base, off, size })
}

fn atomic_size(w: Width) -> Size {
    match w {
        Width::W32 => Size::W,
        Width::W64 => Size::D,
    }
}

/// An operand; immediates are sign-extended, also those of 32-bit operations.
pub(super) fn operand(state: &State, src: Src) -> Val {
    match src {
        Src::Reg(reg) => state.get(reg),
        Src::Imm(imm) => Val::constant(imm.into()),
    }
}

/// Executes an instruction.
pub(super) fn step(env: &Env, state: &mut State, op: &Op) {
    match op.plain() {
        Op::Alu { op, w, dst, src } => {
            let value = Val::apply(op, w, state.get(dst), operand(state, src));
            state.set(dst, value);
        }
        Op::Mov { w, dst, src } => {
            let value = operand(state, src);
            state.set(dst, moved(w, value));
        }
        Op::MovSx { w, from, dst, src } => {
            let value = sign_extended(w, from, state.get(src));
            state.set(dst, value);
        }
        Op::Neg { w, dst } => {
            let value = Val::apply(AluOp::Sub, w, Val::constant(0), state.get(dst));
            state.set(dst, value);
        }
        Op::End { kind, size, dst } => {
            let value = byte_order(kind, size, state.get(dst));
            state.set(dst, value);
        }
        Op::LoadImm { dst, value } => state.set(dst, immediate(value)),
        Op::Load { dst, signed, .. } => {
            if let Some(place) = place(state, op) {
                state.set(dst, load(env, state, place, signed));
            }
        }
        Op::Store { src, .. } => {
            let value = operand(state, src);
            if let Some(place) = place(state, op) {
                store(env, state, place, value);
            }
        }
        Op::Atomic { op: rmw, fetch, src, .. } => {
            let place = place(state, op);
            atomic(env, state, place, state.get(src));
            if fetch || rmw == AtomicOp::Xchg {
                set_fetched(env, state, place, src);
            }
        }
        Op::CmpXchg { src, .. } => {
            let place = place(state, op);
            atomic(env, state, place, state.get(src));
            set_fetched(env, state, place, Reg::R0);
        }
        Op::LoadPacket { size, .. } => {
            forget_arguments(state);
            state.set(Reg::R0, Val::Number(Range::loaded(size, false)));
        }
        Op::Call(callee) => call(env, state, callee),
        // Taken care of by what they are without their order.
        Op::LoadAcquire { .. } | Op::StoreRelease { .. } => {}
        Op::LoadImmHi | Op::Jump { .. } | Op::Branch { .. } | Op::Exit => {}
        Op::MayGoto { .. } | Op::IndirectJump { .. } => {}
    }
}

fn moved(w: Width, value: Val) -> Val {
    match w {
        Width::W64 => value,
        Width::W32 => value.low_half(),
    }
}

fn sign_extended(w: Width, from: Size, value: Val) -> Val {
    let unchanged = Range::new(0, Range::loaded(from, true).hi);
    match value {
        Val::Undefined => Val::Undefined,
        Val::Number(range) if unchanged.contains(range) => value,
        _ if w == Width::W32 => Val::Number(Range::U32),
        _ => Val::Number(Range::loaded(from, true)),
    }
}

fn byte_order(kind: EndKind, size: Size, value: Val) -> Val {
    match size {
        Size::D if kind == EndKind::Le => value,
        Size::D => Val::tainted(value.bases()),
        _ => Val::Number(Range::loaded(size, false)),
    }
}

fn immediate(value: Imm64) -> Val {
    match value {
        Imm64::Const(value) => Val::constant(value as i64),
        Imm64::Map(map) => Val::Map(map),
        Imm64::Function(function) => Val::Function(function),
        Imm64::MapValue(..) | Imm64::Pseudo(..) => Val::ANY,
    }
}

fn load(env: &Env, state: &State, place: Place, signed: bool) -> Val {
    let number = Val::Number(Range::loaded(place.size, signed));
    match place.base {
        // A 32-bit field of a context may be a 64-bit pointer to packet bytes.
        Val::Pointer(Pointer { base: Base::Param(_) | Base::Cell(_), .. }) | Val::Mixed(_)
            if place.size == Size::W =>
        {
            Val::ANY
        }
        Val::Pointer(pointer) if place.size == Size::D && pointer.base != Base::Frame => {
            let exact = pointer.sure && pointer.at.exact().is_some();
            match pointer.base {
                Base::Param(param) => env.load_behind(param, place.bytes(pointer), exact),
                _ => Val::ANY,
            }
        }
        Val::Mixed(bases) if place.size == Size::D => {
            let behind = bases.params().map(|param| env.cells_in(param as u8, Range::ALL));
            let mut loaded = behind.fold(Bases::NONE, Bases::union);
            if bases.has_frame() && !env.opaque {
                loaded = loaded.union(state.spilled(Range::ALL));
            }
            Val::tainted(loaded)
        }
        Val::Pointer(pointer)
            if pointer.base == Base::Frame && place.size == Size::D && !env.opaque =>
        {
            let aligned = place.spill_slot().is_some();
            match state.load(place.bytes(pointer), aligned) {
                // Bytes that nothing wrote are numbers of unknown value.
                Val::Undefined => number,
                value if pointer.sure => value,
                value => value.join(number),
            }
        }
        _ => number,
    }
}

fn store(env: &Env, state: &mut State, place: Place, value: Val) {
    if env.opaque {
        return;
    }
    match place.base {
        Val::Pointer(pointer) if pointer.base == Base::Frame => {
            let bytes = place.bytes(pointer);
            match (place.spill_slot(), pointer.at.exact(), place.size) {
                (Some(offset), ..) => state.store(offset, value),
                (None, _, Size::D) => state.may_store(bytes, Val::tainted(value.bases())),
                (None, Some(_), _) if pointer.sure => state.scribble(bytes),
                _ => state.may_store(bytes, Val::ANY),
            }
        }
        Val::Mixed(bases) if bases.has_frame() => {
            state.may_store(Range::ALL, Val::tainted(value.bases()));
        }
        _ => {}
    }
}

/// The write of an atomic operation.
fn atomic(env: &Env, state: &mut State, place: Option<Place>, value: Val) {
    let Some(place) = place.filter(|_| !env.opaque) else {
        return;
    };
    let value = match place.size {
        Size::D => Val::tainted(value.bases()),
        _ => Val::ANY,
    };
    match place.base {
        Val::Pointer(pointer) if pointer.base == Base::Frame => {
            state.may_store(place.bytes(pointer), value);
        }
        Val::Mixed(bases) if bases.has_frame() => state.may_store(Range::ALL, value),
        _ => {}
    }
}

/// The old value of an atomic operation. What it wrote is in the state already,
/// which makes this more than it can be.
fn set_fetched(env: &Env, state: &mut State, place: Option<Place>, dst: Reg) {
    if let Some(place) = place {
        let value = load(env, state, place, false);
        state.set(dst, value);
    }
}

fn forget_arguments(state: &mut State) {
    for reg in Reg::args() {
        state.set(reg, Val::Undefined);
    }
}

fn call(env: &Env, state: &mut State, callee: Callee) {
    let args = state.args();
    for passed in passed(env, state, callee) {
        let Some(written) = passed.usage.written().filter(|_| !env.opaque) else {
            continue;
        };
        match passed.value {
            Val::Pointer(pointer) if pointer.base == Base::Frame => {
                state.may_store(pointer.at.shift(written), Val::ANY);
            }
            Val::Mixed(bases) if bases.has_frame() => state.may_store(Range::ALL, Val::ANY),
            _ => {}
        }
    }
    forget_arguments(state);
    let result = match callee {
        Callee::Function(function) => env.summary(function).result_with(&args),
        _ => Val::ANY,
    };
    state.set(Reg::R0, result);
}

/// What is known in addition where a branch goes one way.
pub(super) fn refine(state: &mut State, op: &Op, taken: bool) {
    let Op::Branch { cond, w, dst, src, .. } = *op else {
        return;
    };
    let cond = if taken { cond } else { cond.negate() };
    let (left, right) = (state.get(dst), operand(state, src));
    let number = |value| matches!(value, Val::Number(_) | Val::LowHalf(_));
    if !number(left) || !number(right) {
        return;
    }
    let (a, b) = (left.range(), right.range());
    bound(state, dst, bounded(cond, w, a, b));
    if let Src::Reg(reg) = src {
        bound(state, reg, bounded(cond.swap(), w, b, a));
    }
}

/// Notes the numbers that a register can be, if that is anything new.
fn bound(state: &mut State, reg: Reg, numbers: Range) {
    if numbers != state.get(reg).range() {
        state.set(reg, Val::Number(numbers));
    }
}

/// The numbers of `a` for which `a cond b` can hold.
fn bounded(cond: Cond, w: Width, a: Range, b: Range) -> Range {
    // A 32-bit comparison says nothing of upper halves that may be set; nor do
    // signed ones of bit 31.
    let unsigned = Range::new(0, i64::MAX);
    let limit = match (w, cond) {
        (Width::W64, _) => Range::ALL,
        (Width::W32, Cond::Slt | Cond::Sle | Cond::Sgt | Cond::Sge) => {
            Range::new(0, i64::from(i32::MAX))
        }
        (Width::W32, _) => Range::U32,
    };
    let b = if w == Width::W32 { b.low_half() } else { b };
    if !limit.contains(a) || !limit.contains(b) {
        return a;
    }
    let up_to = |hi: i64| Range::new(i64::MIN, hi);
    let from = |lo: i64| Range::new(lo, i64::MAX);
    let positive = unsigned.contains(a);
    match cond {
        Cond::Eq => a.meet(b),
        Cond::Ne => b.exact().map_or(a, |value| a.without(value)),
        Cond::Slt => a.meet(up_to(b.hi.saturating_sub(1))),
        Cond::Sle => a.meet(up_to(b.hi)),
        Cond::Sgt => a.meet(from(b.lo.saturating_add(1))),
        Cond::Sge => a.meet(from(b.lo)),
        // Unsigned: what is not above a positive number is positive itself.
        Cond::Ult if b.lo >= 0 && b.hi > 0 => a.meet(Range::new(0, b.hi - 1)),
        Cond::Ule if b.lo >= 0 => a.meet(Range::new(0, b.hi)),
        Cond::Ugt if positive && b.lo >= 0 => a.meet(from(b.lo.saturating_add(1))),
        Cond::Uge if positive && b.lo >= 0 => a.meet(from(b.lo)),
        _ => a,
    }
}
