//! Frames of objects, function by function and engine by engine: the figures
//! behind `tailor frames`, in the shape of its JSON.
//!
//! Every frame figure comes from the decoder over the emitted bytes, which has
//! been compared with what the compiler believes. What is not computed yet is
//! null.

use std::collections::BTreeMap;

use cranelift_entity::SecondaryMap;
use serde::Serialize;
use tailor_bpf::callgraph::{CallGraph, EntryCounts};
use tailor_bpf::{Callee, Error, FuncRef, Imm64, Op, ProgId};
use tailor_emit::frame::Weighted;
use tailor_emit::{CompiledFunction, FunctionKind, frame};
use tailor_regalloc::Algorithm;

use crate::bounds::{Bounds, bounds};
use crate::compile::{Compiled, Unit, compile};
use crate::engine::Engine;
use crate::trace::Trace;

/// Frames of a set of objects.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// One for each function and engine.
    pub functions: Vec<FunctionRow>,
    /// One for each program and engine.
    pub programs: Vec<ProgramRow>,
    /// By engine.
    pub totals: BTreeMap<String, Totals>,
    /// Programs and objects that could not be compiled.
    pub errors: Vec<ErrorRow>,
}

/// A function's code and frame. Bytes and counts.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)] // the fields are defined in the design's "Words"
pub struct FunctionRow {
    pub object: String,
    pub program: Option<String>,
    pub function: String,
    pub engine: String,
    pub kind: &'static str,
    pub insns: u32,
    pub code_bytes: u32,
    pub saved: Vec<&'static str>,
    pub frame_pointer: bool,
    pub push_sites: u32,
    pub pop_sites: u32,
    pub tail_call_sites: u32,
    pub frame_bytes: u32,
    pub body_push_bytes: u32,
    pub padding_bytes: u32,
    pub lower_bound_bytes: Option<u32>,
    /// The same of the IR as it was lifted.
    pub lower_bound_lifted_bytes: Option<u32>,
    pub weighted_cost: Option<f64>,
    pub weighted_saves: Option<f64>,
    pub weighted_tail_call_restores: Option<f64>,
    /// The part of the cost that saves and restores a frame pointer.
    pub weighted_frame_pointer: Option<f64>,
    pub inlined: bool,
    /// What gave it its registers: `ion`, or in very large functions `fastalloc`,
    /// which is quick and knows no levers. None in the baselines, and for stubs.
    pub allocator: Option<&'static str>,
}

/// A program as a whole.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct ProgramRow {
    pub object: String,
    pub program: String,
    pub engine: String,
    /// The worst sum of frames and return addresses over the call graph.
    pub chain_bytes: u32,
    pub weighted_cost: Option<f64>,
    pub weighted_saves: Option<f64>,
    pub weighted_tail_call_restores: Option<f64>,
    pub weighted_frame_pointer: Option<f64>,
    /// Time to compile the functions that it consists of.
    pub compile_ns: u64,
}

/// Sums over the functions of an engine; those of weighted figures are over
/// programs.
#[derive(Debug, Clone, Default, Serialize)]
#[allow(missing_docs)]
pub struct Totals {
    pub functions: u32,
    pub programs: u32,
    pub insns: u64,
    pub code_bytes: u64,
    pub saved: u64,
    pub push_sites: u64,
    pub pop_sites: u64,
    pub tail_call_sites: u64,
    pub frame_bytes: u64,
    pub body_push_bytes: u64,
    pub padding_bytes: u64,
    pub lower_bound_bytes: Option<u64>,
    pub lower_bound_lifted_bytes: Option<u64>,
    pub weighted_cost: Option<f64>,
    pub weighted_saves: Option<f64>,
    pub weighted_tail_call_restores: Option<f64>,
    pub weighted_frame_pointer: Option<f64>,
    pub chain_bytes: u64,
    pub compile_ns: u64,
}

