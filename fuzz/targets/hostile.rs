//! The hostile inputs of the tests, for `deploy/fuzz.sh`.
//!
//! * `hostile write message|uri FOLDER`: one file each, of 60,000 bytes
//! * `hostile read`: reads each at 8,000 and at 16,000 bytes and prints a line for it; callgrind counts
//!   what happens in [`counted`]

#[path = "../../sip-parse/tests/invariants/mod.rs"]
mod invariants;

use std::path::Path;
use std::{env, fs};

use invariants::inputs::{MESSAGES, URIS};
use sip_parse::Mode;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", "message", folder] => write(folder, MESSAGES.iter().map(|hostile| hostile.message(60_000))),
        ["write", "uri", folder] => write(folder, URIS.iter().map(|hostile| hostile.uri(60_000))),
        ["read"] => read(),
        _ => panic!("hostile write message|uri FOLDER, or hostile read"),
    }
}

fn write(folder: &str, inputs: impl Iterator<Item = Vec<u8>>) {
    for (number, bytes) in inputs.enumerate() {
        fs::write(Path::new(folder).join(format!("hostile-{number:03}")), bytes).unwrap();
    }
}

fn read() {
    for mode in [Mode::Strict, Mode::Lenient] {
        for hostile in MESSAGES {
            let [half, whole] = [8_000, 16_000].map(|length| hostile.message(length));
            println!("{mode:?} message: {}", hostile.name);
            [half, whole].iter().for_each(|bytes| counted(|| drop(invariants::ask_message(bytes, mode))));
        }
        for hostile in URIS {
            let [half, whole] = [8_000, 16_000].map(|length| hostile.uri(length));
            println!("{mode:?} URI: {}", hostile.name);
            [half, whole].iter().for_each(|bytes| counted(|| drop(invariants::ask_uri(bytes, mode))));
        }
    }
}

#[inline(never)]
fn counted(reading: impl Fn()) {
    reading();
}
