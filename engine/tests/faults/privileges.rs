use std::collections::BTreeMap;
use std::fs;

use super::site::{PHONE, Site, until};

/// As bits of capability.h: `CAP_CHOWN`, `CAP_NET_BIND_SERVICE`, `CAP_NET_ADMIN`, `CAP_NET_RAW`.
const CONTROL: u64 = 1 | 1 << 10 | 1 << 12 | 1 << 13;
/// `CAP_DAC_OVERRIDE`.
const RECORDS: u64 = 1 << 1;
/// `CAP_NET_RAW`.
const ASKER: u64 = 1 << 13;

/// A thread as the kernel shows it (`proc_pid_status(5)`).
#[derive(Debug)]
struct Thread {
    /// `CapPrm`.
    permitted: u64,
    /// `NoNewPrivs`.
    no_new: bool,
    /// `Seccomp`: 2 is a filter.
    seccomp: u64,
}

/// All of them, by name.
fn threads(pid: u32) -> BTreeMap<String, Vec<Thread>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let mut threads = BTreeMap::<_, Vec<_>>::new();
    for task in tasks.flatten().map(|task| task.path()) {
        // it may have ended meanwhile
        let Ok(name) = fs::read_to_string(task.join("comm")) else { continue };
        let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim().to_owned();
        let thread = Thread {
            permitted: u64::from_str_radix(&field("CapPrm:"), 16).expect("a mask"),
            no_new: field("NoNewPrivs:") == "1",
            seccomp: field("Seccomp:").parse().expect("a number"),
        };
        threads.entry(name.trim().to_owned()).or_default().push(thread);
    }
    threads
}

/// What a thread of this name may have at the most; `None`: no thread is called so.
fn share(name: &str) -> Option<u64> {
    Some(match name {
        "vos-engine" | "tokio-rt-worker" | "tokio-runtime-w" => CONTROL,
        "vos-records" => RECORDS,
        "vos-asker" => ASKER,
        "vos-api" | "vos-observer" | "vos-sampler" | "vos-health" | "vos-pressure" | "vos-neighbours" => 0,
        // the operator's hook may need what it is given
        "vos-detector" => u64::MAX,
        queue if queue.starts_with("vos-queue-") => 0,
        _ => return None,
    })
}

#[test]
fn no_thread_has_more_privileges_than_its_share_and_all_still_works() {
    let site = Site::new();
    let socket = site.path("events.sock");
    // a group that the engine is not in
    let file = site.path("vos.toml");
    let config = format!(
        "[control]\nsocket_group = \"daemon\"\n[datagram_feed]\nlisten = \"unix:{}\"\n[records]\nfile = \"{}\"\n",
        socket.display(),
        site.path("records.jsonl").display()
    );
    fs::write(&file, config).expect("room");
    let engine = site.start(&format!("--config {}", file.display()));
    let responder = site.responder();
    assert!(site.reaches(PHONE, &responder), "packets go by the workers");
    site.tool("block 203.0.113.0/24");
    site.tool("reload");
    site.tool("verify");
    until("the datagram feed listens, for its group", || site.tool("--json feeds").contains("\"up\""));
    let is_within = |(name, threads): (&String, &Vec<Thread>)| {
        let share = share(name).unwrap_or_else(|| panic!("{name} has no share"));
        threads.iter().all(|thread| thread.permitted & !share == 0 && (thread.no_new || share == u64::MAX))
    };
    until("workers have given up what they had", || threads(engine.id()).iter().all(is_within));
    let threads = threads(engine.id());
    for name in ["vos-engine", "vos-api", "vos-queue-0", "vos-queue-3", "vos-observer", "vos-sampler", "vos-records"] {
        assert!(threads.contains_key(name), "{name}: {threads:x?}");
    }
    let api = &threads["vos-api"];
    assert!(api.len() > 1, "one that accepts and some that may wait: {api:?}");
    for (name, threads) in &threads {
        let confined = name == "vos-api";
        assert!(threads.iter().all(|thread| (thread.seccomp == 2) == confined), "{name}: {threads:?}");
    }
}
