//! Which engine is meant: the one of `--iface`, or the only one that runs.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use vos_engine::control::socket;

use crate::Cli;
use crate::answer::Failure;

/// The socket of the engine meant.
pub(crate) fn find_socket(cli: &Cli) -> Result<PathBuf, Failure> {
    if let Some(iface) = &cli.iface {
        return Ok(socket::path(&cli.run_dir, iface));
    }
    let run_dir = &cli.run_dir;
    let mut found = sockets_in(run_dir)?;
    found.sort_unstable();
    if let [iface] = found.as_slice() {
        // whether anybody is there is seen when he is asked something
        return Ok(socket::path(run_dir, iface));
    }
    let found = found.into_iter().map(|iface| (knock(&socket::path(run_dir, &iface)), iface));
    let found: Vec<_> = found.filter(|(behind, _)| *behind != Behind::NoEngine).collect();
    match found.as_slice() {
        [(_, iface)] => Ok(socket::path(run_dir, iface)),
        // one that nobody listens behind may be that of an engine that is back in a moment
        found if found.iter().any(|(behind, _)| *behind == Behind::Somebody) => {
            Err(Failure::SeveralEngines { ifaces: found.iter().map(|(_, iface)| iface.clone()).collect() })
        }
        _ => Err(Failure::NoEngine { run_dir: run_dir.clone() }),
    }
}

/// What is behind a socket.
#[derive(PartialEq)]
enum Behind {
    Somebody,
    Nobody,
    /// A feed of datagrams, or a softswitch.
    NoEngine,
}

fn knock(path: &Path) -> Behind {
    match UnixStream::connect(path).map_err(|error| Errno::try_from(error).ok()) {
        Err(Some(Errno::EPROTOTYPE)) => Behind::NoEngine,
        Err(Some(Errno::ECONNREFUSED)) => Behind::Nobody,
        // who may not knock is told so by whatever is asked next
        Ok(_) | Err(_) => Behind::Somebody,
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
        let one = std::os::unix::net::UnixListener::bind(directory.path().join("eth1.sock")).expect("bound");
        std::fs::write(directory.path().join("eth2.sock"), "").expect("written");
        assert_eq!(find_socket(&cli(&["list"])).expect("one"), directory.path().join("eth1.sock"));
        // as the example for OpenSIPS' event_datagram names it
        let events = std::os::unix::net::UnixDatagram::bind(directory.path().join("events.sock")).expect("bound");
        assert_eq!(find_socket(&cli(&["list"])).expect("one, and a feed"), directory.path().join("eth1.sock"));
        drop((one, events));
        // A program that another test starts at this moment holds them until it is what it is to be.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while find_socket(&cli(&["list"])).is_ok() && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!(find_socket(&cli(&["list"])).expect_err("what a crash leaves").code(), 3);
        for left in ["eth1.sock", "events.sock"] {
            std::fs::remove_file(directory.path().join(left)).expect("there");
        }
        let _one = std::os::unix::net::UnixListener::bind(directory.path().join("eth1.sock")).expect("bound");
        let _two = std::os::unix::net::UnixListener::bind(directory.path().join("eth0.sock")).expect("bound");
        let failure = find_socket(&cli(&["list"])).expect_err("two");
        assert_eq!((failure.code(), failure.to_string().contains("--iface (eth0, eth1)")), (2, true));
        assert_eq!(find_socket(&cli(&["--iface", "x", "list"])).expect("named"), directory.path().join("x.sock"));
    }
}
