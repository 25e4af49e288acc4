//! Why a function's frame is as it is: for each saved register and each slot the
//! values that it holds, the calls that they outlive, and what it costs; behind
//! `tailor explain`.
//!
//! The figures of the whole function are those of `frames`, read off its bytes.
//! What a register is worth is found by compiling the function again with one
//! register less.

mod saves;
mod text;
mod values;

use std::collections::BTreeMap;
use std::ops::Range;

use regalloc2::VReg;
use tailor_bpf::{Error, FuncRef};
use tailor_emit::frame::{FrameFacts, Weighted, decode};
use tailor_emit::{Convention, Gpr};
use tailor_lower::{MachFunction, Role, StackSlot, objects};
use tailor_regalloc::bound::{self, Point};
use tailor_regalloc::holdings::{Event, Holding, Place, holdings};

use crate::bounds::{Bounds, bounds};
use crate::compile::{Compilation, Finished, Unit, machine};
use crate::engine::{Engine, Family};
use crate::trace::Trace;
pub use saves::Save;
use values::Values;
pub use values::{At, Value};

/// What a function's frame is for. Bytes, and memory operations per run of it.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Name of the object.
    pub object: String,
    /// Name of the function.
    pub function: String,
    /// The file that most of its lines are of, where the object says.
    pub file: Option<String>,
    /// The engine that compiled it.
    pub engine: Engine,
    /// It is a program of its own, and no subprogram.
    pub is_program: bool,
    /// Slots of bytecode.
    pub insns: u32,
    /// Frequencies were measured and not estimated.
    pub measured: bool,
    /// What it costs in all.
    pub weighted: Weighted,
    /// The parts of its frame.
    pub frame: FrameParts,
    /// The least that the frame could be.
    pub bounds: Bounds,
    /// The point that determines the bound, unless that is 0.
    pub tightest: Option<Tightest>,
    /// The registers that it saves, in the order in which it prefers them.
    pub registers: Vec<Register>,
    /// Its spill slots.
    pub slots: Vec<Slot>,
    /// Objects of the eBPF stack that are still in memory.
    pub objects: Vec<Object>,
}

/// Bytes of a frame, and of its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the words are the design's
pub struct FrameParts {
    pub frame_bytes: u32,
    pub frame_pointer: u32,
    pub counter: u32,
    pub saved: u32,
    /// Spill slots and objects; some may share memory.
    pub slots: u32,
    pub objects: u32,
    /// How much less these two take since they share.
    pub shared: u32,
    /// Bytes between them, so that each is aligned.
    pub gaps: u32,
    pub padding: u32,
}

/// A point where as much as the bound must be somewhere.
#[derive(Clone, Debug)]
pub struct Tightest {
    /// The instruction.
    pub at: At,
    /// What it is, or calls.
    pub what: String,
    /// It is a call, so that no value can stay in a register for nothing.
    pub is_call: bool,
    /// Registers for values that cost nothing there.
    pub free: usize,
    /// The values that must be kept.
    pub values: Vec<Value>,
    /// The objects that are live, and their bytes.
    pub objects: Vec<(String, u32)>,
    /// Bytes that the convention adds.
    pub fixed: u32,
}

/// A value in a register or slot.
#[derive(Clone, Debug)]
pub struct Held {
    /// What it is.
    pub value: Value,
    /// The calls that it outlives there: what is called, and where.
    pub crosses: Vec<(String, At)>,
    /// Where it is read there, copies to other places among it.
    pub uses: Vec<At>,
    /// Loads and stores, of a slot; reads and writes of a register.
    pub accesses: f64,
}

/// A saved register.
#[derive(Clone, Debug)]
pub struct Register {
    /// Its name.
    pub name: &'static str,
    /// Where it is saved and restored.
    pub saves: Vec<Save>,
    /// What these cost.
    pub cost: f64,
    /// What it is saved for.
    pub holds: Vec<Held>,
    /// The function with this register less; none if it cannot do with less.
    pub without: Option<Without>,
}

/// The best allocation with one register less.
#[derive(Clone, Copy, Debug)]
pub struct Without {
    /// Its weighted cost.
    pub cost: f64,
    /// Bytes of its frame.
    pub frame_bytes: u32,
}

