//! CPU time: of a process group as the scheduler counts it, of the whole machine as the kernel shows it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use vos_bench::{Error, Result};

/// CPU time of a process group, ns: what `sched` has counted for each thread of it.
pub(crate) fn of_group(group: u32) -> Result<u64> {
    let processes = fs::read_dir("/proc").map_err(Error::io("read /proc"))?.flatten();
    Ok(processes
        .filter(|process| group_of(&process.path()) == Some(group))
        .map(|process| of_threads(&process.path()))
        .sum())
}

/// proc_pid_stat(5): state, parent, group follow the name, which may hold anything but ends with the last parenthesis.
fn group_of(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

/// `Documentation/scheduler/sched-stats.rst`: the first number of schedstat. Who has ended meanwhile counts nothing.
fn of_threads(process: &Path) -> u64 {
    let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    let time = |thread: fs::DirEntry| -> Option<u64> {
        fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    threads.filter_map(time).sum()
}

/// What all cores of this machine have worked so far, interrupts included, to the hundredth of a second (proc_stat(5)). What
/// a host has kept from them (steal) is no work.
pub(crate) fn of_machine() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").map_err(Error::io("read /proc/stat"))?;
    busy(&stat).ok_or_else(|| Error::Other("/proc/stat does not begin with the time of all cores".to_owned()))
}

/// The first line: user, nice, system, idle, iowait, irq, softirq, in units of USER_HZ, which is 100 everywhere.
fn busy(stat: &str) -> Option<Duration> {
    let times = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let times: Vec<u64> = times.map(|time| time.parse().ok()).collect::<Option<_>>()?;
    let busy: u64 = [0, 1, 2, 5, 6].into_iter().map(|at| times.get(at).copied()).sum::<Option<_>>()?;
    Some(Duration::from_millis(busy * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_what_is_neither_idle_nor_waiting_nor_stolen() {
        let stat = "cpu  100 10 200 9000 50 5 300 70 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy(stat), Some(Duration::from_millis(6_150)));
        assert_eq!(busy("cpu  1 2"), None);
        assert_eq!(busy(""), None);
    }
}
