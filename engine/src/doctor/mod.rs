//! What on this host keeps the engine from starting, protecting or being fast; nothing is changed.
//!
//! Facts are gathered apart from judging them: `gather` asks the kernel, files and programs, and can fail in each of its
//! parts; `judge` is a function of facts alone, and its tests bring facts that were recorded elsewhere.

/// Is the time right?
mod clock;
/// How full the kernel's table of connections is.
mod conntrack;
/// What the interface is, and what its driver can do.
mod device;
/// What firewalls do with SIP.
mod firewall;
/// What this kernel can do.
mod kernel;
/// What this process may.
mod privileges;
/// Queues, and cores for them.
mod queues;
/// Rules of nftables and iptables, as their programs print them.
mod ruleset;
/// Who speaks SIP here, and with how much room.
mod softswitch;

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::Stdio;

use serde::Serialize;

use crate::config::{Config, ConfigError, Inject, Mode, RelayTo};
use crate::netlink::Netlink;
use crate::programs;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Good to know; the engine starts and protects all the same.
    Note,
    /// Slower than it could be, or packets are lost under load.
    Warning,
    /// The engine does not start as it is configured, or does not protect.
    Error,
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check: a stable name, such as `zero-copy`.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, with what was measured.
    pub what: String,
    /// Why it matters; empty where all is well.
    pub why: String,
    /// A command that mends it, for a shell; empty where there is none.
    pub fix: String,
}

impl Finding {
    /// As it should be.
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, severity: Severity::Ok, what: what.into(), why: String::new(), fix: String::new() }
    }

    /// Anything else.
    fn new(
        check: &'static str,
        severity: Severity,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { check, severity, what: what.into(), why: why.into(), fix: fix.into() }
    }

    /// What only matters once the mode is relay is a note until then.
    fn once_relayed(self) -> Self {
        match self.severity {
            Severity::Ok => self,
            severity => {
                let why = format!("once mode is relay: {}", self.why);
                Self { severity: severity.min(Severity::Note), why, ..self }
            }
        }
    }

    /// What could not be looked at.
    fn unknown(check: &'static str, subject: &str, error: &str, iface: &str) -> Self {
        let root = nix::unistd::geteuid().is_root();
        let (why, fix) = match root {
            true => ("nothing is known of it, good or bad".to_owned(), String::new()),
            false => ("it needs more rights than this user has".to_owned(), format!("sudo vosctl doctor {iface}")),
        };
        Self::new(check, Severity::Note, format!("not checked: {subject}: {error}"), why, fix)
    }
}

/// What could be asked, or why it could not.
type Told<T> = Result<T, String>;

/// What is examined.
#[derive(Clone, Debug)]
pub struct Question {
    /// The interface.
    pub iface: String,
    /// How the engine would run.
    pub config: Config,
    /// The file it is from; `None`: the defaults.
    pub file: Option<PathBuf>,
    /// What is wrong with the file, where something is.
    pub complaint: Option<Complaint>,
}

/// Why a configuration is not taken as it stands.
#[derive(Clone, Debug)]
pub enum Complaint {
    /// It is not sound, and the engine does not start with it; [`Question::config`] is the defaults.
    Unsound(String),
    /// This user may not read it; [`Question::config`] is the defaults.
    Unread(String),
    /// This user may not look at the files that it names, as far as is known.
    FilesUnread(String),
}

impl Complaint {
    /// Of what was said of a file.
    pub fn of(error: &ConfigError) -> Self {
        if lacks_rights(error) { Self::Unread(error.to_string()) } else { Self::Unsound(error.to_string()) }
    }
}

/// Is a want of rights behind it?
fn lacks_rights(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// How survivors would get to the softswitch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By the kernel: `mode` is not relay.
    Kernel,
    /// Back into the interface, where the firewall sees them.
    Reentry,
    /// By a raw socket, around the firewall.
    Raw,
    /// By re-entry if the driver takes native XDP, which is not told before it is tried; else by a raw socket.
    Untried,
    /// To a unix socket or over UDP to backends, around the firewall.
    Peer,
}

/// The state of this host.
struct Facts {
    kernel: kernel::Facts,
    privileges: privileges::Facts,
    device: device::Facts,
    queues: queues::Facts,
    rules: ruleset::Rules,
    inspected: crate::relay::FirewallVerdict,
    conntrack: conntrack::Facts,
    softswitch: softswitch::Facts,
    clock: clock::Facts,
}

