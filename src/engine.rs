//! The engines by name.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use tailor_bpf::ctx;
use tailor_lower::{Convention, CtxField, Poking};
use tailor_naive::Variant;

/// A way to run or compile a program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Engine {
    /// The bytecode interpreter.
    Interp,
    /// The one-pass baseline with the fixed prologue of kernels up to 5.9.
    NaiveFixed,
    /// The one-pass baseline with the prologue of 5.10 to 6.11.
    Naive510,
    /// The one-pass baseline with the prologue of 6.12 and later.
    Naive612,
    /// The optimizing pipeline under the constraints of kernels since 6.12.
    TailorKernel,
    /// The optimizing pipeline.
    Tailor,
}

/// How an engine works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Executes bytecode.
    Interpreter,
    /// Compiles instruction by instruction, as a generation of the kernel did.
    Naive(Variant),
    /// Compiles through the IR.
    Optimizing(Convention),
}

impl Engine {
    /// All engines.
    pub const ALL: [Engine; 6] = [
        Engine::Interp,
        Engine::NaiveFixed,
        Engine::Naive510,
        Engine::Naive612,
        Engine::TailorKernel,
        Engine::Tailor,
    ];

    /// Name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Interp => "interp",
            Engine::NaiveFixed => "naive-fixed",
            Engine::Naive510 => "naive-5.10",
            Engine::Naive612 => "naive-6.12",
            Engine::TailorKernel => "tailor-kernel",
            Engine::Tailor => "tailor",
        }
    }

    /// How it works.
    pub fn family(self) -> Family {
        match self {
            Engine::Interp => Family::Interpreter,
            Engine::NaiveFixed => Family::Naive(Variant::Fixed),
            Engine::Naive510 => Family::Naive(Variant::V510),
            Engine::Naive612 => Family::Naive(Variant::V612),
            Engine::TailorKernel => {
                Family::Optimizing(Convention::Kernel { landing: Variant::V612.landing() })
            }
            Engine::Tailor => Family::Optimizing(Convention::Saving),
        }
    }

    /// How programs are entered in it. (Maps of the interpreter are tailor's.)
    pub fn convention(self) -> Convention {
        match self.family() {
            Family::Naive(variant) => Convention::Kernel { landing: variant.landing() },
            Family::Optimizing(convention) => convention,
            Family::Interpreter => Convention::Saving,
        }
    }

    /// What becomes of sites whose slot is known, unless one asks for something
    /// else. The baselines leave no choice.
    pub fn poking(self) -> Poking {
        match self {
            Engine::Naive510 | Engine::Naive612 | Engine::TailorKernel | Engine::Tailor => {
                Poking::Patch
            }
            Engine::Interp | Engine::NaiveFixed => Poking::Data,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ValueEnum for Engine {
    fn value_variants<'a>() -> &'a [Engine] {
        &Engine::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(name: &str) -> Result<Engine, String> {
        let known = || Engine::ALL.map(Engine::name).join(", ");
        Engine::ALL
            .into_iter()
            .find(|engine| engine.name() == name)
            .ok_or_else(|| format!("no engine {name:?}; there are {}", known()))
    }
}

/// Where a context field lies natively.
pub fn ctx_field(kind: u8, field: u8) -> CtxField {
    let field = &ctx::KINDS[kind as usize].fields[field as usize];
    CtxField { offset: i32::from(field.native_offset), size: field.native_size }
}
