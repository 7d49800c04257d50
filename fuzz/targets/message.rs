#![no_main]

#[path = "../../sip-parse/tests/invariants/mod.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|datagram: &[u8]| invariants::message(datagram));
