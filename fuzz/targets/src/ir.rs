//! Bytes as the IR's text form.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tailor_fuzz::targets::ir(data));
