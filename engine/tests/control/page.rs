//! The README's page of operations, as somebody would follow it.

use std::fs;
use std::process::Command;

use crate::site::Node;

const README: &str = include_str!("../../../README.md");

/// The commands of the page, but for those of the cluster, which its own tests run.
fn commands() -> Vec<&'static str> {
    let page = README.split("\n## Operations\n").nth(1).and_then(|page| page.split("\n## ").next()).expect("the page");
    let blocks = page.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
    blocks.flat_map(str::lines).filter(|line| !line.is_empty() && !line.starts_with("vosctl cluster")).collect()
}

#[test]
fn every_command_of_the_page_of_operations_works() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let mut node = Node::alone();
    node.start("");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("partner.txt"), "198.51.100.7 ttl=1h\n198.51.100.0/25  # a net\n").expect("room");
    let commands = commands();
    assert!(commands.len() >= 12, "{commands:?}");
    let vosctl =
        format!("vosctl() {{ {} --run-dir {} \"$@\"; }}", env!("CARGO_BIN_EXE_vosctl"), node.path("run").display());
    for command in &commands {
        let script = format!("{vosctl}\n{command}");
        let done = Command::new("bash").args(["-ec", &script]).current_dir(&folder).output().expect("bash");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{command}: {}{said}", String::from_utf8_lossy(&done.stdout));
    }
    let rules = fs::read_to_string(folder.path().join("rules.txt")).expect("exported");
    assert!(rules.contains("203.0.113.7") && !rules.contains("198.51.100"), "the import is undone: {rules}");
}
