#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bearerd_fuzz::run("imap", bytes));
