//! Bytes as instructions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tailor_fuzz::targets::bytecode(data));
