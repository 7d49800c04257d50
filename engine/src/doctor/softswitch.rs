use std::collections::BTreeSet;
use std::fs;

use super::Severity::{Note, Warning};
use super::{Finding, Told, listed, number, read, sysctl};
use crate::config::{Config, Mode, RelayTo};
use crate::pressure::{Sockets, UdpSocket};

/// What a SIP socket should have, bytes by the kernel's count, which is twice what is asked for. A datagram of SIP takes
/// 1,280 to 2,304 of them: this holds what arrives in a stall of 50 ms at 20,000 a second.
const BUFFER_MIN: u32 = 2 << 20;
/// What to ask for, bytes: it lifted OpenSIPS' highest loss-free rate from 75,000 to over 110,000 a second.
const BUFFER_GOOD: u64 = 4 << 20;
/// Most processes looked at.
const MOST_PROCESSES: usize = 100_000;
/// Most threads of a process looked at.
const MOST_THREADS: usize = 1_024;

/// Who listens at the SIP ports.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) listeners: Told<Vec<Listener>>,
    /// `net.core.rmem_max`; `None`: not told in this network namespace.
    pub(super) rmem_max: Option<u64>,
    /// Cores that processes may run on.
    pub(super) cores: usize,
}

/// A UDP socket with who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) socket: UdpSocket,
    /// What its processes are called (`comm`); `None` where they cannot be looked at.
    pub(super) program: Option<String>,
    /// Processes that have it open.
    pub(super) holders: usize,
    /// Those of them that wait for its next datagram at this moment.
    pub(super) waiting: usize,
}

pub(super) fn gather(ports: &[u16]) -> Facts {
    let listeners = Sockets::open().and_then(|mut sockets| sockets.list(ports)).map_err(|error| error.to_string());
    Facts {
        listeners: listeners.map(|sockets| sockets.into_iter().map(Listener::of).collect()).map(with_processes),
        rmem_max: number("/proc/sys/net/core/rmem_max"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

impl Listener {
    const fn of(socket: UdpSocket) -> Self {
        Self { socket, program: None, holders: 0, waiting: 0 }
    }
}

/// Finds the processes of each socket by their descriptors.
fn with_processes(mut listeners: Vec<Listener>) -> Vec<Listener> {
    if listeners.is_empty() {
        return listeners;
    }
    for process in numbers("/proc", MOST_PROCESSES) {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else { continue };
        // descriptors of each listener's socket in this process
        let mut found: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); listeners.len()];
        for descriptor in descriptors.flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let inode =
                target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            let number = descriptor.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some((inode, number)) = Option::<u32>::zip(inode, number)
                && let Some(at) = listeners.iter().position(|listener| listener.socket.inode == inode)
            {
                found[at].insert(number);
            }
        }
        for (listener, descriptors) in listeners.iter_mut().zip(found).filter(|(_, found)| !found.is_empty()) {
            listener.holders += 1;
            listener.waiting += usize::from(is_waiting(process, &descriptors));
            if listener.program.is_none() {
                listener.program = read(&format!("/proc/{process}/comm"), 64).ok().map(|name| name.trim().to_owned());
            }
        }
    }
    // the engine's own, such as decoys
    listeners.retain(|listener| listener.program.as_deref() != Some("vos-engine"));
    listeners
}

/// Entries of a directory that are numbers.
fn numbers(directory: &str, most: usize) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).take(most).collect()
}

