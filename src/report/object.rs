//! The figures of one object in one engine.

use std::collections::BTreeMap;

use cranelift_entity::SecondaryMap;
use tailor_bpf::{Callee, Error, FuncRef, Op, ProgId};
use tailor_emit::frame::Weighted;
use tailor_emit::{CompiledFunction, FunctionKind, frame};
use tailor_regalloc::Algorithm;

use super::{FunctionRow, ProgramRow, Report, Totals};
use crate::bounds::{Bounds, bounds};
use crate::compile::{Compiled, Unit};
use crate::engine::Engine;
use crate::trace::Trace;

/// The program that each function belongs to; none where several share it.
pub(super) type Users = BTreeMap<FuncRef, Option<ProgId>>;

pub(super) fn users(unit: &Unit) -> Users {
    let mut users = Users::new();
    for id in unit.object.programs.keys() {
        for func in unit.reachable(id).unwrap_or_default() {
            users.entry(func).and_modify(|user| *user = None).or_insert(Some(id));
        }
    }
    users
}

/// Adds what one of the compared engines made of an object.
pub(super) fn add(
    report: &mut Report,
    unit: &Unit,
    users: &Users,
    all: &[(Engine, Compiled)],
    index: usize,
) {
    let (engine, compiled) = &all[index];
    let (weighted, trace) = Default::default();
    let engine = *engine;
    let mut object = ObjectReport { report, unit, engine, compiled, all, users, weighted, trace };
    object.functions();
    object.programs();
}

/// One object in one engine.
struct ObjectReport<'a> {
    report: &'a mut Report,
    unit: &'a Unit,
    engine: Engine,
    compiled: &'a Compiled,
    /// The compared engines, this one among them.
    all: &'a [(Engine, Compiled)],
    users: &'a Users,
    /// By function: what its frame costs, and that of its stub.
    weighted: BTreeMap<(FuncRef, FunctionKind), Option<Weighted>>,
    /// Shows nothing.
    trace: Trace,
}

