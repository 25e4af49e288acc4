//! Bytes as an object file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tailor_fuzz::targets::elf(data));
