//! Answers the request on standard input with `503 Service Unavailable`, as if it had come from
//! 192.0.2.1:5062.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use sip_parse::{Index, Mode, Reply};

fn main() -> ExitCode {
    match refuse() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("refuse: {error}");
            ExitCode::FAILURE
        }
    }
}

fn refuse() -> Result<(), Box<dyn std::error::Error>> {
    let mut request = Vec::new();
    io::stdin().read_to_end(&mut request)?;
    let mut index: Index = Index::new();
    let message = index.parse(&request, Mode::Lenient)?;
    let mut response = [0; 65_535];
    let length = Reply::new(503, "Service Unavailable")
        .to_tag(b"a6c85cf")
        .source("192.0.2.1:5062".parse()?)
        .write(&message, &mut response)?;
    io::stdout().write_all(&response[..length])?;
    Ok(())
}
