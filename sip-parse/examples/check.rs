//! Says which messages are accepted and which are refused, and why.
//!
//! `check [--lenient] FILE…` reads each file as one datagram and prints a line for it:
//! `accept<TAB>name`, or `reject<TAB>name<TAB>reason (RFC section)`. The name is that of the file
//! without its folder and ending. Exit status 0, or 2 if a file cannot be read.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use sip_parse::{Error, Index, Mode};

fn main() -> ExitCode {
    let mut mode = Mode::Strict;
    let mut files = Vec::new();
    for argument in env::args_os().skip(1) {
        match argument.to_str() {
            Some("--lenient") => mode = Mode::Lenient,
            Some("--help" | "-h") => return usage(ExitCode::SUCCESS),
            Some(option) if option.starts_with("--") => {
                eprintln!("check: no such option: {option}");
                return usage(ExitCode::from(2));
            }
            _ => files.push(argument),
        }
    }
    if files.is_empty() {
        return usage(ExitCode::from(2));
    }
    let mut status = ExitCode::SUCCESS;
    for file in &files {
        let name = Path::new(file).file_stem().unwrap_or(file).to_string_lossy();
        match fs::read(file) {
            Ok(datagram) => print_verdict(&name, verdict(&datagram, mode)),
            Err(error) => {
                eprintln!("check: {}: {error}", Path::new(file).display());
                status = ExitCode::from(2);
            }
        }
    }
    status
}

fn verdict(datagram: &[u8], mode: Mode) -> Result<(), Error> {
    let mut index: Index = Index::new();
    index.parse(datagram, mode)?.validate().map(drop)
}

fn print_verdict(name: &str, verdict: Result<(), Error>) {
    match verdict {
        Ok(()) => println!("accept\t{name}"),
        Err(error) => println!("reject\t{name}\t{error} ({})", error.section()),
    }
}

fn usage(status: ExitCode) -> ExitCode {
    eprintln!("usage: check [--lenient] FILE...");
    status
}