/// What could not be compiled, and why.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct ErrorRow {
    pub object: String,
    pub program: Option<String>,
    pub engine: Option<String>,
    pub error: String,
    /// The engine does not take such programs; nothing is wrong with this one.
    #[serde(skip)]
    pub beyond_engine: bool,
}

impl Report {
    /// Adds an object, compiled with each engine. What not all of them compile
    /// is listed, but counts in no total.
    pub fn add(&mut self, unit: &Unit, engines: &[Engine], trace: &mut Trace) {
        let compile = |&engine: &Engine| (engine, compile(unit, engine, None, trace));
        let all: Vec<(Engine, Compiled)> = engines.iter().map(compile).collect();
        let owners = owners(unit);
        for (engine, compiled) in &all {
            let (engine, all) = (*engine, all.as_slice());
            let mut object = ObjectReport {
                report: self,
                unit,
                engine,
                compiled,
                all,
                owners: &owners,
                weighted: BTreeMap::new(),
                trace: Trace::default(),
            };
            object.functions();
            object.programs();
            for (&id, error) in &compiled.errors {
                let program = unit.object.programs[id].name.clone();
                self.error(&unit.object.name, Some(program), Some(engine), error);
                let beyond = crate::compile::beyond(unit, engine, id).is_some();
                if let Some(row) = self.errors.last_mut() {
                    row.beyond_engine = beyond;
                }
            }
        }
    }

    /// Notes an error.
    pub fn error(
        &mut self,
        object: &str,
        program: Option<String>,
        engine: Option<Engine>,
        error: &Error,
    ) {
        self.errors.push(ErrorRow {
            object: object.into(),
            program,
            engine: engine.map(|engine| engine.name().into()),
            error: error.to_string(),
            beyond_engine: false,
        });
    }

    /// The objects that functions were reported of, in order.
    pub fn objects(&self) -> Vec<&str> {
        let mut objects: Vec<&str> = self.functions.iter().map(|row| row.object.as_str()).collect();
        objects.dedup();
        objects
    }
}

/// One object in one engine.
struct ObjectReport<'a> {
    report: &'a mut Report,
    unit: &'a Unit,
    engine: Engine,
    compiled: &'a Compiled,
    /// The compared engines, this one among them.
    all: &'a [(Engine, Compiled)],
    /// By function: the programs that reach it, at most two of them.
    owners: &'a SecondaryMap<FuncRef, Vec<ProgId>>,
    /// By function: what its frame costs, and that of its stub.
    weighted: BTreeMap<(FuncRef, FunctionKind), Option<Weighted>>,
    /// Shows nothing.
    trace: Trace,
}