/// A spill slot.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub bytes: u32,
    /// Loads and stores.
    pub cost: f64,
    /// What it holds.
    pub holds: Vec<Held>,
    /// The least that saving a further register for its values would cost; none if
    /// there is no further one, or the function is too large to tell.
    pub register: Option<f64>,
    /// There is no further one.
    pub all_saved: bool,
    /// What lies in the same memory at other times.
    pub shares: Vec<String>,
}

/// An object of the eBPF stack in memory.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its name in listings.
    pub name: String,
    /// Bytes.
    pub bytes: u32,
    /// Its address goes where it cannot be followed: anything may access it.
    pub lost: bool,
    /// The calls that may access it, and where.
    pub calls: Vec<(String, At)>,
    /// The other instructions that may.
    pub accesses: Vec<At>,
    /// What lies in the same memory at other times.
    pub shares: Vec<String>,
}

/// Explains a function as an optimizing engine compiles it.
pub fn explain(unit: &Unit, engine: Engine, func: FuncRef) -> Result<Explanation, Error> {
    let Family::Optimizing(convention) = engine.family() else {
        return Err(Error::new(format!("{engine} allocates no registers")));
    };
    let source = &unit.object.functions[func];
    if let Some(error) = &source.refused {
        return Err(error.clone());
    }
    let mut trace = Trace::from_environment()?;
    let compilation = Compilation::new(unit, engine, &trace);
    let lowered = machine(unit, engine, func, &mut trace)?;
    let finished = compilation.finish(func, lowered.clone(), &mut trace)?;
    let facts = decoded(&finished)?;
    let explainer = Explainer { unit, convention, func, compilation, lowered, finished };
    let bounds = bounds(unit, engine, func, &mut Trace::default());
    Ok(Explanation {
        object: unit.object.name.clone(),
        function: source.name.clone(),
        file: main_file(source),
        engine,
        is_program: explainer.values().program_kind().is_some(),
        insns: source.ops.len() as u32,
        measured: unit.facts.functions[func].measured,
        weighted: facts.weighted.unwrap_or_default(),
        frame: explainer.frame_parts(&facts),
        bounds,
        tightest: explainer.tightest(bounds),
        registers: explainer.registers(&facts)?,
        slots: explainer.slots()?,
        objects: explainer.objects(),
    })
}

/// The file that most instructions come from.
fn main_file(source: &tailor_bpf::Function) -> Option<String> {
    let mut files: BTreeMap<String, usize> = BTreeMap::new();
    for line in (0..source.ops.len()).filter_map(|slot| source.lines.at(slot as u32)) {
        *files.entry(line.file.into_owned()).or_default() += 1;
    }
    files.into_iter().max_by_key(|(_, count)| *count).map(|(file, _)| file)
}

fn decoded(finished: &Finished) -> Result<FrameFacts, Error> {
    decode(&finished.compiled).map_err(|error| Error::new(format!("internal error: {error}")))
}

struct Explainer<'a> {
    unit: &'a Unit,
    convention: Convention,
    func: FuncRef,
    compilation: Compilation<'a>,
    /// Before it was rewritten for allocation.
    lowered: MachFunction,
    finished: Finished,
}

