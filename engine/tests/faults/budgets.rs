use std::path::PathBuf;
use std::time::Duration;

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, LpmTrie, Map, MapData};
use ipnet::IpNet;
use serde_json::Value;
use vos_bench::patient;
use vos_common::cases::{Packet, request};
use vos_common::rate::{Kind, Limits};
use vos_common::rule::Addr;
use vos_common::state::{BUDGETS, BYES, Config};
use vos_engine::pcap::Writer;

use super::site::{BAD, BAD_NET, PHONE, Site};

const SECOND: u64 = 1_000_000_000;

/// A gateway of these prefixes, of one call a second and one at a time: 9 INVITEs a second, and 9 at once.
fn gateway(name: &str, from: &str) -> String {
    format!("[[gateway]]\nname = \"{name}\"\nfrom = [{from}]\ncps = 1\nmax_calls = 1\n")
}

fn pinned<T: TryFrom<Map>>(site: &Site, name: &str) -> T {
    let data = MapData::from_pin(site.pins().join(name)).unwrap();
    T::try_from(Map::from_map_data(data).unwrap()).ok().unwrap()
}

/// The map, with the time between INVITEs of each prefix.
fn budgets(site: &Site) -> Vec<(String, u64)> {
    let map: LpmTrie<MapData, Addr, Limits> = pinned(site, "BUDGETS");
    let show = |key: Key<Addr>| {
        let (bytes, bits) = (key.data().to_bytes(), key.prefix_len() as u8);
        let net = IpNet::new(bytes.into(), bits).unwrap();
        if key.data().is_v4() {
            format!("{}/{}", std::net::Ipv6Addr::from(bytes).to_ipv4_mapped().unwrap(), bits - 96)
        } else {
            net.to_string()
        }
    };
    let mut held: Vec<_> =
        map.iter().map(Result::unwrap).map(|(key, limits)| (show(key), limits[Kind::Invite as usize].every)).collect();
    held.sort();
    held
}

fn flags(site: &Site) -> u64 {
    let map: Array<MapData, Config> = pinned(site, "CONFIG");
    map.get(&0, 0).unwrap().flags & (BUDGETS | BYES)
}

fn nine_a_second(nets: &[&str]) -> Vec<(String, u64)> {
    nets.iter().map(|net| ((*net).to_owned(), SECOND / 9)).collect()
}

fn write(site: &Site, text: &str) -> PathBuf {
    let file = site.path("vos.toml");
    std::fs::write(&file, patient(text)).unwrap();
    file
}

/// How many of 40 INVITEs at once of PHONE's the program in the kernel lets through; user space must say the same.
fn invites_at_once(site: &Site) -> usize {
    let links: Value =
        serde_json::from_str(&site.server.ip(&format!("-j link show dev {}", site.iface)).unwrap()).unwrap();
    let mac: Vec<u8> =
        links[0]["address"].as_str().unwrap().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let mut frame = Packet::v4([192, 0, 2, 10]).sip(&request("INVITE")).build();
    frame[..6].copy_from_slice(&mac);
    let file = site.path("invites.pcap");
    let mut writer = Writer::new(std::fs::File::create(&file).unwrap()).unwrap();
    for _ in 0..40 {
        writer.write(Duration::from_secs(1_700_000_000), &frame, frame.len() as u32).unwrap();
    }
    drop(writer);
    let said = site.tool(&format!("explain --json --kernel {} {}", site.iface, file.display()));
    let lines: Vec<Value> = said.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 40);
    assert!(lines.iter().all(|line| line["kernel"]["agrees"] == true), "{said}");
    lines.iter().filter(|line| line["kernel"]["reason"] != "rate_invite").count()
}

#[test]
fn budgets_follow_the_configuration_while_the_engine_runs() {
    let site = Site::new();
    let file = write(&site, &gateway("a", "\"192.0.2.10\", \"2001:db8::/64\""));
    let _engine = site.start(&format!("--config {}", file.display()));
    site.tool(&format!("trust {PHONE}"));
    assert_eq!(budgets(&site), nine_a_second(&["192.0.2.10/32", "2001:db8::/64"]));
    assert_eq!((flags(&site), invites_at_once(&site)), (BUDGETS | BYES, 9));
    // one changes, one comes, one goes; the longest prefix holds
    write(&site, &format!("{}burst = 2\n", gateway("a", "\"192.0.2.8/30\", \"10.1.0.0/16\"")));
    site.tool("reload");
    assert_eq!(budgets(&site), nine_a_second(&["10.1.0.0/16", "192.0.2.8/30"]));
    assert_eq!(invites_at_once(&site), 17);
    // what is refused changes nothing
    write(&site, &gateway("a", "\"192.0.2.10/8\""));
    assert!(
        site.server
            .command(env!("CARGO_BIN_EXE_vosctl"))
            .args(["--run-dir"])
            .arg(site.path("run"))
            .arg("reload")
            .output()
            .is_ok_and(|output| !output.status.success())
    );
    assert_eq!(budgets(&site), nine_a_second(&["10.1.0.0/16", "192.0.2.8/30"]));
    // one of which no address is trusted has none, and its calls are counted
    write(&site, &format!("{}auth = \"password\"\n", gateway("a", "\"192.0.2.10\"")));
    site.tool("reload");
    assert_eq!((budgets(&site), flags(&site), invites_at_once(&site)), (vec![], BYES, 40));
    write(&site, "");
    site.tool("reload");
    assert_eq!((budgets(&site), flags(&site), invites_at_once(&site)), (vec![], 0, 40));
}

#[test]
fn an_engine_takes_over_pins_that_know_no_budgets() {
    let site = Site::new();
    let mut before = site.start("");
    site.tool(&format!("block {BAD_NET}"));
    before.end().unwrap();
    // as the release before left them
    std::fs::remove_file(site.pins().join("BUDGETS")).unwrap();
    let file = write(&site, &gateway("a", "\"192.0.2.0/24\""));
    let engine = site.start(&format!("--config {}", file.display()));
    assert!(engine.log().contains("program replaced on its link"), "{}", engine.log());
    site.tool(&format!("trust {PHONE}"));
    assert_eq!((budgets(&site), invites_at_once(&site)), (nine_a_second(&["192.0.2.0/24"]), 9));
    let responder = site.responder();
    assert!(!site.reaches(BAD, &responder), "the block is gone");
}

#[test]
fn a_failed_start_leaves_the_budgets_that_were_there_before() {
    let site = Site::new();
    let file = write(&site, &gateway("a", "\"192.0.2.0/24\""));
    let mut before = site.start(&format!("--config {}", file.display()));
    before.end().unwrap();
    write(&site, &gateway("b", "\"10.1.0.0/16\""));
    let said = site.refused(&format!("--bind zerocopy --config {}", file.display()));
    assert!(said.contains("refuses zero-copy"), "{said}");
    assert_eq!((budgets(&site), flags(&site)), (nine_a_second(&["192.0.2.0/24"]), BUDGETS | BYES));
    write(&site, "");
    site.refused(&format!("--bind zerocopy --config {}", file.display()));
    assert_eq!((budgets(&site), flags(&site)), (nine_a_second(&["192.0.2.0/24"]), BUDGETS | BYES));
}