impl ObjectReport<'_> {
    fn functions(&mut self) {
        let code = &self.compiled.code;
        for (func, body) in code.functions.iter() {
            for compiled in [code.stubs[func].as_ref(), body.as_ref()].into_iter().flatten() {
                let Some(row) = self.row(func, compiled) else {
                    continue;
                };
                if self.all.iter().all(|(_, other)| other.code.functions[func].is_some()) {
                    self.totals().add(&row);
                }
                self.report.functions.push(row);
            }
        }
    }

    fn totals(&mut self) -> &mut Totals {
        self.report.totals.entry(self.engine.name().into()).or_default()
    }

    /// The least that a function's frame can be under the engine's convention.
    fn bounds(&mut self, func: FuncRef, compiled: &CompiledFunction) -> Bounds {
        match compiled.kind {
            FunctionKind::Stub => {
                // It consists of the invocation record.
                let bytes = Some(compiled.frame.frame_bytes);
                Bounds { optimised: bytes, lifted: bytes }
            }
            FunctionKind::Program | FunctionKind::Subprogram => {
                bounds(self.unit, self.engine, func, &mut self.trace)
            }
        }
    }

    /// A function's figures; an error instead if its frame is not as believed.
    fn row(&mut self, func: FuncRef, compiled: &CompiledFunction) -> Option<FunctionRow> {
        let bounds = self.bounds(func, compiled);
        let facts = match frame::check(compiled) {
            Ok(facts) => facts,
            Err(error) => {
                let what = format!("internal error: {error}");
                let error = Error { function: Some(compiled.name.clone()), ..Error::new(what) };
                self.report.error(&self.unit.object.name, None, Some(self.engine), &error);
                return None;
            }
        };
        self.weighted.insert((func, compiled.kind), facts.weighted);
        Some(FunctionRow {
            object: self.unit.object.name.clone(),
            program: self
                .users
                .get(&func)
                .copied()
                .flatten()
                .map(|id| self.unit.object.programs[id].name.clone()),
            function: compiled.name.clone(),
            engine: self.engine.name().into(),
            kind: match compiled.kind {
                FunctionKind::Program => "program",
                FunctionKind::Subprogram => "subprogram",
                FunctionKind::Stub => "stub",
            },
            insns: compiled.insns,
            code_bytes: compiled.code.len() as u32,
            saved: facts.saved.iter().map(|reg| reg.name()).collect(),
            frame_pointer: facts.frame_pointer,
            push_sites: facts.push_sites,
            pop_sites: facts.pop_sites,
            tail_call_sites: facts.tail_call_sites,
            frame_bytes: facts.frame_bytes,
            body_push_bytes: facts.body_push_bytes,
            padding_bytes: compiled.frame.padding_bytes,
            lower_bound_bytes: bounds.optimised,
            lower_bound_lifted_bytes: bounds.lifted,
            weighted_cost: facts.weighted.map(|weighted| weighted.cost),
            weighted_saves: facts.weighted.map(|weighted| weighted.saves),
            weighted_tail_call_restores: facts.weighted.map(|w| w.tail_call_restores),
            weighted_frame_pointer: facts.weighted.map(|w| w.frame_pointer),
            inlined: false,
            allocator: self.allocator(func, compiled.kind),
        })
    }

    fn allocator(&self, func: FuncRef, kind: FunctionKind) -> Option<&'static str> {
        let algorithm = self.compiled.allocators.get(&func)?;
        (kind != FunctionKind::Stub).then_some(match algorithm {
            Algorithm::Ion => "ion",
            Algorithm::Fastalloc => "fastalloc",
        })
    }

    fn programs(&mut self) {
        let chains = self.chains();
        for (id, program) in &self.unit.object.programs {
            if self.compiled.errors.contains_key(&id) {
                continue;
            }
            let functions = self.unit.reachable(id).unwrap_or_default();
            let time =
                |func| self.compiled.times.get(func).map_or(0, |time| time.as_nanos() as u64);
            let stub = self.compiled.code.stubs[program.function].as_ref();
            let entry = program.function;
            let weighted = self.weighted(entry);
            let row = ProgramRow {
                object: self.unit.object.name.clone(),
                program: program.name.clone(),
                engine: self.engine.name().into(),
                chain_bytes: chains[program.function] + stub.map_or(0, |s| s.frame.frame_bytes + 8),
                weighted_cost: weighted.map(|weighted| weighted.cost),
                weighted_saves: weighted.map(|weighted| weighted.saves),
                weighted_tail_call_restores: weighted.map(|w| w.tail_call_restores),
                weighted_frame_pointer: weighted.map(|weighted| weighted.frame_pointer),
                compile_ns: functions.iter().map(time).sum(),
            };
            if self.all.iter().all(|(_, other)| !other.errors.contains_key(&id)) {
                let totals = self.totals();
                totals.programs += 1;
                totals.chain_bytes += u64::from(row.chain_bytes);
                totals.compile_ns += row.compile_ns;
                if let Some(weighted) = weighted {
                    totals.weigh(&weighted);
                }
            }
            self.report.programs.push(row);
        }
    }

    /// What frames cost in a run of a program: its functions, each as often as
    /// it is entered, and the stubs of the entry and of callbacks.
    fn weighted(&self, entry: FuncRef) -> Option<Weighted> {
        let Unit { object, facts, .. } = self.unit;
        let mut sum = Weighted::default();
        for (func, entries) in facts.calls.entries(object, facts, entry) {
            let from_c = if func == entry { 1.0 } else { entries.called_back };
            let kinds = [
                (FunctionKind::Program, entries.all()),
                (FunctionKind::Subprogram, entries.all()),
                (FunctionKind::Stub, from_c),
            ];
            for (kind, times) in kinds {
                if let Some(weighted) = self.weighted.get(&(func, kind))
                    && times > 0.0
                {
                    sum.add(times, weighted.as_ref()?);
                }
            }
        }
        Some(sum)
    }

    /// For each function the worst chain of frames and return addresses, its own
    /// included. A callback is an outermost entry of its own: helpers enter it.
    fn chains(&self) -> SecondaryMap<FuncRef, u32> {
        let Unit { object, facts, .. } = self.unit;
        let mut chains = SecondaryMap::new();
        for func in facts.calls.callees_first(object.functions.keys()) {
            let own = self.compiled.code.functions[func].as_ref();
            let calls = object.functions[func].ops.iter().filter_map(|op| match *op {
                Op::Call(Callee::Function(callee)) => Some(chains[callee]),
                _ => None,
            });
            let deepest = calls.max();
            chains[func] = own.map_or(0, |c| c.frame.frame_bytes) + 8 + deepest.unwrap_or(0);
        }
        chains
    }
}