impl Explainer<'_> {
    fn values(&self) -> Values<'_> {
        Values::new(self.unit, self.func, &self.finished.mach)
    }

    fn keeps(&self) -> impl Fn(u32) -> bool {
        |helper| self.unit.object.helper(helper).keeps_addresses()
    }

    fn holdings(&self) -> Result<Vec<Holding>, Error> {
        let Finished { mach, allocated, .. } = &self.finished;
        holdings(mach, allocated).ok_or_else(|| Error::new("the function is too large to explain"))
    }

    /// What values do in a place, and the loads and stores of it in all. Values
    /// that are only passed on there, as parameters of a block, are left out
    /// beside others.
    fn held(&self, all: &[Holding], place: Place) -> (Vec<Held>, f64) {
        let values = self.values();
        let here = all.iter().filter(|holding| holding.place == place);
        let mut held: Vec<Held> = here.map(|holding| held(&values, holding)).collect();
        let accesses = held.iter().map(|held| held.accesses).sum();
        let is_used = |held: &Held| !held.crosses.is_empty() || !held.uses.is_empty();
        if held.iter().any(is_used) {
            held.retain(is_used);
        }
        held.sort_by_key(|held| held.value.defined.first().map(|at| at.as_ref().map(|at| at.insn)));
        (held, accesses)
    }

    fn frame_parts(&self, facts: &FrameFacts) -> FrameParts {
        let frame = &self.finished.allocated.frame;
        let mut parts = FrameParts {
            frame_bytes: facts.frame_bytes,
            frame_pointer: 8 * u32::from(frame.frame_pointer),
            counter: frame.counter_bytes,
            saved: 8 * frame.saved.len() as u32,
            padding: frame.padding,
            ..FrameParts::default()
        };
        let mut things = self.things();
        things.sort_by_key(|(_, range)| range.start);
        let (mut covered, mut end) = (0, i32::MIN);
        for (thing, range) in things {
            match thing {
                Thing::Object(_) => parts.objects += range.len() as u32,
                Thing::Slot(_) => parts.slots += range.len() as u32,
                // Not a push, and above.
                Thing::Save(_) => parts.saved += range.len() as u32,
            }
            covered += (range.end - range.start.max(end)).max(0) as u32;
            end = end.max(range.end);
        }
        let pushed = 8 * frame.saved.len() as u32;
        parts.shared = parts.objects + parts.slots + parts.saved - pushed - covered;
        let used = parts.frame_pointer + parts.counter + pushed + parts.padding + covered;
        parts.gaps = parts.frame_bytes.saturating_sub(used);
        parts
    }

    /// What lies in the frame, and at which offsets.
    fn things(&self) -> Vec<(Thing, Range<i32>)> {
        let Finished { mach, allocated, .. } = &self.finished;
        let frame = &allocated.frame;
        let objects = mach.stack_slots.iter().map(|(slot, data)| {
            (Thing::Object(slot), frame.slots[slot]..frame.slots[slot] + data.size as i32)
        });
        let slots = frame.spills.iter().zip(&frame.spill_bytes).enumerate();
        let slots =
            slots.map(|(slot, (&at, &bytes))| (self.thing(slot), at..at + i32::from(bytes)));
        objects.chain(slots).collect()
    }

    /// What a slot is for: the allocator's, or a register saved by moves.
    fn thing(&self, slot: usize) -> Thing {
        let is_it = |at: regalloc2::Allocation| at.as_stack().is_some_and(|s| s.index() == slot);
        let placed = self.finished.allocated.placed.iter().find(|placed| is_it(placed.slot));
        placed.map_or(Thing::Slot(slot as u32), |placed| Thing::Save(placed.reg))
    }

    /// What has memory in common with a thing.
    fn shares(&self, thing: Thing) -> Vec<String> {
        let things = self.things();
        let own = things.iter().find(|(other, _)| *other == thing);
        let own = own.map_or(0..0, |(_, range)| range.clone());
        let overlaps = |other: &Range<i32>| other.start < own.end && own.start < other.end;
        let others = things.iter().filter(|(other, range)| *other != thing && overlaps(range));
        others.map(|(other, _)| other.name()).collect()
    }

    fn tightest(&self, bounds: Bounds) -> Option<Tightest> {
        let mach = &self.lowered;
        let Point { bytes, inst, values, free, objects } = bound::tightest(mach, &self.keeps())??;
        let names = Values::new(self.unit, self.func, mach);
        let name = |slot: &StackSlot| (Thing::Object(*slot).name(), mach.stack_slots[*slot].size);
        Some(Tightest {
            at: names.at(inst),
            what: names.call(inst),
            is_call: mach.info[inst].role.is_call(),
            free,
            values: values.into_iter().map(|value: VReg| names.describe(value)).collect(),
            objects: objects.iter().map(name).collect(),
            fixed: bounds.optimised?.saturating_sub(bytes),
        })
    }

    fn registers(&self, facts: &FrameFacts) -> Result<Vec<Register>, Error> {
        let order = self.convention.callee_saved().iter();
        let saved: Vec<Gpr> = order.copied().filter(|reg| facts.saved.contains(reg)).collect();
        let holdings = if saved.is_empty() { Vec::new() } else { self.holdings()? };
        let register = |&reg: &Gpr| {
            let saves = saves::of(&self.finished, &self.values(), reg);
            Register {
                name: reg.name(),
                cost: saves.iter().map(|save| save.cost).sum(),
                saves,
                holds: self.held(&holdings, Place::Register(reg)).0,
                without: self.without(&saved, reg),
            }
        };
        Ok(saved.iter().map(register).collect())
    }

    /// Compiles the function with the saved registers but for one.
    fn without(&self, saved: &[Gpr], reg: Gpr) -> Option<Without> {
        let mut trace = Trace::from_environment().ok()?;
        for &other in self.convention.callee_saved() {
            if other == reg || !saved.contains(&other) {
                trace.levers = trace.levers.excluding(other);
            }
        }
        let finished = self.compilation.finish(self.func, self.lowered.clone(), &mut trace).ok()?;
        let facts = decode(&finished.compiled).ok()?;
        Some(Without { cost: facts.weighted?.cost, frame_bytes: facts.frame_bytes })
    }

    fn slots(&self) -> Result<Vec<Slot>, Error> {
        let Finished { mach, allocated, .. } = &self.finished;
        let slots = 0..allocated.frame.spills.len();
        let slots: Vec<Thing> = slots.map(|slot| self.thing(slot)).collect();
        let holdings = if slots.is_empty() { Vec::new() } else { self.holdings()? };
        let saved = allocated.frame.saved.len() + allocated.placed.len();
        let further = saved < self.convention.callee_saved().len();
        let slot = |thing: &Thing| {
            let &Thing::Slot(number) = thing else {
                return None;
            };
            let place = Place::Slot(number);
            let (holds, cost) = self.held(&holdings, place);
            let held: Vec<&Holding> = holdings.iter().filter(|h| h.place == place).collect();
            Some(Slot {
                name: thing.name(),
                bytes: allocated.frame.spill_bytes[number as usize].into(),
                cost,
                holds,
                register: if further { saves::further(mach, &held) } else { None },
                all_saved: !further,
                shares: self.shares(*thing),
            })
        };
        Ok(slots.iter().filter_map(slot).collect())
    }

    fn objects(&self) -> Vec<Object> {
        let mach = &self.finished.mach;
        let accesses = objects::accesses(mach, &self.keeps());
        let values = self.values();
        let object = |(slot, data): (StackSlot, &tailor_lower::StackSlotData)| {
            let mut object = Object {
                name: Thing::Object(slot).name(),
                bytes: data.size,
                lost: accesses.as_ref().is_none_or(|all| all.lost >> slot.as_u32() & 1 == 1),
                calls: Vec::new(),
                accesses: Vec::new(),
                shares: self.shares(Thing::Object(slot)),
            };
            for (inst, effect) in accesses.iter().flat_map(|all| all.effects.iter().enumerate()) {
                if (effect.reads | effect.writes) >> slot.as_u32() & 1 == 1 {
                    match mach.info[inst].role {
                        Role::Plain | Role::Branch => object.accesses.push(values.at(inst)),
                        _ => object.calls.push((values.call(inst), values.at(inst))),
                    }
                }
            }
            object
        };
        mach.stack_slots.iter().map(object).collect()
    }
}

/// Something in a frame that can share memory.
#[derive(Clone, Copy, PartialEq)]
enum Thing {
    Object(StackSlot),
    Slot(u32),
    /// A register saved by moves.
    Save(Gpr),
}

impl Thing {
    fn name(self) -> String {
        match self {
            Thing::Object(slot) => format!("{slot}"),
            Thing::Slot(slot) => format!("slot {slot}"),
            Thing::Save(reg) => format!("the saved {}", reg.name()),
        }
    }
}

fn held(values: &Values<'_>, holding: &Holding) -> Held {
    let mut held = Held {
        value: values.describe(holding.value),
        crosses: Vec::new(),
        uses: Vec::new(),
        accesses: 0.0,
    };
    for &(inst, event) in &holding.events {
        let at = values.at(inst);
        match event {
            Event::Crosses => held.crosses.push((values.call(inst), at)),
            Event::Used | Event::CopiedOut => {
                held.accesses += at.frequency;
                held.uses.push(at);
            }
            Event::Defined | Event::CopiedIn => held.accesses += at.frequency,
        }
    }
    held
}
