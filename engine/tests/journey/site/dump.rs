use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use vos_bench::Program;

use super::{PATIENCE, Site, wait_until};

/// tcpdump's own buffer, for those that say much of each packet.
const BUFFER_KB: &str = "32768";

impl Site {
    /// Follows what the server's kernel sees on the interface, behind XDP.
    #[track_caller]
    pub(crate) fn tcpdump(&self, filter: &str) -> Program {
        self.watch(self.server.command("tcpdump"), &["-i", &self.iface, "-l", "-nn", "-Q", "in", filter])
    }

    /// Follows what leaves the callers' end of the wire and what comes to it: what was sent is seen here even if the
    /// server never sees it.
    #[track_caller]
    pub(crate) fn tcpdump_outside(&self, filter: &str) -> Program {
        self.watch(self.caller.command("tcpdump"), &["-i", &self.lan, "-l", "-nn", filter])
    }

    /// Writes what callers and server send each other into a file, whole when this has ended.
    #[track_caller]
    pub(crate) fn record(&self, file: &Path) -> Program {
        let file = file.to_str().expect("UTF-8");
        self.watch(self.caller.command("tcpdump"), &["-i", &self.lan, "-U", "-s0", "-w", file, "-Z", "root", "udp"])
    }

    /// The same with link headers, and with checksums looked at.
    #[track_caller]
    pub(crate) fn tcpdump_in_full(&self, filter: &str) -> Program {
        self.watch(
            self.caller.command("tcpdump"),
            &["-i", &self.lan, "-l", "-nn", "-e", "-vv", "-B", BUFFER_KB, filter],
        )
    }

    #[track_caller]
    fn watch(&self, mut command: Command, words: &[&str]) -> Program {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let log = self.path(&format!("tcpdump{}.log", NEXT.fetch_add(1, Ordering::Relaxed)));
        command.arg("--immediate-mode").args(words);
        let program = Program::start("tcpdump", &mut command, Some(&log)).unwrap();
        wait_until("tcpdump listens", PATIENCE, || program.log().contains("listening on"));
        program
    }
}

/// How many packets tcpdump has shown so far.
pub(crate) fn dumped(tcpdump: &Program) -> usize {
    tcpdump.log().lines().filter(|line| line.contains(" IP ") || line.contains(" IP6 ")).count()
}
