//! A report's functions and programs in pairs, baseline beside tailor, and the
//! figures that are ratios of the two.
//!
//! Compared is what both engines compile. An entry stub counts with the
//! function that it enters; it has no bound of its own.

use std::collections::BTreeMap;

use tailor::Engine;
use tailor::report::{FunctionRow, ProgramRow, Report};

/// Below this a cost is nothing but rounding.
const ROUNDING: f64 = 1e-9;

/// Pairs of rows: naive-6.12, tailor.
pub struct Pairs<'a> {
    pub functions: Vec<FunctionPair<'a>>,
    pub programs: Vec<(&'a ProgramRow, &'a ProgramRow)>,
}

/// A function in both engines.
pub struct FunctionPair<'a> {
    pub naive: &'a FunctionRow,
    pub tailor: &'a FunctionRow,
    /// Entry stubs of the function in tailor.
    pub stub: Option<&'a FunctionRow>,
}

impl FunctionPair<'_> {
    /// Bytes of tailor's frame, its entry's among them.
    fn frame_bytes(&self) -> u32 {
        self.tailor.frame_bytes + self.stub.map_or(0, |stub| stub.frame_bytes)
    }

    /// Bytes of tailor's function, its entry's among them.
    fn code_bytes(&self) -> u32 {
        self.tailor.code_bytes + self.stub.map_or(0, |stub| stub.code_bytes)
    }
}

/// Whether an object is one of the two families that outweigh all others.
fn is_large_family(object: &str) -> bool {
    let name = object.rsplit('/').next().unwrap_or(object);
    name.starts_with("pyperf") || name.starts_with("strobemeta")
}

impl<'a> Pairs<'a> {
    /// Of all objects.
    pub fn new(report: &'a Report) -> Pairs<'a> {
        let [naive, tailor] = [Engine::Naive612, Engine::Tailor].map(Engine::name);
        let mut of_naive = BTreeMap::new();
        let mut stubs = BTreeMap::new();
        for row in &report.functions {
            match (row.engine == naive, row.kind) {
                (true, _) => of_naive.insert((&row.object, &row.function), row),
                (false, "stub") => stubs.insert((&row.object, &row.function), row),
                _ => None,
            };
        }
        let bodies = report.functions.iter().filter(|row| row.engine == tailor);
        let functions = bodies.filter(|row| row.kind != "stub").filter_map(|tailor| {
            let key = (&tailor.object, &tailor.function);
            let stub = stubs.get(&key).copied();
            Some(FunctionPair { naive: of_naive.get(&key)?, tailor, stub })
        });
        let mut programs = BTreeMap::new();
        for row in report.programs.iter().filter(|row| row.engine == naive) {
            programs.insert((&row.object, &row.program), row);
        }
        let pair = |tailor: &'a ProgramRow| {
            Some((*programs.get(&(&tailor.object, &tailor.program))?, tailor))
        };
        let of_tailor = report.programs.iter().filter(|row| row.engine == tailor);
        Pairs { functions: functions.collect(), programs: of_tailor.filter_map(pair).collect() }
    }

