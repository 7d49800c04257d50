//! Somebody writes to the kernel's own maps behind the engine's back: it is found, named and put right.
//!
//! Needs root and a BPF file system; makes pins of its own and removes them.

use std::net::IpAddr;
use std::path::Path;

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData};
use vos_common::rule::{Addr, GATE_WORDS, GateBlock, MAPPED_BITS, Rule, RuleKind};
use vos_engine::control::Control;
use vos_engine::control::ask::{Ask, By, End};
use vos_engine::control::clock::Clock;
use vos_engine::control::decision::{Kind, Origin};
use vos_engine::netlink::Link;
use vos_engine::xdp::{Filter, unload};

/// The maps of an interface that does not exist: nothing is attached, and the pins go with it.
struct Pinned {
    iface: String,
}

impl Pinned {
    fn map<T: TryFrom<Map>>(&self, name: &str) -> T {
        let pin = Path::new("/sys/fs/bpf/vos").join(&self.iface).join(name);
        T::try_from(Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap()).ok().unwrap()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Err(error) = unload(&self.iface) {
            eprintln!("pins of {} are left: {error}", self.iface);
        }
    }
}

fn addr(text: &str) -> Addr {
    match text.parse::<IpAddr>().unwrap() {
        IpAddr::V4(ip) => Addr::v4(ip.octets()),
        IpAddr::V6(ip) => Addr::from_bytes(ip.octets()),
    }
}

fn prefix(text: &str, bits: u32) -> Key<Addr> {
    Key::new(bits + if text.contains(':') { 0 } else { MAPPED_BITS }, addr(text))
}

#[test]
fn what_another_program_does_to_the_maps_is_found_and_put_right() {
    let pinned = Pinned { iface: format!("vosfy{}", std::process::id()) };
    let mut filter = Filter::load(&Link { name: pinned.iface.clone(), ..Link::default() }).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("eth0.redb");
    let control = Control::open(&store, Box::new(filter.rules().unwrap()), None, Clock::now).unwrap();
    let by = By { origin: Origin::Cli, who: "root".into(), force: true, operator: None };
    let nets = ["203.0.113.0/24", "203.0.113.7/32", "198.51.100.0/24", "2001:db8::/48", "2001:db8::1/128"];
    for net in nets {
        control.ask(&by, Ask::block(net.parse().unwrap(), End::After(3_600), "")).unwrap();
    }
    let inside = Ask::Put { net: "203.0.113.0/28".parse().unwrap(), kind: Kind::Allow, end: End::Never, reason: "".into() };
    control.ask(&by, inside).unwrap();
    let sound = control.verify(false).unwrap();
    assert_eq!((sound.decisions, sound.in_kernel(), sound.on_disk()), (6, 0, 0), "{sound:?}");

    let mut exact: HashMap<MapData, Addr, Rule> = pinned.map("EXACT");
    let mut prefixes: LpmTrie<MapData, Addr, Rule> = pinned.map("PREFIX");
    let mut gate: Array<MapData, GateBlock> = pinned.map("GATE");
    let odd = Rule { kind: RuleKind::Allowed as u32, ..Rule::default() };
    let blocked = exact.get(&addr("203.0.113.7"), 0).unwrap();
    let meddle = |exact: &mut HashMap<MapData, Addr, Rule>, prefixes: &mut LpmTrie<MapData, Addr, Rule>| {
        exact.remove(&addr("203.0.113.7")).unwrap();
        exact.insert(addr("2001:db8::1"), odd, 0).unwrap();
        exact.insert(addr("192.0.2.66"), odd, 0).unwrap();
        // one prefix goes while another that covers it stays: a look-up alone would not tell
        prefixes.remove(&prefix("203.0.113.0", 28)).unwrap();
        prefixes.insert(&prefix("198.51.100.0", 24), odd, 0).unwrap();
        prefixes.insert(&prefix("192.0.2.0", 25), odd, 0).unwrap();
    };
    meddle(&mut exact, &mut prefixes);
    let block = u32::from_be_bytes([203, 0, 113, 0]) >> 20;
    gate.set(block, [0; GATE_WORDS], 0).unwrap();
    for repair in [false, true] {
        let found = control.verify(repair).unwrap();
        let counts = [found.missing, found.wrong, found.extra, found.gates_shut, found.gates_open, found.on_disk()];
        assert_eq!((counts, found.repaired), ([2, 2, 2, 1, 0, 0], repair), "{found:?}");
        for name in ["203.0.113.7 ", "203.0.113.0/28 ", "198.51.100.0/24 ", "2001:db8::1 ", "192.0.2.66 ", "192.0.2.0/25 "] {
            assert!(found.examples.iter().any(|example| example.starts_with(name)), "{name}: {:?}", found.examples);
        }
    }
    let repaired = control.verify(false).unwrap();
    assert_eq!(repaired.in_kernel(), 0, "{repaired:?}");
    assert_eq!(exact.get(&addr("203.0.113.7"), 0).unwrap(), blocked);
    assert!(exact.get(&addr("192.0.2.66"), 0).is_err() && prefixes.get(&prefix("192.0.2.1", 32), 0).is_err());
    assert_eq!(prefixes.get(&prefix("203.0.113.1", 32), 0).unwrap().kind, RuleKind::Allowed as u32);
    assert_ne!(gate.get(&block, 0).unwrap(), [0; GATE_WORDS]);
}
