//! Bytes as choices of the generator of programs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tailor_fuzz::targets::programs(data));