/// The programs that reach each function, at most two of them.
fn owners(unit: &Unit) -> SecondaryMap<FuncRef, Vec<ProgId>> {
    let mut owners: SecondaryMap<FuncRef, Vec<ProgId>> = SecondaryMap::new();
    for id in unit.object.programs.keys() {
        for func in unit.reachable(id).unwrap_or_default() {
            if owners[func].len() < 2 {
                owners[func].push(id);
            }
        }
    }
    owners
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
            program: self.only_program(func),
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

    /// The name of the program that a function belongs to, unless several share it.
    fn only_program(&self, func: FuncRef) -> Option<String> {
        match self.owners[func][..] {
            [only] => Some(self.unit.object.programs[only].name.clone()),
            _ => None,
        }
    }

    fn programs(&mut self) {
        let Unit { object, facts, .. } = self.unit;
        let graph = CallGraph::new(object, |func| &facts.functions[func].cfg);
        let chains = self.chains(&graph);
        for (id, program) in &self.unit.object.programs {
            if self.compiled.errors.contains_key(&id) {
                continue;
            }
            let functions = self.unit.reachable(id).unwrap_or_default();
            let time =
                |func| self.compiled.times.get(func).map_or(0, |time| time.as_nanos() as u64);
            let stub = self.compiled.code.stubs[program.function].as_ref();
            let entry = program.function;
            let weighted = self.weighted(&graph.entries(object, facts, entry), entry);
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
    fn weighted(&self, entries: &EntryCounts, entry: FuncRef) -> Option<Weighted> {
        let mut sum = Weighted::default();
        for (&(func, kind), weighted) in &self.weighted {
            let times = match kind {
                FunctionKind::Stub if func == entry => 1.0,
                FunctionKind::Stub => self.called_back(entries, func),
                _ => entries[func],
            };
            if times > 0.0 {
                let weighted = (*weighted)?;
                sum.cost += times * weighted.cost;
                sum.saves += times * weighted.saves;
                sum.tail_call_restores += times * weighted.tail_call_restores;
                sum.frame_pointer += times * weighted.frame_pointer;
            }
        }
        Some(sum)
    }

    /// How often a function is entered as a callback: as often as another takes its
    /// address, as [`CallGraph::entries`] supposes.
    fn called_back(&self, entries: &EntryCounts, func: FuncRef) -> f64 {
        let Unit { object, facts, .. } = self.unit;
        let mut times = 0.0;
        for (user, function) in object.functions.iter().filter(|(user, _)| *user != func) {
            let own = &facts.functions[user];
            for (block, frequency) in own.cfg.blocks.iter().zip(&own.frequency) {
                let ops = block.slots().filter_map(|slot| function.ops.get(slot));
                let takes = |op: &&Op| matches!(op, Op::LoadImm { value: Imm64::Function(f), .. } if *f == func);
                times += entries[user] * frequency * ops.filter(takes).count() as f64;
            }
        }
        times
    }

    /// For each function the worst chain of frames and return addresses, its own
    /// included. A callback is an outermost entry of its own: helpers enter it.
    fn chains(&self, graph: &CallGraph) -> SecondaryMap<FuncRef, u32> {
        let object = &self.unit.object;
        let mut chains = SecondaryMap::new();
        for func in graph.callees_first(object) {
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

impl Totals {
    fn weigh(&mut self, weighted: &Weighted) {
        *self.weighted_cost.get_or_insert(0.0) += weighted.cost;
        *self.weighted_saves.get_or_insert(0.0) += weighted.saves;
        *self.weighted_tail_call_restores.get_or_insert(0.0) += weighted.tail_call_restores;
        *self.weighted_frame_pointer.get_or_insert(0.0) += weighted.frame_pointer;
    }

    fn add(&mut self, row: &FunctionRow) {
        self.functions += 1;
        self.insns += u64::from(row.insns);
        self.code_bytes += u64::from(row.code_bytes);
        self.saved += row.saved.len() as u64;
        self.push_sites += u64::from(row.push_sites);
        self.pop_sites += u64::from(row.pop_sites);
        self.tail_call_sites += u64::from(row.tail_call_sites);
        self.frame_bytes += u64::from(row.frame_bytes);
        self.body_push_bytes += u64::from(row.body_push_bytes);
        self.padding_bytes += u64::from(row.padding_bytes);
        add(&mut self.lower_bound_bytes, row.lower_bound_bytes);
        add(&mut self.lower_bound_lifted_bytes, row.lower_bound_lifted_bytes);
    }
}

fn add(sum: &mut Option<u64>, figure: Option<u32>) {
    if let Some(figure) = figure {
        *sum.get_or_insert(0) += u64::from(figure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_may_name_itself() {
        let text = "map map0 \"timers\" array key 4 value 16 entries 1
            program f0 \"main\" xdp
              r1 = map0[0] ll
              r2 = f1 ll
              call 170
              r0 = 2
              exit
            function f1 \"again\"
              r1 = r3
              r2 = f1 ll
              call 170
              r0 = 0
              exit";
        let unit = Unit::new(tailor_bpf::text::parse_object(text).unwrap());
        let mut report = Report::default();
        report.add(&unit, &[Engine::Naive612, Engine::Tailor], &mut Trace::checked());
        assert_eq!(report.errors.len(), 0);
        assert_eq!(report.functions.len(), 4);
    }

    /// A buffer of no bytes needs none: no frame is below its bound for that, and
    /// where nothing else is in it there is no frame.
    #[test]
    fn a_buffer_of_no_bytes() {
        let text = "program f0 \"main\" xdp
              r2 = r10
              r3 = 0
              r4 = -1
              call 67
              exit";
        let unit = Unit::new(tailor_bpf::text::parse_object(text).unwrap());
        assert_eq!(unit.errors.first(), None);
        let mut report = Report::default();
        let engines = [Engine::Naive510, Engine::Naive612, Engine::Tailor, Engine::TailorKernel];
        report.add(&unit, &engines, &mut Trace::checked());
        for row in report.functions.iter().filter(|row| row.kind == "program") {
            let pointer = if row.engine == "tailor" { 0 } else { 8 };
            let least = [row.lower_bound_bytes, row.lower_bound_lifted_bytes];
            assert_eq!(least, [Some(pointer); 2], "{}", row.engine);
            assert_eq!(row.frame_bytes - row.padding_bytes, pointer, "{}", row.engine);
        }
    }

    /// Ion looks at each argument of a jump for each parameter: too often with two
    /// parameters of each of 12,000 loops.
    #[test]
    fn the_allocator_is_named() {
        let name = |loops: usize| {
            let text = "r2 = 0\nr0 += r2\nr2 += 1\nif r2 < 4 goto -3\n".repeat(loops);
            let text = format!("program f0 \"main\" raw\nr0 = 0\n{text}exit");
            let unit = Unit::new(tailor_bpf::text::parse_object(&text).unwrap());
            let mut report = Report::default();
            let mut trace = Trace::default();
            trace.check = false;
            report.add(&unit, &[Engine::Naive612, Engine::Tailor], &mut trace);
            report.functions.iter().map(|row| row.allocator).collect::<Vec<_>>()
        };
        assert_eq!(name(12), [None, Some("ion")]);
        assert_eq!(name(12_000), [None, Some("fastalloc")]);
    }

    /// What is entered once is left once, also where the ways out of a loop are
    /// those of the whole function: no engine restores more often than it saves.
    #[test]
    fn ways_out_of_a_loop_add_up() {
        let text = "program f0 \"main\" xdp
              r6 = *(u32 *)(r1 + 12)
              r7 = 100
              r0 = 1
              if r6 == 7 goto +5
              call 7
              if r0 == r6 goto +3
              r7 += -1
              r0 = r7
              if r7 != 0 goto -5
              exit";
        let unit = Unit::new(tailor_bpf::text::parse_object(text).unwrap());
        assert_eq!(unit.errors.first(), None);
        let mut report = Report::default();
        let engines = [Engine::Naive612, Engine::TailorKernel, Engine::Tailor];
        report.add(&unit, &engines, &mut Trace::checked());
        for row in report.functions {
            let pointer = if row.engine == "tailor" { 0.0 } else { 2.0 };
            let found = row.weighted_frame_pointer.unwrap();
            assert!((found - pointer).abs() < 1e-9, "{}: {found}", row.engine);
        }
    }

    /// Costs that can be added up by hand: naive pushes rbp and rbx in the entry,
    /// and stores and loads one slot; the subprogram, entered half the time,
    /// pushes rbp. The object that a helper gets is no slot.
    #[test]
    fn weighted_costs_of_programs() {
        let text = "map map0 \"m\" hash key 8 value 8 entries 1
            program f0 \"main\" xdp
              r6 = *(u32 *)(r1 + 0)
              *(u64 *)(r10 - 8) = r6
              *(u64 *)(r10 - 16) = r6
              r1 = map0 ll
              r2 = r10
              r2 += -16
              call 1
              r0 = *(u64 *)(r10 - 8)
              if r0 == 7 goto +1
              call f1
              r0 = r6
              exit
            function f1 \"half\"
              r0 = 2
              exit";
        let unit = Unit::new(tailor_bpf::text::parse_object(text).unwrap());
        assert_eq!(unit.errors.first(), None);
        let mut report = Report::default();
        report.add(&unit, &[Engine::Naive612], &mut Trace::checked());
        let costs: Vec<_> = report.functions.iter().map(|row| row.weighted_cost).collect();
        assert_eq!(costs, [Some(6.0), Some(2.0)]);
        assert_eq!(report.programs[0].weighted_cost, Some(7.0));
        assert_eq!(report.totals["naive-6.12"].weighted_saves, Some(2.0));
    }

    /// The counter's traffic, added up by hand. Before 6.12 it lies in the frame:
    /// a push, a load before each call (of helpers too), a load and a store at a
    /// site, and a pop where the site leaves, which is half the time. Since then a
    /// pointer to it does, pushed with it by a program.
    #[test]
    fn weighted_costs_of_counters() {
        let text = "map map0 \"jt\" prog_array key 4 value 4 entries 2
            program f0 \"main\" xdp
              r6 = r1
              call 7
              call f1
              r1 = r6
              r2 = map0 ll
              r3 = 0
              call 12
              r0 = 1
              exit
            function f1 \"sub\"
              r2 = map0 ll
              r3 = 1
              call 12
              r0 = 2
              exit";
        let unit = Unit::new(tailor_bpf::text::parse_object(text).unwrap());
        assert_eq!(unit.errors.first(), None);
        let mut report = Report::default();
        let engines = [Engine::Naive510, Engine::Naive612];
        report.add(&unit, &engines, &mut Trace::checked());
        // rbp; in the entry rbx and the counter; before the calls; at the site;
        // rbx and the counter, or rbx and rbp.
        let main = 1.0 + 2.0 + 2.0 + 2.0 + 0.5 * 2.0 + 0.5 * 2.0;
        // rbp and the counter; at the site; the counter, or rbp.
        let sub = 2.0 + 2.0 + 0.5 + 0.5;
        // Both words; before the one call that hands it on; the site's load.
        let main_by_pointer = 1.0 + 3.0 + 1.0 + 1.0 + 0.5 * 3.0 + 0.5 * 2.0;
        let sub_by_pointer = 3.0 + 1.0 + 0.5 * 2.0 + 0.5;
        let costs: Vec<_> = report.functions.iter().map(|row| row.weighted_cost).collect();
        assert_eq!(costs, [main, sub, main_by_pointer, sub_by_pointer].map(Some));
        let programs: Vec<_> = report.programs.iter().map(|row| row.weighted_cost).collect();
        assert_eq!(programs, [Some(main + sub), Some(main_by_pointer + sub_by_pointer)]);
    }

    /// A callback in reach of a tail call is entered through its stub, which counts
    /// as often: half the time here.
    #[test]
    fn stubs_of_callbacks_count() {
        let text = "map map0 \"jt\" prog_array key 4 value 4 entries 1
            program f0 \"main\" xdp
              r0 = *(u32 *)(r1 + 12)
              if r0 == 0 goto +5
              r1 = 1
              r2 = f1 ll
              r4 = 0
              call 181
              exit
            function f1 \"again\"
              r1 = r2
              r2 = map0 ll
              r3 = 0
              call 12
              r0 = 0
              exit";
        let unit = Unit::new(tailor_bpf::text::parse_object(text).unwrap());
        assert_eq!(unit.errors.first(), None);
        for engine in [Engine::Naive612, Engine::Tailor] {
            let mut report = Report::default();
            report.add(&unit, &[engine], &mut Trace::checked());
            let of = |name: &str, kind: &str| {
                let mut rows = report.functions.iter();
                let row = rows.find(|row| row.function == name && row.kind == kind);
                row.and_then(|row| row.weighted_cost).unwrap()
            };
            let [main, again, stub] =
                [("main", "program"), ("again", "subprogram"), ("again", "stub")]
                    .map(|(name, kind)| of(name, kind));
            assert!(stub > 0.0, "{engine}");
            let found = report.programs[0].weighted_cost.unwrap();
            assert!((found - main - (again + stub) / 2.0).abs() < 1e-9, "{engine}: {found}");
        }
    }
}
