use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::config::Config;
use crate::control::address;
use crate::control::clock::Clock;
use crate::control::decide::Member;
use crate::control::fake_kernel::FakeKernel;
use crate::control::merge::Read;

const NS: u64 = 1_000_000_000;
const BEGIN: u64 = 1_000_000;

/// A node with a clock that the test turns.
struct Bench {
    directory: TempDir,
    seconds: Arc<AtomicU64>,
    node: Option<&'static str>,
}

impl Bench {
    fn new(node: Option<&'static str>, seconds: &Arc<AtomicU64>) -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), seconds: Arc::clone(seconds), node }
    }

    /// The engine starts.
    fn open(&self) -> Trunks {
        let seconds = Arc::clone(&self.seconds);
        let clock = move || {
            let now = seconds.load(Ordering::Relaxed) * NS;
            Clock::at(BEGIN * NS + now, NS + now)
        };
        let member = self.node.map(|node| Member { node: node.into(), log: "log".into() });
        let path = self.directory.path().join("eth0.redb");
        let control = Control::open(&path, Box::new(FakeKernel::default()), member, clock).expect("a sound store");
        Trunks::new(Arc::new(control))
    }
}

/// Trunks of these names, each with how it is known and where it calls from.
fn gateways(of: &[(&str, &str, &str)]) -> Vec<Gateway> {
    let text = |(name, auth, from): &(&str, &str, &str)| {
        let port = if *auth == "ip+port" { "port = 5070\n" } else { "" };
        format!("[[gateway]]\nname = \"{name}\"\nauth = \"{auth}\"\nfrom = [{from}]\ntier = \"small\"\n{port}")
    };
    let text: String = of.iter().map(text).collect();
    Config::parse(&text, std::path::Path::new("vos.toml")).expect("sound").gateway
}

/// Everything that is decided, and for whom.
fn decided(trunks: &Trunks) -> Vec<String> {
    let told = |made: &Decision| format!("{} {} {}", made.kind, address::show(made.net), made.who);
    trunks.control.list(&Filter::default()).iter().map(|listed| told(&listed.decision)).collect()
}

fn operator(trunks: &Trunks, ask: Ask) {
    let by = By { origin: Origin::Cli, who: "op".into(), force: false, operator: None };
    trunks.control.ask(&by, ask).expect("done");
}

fn trust(address: &str) -> Ask {
    let net = address::parse(address).expect(address);
    Ask::Put { net, kind: Kind::Trust, end: End::Never, reason: "mine".into() }
}

fn untrust(address: &str) -> Ask {
    Ask::Remove { net: address::parse(address).expect(address), kind: Kind::Trust }
}

#[test]
fn addresses_are_trusted_as_long_as_they_stand_in_the_configuration() {
    let bench = Bench::new(None, &Arc::default());
    let mut trunks = bench.open();
    let all = gateways(&[
        ("a", "ip", "\"198.51.100.0/28\", \"192.0.2.7\""),
        ("b", "ip+port", "\"192.0.2.8\""),
        ("c", "password", "\"10.0.0.0/8\""),
    ]);
    trunks.follow(&all);
    let expected = ["allow 192.0.2.8 b", "trust 192.0.2.7 a", "trust 198.51.100.0/28 a"];
    let sorted = |trunks: &Trunks| {
        let mut decided = decided(trunks);
        decided.sort();
        decided
    };
    assert_eq!(sorted(&trunks), expected);
    // what stands stays
    trunks.follow(&all);
    assert_eq!(sorted(&trunks), expected);
    // one address leaves, one goes to another gateway
    trunks.follow(&gateways(&[("a", "ip", "\"198.51.100.0/28\""), ("d", "ip", "\"192.0.2.8\"")]));
    assert_eq!(sorted(&trunks), ["trust 192.0.2.8 d", "trust 198.51.100.0/28 a"]);
    // what left while no engine was there
    drop(trunks);
    let mut trunks = bench.open();
    assert_eq!(sorted(&trunks).len(), 2);
    trunks.follow(&[]);
    assert!(decided(&trunks).is_empty());
}

#[test]
fn what_an_operator_decided_is_theirs() {
    let seconds = Arc::<AtomicU64>::default();
    let mut trunks = Bench::new(None, &seconds).open();
    let pass = |trunks: &mut Trunks, wanted: &[Gateway]| {
        seconds.fetch_add(AGAIN, Ordering::Relaxed);
        trunks.follow(wanted);
    };
    operator(&trunks, trust("192.0.2.7"));
    let wanted = gateways(&[("a", "ip", "\"192.0.2.7\", \"192.0.2.9\"")]);
    trunks.follow(&wanted);
    assert_eq!(decided(&trunks), ["trust 192.0.2.7 op", "trust 192.0.2.9 a"]);
    // what an operator takes back stays so; what lay under their word comes into force
    operator(&trunks, untrust("192.0.2.9"));
    operator(&trunks, untrust("192.0.2.7"));
    pass(&mut trunks, &wanted);
    assert_eq!(decided(&trunks), ["trust 192.0.2.7 a"]);
    operator(&trunks, trust("192.0.2.7"));
    pass(&mut trunks, &[]);
    assert_eq!(decided(&trunks), ["trust 192.0.2.7 op"]);
}

/// The other hears all that this one has decided.
fn tell(from: &Trunks, to: &Trunks) {
    let entries = from.control.outbox(usize::MAX).expect("readable");
    let sequences = entries.iter().map(|entry| entry.sequence).collect();
    let next = to.control.place().expect("of a cluster").next;
    let end = next + entries.len() as u64;
    let read = (next..).zip(entries).map(|(offset, entry)| Read::Entry(offset, entry)).collect();
    to.control.merge(read, end).expect("room");
    from.control.sent(sequences).expect("room");
}

#[test]
fn what_leaves_one_nodes_configuration_is_trusted_as_long_as_anothers_has_it() {
    let seconds = Arc::<AtomicU64>::default();
    let benches = ["a", "b"].map(|node| Bench::new(Some(node), &seconds));
    let [mut a, mut b] = [0, 1].map(|at: usize| benches[at].open());
    let wanted = gateways(&[("x", "ip", "\"192.0.2.7\"")]);
    a.follow(&wanted);
    tell(&a, &b);
    b.follow(&wanted);
    assert_eq!(decided(&b), ["trust 192.0.2.7 x"]);
    a.follow(&[]);
    tell(&a, &b);
    assert!(decided(&b).is_empty());
    seconds.fetch_add(AGAIN, Ordering::Relaxed);
    b.follow(&wanted);
    tell(&b, &a);
    assert_eq!(decided(&a), ["trust 192.0.2.7 x"]);
    b.follow(&[]);
    tell(&b, &a);
    assert!(decided(&a).is_empty() && decided(&b).is_empty());
}
