#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    miqro_fuzz::targets::protocol::take(input);
});
