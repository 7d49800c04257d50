use std::collections::BTreeMap;
use std::fs;

use super::site::{PHONE, Site, until};

/// `CAP_NET_ADMIN` and `CAP_NET_BIND_SERVICE`, as bits of capability.h.
const ADMIN_AND_PORTS: u64 = 1 << 12 | 1 << 10;

/// Each thread's permitted capabilities, as the kernel shows them.
fn permitted(pid: u32) -> BTreeMap<String, u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let of = |task: std::path::PathBuf| {
        let name = fs::read_to_string(task.join("comm")).ok()?;
        let status = fs::read_to_string(task.join("status")).ok()?;
        let mask = status.lines().find_map(|line| line.strip_prefix("CapPrm:"))?;
        Some((name.trim().to_owned(), u64::from_str_radix(mask.trim(), 16).ok()?))
    };
    tasks.flatten().filter_map(|task| of(task.path())).collect()
}

#[test]
fn threads_that_read_packets_have_no_privileges_and_all_still_works() {
    let site = Site::new();
    let engine = site.start("");
    let responder = site.responder();
    assert!(site.reaches(PHONE, &responder), "packets go by the workers");
    until("workers have given up what they had", || {
        permitted(engine.id()).iter().filter(|(name, _)| name.starts_with("vos-queue")).all(|(_, mask)| *mask == 0)
    });
    let threads = permitted(engine.id());
    for name in ["vos-queue-0", "vos-queue-3", "vos-observer", "vos-sampler", "vos-records", "vos-health"] {
        assert_eq!(threads.get(name), Some(&0), "{name}: {threads:x?}");
    }
    assert_eq!(threads.get("vos-engine"), Some(&ADMIN_AND_PORTS), "reloads and the API: {threads:x?}");
    site.tool("block 203.0.113.0/24");
    site.tool("reload");
    site.tool("verify");
}
