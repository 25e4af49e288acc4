//! A plugin for the runner of the bpf_conformance suite.
//!
//! The first argument is the memory as hex bytes separated by blanks (absent or
//! empty where there is none), standard input one line of the program's bytes in
//! hex. R0 goes to standard output in hex; a failure is a line on standard
//! error and exit status 1.

use std::io::Read;
use std::process::ExitCode;

use clap::Parser;
use tailor::runtime::helpers::Table;
use tailor::{Compiler, Engine, Error, Object};

/// Runs the bytecode on standard input and prints R0.
#[derive(Parser)]
#[command(name = "tailor-conformance", version)]
struct Arguments {
    /// Memory that R1 points to, as hex bytes; R2 is its length.
    memory: Option<String>,
    /// The engine to run it in.
    #[arg(long, default_value = "tailor")]
    engine: Engine,
}

/// The suite's only helper: returns its first argument.
unsafe extern "C" fn unwind(r1: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    r1
}

/// Hex digits; blanks between bytes are allowed.
fn bytes(text: &str) -> Result<Vec<u8>, Error> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).ok_or_else(|| Error::new(format!("{c:?} is no hex digit"))))
        .collect::<Result<_, _>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    match rest {
        [] => Ok(pairs.iter().map(|[high, low]| (high << 4 | low) as u8).collect()),
        _ => Err(Error::new("an odd number of hex digits")),
    }
}

fn run(arguments: &Arguments) -> Result<u64, Error> {
    let mut program = String::new();
    let read = std::io::stdin().read_to_string(&mut program);
    read.map_err(|error| Error::new(error.to_string()))?;
    let mut memory = bytes(arguments.memory.as_deref().unwrap_or(""))?;
    let object = Object::raw("program", &bytes(&program)?)?;
    let helpers = Table::empty().with(5, unwind);
    let instance = Compiler::new().engine(arguments.engine).helpers(helpers).compile(&object)?;
    // SAFETY: whoever has the program run vouches for it.
    unsafe { instance.program("program")?.run(&mut memory.as_mut_slice()) }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(result) => {
            println!("{result:x}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
