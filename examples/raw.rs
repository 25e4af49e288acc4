//! Plain bytecode as a C function of memory and its length.
//!
//! `cargo run --example raw`

use tailor::bpf::{encode, text};

/// The sum of all bytes.
const SUM: &str = "
    r0 = 0
    r2 += r1
    if r1 >= r2 goto +4
    r3 = *(u8 *)(r1 + 0)
    r0 += r3
    r1 += 1
    goto -5
    exit";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Bytecode comes from anywhere; here it is made from its text.
    let bytecode = encode::encode("sum", &text::parse_ops(SUM)?)?;
    let sum = tailor::raw::compile(&bytecode)?;
    let function = sum.as_fn();

    let mut memory: Vec<u8> = (1..=100).collect();
    // SAFETY: the program reads only what it is told of, and ends.
    let result = unsafe { function(memory.as_mut_ptr(), memory.len() as u64) };
    println!("1 + 2 + ... + 100 = {result}");
    Ok(())
}
