#![no_main]

#[path = "../../sip-parse/tests/invariants/mod.rs"]
mod invariants;

// No URI holds a line feed: it parts two that are compared.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(2, |&byte| byte == b'\n');
    let (one, another) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    invariants::uri(one);
    invariants::uri(another);
    invariants::uris(one, another);
});
