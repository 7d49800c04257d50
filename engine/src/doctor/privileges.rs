use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::resource::{Resource, getrlimit};

use super::Severity::{Error, Note};
use super::{Finding, device};
use crate::config::{Config, Mode};
use crate::xsk::chunk_for;

/// What a start needs: programs and maps, the verifier's leave to compare pointers, links and TAP, raw sockets.
const NEEDED: [Capability; 4] =
    [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];

/// What this process may.
pub(super) struct Facts {
    /// Is it root's?
    pub(super) root: bool,
    /// Capabilities in effect.
    pub(super) capabilities: CapsHashSet,
    /// `RLIMIT_MEMLOCK`, bytes.
    pub(super) memlock: u64,
}

pub(super) fn gather() -> Facts {
    Facts {
        root: nix::unistd::geteuid().is_root(),
        capabilities: caps::read(None, CapSet::Effective).unwrap_or_default(),
        memlock: getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft),
    }
}

pub(super) fn judge(facts: &Facts, config: &Config, device: &device::Facts) -> Vec<Finding> {
    let mut findings = vec![judge_capabilities(facts, &device.device.link.name)];
    if config.mode == Mode::Relay {
        findings.push(judge_memlock(facts, config, device));
    }
    findings
}

fn judge_capabilities(facts: &Facts, iface: &str) -> Finding {
    const CHECK: &str = "capabilities";
    let missing: Vec<String> =
        NEEDED.iter().filter(|needed| !facts.capabilities.contains(needed)).map(ToString::to_string).collect();
    match (missing.is_empty(), facts.root) {
        (true, _) => Finding::ok(CHECK, "this user may load programs and open raw sockets"),
        (false, true) => Finding::new(
            CHECK,
            Error,
            format!("root lacks {} here", super::listed(&missing)),
            "the engine does not start without; a container or a unit file has taken them away",
            format!("docker run --cap-add={} …", missing.join(" --cap-add=")),
        ),
        (false, false) => Finding::new(
            CHECK,
            Note,
            format!("this user lacks {}; the engine is to be started by root", super::listed(&missing)),
            "what needs them was not checked",
            format!("sudo vosctl doctor {iface}"),
        ),
    }
}

fn judge_memlock(facts: &Facts, config: &Config, device: &device::Facts) -> Finding {
    const CHECK: &str = "memlock";
    let (chunk, _) = chunk_for(device.device.link.mtu);
    let queues = if config.queues == 0 { device.rx_queues() } else { config.queues };
    let needed = u64::from(config.xsk.frames) * u64::from(chunk) * u64::from(queues);
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    if facts.capabilities.contains(&Capability::CAP_IPC_LOCK) {
        return Finding::ok(
            CHECK,
            format!("CAP_IPC_LOCK: no limit applies to the UMEM of {queues} queues, {} MiB", mib(needed)),
        );
    }
    if facts.memlock >= needed {
        return Finding::ok(
            CHECK,
            format!("{} MiB may be locked, the UMEM of {queues} queues needs {}", facts.memlock >> 20, mib(needed)),
        );
    }
    Finding::new(
        CHECK,
        if facts.root { Error } else { Note },
        format!("{} MiB may be locked, and the UMEM of {queues} queues needs {}", facts.memlock >> 20, mib(needed)),
        "without CAP_IPC_LOCK the kernel counts UMEM against RLIMIT_MEMLOCK and refuses AF_XDP sockets with ENOBUFS (BPF \
         maps have not counted since 5.11)",
        "ulimit -l unlimited",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::tests::of;
    use super::*;

    fn judged(facts: &Facts) -> Vec<Finding> {
        judge(facts, &Config::default(), &device::tests::card())
    }

    #[test]
    fn root_with_all_capabilities_is_well_whatever_the_limit() {
        let findings = judged(&Facts { root: true, capabilities: caps::all(), memlock: 8 << 20 });
        assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
    }

    #[test]
    fn root_in_a_container_is_told_what_it_lacks() {
        // of what is needed, Docker leaves this
        let docker = CapsHashSet::from([Capability::CAP_NET_RAW, Capability::CAP_CHOWN]);
        let findings = judged(&Facts { root: true, capabilities: docker, memlock: u64::MAX });
        let finding = of(&findings, "capabilities");
        assert_eq!(finding.severity, Error);
        assert!(finding.what.contains("CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"), "{finding:?}");
        assert!(!finding.what.contains("NET_RAW"), "{finding:?}");
    }

    #[test]
    fn another_user_is_told_that_root_starts_the_engine() {
        let findings = judged(&Facts { root: false, capabilities: CapsHashSet::new(), memlock: 8 << 20 });
        assert_eq!((of(&findings, "capabilities").severity, of(&findings, "memlock").severity), (Note, Note));
        assert_eq!(of(&findings, "capabilities").fix, "sudo vosctl doctor eth0");
    }

    #[test]
    fn a_umem_counts_against_the_limit_without_ipc_lock() {
        let mut without = caps::all();
        without.remove(&Capability::CAP_IPC_LOCK);
        // 8 queues, 4,096 frames of 2,048 bytes
        let finding = |memlock| {
            let findings = judged(&Facts { root: true, capabilities: without.clone(), memlock });
            of(&findings, "memlock").clone()
        };
        assert_eq!(finding(64 << 20).severity, Severity::Ok);
        let small = finding((64 << 20) - 1);
        assert_eq!((small.severity, small.fix.as_str()), (Error, "ulimit -l unlimited"));
        assert!(small.what.contains("63 MiB") && small.what.contains("8 queues needs 64"), "{small:?}");
    }
}
