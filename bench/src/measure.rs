//! `vos-bench verdict`: its command line.

use std::path::PathBuf;

use vos_bench::verdict::{Effort, Fill, Foreign, measure, rows, table};
use vos_bench::{Error, Result, Stop};

use crate::{say, to_json};

/// The comparison's options.
#[derive(clap::Args)]
pub(crate) struct VerdictOptions {
    /// Somebody else's BPF object: its first XDP program. May be given several times; goals are for the first
    #[arg(long = "object", value_name = "NAME=FILE", value_parser = object)]
    objects: Vec<(String, PathBuf)>,
    /// What is written into a map of that object first, such as a blocked address: the rows' is c6336409 (198.51.100.9)
    #[arg(long = "fill", value_name = "NAME:MAP=HEXKEY:HEXVALUE", value_parser = fill)]
    fills: Vec<(String, Fill)>,
    /// In how many turns
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// How many packets each program gets of each frame
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    packets: u32,
    /// Renew the tables between the markers of this file
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it and prints the tables.
pub(crate) fn run(options: &VerdictOptions, stop: &Stop) -> Result<()> {
    // What would fail at the end fails here.
    options.readme.as_deref().map(|readme| table::SECTION.find(readme)).transpose()?;
    let effort = Effort { rounds: options.rounds, packets: options.packets };
    let report = measure(&rows::rows(), &foreign(options)?, effort, stop)?;
    if let Some(readme) = &options.readme {
        table::SECTION.renew(readme, &report.readme())?;
    }
    say(&if options.json { to_json(&report) } else { report.markdown() });
    Ok(())
}

fn foreign(options: &VerdictOptions) -> Result<Vec<Foreign>> {
    let mut found = Vec::new();
    for (name, file) in &options.objects {
        let object = std::fs::read(file).map_err(Error::io(format!("read {}", file.display())))?;
        found.push(Foreign { name: name.clone(), object, fills: Vec::new() });
    }
    for (name, fill) in &options.fills {
        let of = found.iter_mut().find(|foreign| foreign.name == *name);
        let missing = || Error::Other(format!("--fill {name}: there is no --object {name}=FILE"));
        of.ok_or_else(missing)?.fills.push(fill.clone());
    }
    Ok(found)
}

/// `NAME=FILE`
pub(crate) fn object(text: &str) -> std::result::Result<(String, PathBuf), &'static str> {
    let (name, file) = text.split_once('=').ok_or("NAME=FILE, such as original=sip.bpf.o")?;
    Ok((name.to_owned(), file.into()))
}

fn fill(text: &str) -> std::result::Result<(String, Fill), &'static str> {
    let parse = || {
        let (place, entry) = text.split_once('=')?;
        let ((name, map), (key, value)) = (place.split_once(':')?, entry.split_once(':')?);
        Some((name.to_owned(), Fill { map: map.to_owned(), key: bytes(key)?, value: bytes(value)? }))
    };
    parse().ok_or("NAME:MAP=HEXKEY:HEXVALUE, such as original:blocked=c6336409:01")
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_map_is_read() {
        let entry = Fill { map: "blocked_ips".to_owned(), key: vec![0xc6, 0x33, 0x64, 9], value: vec![1] };
        assert_eq!(fill("original:blocked_ips=c6336409:01"), Ok(("original".to_owned(), entry)));
        for wrong in ["", "original", "original:map", "original:map=00", "original=00:01", "a:b=0:01", "a:b=zz:01"] {
            assert!(fill(wrong).is_err(), "{wrong}");
        }
    }
}
