//! Tailor: an optimizing eBPF compiler that saves as few registers as it can.
//!
//! [`Unit::new`] validates and analyses an [`Object`]; [`compile()`] takes it
//! through the pipeline with one [`Engine`]; [`Instance`] loads the result and
//! runs it. [`report`] says how large frames are.

pub mod bounds;
pub mod cli;
pub mod compile;
pub mod compiler;
pub mod engine;
pub mod explain;
pub mod instance;
mod ir_world;
pub mod pass_check;
pub mod profile;
pub mod relocatable;
pub mod report;
pub mod trace;

pub use compile::{Compiled, Unit, compile};
pub use compiler::{Compiler, raw};
pub use engine::Engine;
pub use explain::{Explanation, explain};
pub use instance::{Instance, Setup};
pub use relocatable::relocatable;
pub use tailor_bpf::{Error, Object};
pub use tailor_emit::Poking;
pub use tailor_lower::Features;
pub use tailor_regalloc::{Lever, Levers};
pub use tailor_runtime::{Environment, Skb, Xdp};
pub use trace::Trace;

pub use tailor_bpf as bpf;
pub use tailor_emit as emit;
pub use tailor_ir as ir;
pub use tailor_runtime as runtime;
