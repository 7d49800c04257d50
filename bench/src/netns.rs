//! A network namespace that is gone when its guard is.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::output;
use crate::{Error, Result};

/// Where iproute2 keeps named namespaces.
const NETNS: &str = "/run/netns";
/// All names made here begin so, which is how [`NetNs::sweep`] knows them.
const PREFIX: &str = "vos";

/// A named network namespace with `lo` up. Dropping it ends the processes still inside and removes it.
#[derive(Debug)]
pub struct NetNs {
    name: String,
}

impl NetNs {
    /// Makes `vos-ROLE-PID-N`: no two of one machine have the same name.
    pub fn new(role: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // `ip netns add` turns /run/netns into a shared mount the first time: two at once get in each other's way.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{role}-{}-{number}", std::process::id());
        let turn = ONE_AT_A_TIME.lock();
        output(Command::new("ip").args(["netns", "add", &name]))?;
        drop(turn);
        let made = Self { name };
        made.ip("link set lo up")?;
        Ok(made)
    }

    /// Its name, as `ip netns list` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new(NETNS).join(&self.name)
    }

    /// A command that will run inside. By nsenter, because `ip netns exec` remounts /sys and so hides /sys/fs/bpf.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs `ip` with these words inside: `ns.ip("addr add 192.0.2.1/24 dev sip0")`. Gives what it printed.
    pub fn ip(&self, words: &str) -> Result<String> {
        output(Command::new("ip").args(["-n", &self.name]).args(words.split_whitespace()))
    }

    /// Sets a sysctl inside: `ns.sysctl("net.ipv4.conf.all.rp_filter", "1")`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let file = format!("/proc/sys/{}", key.replace('.', "/"));
        // /proc/sys/net shows the namespace of who opens it.
        self.enter(|| std::fs::write(&file, value))?.map_err(Error::io(format!("write {value} to {file}")))
    }

    /// Runs `work` on a thread that is inside. Sockets opened there stay there, whoever uses them afterwards.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = self.path();
        let file = File::open(&path).map_err(Error::io(format!("open {}", path.display())))?;
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || -> Result<T> {
                setns(file, CloneFlags::CLONE_NEWNET).map_err(Error::io(format!("enter {}", path.display())))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Removes what runs that were killed (SIGKILL leaves no time for a guard) have left: namespaces made here whose
    /// process no longer exists. Gives their names.
    pub fn sweep() -> Vec<String> {
        let mut removed = Vec::new();
        if !nix::unistd::geteuid().is_root() {
            return removed;
        }
        for entry in std::fs::read_dir(NETNS).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if owner(&name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
                drop(Self { name: name.clone() });
                removed.push(name);
            }
        }
        removed
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        let me = std::process::id().cast_signed();
        // A process inside keeps the namespace alive after its name is gone.
        let inside = output(Command::new("ip").args(["netns", "pids", &self.name])).unwrap_or_default();
        for pid in inside.lines().filter_map(|pid| pid.trim().parse().ok()).filter(|&pid: &i32| pid > 1 && pid != me) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if let Err(error) = output(Command::new("ip").args(["netns", "del", &self.name])) {
            eprintln!("namespace {} is left behind ({error}); remove it with: ip netns del {0}", self.name);
        }
    }
}

/// The process id in a name made by [`NetNs::new`].
fn owner(name: &str) -> Option<u32> {
    let mut parts = name.rsplit('-');
    let (_number, pid) = (parts.next()?.parse::<u32>().ok()?, parts.next()?.parse().ok()?);
    (name.split('-').next() == Some(PREFIX) && parts.count() >= 2).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_it_is() {
        assert_eq!(owner("vos-server-4711-0"), Some(4711));
        assert_eq!(owner("vos-rx-side-4711-3"), Some(4711));
        assert_eq!(owner("vos-4711-0"), None);
        assert_eq!(owner("other-server-4711-0"), None);
        assert_eq!(owner("vos-server-x-0"), None);
    }
}