/// Does a thread of this process wait for a datagram of one of these descriptors, in a call that receives or in epoll?
fn is_waiting(process: u32, descriptors: &BTreeSet<u32>) -> bool {
    numbers(&format!("/proc/{process}/task"), MOST_THREADS).into_iter().any(|thread| {
        let call = read(&format!("/proc/{process}/task/{thread}/syscall"), 512).unwrap_or_default();
        match waits_on(&call) {
            Some(Wait::Receive(descriptor)) => descriptors.contains(&descriptor),
            Some(Wait::Epoll(descriptor)) => {
                let watched = read(&format!("/proc/{process}/fdinfo/{descriptor}"), 1 << 20).unwrap_or_default();
                epoll_targets(&watched).any(|target| descriptors.contains(&target))
            }
            None => false,
        }
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Wait {
    Receive(u32),
    Epoll(u32),
}

/// Reads `/proc/PID/task/TID/syscall`: the call's number and arguments. `running`, or another call: `None`.
fn waits_on(line: &str) -> Option<Wait> {
    let mut words = line.split_whitespace();
    let call: libc::c_long = words.next()?.parse().ok()?;
    let first = u32::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    match call {
        libc::SYS_recvfrom | libc::SYS_recvmsg | libc::SYS_recvmmsg | libc::SYS_read => Some(Wait::Receive(first)),
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => Some(Wait::Epoll(first)),
        _ => None,
    }
}

/// The descriptors that an epoll watches, by its `/proc/PID/fdinfo/FD` (`proc_pid_fdinfo(5)`).
fn epoll_targets(info: &str) -> impl Iterator<Item = u32> {
    info.lines().filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next()?.parse().ok())
}

pub(super) fn judge(facts: &Facts, config: &Config, iface: &str) -> Vec<Finding> {
    let ports = listed(&config.xdp.sip_ports);
    let to_peer = config.mode == Mode::Relay && config.relay.to != RelayTo::Local;
    let listeners = match &facts.listeners {
        Err(error) => {
            return vec![Finding::new(
                "softswitch",
                Warning,
                format!("the kernel does not tell of UDP sockets: {error}"),
                "relay.priority measures by them how far behind the softswitch is, and does nothing without",
                "modprobe udp_diag",
            )];
        }
        Ok(listeners) => listeners,
    };
    if listeners.is_empty() {
        return vec![match to_peer {
            true => Finding::ok(
                "softswitch",
                format!("nobody listens on UDP {ports} here: survivors go to {}", config.relay.to),
            ),
            false => Finding::new(
                "softswitch",
                Warning,
                format!("nobody listens on UDP {ports} in this network namespace"),
                "survivors reach nobody; if the softswitch has another port, xdp.sip_ports is to name it",
                "ss -lunp",
            ),
        }];
    }
    let mut findings = vec![judge_found(listeners, iface)];
    findings.push(judge_buffers(listeners, facts));
    findings.push(judge_losses(listeners));
    findings.extend(judge_workers(listeners, facts));
    findings
}

fn judge_found(listeners: &[Listener], iface: &str) -> Finding {
    const CHECK: &str = "softswitch";
    let places: Vec<String> = listeners.iter().map(|listener| listener.socket.local.to_string()).collect();
    match listeners.iter().find_map(|listener| listener.program.as_deref()) {
        Some(program) => Finding::ok(CHECK, format!("{program} listens at {}", listed(&places))),
        None => {
            Finding::unknown(CHECK, &format!("who listens at {}", listed(&places)), "its process is not seen", iface)
        }
    }
}

/// How a program is told how much room its socket is to have, and how many workers: shell comments behind the command.
fn receive_buffer_key(program: &str) -> String {
    let restart = "and restart it";
    match program {
        "opensips" => format!("maxbuffer={BUFFER_GOOD} in opensips.cfg, {restart}"),
        "kamailio" => format!("maxbuffer={BUFFER_GOOD} in kamailio.cfg, {restart}"),
        _ => format!("restart {program}, which takes the kernel's default"),
    }
}

fn judge_buffers(listeners: &[Listener], facts: &Facts) -> Finding {
    const CHECK: &str = "receive-buffer";
    let Some(least) = listeners.iter().min_by_key(|listener| listener.socket.buffer) else {
        return Finding::ok(CHECK, "there is no socket");
    };
    let UdpSocket { local, buffer, .. } = &least.socket;
    let what = format!("{local} has a receive buffer of {} KiB", buffer >> 10);
    if *buffer >= BUFFER_MIN {
        return Finding::ok(CHECK, what);
    }
    let program = least.program.as_deref().unwrap_or("the softswitch");
    let asks = matches!(program, "opensips" | "kamailio");
    let fix = match (asks, facts.rmem_max) {
        (true, Some(max)) if max >= BUFFER_GOOD => "sysctl net.core.rmem_max  #".to_owned(),
        (true, _) => format!("{};", sysctl("net.core.rmem_max", BUFFER_GOOD)),
        (false, _) => format!("{};", sysctl("net.core.rmem_default", BUFFER_GOOD)),
    };
    Finding::new(
        CHECK,
        Warning,
        what,
        format!(
            "that holds {} to {} datagrams: a pause of some milliseconds under load loses calls, and nobody is told; {} KiB are \
             good",
            buffer / 2_304,
            buffer / 1_280,
            (2 * BUFFER_GOOD) >> 10
        ),
        format!("{fix} then {}", receive_buffer_key(program)),
    )
}

fn judge_losses(listeners: &[Listener]) -> Finding {
    const CHECK: &str = "receive-losses";
    let Some(worst) = listeners.iter().max_by_key(|listener| listener.socket.dropped) else {
        return Finding::ok(CHECK, "there is no socket");
    };
    let UdpSocket { local, dropped, .. } = &worst.socket;
    match dropped {
        0 => Finding::ok(CHECK, "no datagram was lost at a full SIP socket"),
        dropped => Finding::new(
            CHECK,
            Warning,
            format!("{dropped} datagrams were lost at {local}, which was full, since it was opened"),
            "the softswitch was behind: more room, more workers, or relay.priority, so that calls that are there go first",
            "ss -lunm",
        ),
    }
}

fn judge_workers(listeners: &[Listener], facts: &Facts) -> Option<Finding> {
    const CHECK: &str = "workers";
    // processes that share a socket; programs with threads share nothing
    let forks = |listener: &&Listener| matches!(listener.program.as_deref(), Some("opensips" | "kamailio"));
    let busiest = listeners
        .iter()
        .filter(forks)
        .max_by_key(|listener| listener.waiting.max(usize::from(listener.holders > 0)))?;
    let Listener { socket, program, holders, waiting } = busiest;
    let (program, local) = (program.as_deref().unwrap_or_default(), socket.local);
    if *waiting == 0 {
        // who is busy does not wait
        return Some(Finding::ok(CHECK, format!("{holders} processes of {program} have {local} open")));
    }
    let what = format!(
        "{waiting} of {holders} processes of {program} wait for datagrams at {local}; this host has {} cores",
        facts.cores
    );
    if *waiting >= facts.cores {
        return Some(Finding::ok(CHECK, what));
    }
    let key = match program {
        "opensips" => "udp_workers (before 3.1: children)",
        _ => "children",
    };
    Some(Finding::new(
        CHECK,
        Note,
        what,
        "a worker that waits for a database or for DNS reads nothing meanwhile; one a core is the least, several where scripts \
         wait",
        format!("nproc  # then {key}={} or more in {program}.cfg, and restart it", facts.cores),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::tests::of;
    use super::*;

    fn listener(program: &str, buffer: u32, dropped: u32, waiting: usize) -> Listener {
        let local = "192.0.2.1:5060".parse().expect("a place");
        let socket = UdpSocket { local, cookie: 1, inode: 1, queued: 0, buffer, dropped };
        Listener { socket, program: Some(program.to_owned()), holders: 12, waiting }
    }

    fn judged(listeners: Vec<Listener>) -> Vec<Finding> {
        judge(&Facts { listeners: Ok(listeners), rmem_max: Some(212_992), cores: 4 }, &Config::default(), "eth0")
    }

    #[test]
    fn a_softswitch_with_room_and_workers_is_well() {
        let findings = judged(vec![listener("opensips", 8 << 20, 0, 8)]);
        assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
        assert!(of(&findings, "softswitch").what.contains("opensips listens at 192.0.2.1:5060"));
        assert_eq!(findings.len(), 4);
    }

    #[test]
    fn a_small_buffer_is_mended_by_the_key_of_the_program_found() {
        // what OpenSIPS and Kamailio have by default where the kernel allows it: 256 KiB, counted twice
        let fix = |program: &str| of(&judged(vec![listener(program, 512 << 10, 0, 8)]), "receive-buffer").clone();
        let finding = fix("opensips");
        assert_eq!(finding.severity, Warning);
        assert_eq!(
            finding.fix,
            "sysctl -w net.core.rmem_max=4194304  # and write it into a file of /etc/sysctl.d, or a reboot undoes it; then \
             maxbuffer=4194304 in opensips.cfg, and restart it"
        );
        assert!(finding.what.contains("512 KiB"), "{finding:?}");
        assert!(fix("kamailio").fix.contains("kamailio.cfg"));
        let asterisk = fix("asterisk").fix;
        assert!(asterisk.starts_with("sysctl -w net.core.rmem_default=4194304  #"), "{asterisk}");
        assert!(asterisk.contains("; then restart asterisk"), "{asterisk}");
        let facts = Facts { listeners: Ok(vec![listener("kamailio", 1, 0, 8)]), rmem_max: Some(8 << 20), cores: 4 };
        let findings = judge(&facts, &Config::default(), "eth0");
        assert!(
            of(&findings, "receive-buffer").fix.starts_with("sysctl net.core.rmem_max  #"),
            "the kernel allows it already"
        );
        let findings = judged(vec![listener("opensips", 8 << 20, 0, 8), listener("opensips", BUFFER_MIN - 1, 0, 8)]);
        assert_eq!(of(&findings, "receive-buffer").severity, Warning, "the least counts");
    }

    #[test]
    fn what_a_socket_has_lost_is_told() {
        let findings = judged(vec![listener("opensips", 8 << 20, 1_234, 8)]);
        let finding = of(&findings, "receive-losses");
        assert!(finding.severity == Warning && finding.what.starts_with("1234 datagrams"), "{finding:?}");
    }

    #[test]
    fn fewer_workers_than_cores_are_a_note() {
        let findings = judged(vec![listener("kamailio", 8 << 20, 0, 2)]);
        let finding = of(&findings, "workers");
        assert!(finding.severity == Note && finding.fix.contains("children=4"), "{finding:?}");
        assert!(of(&judged(vec![listener("opensips", 8 << 20, 0, 2)]), "workers").fix.contains("udp_workers"));
        assert_eq!(
            of(&judged(vec![listener("kamailio", 8 << 20, 0, 0)]), "workers").severity,
            Severity::Ok,
            "all are busy"
        );
        let threads = judged(vec![listener("asterisk", 8 << 20, 0, 1)]);
        assert!(threads.iter().all(|finding| finding.check != "workers"), "it has threads");
    }

    #[test]
    fn nobody_at_the_port_is_a_warning_unless_somebody_elsewhere_is_meant() {
        let findings = judged(vec![]);
        assert!(
            of(&findings, "softswitch").severity == Warning && of(&findings, "softswitch").what.contains("UDP 5060")
        );
        let mut config = Config::default();
        config.relay.to = RelayTo::Proxy(Some("192.0.2.9:5060".to_owned()));
        let facts = Facts { listeners: Ok(vec![]), rmem_max: None, cores: 1 };
        assert_eq!(of(&judge(&facts, &config, "eth0"), "softswitch").severity, Severity::Ok);
        let silent = Facts { listeners: Err("no such file".to_owned()), rmem_max: None, cores: 1 };
        assert_eq!(of(&judge(&silent, &config, "eth0"), "softswitch").fix, "modprobe udp_diag");
    }

    #[test]
    fn a_process_that_cannot_be_seen_is_not_guessed() {
        let mut hidden = listener("", 8 << 20, 0, 0);
        (hidden.program, hidden.holders) = (None, 0);
        let findings = judged(vec![hidden]);
        assert_eq!(of(&findings, "softswitch").severity, Note);
        assert!(findings.iter().all(|finding| finding.check != "workers"));
    }

    #[test]
    fn waiting_calls_are_read_as_the_kernel_writes_them() {
        // recorded from Kamailio (recvfrom) and OpenSIPS (epoll_wait)
        assert_eq!(waits_on("45 0x5 0x7f2a 0xffff 0x0 0x7ffd 0x7ffc 0x7ffd3 0x7f2b\n"), Some(Wait::Receive(5)));
        assert_eq!(waits_on("232 0x1a 0x7f 0x3e8 0x3e8 0x0 0x0 0x7ff 0x7f2\n"), Some(Wait::Epoll(26)));
        for other in ["running\n", "", "35 0x1", "-1 0x0 0x0", "45", "45 5", "45 0xfffffffff"] {
            assert_eq!(waits_on(other), None, "{other}");
        }
        let info = "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1\ntfd:        6 events:       19 data: 6  pos:0 ino:5 sdev:9\ntfd: x\n";
        assert_eq!(epoll_targets(info).collect::<Vec<_>>(), [6]);
    }

    #[test]
    fn the_process_of_a_socket_is_found_and_whether_it_waits() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let port = socket.local_addr().expect("bound").port();
        let seen = || gather(&[port]).listeners.expect("sock_diag");
        let [listener] = &seen()[..] else { panic!("one socket at {port}") };
        assert_eq!((listener.holders, listener.waiting), (1, 0));
        assert!(listener.program.is_some());
        let other = socket.try_clone().expect("a descriptor");
        let waiter = std::thread::spawn(move || other.recv(&mut [0; 1]).expect("received"));
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while seen()[0].waiting == 0 {
            assert!(std::time::Instant::now() < end, "{:?}", seen());
            std::thread::yield_now();
        }
        socket.send_to(b"x", socket.local_addr().expect("bound")).expect("sent");
        assert_eq!(waiter.join().expect("ended"), 1);
    }
}