/// The interface of the default route of this network namespace.
pub fn default_interface() -> io::Result<Option<String>> {
    let mut netlink = Netlink::open()?;
    let Some(index) = netlink.default_interface()? else { return Ok(None) };
    Ok(netlink.devices()?.into_iter().find(|device| device.link.index == index).map(|device| device.link.name))
}

/// Looks at this host, in the network namespace of this thread. `NotFound`: there is no such interface. What cannot be
/// asked otherwise is a finding, too.
pub fn examine(question: &Question) -> io::Result<Vec<Finding>> {
    let facts = gather(question)?;
    Ok(judge(&facts, question))
}

fn gather(question: &Question) -> io::Result<Facts> {
    let Question { iface, config, .. } = question;
    let device = device::gather(iface)?;
    let rules = ruleset::gather();
    Ok(Facts {
        kernel: kernel::gather(),
        privileges: privileges::gather(),
        queues: queues::gather(&device.device.link),
        inspected: crate::relay::inspect_firewall(&config.xdp.sip_ports),
        conntrack: conntrack::gather(),
        softswitch: softswitch::gather(&config.xdp.sip_ports),
        clock: clock::gather(),
        device,
        rules,
    })
}

/// Whoever only watches yet wants to know what will be in the way: it is judged as for a relay, too.
fn judge(facts: &Facts, question: &Question) -> Vec<Finding> {
    let now = judge_as(facts, question, &question.config);
    if question.config.mode != Mode::Monitor {
        return now;
    }
    let relaying = Config { mode: Mode::Relay, ..question.config.clone() };
    let then = judge_as(facts, question, &relaying);
    let worse = |then: Finding| match now.iter().find(|now| now.check == then.check) {
        Some(now) if *now == then || now.severity > then.severity.min(Severity::Note) => now.clone(),
        _ => then.once_relayed(),
    };
    then.into_iter().map(worse).collect()
}

fn judge_as(facts: &Facts, question: &Question, config: &Config) -> Vec<Finding> {
    let iface = &question.iface;
    let way = way(config, &facts.device);
    let mut findings = vec![configuration(question)];
    findings.extend(kernel::judge(&facts.kernel, config, iface));
    findings.extend(privileges::judge(&facts.privileges, config, &facts.device));
    findings.extend(device::judge(&facts.device, config));
    findings.extend(queues::judge(&facts.queues, &facts.device, config));
    findings.extend(firewall::judge(&facts.rules, &facts.inspected, config, way, iface));
    findings.extend(conntrack::judge(&facts.conntrack, &facts.rules, &config.xdp.sip_ports));
    findings.extend(softswitch::judge(&facts.softswitch, config, iface));
    findings.extend(clock::judge(&facts.clock, config));
    findings
}

/// Which way survivors would take.
fn way(config: &Config, device: &device::Facts) -> Way {
    match (config.mode, &config.relay.to, config.relay.inject) {
        (Mode::Filter | Mode::Monitor, ..) => Way::Kernel,
        (Mode::Relay, RelayTo::Unix { .. } | RelayTo::Proxy(_), _) => Way::Peer,
        (Mode::Relay, RelayTo::Local, Inject::Raw) => Way::Raw,
        (Mode::Relay, RelayTo::Local, Inject::Reentry) => Way::Reentry,
        (Mode::Relay, RelayTo::Local, Inject::Auto) if device.is_bridged() => Way::Raw,
        (Mode::Relay, RelayTo::Local, Inject::Auto) => match device.runs_natively(config.xdp.attach) {
            Some(true) => Way::Reentry,
            Some(false) => Way::Raw,
            None => Way::Untried,
        },
    }
}

fn configuration(question: &Question) -> Finding {
    const CHECK: &str = "configuration";
    let Question { iface, file, complaint, .. } = question;
    match (file, complaint) {
        (Some(_), Some(Complaint::Unread(error))) => {
            Finding::unknown(CHECK, "the file; what follows is judged by the defaults", error, iface)
        }
        (Some(_), Some(Complaint::FilesUnread(error))) => {
            Finding::unknown(CHECK, "files that the configuration names", error, iface)
        }
        (Some(file), Some(Complaint::Unsound(complaint))) => Finding::new(
            CHECK,
            Severity::Error,
            complaint,
            "the engine does not start with it; what follows is judged by the defaults",
            format!("vos-engine check --iface {iface} --config {}", quoted(&file.to_string_lossy())),
        ),
        (Some(file), None) => Finding::ok(CHECK, format!("{} is sound", file.display())),
        (None, _) => Finding::ok(CHECK, "there is no configuration file: the defaults hold"),
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| String::new(), std::borrow::Cow::into_owned)
}