    /// Without the objects that outweigh all others.
    pub fn without_large(self) -> Pairs<'a> {
        let Pairs { mut functions, mut programs } = self;
        functions.retain(|pair| !is_large_family(&pair.tailor.object));
        programs.retain(|(_, tailor)| !is_large_family(&tailor.object));
        Pairs { functions, programs }
    }

    /// Weighted costs summed up: naive-6.12's and tailor's.
    pub fn cost_sums(&self) -> [f64; 2] {
        let sum = |sums: [f64; 2], (naive, tailor): &(&ProgramRow, &ProgramRow)| {
            [sums[0] + cost(naive), sums[1] + cost(tailor)]
        };
        self.programs.iter().fold([0.0; 2], sum)
    }

    /// Ratio of the geometric means of (cost + 1) over the programs that cost
    /// naive-6.12 more than its frame pointers, and their number.
    pub fn cost_mean(&self) -> (f64, usize) {
        let costly = self.programs.iter().filter(|(naive, _)| beyond_frame_pointer(naive));
        mean(costly.map(|(naive, tailor)| (cost(tailor) + 1.0) / (cost(naive) + 1.0)))
    }

    /// The other programs: all, and those that cost tailor something.
    pub fn costly_others(&self) -> (usize, Vec<&'a ProgramRow>) {
        let others = self.programs.iter().filter(|(naive, _)| !beyond_frame_pointer(naive));
        let costly = others.clone().filter(|(_, tailor)| cost(tailor) > 0.0);
        (others.count(), costly.map(|(_, tailor)| *tailor).collect())
    }

    /// Restores before tail calls, weighted: naive-6.12's and tailor's.
    pub fn tail_call_restores(&self) -> [f64; 2] {
        let restores = |row: &ProgramRow| row.weighted_tail_call_restores.unwrap_or(f64::NAN);
        let naive = self.programs.iter().map(|(naive, _)| restores(naive)).sum();
        [naive, self.programs.iter().map(|(_, tailor)| restores(tailor)).sum()]
    }

    /// Bytes of frames: naive-6.12's and tailor's.
    pub fn frame_sums(&self) -> [f64; 2] {
        let naive = self.functions.iter().map(|pair| f64::from(pair.naive.frame_bytes)).sum();
        let tailor = self.functions.iter().map(|pair| f64::from(pair.frame_bytes())).sum();
        [naive, tailor]
    }

    /// Ratio of the geometric means of (frame_bytes + 8).
    pub fn frame_mean(&self) -> f64 {
        let ratio = |pair: &FunctionPair| {
            f64::from(pair.frame_bytes() + 8) / f64::from(pair.naive.frame_bytes + 8)
        };
        mean(self.functions.iter().map(ratio)).0
    }

    /// Bytes of tailor's code.
    pub fn code_bytes(&self) -> u32 {
        self.functions.iter().map(FunctionPair::code_bytes).sum()
    }

    /// Callee-saved registers that tailor's functions save.
    pub fn saved(&self) -> usize {
        self.functions.iter().map(|pair| pair.tailor.saved.len()).sum()
    }

    /// How far tailor's functions are from their bounds.
    pub fn bounds(&self) -> AgainstBounds<'a> {
        let mut against = AgainstBounds::default();
        for FunctionPair { tailor: row, .. } in &self.functions {
            let content = row.frame_bytes - row.padding_bytes;
            match row.lower_bound_bytes {
                None => {}
                Some(0) => {
                    against.without += 1;
                    if content > 0 {
                        against.needless.push(row);
                    }
                }
                Some(bound) => {
                    against.bounded += 1;
                    against.at_bound += usize::from(content == bound);
                    against.content += f64::from(content);
                    against.bounds += f64::from(bound);
                }
            }
        }
        against
    }
}

/// Frames without padding against lower bounds.
#[derive(Default)]
pub struct AgainstBounds<'a> {
    /// Functions with a bound above 0, and those among them that are at it.
    pub bounded: usize,
    pub at_bound: usize,
    /// Their bytes, and those of their bounds.
    pub content: f64,
    pub bounds: f64,
    /// Functions with bound 0, and those that have a frame all the same.
    pub without: usize,
    pub needless: Vec<&'a FunctionRow>,
}

/// A program's weighted cost.
pub fn cost(row: &ProgramRow) -> f64 {
    row.weighted_cost.unwrap_or(f64::NAN)
}

/// Whether a program costs more than its frame pointers.
fn beyond_frame_pointer(row: &ProgramRow) -> bool {
    cost(row) - row.weighted_frame_pointer.unwrap_or(0.0) > ROUNDING * cost(row).max(1.0)
}

/// The geometric mean, and of how many.
fn mean(ratios: impl Iterator<Item = f64>) -> (f64, usize) {
    let (sum, count) = ratios.fold((0.0, 0), |(sum, count), ratio| (sum + ratio.ln(), count + 1));
    ((sum / count as f64).exp(), count)
}
