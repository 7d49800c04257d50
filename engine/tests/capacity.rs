//! What operators are promised room for, in the kernel's own maps: a million addresses and a hundred thousand prefixes
//! of both families, with trusts, blocks and allows that lie in one another.
//!
//! Needs root and a BPF file system; makes pins of its own and removes them.

use std::collections::HashMap as Table;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, Map, MapData};
use ipnet::IpNet;
use vos_common::rule::{Addr, Rule, RuleKind};
use vos_engine::control::clock::Clock;
use vos_engine::control::decision::{Decision, Kind, Made, Origin};
use vos_engine::control::maps::{MapError, RuleMaps};
use vos_engine::control::rules::{Change, RuleBook};
use vos_engine::netlink::Link;
use vos_engine::xdp::{Filter, KernelRules, unload};

const ADDRESSES: usize = 1_000_000;
const PREFIXES: usize = 100_000;
/// Of ten addresses or prefixes, so many are IPv4.
const V4_IN_TEN: u32 = 6;
/// How long the first of two decisions about one prefix holds, seconds.
const HOUR: u64 = 3_600;

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

/// A small generator of our own, so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u32) -> u32 {
        (self.next() >> 32) as u32 % limit
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }

    /// Crowded, so that many lie in one another: IPv4 in 10.0.0.0/8 to 41.0.0.0/8, IPv6 in 2001:db8::/32.
    fn address(&mut self) -> IpAddr {
        let low = self.next();
        if self.below(10) < V4_IN_TEN {
            let [_, b, c, d] = (low as u32).to_be_bytes();
            IpAddr::from([10 + self.below(32) as u8, b, c, d])
        } else {
            let subnet = u128::from(self.next() as u32 & 0xf_ffff);
            IpAddr::from((0x2001_0db8_u128 << 96 | subnet << 64 | u128::from(low & 0xff)).to_be_bytes())
        }
    }

    fn prefix(&mut self) -> IpNet {
        let address = self.address();
        // Few wide ones: what a prefix covers is rewritten with it.
        let bits = if address.is_ipv4() { 18 + self.below(14) } else { 48 + self.below(80) };
        IpNet::new(address, bits as u8).unwrap().trunc()
    }
}

fn decision(net: IpNet, kind: Kind, until: Option<u64>, clock: Clock) -> Decision {
    let until = until.map(|ttl| clock.wall_s() + ttl);
    Decision {
        net,
        kind,
        until,
        reason: "".into(),
        origin: Origin::Cli,
        who: "".into(),
        made: Made::at(clock.wall_s()),
    }
}

/// A decision about each of so many prefixes of which no two are the same, and a second one about every tenth.
fn decisions(clock: Clock) -> Vec<Decision> {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut all: Table<(IpNet, Kind), Option<u64>> = Table::with_capacity((ADDRESSES + PREFIXES) * 11 / 10);
    let mut one_of_each = |count: usize, net: &mut dyn FnMut(&mut Random) -> IpNet| {
        let mut seen = std::collections::HashSet::with_capacity(count);
        while seen.len() < count {
            let net = net(&mut random);
            if !seen.insert(net) {
                continue;
            }
            let kind = random.pick(&Kind::ALL);
            let for_a_while = random.below(3) == 0;
            all.insert((net, kind), for_a_while.then_some(HOUR));
            if random.below(10) == 0 {
                all.entry((net, random.pick(&Kind::ALL))).or_default();
            }
        }
    };
    one_of_each(ADDRESSES, &mut |random| random.address().into());
    one_of_each(PREFIXES, &mut Random::prefix);
    all.into_iter().map(|((net, kind), until)| decision(net, kind, until, clock)).collect()
}

/// The decisions as plain numbers, to be read from one end to the other.
struct Naive {
    hosts: Table<IpAddr, Vec<(Kind, bool)>>,
    /// First and last address, as the maps order them.
    prefixes: Vec<([[u8; 16]; 2], u8, Kind, bool)>,
}

fn bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

impl Naive {
    fn of(decisions: &[Decision]) -> Self {
        let (mut hosts, mut prefixes) = (Table::<IpAddr, Vec<_>>::new(), Vec::new());
        for Decision { net, kind, until, .. } in decisions {
            if net.prefix_len() == net.max_prefix_len() {
                hosts.entry(net.addr()).or_default().push((*kind, until.is_some()));
            } else {
                let ends = [bytes(net.network()), bytes(net.broadcast())];
                prefixes.push((ends, net.prefix_len(), *kind, until.is_some()));
            }
        }
        Self { hosts, prefixes }
    }

    /// Any trust, else the most specific, block over allow.
    fn at(&self, source: IpAddr, hour_is_over: bool) -> RuleKind {
        let own = self.hosts.get(&source).into_iter().flatten().map(|(kind, hour)| (u8::MAX, *kind, *hour));
        let address = bytes(source);
        let around = self.prefixes.iter().filter(|([first, last], ..)| *first <= address && address <= *last);
        let live = own.chain(around.map(|(_, length, kind, hour)| (*length, *kind, *hour)));
        let live = live.filter(|(.., hour)| !(*hour && hour_is_over));
        live.max_by_key(|(length, kind, _)| (*kind == Kind::Trust, *length, *kind == Kind::Block))
            .map_or(RuleKind::None, |(_, kind, _)| kind.rule())
    }
}