/// Has the kernel take a number, and says how it stays.
fn sysctl(key: &str, value: u64) -> String {
    format!("sysctl -w {key}={value}  # and write it into a file of /etc/sysctl.d, or a reboot undoes it")
}

/// `5060`, `5060 and 5080`, `5060, 5070 and 5080`.
fn listed<T: ToString>(words: &[T]) -> String {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// Reads a file of the kernel's, at most so many bytes of it.
fn read(path: &str, at_most: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(at_most).read_to_string(&mut text)?;
    Ok(text)
}

/// A number in a file of the kernel's.
fn number(path: &str) -> Option<u64> {
    read(path, 64).ok()?.trim().parse().ok()
}

/// What a program prints, at most so many bytes of it; `None` where it cannot be run, fails, or prints more.
fn output(program: &str, arguments: &[&str], at_most: u64) -> Option<String> {
    let mut command = programs::command(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut text = Vec::new();
    let read = child.stdout.take().map(|pipe| pipe.take(at_most + 1).read_to_end(&mut text));
    // One that prints more than is read ends by its closed pipe.
    let ended = child.wait().ok()?;
    let whole = matches!(read, Some(Ok(length)) if length as u64 <= at_most);
    (whole && ended.success()).then(|| String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Attach;
    use crate::ethtool::Channels;
    use crate::netlink::Attached;
    use crate::xdp::Presence;

    /// The finding of this check; there is one at most.
    pub(super) fn of<'a>(findings: &'a [Finding], check: &str) -> &'a Finding {
        let found: Vec<&Finding> = findings.iter().filter(|finding| finding.check == check).collect();
        let [one] = found[..] else { panic!("{check}: {findings:#?}") };
        assert_eq!(one.severity == Severity::Ok, one.why.is_empty(), "{one:#?}");
        one
    }

    #[test]
    fn severities_are_ordered_and_written_small() {
        use Severity::{Error, Note, Ok, Warning};
        assert_eq!([Warning, Ok, Error, Note].into_iter().max(), Some(Error));
        let words = [Ok, Note, Warning, Error].map(|severity| serde_json::to_value(severity).expect("a word"));
        assert_eq!(words, ["ok", "note", "warning", "error"]);
    }

    #[test]
    fn a_program_that_prints_too_much_says_nothing() {
        assert_eq!(output("printf", &["abc"], 3).as_deref(), Some("abc"));
        assert_eq!(output("printf", &["abcd"], 3), None);
        assert_eq!(output("false", &[], 3), None);
        assert_eq!(output("/no/such/program", &[], 3), None);
        assert_eq!(output("yes", &[], 1_000), None, "and it ends");
    }

    #[test]
    fn an_unsound_configuration_is_an_error_with_the_command_that_explains_it() {
        let mut question = Question {
            iface: "eth0".to_owned(),
            config: Config::default(),
            file: Some("/etc/vos/vos toml".into()),
            complaint: Some(Complaint::Unsound("line 3: queues".to_owned())),
        };
        let finding = configuration(&question);
        assert_eq!((finding.severity, finding.what.as_str()), (Severity::Error, "line 3: queues"));
        assert_eq!(finding.fix, "vos-engine check --iface eth0 --config '/etc/vos/vos toml'");
        question.complaint = Some(Complaint::Unread("/etc/vos/vos.toml: Permission denied".to_owned()));
        let finding = configuration(&question);
        assert!(finding.severity == Severity::Note && finding.what.starts_with("not checked: the file"), "{finding:?}");
        question.complaint = None;
        assert_eq!(configuration(&question).severity, Severity::Ok);
    }

    #[test]
    fn a_lack_of_rights_is_told_from_a_refusal() {
        let load = |errno| {
            let source = io::Error::from_raw_os_error(errno);
            crate::xdp::LoadError::from(crate::xdp::PinError::Io { path: "/x".into(), source })
        };
        assert!(lacks_rights(&load(libc::EPERM)) && !lacks_rights(&load(libc::EINVAL)));
        let read = |errno| {
            let source = io::Error::from_raw_os_error(errno);
            Complaint::of(&ConfigError::Unreadable { path: "/x".into(), source })
        };
        assert!(matches!(read(libc::EACCES), Complaint::Unread(_)));
        assert!(matches!(read(libc::ENOENT), Complaint::Unsound(_)));
    }

    /// A card without native XDP, the tags of a VLAN taken away, one socket of somebody else's; nothing else is wrong.
    fn without_native() -> Facts {
        Facts {
            kernel: kernel::tests::debian(),
            privileges: privileges::Facts { root: true, capabilities: caps::all(), memlock: 0 },
            device: device::Facts { rivals: vec!["queue 0 suricata".to_owned()], ..device::tests::generic_with_vlan() },
            queues: queues::Facts { online: (0..8).collect(), ..queues::Facts::default() },
            rules: ruleset::tests::iptables(ruleset::tests::IPTABLES),
            inspected: crate::relay::FirewallVerdict::Rule("udp dport 5060 drop".to_owned()),
            conntrack: conntrack::Facts::default(),
            softswitch: softswitch::Facts { listeners: Ok(vec![]), rmem_max: None, cores: 8 },
            clock: clock::gather(),
        }
    }

    #[test]
    fn whoever_watches_is_told_what_a_relay_would_want() {
        use Severity::{Error, Note, Warning};
        let facts = without_native();
        let judged = |mode, inject| {
            let mut config = Config { mode, queues: 4, ..Config::default() };
            config.relay.inject = inject;
            judge(&facts, &Question { iface: "eth0".to_owned(), config, file: None, complaint: None })
        };
        let (watching, relaying) = (judged(Mode::Monitor, Inject::Raw), judged(Mode::Relay, Inject::Raw));
        for (check, then) in [
            ("zero-copy", Note),
            ("other-af-xdp", Error),
            ("queues", Error),
            ("firewall", Warning),
            ("firewall-bypass", Error),
        ] {
            assert_eq!(of(&relaying, check).severity, then, "{check}");
            let finding = of(&watching, check);
            assert_eq!(finding.severity, Note, "{check}");
            assert!(finding.why.starts_with("once mode is relay: "), "{finding:?}");
        }
        // what is wrong already stays as wrong as it is
        for check in ["rx-vlan", "native-xdp", "softswitch"] {
            let finding = of(&watching, check);
            assert!(finding.severity == Warning && !finding.why.contains("once mode"), "{finding:?}");
        }
        for check in ["af-xdp", "memlock", "cores", "configuration"] {
            assert_eq!(of(&watching, check), of(&relaying, check));
        }
        assert_eq!(of(&judged(Mode::Monitor, Inject::Auto), "tun").severity, Severity::Ok);
        assert!(judged(Mode::Filter, Inject::Auto).iter().all(|finding| finding.check != "af-xdp"));
        assert_eq!(watching.len(), relaying.len());
    }

    #[test]
    fn survivors_go_the_way_that_a_start_would_choose() {
        let card = device::tests::card();
        let mut config = Config::default();
        assert_eq!(way(&config, &card), Way::Reentry);
        config.xdp.attach = Attach::Generic;
        assert_eq!(way(&config, &card), Way::Raw);
        config.xdp.attach = Attach::Auto;
        assert_eq!(way(&config, &device::tests::bridged()), Way::Raw);
        config.relay.inject = Inject::Reentry;
        assert_eq!(way(&config, &device::tests::bridged()), Way::Reentry);
        config.relay.inject = Inject::Raw;
        assert_eq!(way(&config, &card), Way::Raw);
        config.relay.inject = Inject::Auto;
        let attached = |native| Presence::Ours(Attached { id: 1, native });
        let running = device::Facts { xdp: attached(false), ..card.clone() };
        assert_eq!(way(&config, &running), Way::Raw, "the driver has refused");
        let mut jumbo = card.clone();
        jumbo.device.link.mtu = 9_000;
        assert_eq!(way(&config, &jumbo), Way::Raw);
        jumbo.xdp = attached(true);
        assert_eq!(way(&config, &jumbo), Way::Reentry, "this driver takes it");
        let channels = Some(Channels { combined: 8, max_combined: 8, ..Channels::default() });
        let amazon = device::Facts { driver: "ena".to_owned(), channels, ..card.clone() };
        assert_eq!(way(&config, &amazon), Way::Raw);
        // Debian 12
        let silent = device::Facts { features: Ok(None), ..card.clone() };
        assert_eq!(way(&config, &silent), Way::Untried);
        assert_eq!(way(&config, &device::Facts { xdp: attached(true), ..silent.clone() }), Way::Reentry);
        config.xdp.attach = Attach::Generic;
        assert_eq!(way(&config, &silent), Way::Raw);
        config.relay.to = RelayTo::Proxy(None);
        assert_eq!(way(&config, &card), Way::Peer);
        config.mode = Mode::Filter;
        assert_eq!(way(&config, &card), Way::Kernel);
    }
}
