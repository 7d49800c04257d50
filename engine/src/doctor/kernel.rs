use std::fs::OpenOptions;
use std::io;

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use socket2::{Domain, Socket, Type};

use super::Severity::{Error, Note, Warning};
use super::{Finding, lacks_rights, number, sysctl};
use crate::config::{Config, Inject, Mode, RelayTo};

/// The oldest kernel that the tests run on.
const OLDEST: (u32, u32) = (6, 1);
/// TCX came with this one; below, clsact takes its place.
const TCX: (u32, u32) = (6, 6);
/// Instructions that the verifier walks at most (`BPF_COMPLEXITY_LIMIT_INSNS`).
const WALK_MAX: u32 = 1_000_000;

/// What the kernel says of itself.
pub(super) struct Facts {
    /// Who asks: from root a kernel keeps nothing.
    pub(super) root: bool,
    /// `uname -r`.
    pub(super) release: String,
    /// Are the programs taken, and how many instructions did the verifier walk? The word of the kernel if not.
    pub(super) programs: Result<Option<u32>, Refused>,
    /// `net.core.bpf_jit_enable`.
    pub(super) jit: Option<u64>,
    /// Is there a BPF file system where pins go?
    pub(super) bpf_fs: bool,
    /// Can an AF_XDP socket be had? The error's number if not.
    pub(super) af_xdp: Result<(), i32>,
    /// Can a TAP be made?
    pub(super) tun: Result<(), i32>,
}

/// Why programs are not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// For want of rights?
    pub(super) rights: bool,
    pub(super) what: String,
}

pub(super) fn gather() -> Facts {
    let errno = |error: io::Error| error.raw_os_error().unwrap_or(0);
    Facts {
        root: nix::unistd::geteuid().is_root(),
        release: nix::sys::utsname::uname()
            .map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned()),
        programs: crate::xdp::trial::try_load()
            .map_err(|error| Refused { rights: lacks_rights(&error), what: whole(&error) }),
        jit: number("/proc/sys/net/core/bpf_jit_enable"),
        bpf_fs: statfs("/sys/fs/bpf").is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC),
        af_xdp: Socket::new(Domain::from(libc::AF_XDP), Type::RAW, None).map(drop).map_err(errno),
        tun: OpenOptions::new().read(true).write(true).open("/dev/net/tun").map(drop).map_err(errno),
    }
}

/// The error with all that caused it, in one line: the verifier's log is long.
fn whole(error: &dyn std::error::Error) -> String {
    const MOST: usize = 400;
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MOST).collect()
}

/// `6.1` of `6.1.0-28-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn judge(facts: &Facts, config: &Config, iface: &str) -> Vec<Finding> {
    let mut findings = vec![judge_version(facts), judge_programs(facts, iface), judge_jit(facts), judge_bpf_fs(facts)];
    if config.mode == Mode::Relay {
        findings.push(judge_af_xdp(facts.af_xdp, iface));
        if config.relay.to == RelayTo::Local && config.relay.inject != Inject::Raw {
            findings.push(judge_tun(facts.tun, iface));
        }
    }
    findings
}

fn judge_version(facts: &Facts) -> Finding {
    const CHECK: &str = "kernel";
    let Facts { release, .. } = facts;
    match version(release) {
        Some(version) if version < OLDEST => {
            let refused = matches!(&facts.programs, Err(refused) if !refused.rights);
            Finding::new(
                CHECK,
                if refused { Error } else { Note },
                format!("kernel {release} is older than {}.{}", OLDEST.0, OLDEST.1),
                match refused {
                    true => "its verifier refuses the programs; nothing would be filtered",
                    false => "nobody has tried the engine on one so old",
                },
                "apt install -y linux-image-amd64  # then reboot when calls allow",
            )
        }
        Some(version) if version < TCX => {
            Finding::ok(CHECK, format!("kernel {release}; before 6.6 clsact takes TCX's place, which is as good"))
        }
        Some(_) => Finding::ok(CHECK, format!("kernel {release}")),
        None => Finding::new(
            CHECK,
            Note,
            format!("kernel {release:?}: its version cannot be read"),
            "6.1 or later is needed",
            "uname -r",
        ),
    }
}