/// The maps as the program reads them.
struct Lookup {
    exact: HashMap<MapData, Addr, Rule>,
    prefix: LpmTrie<MapData, Addr, Rule>,
}

impl Lookup {
    fn at(&self, source: IpAddr, now: u64) -> u32 {
        let key = Addr::from_bytes(bytes(source));
        let exact = self.exact.get(&key, 0).ok();
        let rule = exact.or_else(|| self.prefix.get(&Key::new(128, key), 0).ok());
        rule.unwrap_or_default().at(now)
    }
}

fn check(lookup: &Lookup, naive: &Naive, sources: &[IpAddr], clock: Clock) {
    let mut found = [0; 4];
    for source in sources {
        for hour_is_over in [false, true] {
            let now = clock.mono_of(clock.wall_s() + if hour_is_over { HOUR } else { HOUR - 1 });
            let expected = naive.at(*source, hour_is_over);
            assert_eq!(lookup.at(*source, now), expected as u32, "{source}, the hour is over: {hour_is_over}");
            found[expected as usize] += 1;
        }
    }
    assert!(found.iter().all(|count| *count > 20), "the sample has some of each: {found:?}");
}

/// Puts more and more of `net` until there is no room; how many there was room for.
fn fill(maps: &mut KernelRules, net: impl Fn(u32) -> IpNet) -> (u32, MapError) {
    let rule = Rule { kind: RuleKind::Blocked as u32, ..Rule::default() };
    let mut put = 0;
    loop {
        match maps.put(net(put), rule) {
            Ok(()) => put += 1,
            Err(error) => return (put, error),
        }
    }
}

#[test]
fn a_million_addresses_and_a_hundred_thousand_prefixes_fit_and_mean_what_they_say() {
    let pinned = Pinned { iface: format!("vosfull{}", std::process::id()) };
    let mut filter = Filter::load(&Link { name: pinned.iface.clone(), ..Link::default() }).unwrap();
    let mut maps = filter.rules().unwrap();
    let lookup = Lookup { exact: pinned.map("EXACT"), prefix: pinned.map("PREFIX") };
    let mut times: Vec<(&str, Duration)> = Vec::new();
    let mut timed = |what, from: Instant| times.push((what, from.elapsed()));

    let clock = Clock::now();
    let from = Instant::now();
    let decisions = decisions(clock);
    let naive = Naive::of(&decisions);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let hosts: Vec<IpAddr> =
        (0..300).map(|_| decisions[random.below(decisions.len() as u32) as usize].net.addr()).collect();
    let sources: Vec<IpAddr> = hosts.into_iter().chain((0..300).map(|_| random.address())).collect();
    timed("making the decisions", from);

    let from = Instant::now();
    let mut book = RuleBook::load(decisions.clone(), clock, &mut maps).unwrap();
    timed("load into empty maps", from);
    assert_eq!(book.len(), ADDRESSES + PREFIXES);
    check(&lookup, &naive, &sources, clock);

    // as a start over the pins of an engine before
    let from = Instant::now();
    RuleBook::load(decisions, clock, &mut maps).unwrap();
    timed("load into maps that hold it all", from);

    // the change that concerns most entries: all of one family
    let everything: IpNet = "0.0.0.0/0".parse().unwrap();
    let from = Instant::now();
    let trust = Change::Put(decision(everything, Kind::Trust, None, clock));
    let _applied = book.apply(&[trust], clock, &mut maps).unwrap();
    timed("trust of all of IPv4", from);
    for source in &sources {
        let expected = if source.is_ipv4() { RuleKind::Trusted } else { naive.at(*source, false) };
        assert_eq!(lookup.at(*source, clock.mono_ns()), expected as u32, "{source}");
    }
    let from = Instant::now();
    let _applied = book.apply(&[Change::Remove(everything, Kind::Trust)], clock, &mut maps).unwrap();
    timed("and taken back", from);
    let from = Instant::now();
    check(&lookup, &naive, &sources, clock);
    timed("a check of the sample", from);

    let from = Instant::now();
    let beside = |n: u32| IpAddr::from([192, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
    let (addresses, error) = fill(&mut maps, |n| beside(n).into());
    assert!(matches!(error, MapError::Full { map: "EXACT", .. }), "{error}");
    let (prefixes, error) = fill(&mut maps, |n| IpNet::new(beside(n << 1), 31).unwrap());
    assert!(matches!(error, MapError::Full { map: "PREFIX", .. }), "{error}");
    timed("filled to the brim", from);
    println!("room for {addresses} more addresses and {prefixes} more prefixes");
    for (what, time) in times {
        println!("{:6.2} s  {what}", time.as_secs_f64());
    }
    assert_eq!((ADDRESSES + addresses as usize, PREFIXES + prefixes as usize), (1 << 20, 1 << 17));
}
