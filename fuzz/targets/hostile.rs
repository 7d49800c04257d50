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

const LENGTHS: [usize; 2] = [8_000, 16_000];

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
    for hostile in MESSAGES {
        let [half, whole] = LENGTHS.map(|length| hostile.message(length));
        for mode in [Mode::Strict, Mode::Lenient] {
            println!("{mode:?} message: {}", hostile.name);
            [&half, &whole].into_iter().for_each(|bytes| counted(&|| drop(invariants::ask_message(bytes, mode))));
        }
    }
    for hostile in URIS {
        println!("URI: {}", hostile.name);
        LENGTHS.map(|length| hostile.uri(length)).iter().for_each(|bytes| counted(&|| invariants::uri(bytes)));
    }
}

#[inline(never)]
fn counted(reading: &dyn Fn()) {
    reading();
}
