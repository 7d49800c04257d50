//! Which cores threads may run on (sched_setaffinity(2)). What they start may run where they may.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use vos_bench::{Error, Result};

/// The calling thread, from now on.
const SELF: Pid = Pid::from_raw(0);

/// Keeps the calling thread on a core; on `None` it runs where it may.
pub(crate) fn only(core: Option<usize>) -> Result<()> {
    let Some(core) = core else { return Ok(()) };
    let mut cpus = CpuSet::new();
    let kept = cpus.set(core).and_then(|()| sched_setaffinity(SELF, &cpus));
    kept.map_err(|error| Error::Other(format!("cannot run on core {core}: {error}")))
}

/// Keeps the calling thread off a core.
pub(crate) fn all_but(core: Option<usize>) -> Result<()> {
    let Some(core) = core else { return Ok(()) };
    let kept = sched_getaffinity(SELF).and_then(|mut cpus| {
        if !cpus.is_set(core)? {
            return Err(nix::errno::Errno::EINVAL);
        }
        cpus.unset(core)?;
        sched_setaffinity(SELF, &cpus)
    });
    kept.map_err(|error| Error::Other(format!("cannot leave core {core} and run on another: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_where_it_is_told_to_be() {
        let may = || {
            let cpus = sched_getaffinity(SELF).unwrap();
            (0..CpuSet::count()).filter(|core| cpus.is_set(*core).unwrap()).collect::<Vec<_>>()
        };
        let before = may();
        let first = before[0];
        let rest = std::thread::spawn(move || all_but(Some(first)).map(|()| may())).join().unwrap();
        match before.len() {
            1 => assert!(rest.is_err()),
            _ => assert_eq!(rest.unwrap(), before[1..]),
        }
        assert_eq!(std::thread::spawn(move || only(Some(first)).map(|()| may())).join().unwrap().unwrap(), [first]);
        assert!(only(Some(CpuSet::count())).is_err() && all_but(Some(CpuSet::count() - 1)).is_err());
        assert_eq!(may(), before, "other threads are left alone");
    }
}