fn judge_programs(facts: &Facts, iface: &str) -> Finding {
    const CHECK: &str = "bpf-programs";
    match &facts.programs {
        Ok(Some(walked)) => Finding::ok(
            CHECK,
            format!("the kernel takes all programs; the verifier walked {walked} of {WALK_MAX} instructions"),
        ),
        Ok(None) => Finding::ok(CHECK, "the kernel takes all programs"),
        Err(refused) if refused.rights && !facts.root => {
            Finding::unknown(CHECK, "does the kernel take the programs?", &refused.what, iface)
        }
        Err(refused) => Finding::new(
            CHECK,
            Error,
            format!("the kernel does not take the programs: {}", refused.what),
            "the engine does not start, and nothing is filtered; in a container it is the host that must allow bpf(2)",
            "dmesg | tail -20",
        ),
    }
}

fn judge_jit(facts: &Facts) -> Finding {
    const CHECK: &str = "bpf-jit";
    match facts.jit {
        Some(0) => Finding::new(
            CHECK,
            Warning,
            "BPF programs are interpreted (net.core.bpf_jit_enable = 0)",
            "a verdict takes several times as long: a flood costs what it should not",
            sysctl("net.core.bpf_jit_enable", 1),
        ),
        Some(_) => Finding::ok(CHECK, "BPF programs are compiled"),
        // a kernel that always compiles need not have the switch in every namespace
        None => Finding::ok(CHECK, "this kernel has no switch for BPF's compiler here"),
    }
}

fn judge_bpf_fs(facts: &Facts) -> Finding {
    const CHECK: &str = "bpf-fs";
    match facts.bpf_fs {
        true => Finding::ok(CHECK, "/sys/fs/bpf is a BPF file system"),
        false => Finding::new(
            CHECK,
            Note,
            "/sys/fs/bpf is no BPF file system",
            "pins there make the filter outlive the engine; a start mounts it, where it may",
            "mount -t bpf bpf /sys/fs/bpf",
        ),
    }
}

fn reason(errno: i32) -> String {
    io::Error::from_raw_os_error(errno).to_string()
}

fn judge_af_xdp(told: Result<(), i32>, iface: &str) -> Finding {
    const CHECK: &str = "af-xdp";
    match told {
        Ok(()) => Finding::ok(CHECK, "the kernel has AF_XDP sockets"),
        Err(errno @ (libc::EPERM | libc::EACCES)) => {
            Finding::unknown(CHECK, "AF_XDP sockets (CAP_NET_RAW)", &reason(errno), iface)
        }
        Err(errno) => Finding::new(
            CHECK,
            Error,
            format!("the kernel has no AF_XDP sockets: {}", reason(errno)),
            "mode = \"relay\" takes survivors through them; mode = \"filter\" drops at the card without them",
            format!("vos-engine --iface {iface} --mode filter"),
        ),
    }
}

