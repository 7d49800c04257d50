//! What a test needs of the machine.

use std::path::PathBuf;

/// Can a test run that needs root and these programs? Where `VOS_REQUIRE_ALL=1`, it panics if not; else it says what is
/// missing, for the test to be skipped. Programs are looked for in `PATH` and where Debian keeps those of root.
#[track_caller]
pub fn ready(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = || std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let is_there = |program: &str| dirs().any(|dir: PathBuf| dir.join(program).is_file());
    let mut missing: Vec<&str> = programs.iter().copied().filter(|program| !is_there(program)).collect();
    if !nix::unistd::geteuid().is_root() {
        missing.push("root");
    }
    missing.is_empty() || skipped(&missing.join(", "))
}

/// The same of something that is known to be missing: panics, or says so and gives `false`.
#[track_caller]
pub fn skipped(missing: &str) -> bool {
    let said = format!("this test needs {missing}");
    assert!(std::env::var_os("VOS_REQUIRE_ALL").is_none_or(|set| set != "1"), "{said}");
    eprintln!("SKIPPED: {said}");
    false
}
