//! A module through lowering, allocation and emission, as its seed says.

use cranelift_entity::EntityRef;
use tailor_emit::{CompiledFunction, Convention, FunctionKind, kernel};
use tailor_ir::{FuncRef, Module};
use tailor_lower::{CtxField, Features, Options, Poking};
use tailor_regalloc::{Lever, Levers};

use super::world::{FILL, ctx_place};

/// The code of a module.
pub struct Compiled {
    pub functions: Vec<CompiledFunction>,
    /// What C code enters instead of the first function, if it wants a record.
    pub stub: Option<CompiledFunction>,
    pub convention: Convention,
}

impl Compiled {
    pub fn listing(&self) -> String {
        self.functions.iter().map(tailor_emit::listing::listing).collect()
    }
}

/// Compiles for a convention and without the levers that follow from the seed.
pub fn compile(module: &Module, seed: u64) -> Result<Compiled, String> {
    let wants_record = |callee: FuncRef| module.functions[callee].reaches_tail_call;
    let ctx_field = |_, field| {
        let (offset, size) = ctx_place(field);
        CtxField { offset: offset as i32, size }
    };
    let convention = match seed.is_multiple_of(3) {
        true => Convention::Kernel { landing: kernel::LANDING },
        false => Convention::Saving,
    };
    let options = Options {
        features: Features { bmi2: seed.is_multiple_of(2) && is_x86_feature_detected!("bmi2") },
        convention,
        poking: if seed % 5 == 4 { Poking::Patch } else { Poking::Data },
        wants_record: &wants_record,
        ctx_field: &ctx_field,
    };
    // All levers, none, or some.
    let bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let off: Vec<Lever> = match seed % 4 {
        0 => Vec::new(),
        1 => Lever::ALL.to_vec(),
        _ => Lever::ALL
            .into_iter()
            .enumerate()
            .filter(|(n, _)| bits >> n & 1 == 1)
            .map(|(_, l)| l)
            .collect(),
    };
    let allocation = tailor_regalloc::Options {
        check: true,
        // The linear-time allocator at times.
        ion_limit: if seed % 7 == 6 { 20 } else { 1_000_000 },
        relies_on_alignment: &|_| true,
        keeps_addresses: &|helper| helper != FILL,
        levers: Levers::without(&off),
    };
    let mut functions = Vec::new();
    for (id, function) in module.functions.iter() {
        let mach = tailor_lower::lower(function, &options).map_err(|error| error.to_string())?;
        let prepared = tailor_regalloc::prepare(mach, &allocation);
        let (other, allocated) = prepared.allocate(&allocation).map_err(|e| e.to_string())?;
        let mach = other.unwrap_or(prepared.function);
        let kind = if id.index() == 1 { FunctionKind::Subprogram } else { FunctionKind::Program };
        let code = tailor_emit::emit(&mach, &allocated, kind, 0).map_err(|e| e.to_string())?;
        functions.push(code);
    }
    let first = FuncRef::new(0);
    let stub = (convention == Convention::Saving && wants_record(first))
        .then(|| tailor_emit::entry_stub(convention, first, "stub").map_err(|e| e.to_string()))
        .transpose()?;
    Ok(Compiled { functions, stub, convention })
}
