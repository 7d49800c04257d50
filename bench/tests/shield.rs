//! The comparison itself, in small: each way in is set up, lets good traffic through and is taken down; a filter with a
//! wrong verdict is not measured.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use vos_bench::ready::{ready, skipped};
use vos_bench::{NetNs, Responder, VethPair};

/// `vos-bench shield` with these words, very short, and the engine beside it.
fn shield(words: &[&str]) -> Output {
    let bench = Path::new(env!("CARGO_BIN_EXE_vos-bench"));
    let mut command = Command::new(bench);
    command.args(["shield", "--rounds", "1", "--seconds", "0.5", "--registers", "40", "--calls", "4"]).args(words);
    command.output().unwrap()
}

/// Are root, Kamailio and the programs there?
fn all_is_there() -> bool {
    let beside = |program: &&str| !Path::new(env!("CARGO_BIN_EXE_vos-bench")).with_file_name(program).exists();
    let missing: Vec<&str> = ["vos-engine", "vosctl"].into_iter().filter(beside).collect();
    ready(&["kamailio", "iptables", "nft"]) && (missing.is_empty() || skipped(&missing.join(", ")))
}

#[test]
fn every_way_in_is_measured_and_the_page_shows_it() {
    if !all_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (json, html) = (dir.path().join("shield.json"), dir.path().join("shield.html"));
    let setups = "kernel,iptables,nftables,filter,relay-attack";
    let files = [json.to_str().unwrap(), html.to_str().unwrap()];
    let floods = "scanner@2000";
    let output = shield(&["--setup", setups, "--flood", floods, "--json", files[0], "--html", files[1]]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    let outcome: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let turns = outcome["turns"].as_array().unwrap();
    assert_eq!(turns.len(), 5 * 2);
    for turn in turns {
        let number = |path: &str| turn.pointer(path).and_then(Value::as_u64).unwrap();
        assert_eq!((number("/registers/sent"), number("/calls/calls")), (20, 2), "{turn}");
        // How many of them are answered is the machine's to say.
        assert_eq!(number("/registers/answered") + number("/registers/lost"), 20, "{turn}");
        assert!(number("/calls/succeeded") <= 2 && number("/registers/answered") > 0, "{turn}");
        assert_eq!(
            turn["survived"].is_u64(),
            !["kernel", "iptables", "nftables"].contains(&turn["setup"].as_str().unwrap())
        );
        // It goes on until the last good message is answered.
        if let Some(sent) = turn.pointer("/junk/sent") {
            assert!(sent.as_u64().unwrap() >= 1_000, "{turn}");
        }
    }
    // What drops it all, and what drops nothing.
    assert_eq!(outcome["costs"].as_array().unwrap().len(), 6);
    let page = std::fs::read_to_string(&html).unwrap();
    assert_eq!(page.matches("<svg").count(), 3);
    for word in setups.split(',').chain(["drop", "Scanner's OPTIONS from 200 addresses", "</html>"]) {
        assert!(page.contains(word), "{word}");
    }
    assert!(!page.contains("http://") || !page.contains("<script"), "needs nothing from elsewhere");

    // The same page again from what was written down.
    let output = Command::new(env!("CARGO_BIN_EXE_vos-bench")).arg("page").arg(&json).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), page.trim());

    // Held against itself, nothing has changed.
    let output = Command::new(env!("CARGO_BIN_EXE_vos-bench")).arg("compare").args([&json, &json]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let ratios = table
        .lines()
        .skip(2)
        .filter(|line| !line.is_empty())
        .map(|line| line.trim_end_matches(['|', ' ']).rsplit(' ').next().unwrap());
    assert!(output.status.success() && ratios.clone().count() == 2 * 5 * 3 + 6, "{table}");
    assert!(ratios.clone().all(|ratio| ratio == "1.00"), "{table}");
}

#[test]
fn a_wrong_verdict_is_not_measured() {
    if !all_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let profile = dir.path().join("blind.toml");
    std::fs::write(&profile, "[xdp]\nstealth = \"off\"\n[rules]\nscanner = \"off\"\nrate_options = \"off\"\n").unwrap();
    let output = shield(&["--setup", "filter", "--flood", "scanner@20000", "--profile", profile.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("a wrong verdict is not measured"), "{said}");
}

/// The server is in another namespace, as it would be on another machine: in small what docs/comparison.md does with two.
#[test]
fn a_server_elsewhere_is_measured_as_it_is() {
    if !ready(&[]) {
        return;
    }
    let (server, client) = (NetNs::new("rserver").unwrap(), NetNs::new("rclient").unwrap());
    let _wire = VethPair::new(&server, "sip0", &client, "lan0", 1).unwrap();
    server.ip("link set sip0 address 02:00:00:00:00:01").unwrap();
    server.ip("addr add 192.0.2.1/24 dev sip0").unwrap();
    server.ip("route add default via 192.0.2.10").unwrap();
    for phone in ["192.0.2.10", "192.0.2.11"] {
        client.ip(&format!("addr add {phone}/24 dev lan0")).unwrap();
    }
    let responder = server.enter(|| Responder::start(&["192.0.2.1:5060".parse().unwrap()])).unwrap().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let names = ["bare", "other"];
    let files = names.map(|name| dir.path().join(format!("{name}.json")).display().to_string());
    for (name, file) in names.iter().zip(&files) {
        let mut remote = client.command(env!("CARGO_BIN_EXE_vos-bench"));
        remote.args(["remote", "--to", "192.0.2.1:5060", "--iface", "lan0", "--mac", "02:00:00:00:00:01"]);
        remote.args(["--phones", "192.0.2.10,192.0.2.11", "--rounds", "1", "--seconds", "0.5", "--registers", "40"]);
        remote.args(["--calls", "4", "--flood", "scanner@1000", "--name", name, "--json", file]);
        let output = remote.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let stats = responder.stop();
    assert!(stats.from("192.0.2.11".parse().unwrap()) > 0 && stats.method("OPTIONS") > 0, "{stats:?}");
    let outcome: Value = serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
    for turn in outcome["turns"].as_array().unwrap() {
        assert_eq!((&turn["setup"], turn["registers"]["sent"].as_u64()), (&"bare".into(), Some(20)), "{turn}");
    }
    let page = Command::new(env!("CARGO_BIN_EXE_vos-bench")).arg("page").args(&files).output().unwrap();
    let said = String::from_utf8_lossy(&page.stderr);
    let page = String::from_utf8_lossy(&page.stdout);
    assert!(names.iter().all(|name| page.contains(&format!("<b>{name}</b>"))), "{said}{page}");

    let mut wrong = client.command(env!("CARGO_BIN_EXE_vos-bench"));
    wrong.args([
        "remote",
        "--to",
        "192.0.2.1:5060",
        "--iface",
        "lan0",
        "--mac",
        "02:00:00:00:00:01",
        "--phones",
        "::1",
        "--name",
        "none",
    ]);
    let said = String::from_utf8(wrong.output().unwrap().stderr).unwrap();
    assert!(said.contains("give addresses of its family"), "{said}");
}
