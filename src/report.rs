//! Frames of objects, function by function and engine by engine: the figures
//! behind `tailor frames`, in the shape of its JSON.
//!
//! Every frame figure comes from the decoder over the emitted bytes, which has
//! been compared with what the compiler believes. What is not computed yet is
//! null.

mod object;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use tailor_bpf::Error;
use tailor_emit::frame::Weighted;

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
        let users = object::users(unit);
        for (index, (engine, compiled)) in all.iter().enumerate() {
            let engine = *engine;
            object::add(self, unit, &users, &all, index);
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
