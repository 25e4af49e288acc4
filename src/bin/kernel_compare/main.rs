//! `kernel-compare OBJ...`: what the running kernel's JIT makes of objects,
//! against naive-6.12, function by function.
//!
//! Twice: naive-6.12 fed with the kernel's translated instructions, which must
//! give the same frames, and with the object's bytecode, where what the
//! verifier rewrote makes differences, each in a class with its evidence. Both
//! images and our code go through the one frame decoder.
//!
//! With the translated instructions come the stack depths, which the verifier
//! hands to the JIT beside them (BPF_LOG_STATS prints them): a depth that was
//! reached in code since removed or through a helper's arguments is in no
//! instruction. They are never read off the image that is compared.

mod classes;
mod compare;
mod image;
mod loaded;
mod report;
mod sequence;
mod translated;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use compare::Comparison;
use tailor::runtime::kernel::Libbpf;

/// Compares naive-6.12 with the running kernel.
#[derive(Parser)]
struct Arguments {
    /// eBPF objects.
    objects: Vec<PathBuf>,
    /// Write a line for each function to this file.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// List functions that differ and objects that do not load.
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(why) = tailor::runtime::kernel::unavailable() {
        println!("kernel-compare: SKIPPED, the kernel cannot be asked: {why}");
        return ExitCode::SUCCESS;
    }
    let libbpf = match Libbpf::find() {
        Ok(libbpf) => libbpf,
        Err(why) => {
            println!("kernel-compare: SKIPPED, objects cannot be loaded: {why}");
            return ExitCode::SUCCESS;
        }
    };
    let mut comparison = Comparison::default();
    for path in &arguments.objects {
        comparison.add(&libbpf, path);
    }
    print!("{}", comparison.summary(arguments.verbose));
    if let Some(path) = &arguments.csv
        && let Err(error) = std::fs::write(path, comparison.csv())
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    match comparison.holds() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
