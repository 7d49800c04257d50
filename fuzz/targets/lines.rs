//! The lines of block lists: whatever the bytes, each line is numbered, and a good one is written as what is read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vos_engine::feed::lines::{Line, Takes, read};

fuzz_target!(|bytes: &[u8]| {
    let mut before = 0;
    for line in read(bytes, Takes::Every) {
        let number = line.as_ref().map_or_else(|bad| bad.number, |line| line.number);
        assert!(number > before, "line {number} behind {before}");
        before = number;
        let Ok(line) = line else { continue };
        assert_eq!(line.net, line.net.trunc());
        let written = line.to_string();
        let again: Vec<_> = read(written.as_bytes(), Takes::Every).collect();
        assert_eq!(again, [Ok(Line { number: 1, ..line })], "{written}");
    }
    assert!(before <= bytes.split(|byte| *byte == b'\n').count());
});
