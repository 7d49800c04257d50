//! Children start with no signal blocked. The only unsafe code of the crate.

#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::SigSet;

/// A blocked signal stays blocked across exec, and [`Stop::on_signals`](crate::Stop::on_signals) blocks SIGTERM:
/// without this a child would never see the one that is to end it.
pub(crate) fn unmask(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only what is async-signal-safe may run. This fills a local set and calls
    // pthread_sigmask, which is (signal-safety(7)); it neither allocates nor locks, on failure too.
    unsafe { command.pre_exec(|| SigSet::empty().thread_set_mask().map_err(io::Error::from)) }
}
