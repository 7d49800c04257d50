//! Which engine is meant: the one of `--iface`, or the only one that runs.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use vos_engine::control::socket;

use crate::Cli;
use crate::answer::Failure;

/// The socket of the engine meant.
pub(crate) fn find_socket(cli: &Cli) -> Result<PathBuf, Failure> {
    if let Some(iface) = &cli.iface {
        return Ok(socket::path(&cli.run_dir, iface));
    }
    let mut ifaces = sockets_in(&cli.run_dir)?;
    ifaces.sort_unstable();
    match ifaces.as_slice() {
        [] => Err(Failure::NoEngine { run_dir: cli.run_dir.clone() }),
        [iface] => Ok(socket::path(&cli.run_dir, iface)),
        _ => Err(Failure::SeveralEngines { ifaces }),
    }
}

fn sockets_in(run_dir: &Path) -> Result<Vec<String>, Failure> {
    let entries = match std::fs::read_dir(run_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ifaces = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(iface) = name.strip_suffix(".sock")
            && entry.file_type()?.is_socket()
        {
            ifaces.push(iface.to_owned());
        }
    }
    Ok(ifaces)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn one_engine_is_found_several_are_listed_none_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let cli = |words: &[&str]| {
            let run_dir = format!("--run-dir={}", directory.path().display());
            Cli::try_parse_from(["vosctl", &run_dir].iter().chain(words).copied()).expect("taken")
        };
        assert_eq!(find_socket(&cli(&["list"])).expect_err("none").code(), 3);
        let _one = std::os::unix::net::UnixListener::bind(directory.path().join("eth1.sock")).expect("bound");
        std::fs::write(directory.path().join("eth2.sock"), "").expect("written");
        assert_eq!(find_socket(&cli(&["list"])).expect("one"), directory.path().join("eth1.sock"));
        let _two = std::os::unix::net::UnixListener::bind(directory.path().join("eth0.sock")).expect("bound");
        let failure = find_socket(&cli(&["list"])).expect_err("two");
        assert_eq!((failure.code(), failure.to_string().contains("--iface (eth0, eth1)")), (2, true));
        assert_eq!(find_socket(&cli(&["--iface", "x", "list"])).expect("named"), directory.path().join("x.sock"));
    }
}