fn judge_tun(told: Result<(), i32>, iface: &str) -> Finding {
    const CHECK: &str = "tun";
    match told {
        Ok(()) => Finding::ok(CHECK, "a TAP can be made, for re-entry"),
        Err(errno @ (libc::EPERM | libc::EACCES)) => Finding::unknown(CHECK, "/dev/net/tun", &reason(errno), iface),
        Err(errno) => Finding::new(
            CHECK,
            Error,
            format!("no TAP can be made: /dev/net/tun: {}", reason(errno)),
            "survivors re-enter the interface through one; without it the engine does not start where XDP is native",
            "modprobe tun",
        ),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Severity;
    use super::super::tests::of;
    use super::*;

    /// Debian 12.
    pub(in crate::doctor) fn debian() -> Facts {
        Facts {
            root: true,
            release: "6.1.0-28-amd64".to_owned(),
            programs: Ok(Some(89_730)),
            jit: Some(1),
            bpf_fs: true,
            af_xdp: Ok(()),
            tun: Ok(()),
        }
    }

    fn judged(facts: &Facts) -> Vec<Finding> {
        judge(facts, &Config::default(), "eth0")
    }

    #[test]
    fn a_kernel_that_can_do_all_is_well() {
        let findings = judged(&debian());
        assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
        assert!(of(&findings, "kernel").what.contains("clsact"), "{findings:#?}");
        assert!(of(&findings, "bpf-programs").what.contains("89730"), "{findings:#?}");
    }

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        for (release, expected) in [
            ("6.1.0-28-amd64", Some((6, 1))),
            ("5.14.0-427.el9.x86_64", Some((5, 14))),
            ("6.18.44-fc", Some((6, 18))),
            ("7.0-rc1", Some((7, 0))),
            ("", None),
            ("generic", None),
            ("99999999999.1", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn what_a_kernel_lacks_is_an_error_with_its_fix() {
        // Red Hat's 5.14 has what the programs want
        let old = || "5.14.0-427.el9.x86_64".to_owned();
        assert_eq!(of(&judged(&Facts { release: old(), ..debian() }), "kernel").severity, Note);
        let refused = || Err(Refused { rights: false, what: "invalid argument".to_owned() });
        let both = judged(&Facts { release: old(), programs: refused(), ..debian() });
        assert_eq!(of(&both, "kernel").severity, Error);
        assert!(!of(&both, "kernel").fix.contains("&& reboot"), "{both:#?}");
        let refused = judged(&Facts { programs: refused(), ..debian() });
        let finding = of(&refused, "bpf-programs");
        assert!(finding.severity == Error && finding.what.contains("invalid argument"), "{finding:?}");
        let rights = || Err(Refused { rights: true, what: "not permitted".to_owned() });
        let jailed = judged(&Facts { programs: rights(), ..debian() });
        assert_eq!(of(&jailed, "bpf-programs").severity, Error, "root in a container that may not");
        let other = judged(&Facts { programs: rights(), root: false, ..debian() });
        assert_eq!(of(&other, "bpf-programs").severity, Note);
        let without = judged(&Facts { af_xdp: Err(libc::EAFNOSUPPORT), ..debian() });
        let finding = of(&without, "af-xdp");
        assert_eq!((finding.severity, finding.fix.as_str()), (Error, "vos-engine --iface eth0 --mode filter"));
        let without = judged(&Facts { tun: Err(libc::ENODEV), ..debian() });
        assert_eq!((of(&without, "tun").severity, of(&without, "tun").fix.as_str()), (Error, "modprobe tun"));
    }

    #[test]
    fn what_slows_is_a_warning_and_what_is_mended_by_a_start_a_note() {
        let slow = judged(&Facts { jit: Some(0), ..debian() });
        assert_eq!(of(&slow, "bpf-jit").severity, Warning);
        let fix = &of(&slow, "bpf-jit").fix;
        assert!(fix.starts_with("sysctl -w net.core.bpf_jit_enable=1  # ") && fix.contains("/etc/sysctl.d"), "{fix}");
        let unmounted = judged(&Facts { bpf_fs: false, ..debian() });
        assert_eq!(of(&unmounted, "bpf-fs").severity, Note);
    }

    #[test]
    fn what_the_configuration_does_not_use_is_not_asked_for() {
        let without = Facts { af_xdp: Err(libc::EAFNOSUPPORT), tun: Err(libc::ENOENT), ..debian() };
        let config = Config { mode: Mode::Filter, ..Config::default() };
        assert!(judge(&without, &config, "eth0").iter().all(|finding| finding.severity == Severity::Ok));
        let mut config = Config::default();
        config.relay.inject = Inject::Raw;
        assert!(judge(&without, &config, "eth0").iter().all(|finding| finding.check != "tun"));
    }
}
