//! Would the kernel have taken this packet on this interface? What goes past its ingress is checked here: rp_filter,
//! martians, policy rules, as the kernel's own input routing answers for them.

use std::io;

use vos_common::rule::Addr;
use vos_common::state::mix;

use crate::netlink::{Link, Netlink};
use crate::recent::Recent;
use crate::xdp::ip;

/// How long the kernel's answer about a source is believed, ns. Longer, and a changed route or rp_filter shows late;
/// shorter, and those who talk all the time are asked for again and again.
const LIFE: u64 = 1_000_000_000;
/// Sources of a queue that are remembered, 896 KiB a worker.
const ENTRIES: usize = 1 << 14;
/// Ways of a bucket; the oldest goes.
const WAYS: usize = 4;

/// How often it is looked up what the kernel checks, ns.
const REFRESH: u64 = 1_000_000_000;

/// How a frame is tagged (IEEE 802.1Q).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Not at all, or for its priority only.
    Without,
    /// For this VLAN.
    Vlan(u16),
    /// Twice, or for a provider's bridges.
    Other,
}

impl Tag {
    /// Of a frame, from its destination MAC on.
    pub fn of(frame: &[u8]) -> Self {
        match *frame {
            [_, _, _, _, _, _, _, _, _, _, _, _, 0x81, 0, _, _, 0x81, 0, ..]
            | [_, _, _, _, _, _, _, _, _, _, _, _, 0x88, 0xa8, ..] => Self::Other,
            [_, _, _, _, _, _, _, _, _, _, _, _, 0x81, 0, high, low, ..] => {
                match u16::from_be_bytes([high & 0x0f, low]) {
                    0 => Self::Without,
                    id => Self::Vlan(id),
                }
            }
            _ => Self::Without,
        }
    }
}

/// An interface by which packets come in, to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ingress {
    tag: Tag,
    index: u32,
    name: String,
    /// Does rp_filter look at what comes in here?
    filters: bool,
}

/// The kernel's answers, remembered.
#[derive(Debug)]
pub struct ReversePath {
    netlink: Netlink,
    ingress: Vec<Ingress>,
    /// Are there policy rules for IPv4, for IPv6?
    rules: [bool; 2],
    refreshed: u64,
    tags_seen: bool,
    memory: Memory,
}

impl ReversePath {
    /// For packets that arrive on `nic`. `seed` keeps strangers from aiming at a bucket.
    pub fn new(nic: &Link, seed: u64) -> io::Result<Self> {
        let own = Ingress { tag: Tag::Without, index: nic.index, name: nic.name.clone(), filters: true };
        let (netlink, memory) = (Netlink::open()?, Memory::new(seed));
        let (ingress, rules) = (vec![own], [true; 2]);
        let mut new = Self { netlink, ingress, rules, refreshed: 0, tags_seen: true, memory };
        new.refresh(REFRESH);
        Ok(new)
    }

    /// Would the kernel take a packet from `src` to `dst`, tagged so, at `now` (ns of `CLOCK_MONOTONIC`)? It is not asked
    /// where it checks nothing: without rp_filter, which IPv6 does not have, and without policy rules. Of a VLAN that has no
    /// device it takes nothing; that is asked for as if it were not tagged, so that nobody gets past rp_filter by a tag.
    pub fn accepts(&mut self, src: &Addr, dst: &Addr, tag: Tag, now: u64) -> io::Result<bool> {
        self.tags_seen |= tag != Tag::Without;
        self.refresh(now);
        let Self { netlink, memory, ingress, rules, .. } = self;
        let own = ingress.iter().find(|ingress| ingress.tag == tag).or(ingress.first());
        let Some(Ingress { index, .. }) = own.filter(|own| is_checked(src.is_v4(), own.filters, *rules)) else {
            return Ok(true);
        };
        memory.recall(src, dst, *index, now, || netlink.would_accept(ip(*src), ip(*dst), *index))
    }

    /// Looks up what the kernel checks, if that was not done lately: some system calls a second.
    fn refresh(&mut self, now: u64) {
        if now.saturating_sub(self.refreshed) < REFRESH {
            return;
        }
        self.refreshed = now;
        // What cannot be looked up is asked for.
        self.rules = [true, false].map(|v4| self.netlink.has_rules(v4).unwrap_or(true));
        if std::mem::take(&mut self.tags_seen)
            && let Some(Ok(vlans)) = self.ingress.first().map(|nic| self.netlink.vlans(nic.index))
        {
            self.ingress.truncate(1);
            let of = |(id, link): (u16, Link)| Ingress {
                tag: Tag::Vlan(id),
                index: link.index,
                name: link.name,
                filters: true,
            };
            self.ingress.extend(vlans.into_iter().map(of));
        }
        let all = filters("all");
        for ingress in &mut self.ingress {
            ingress.filters = all || filters(&ingress.name);
        }
    }
}

fn is_checked(v4: bool, filters: bool, rules: [bool; 2]) -> bool {
    if v4 { filters || rules[0] } else { rules[1] }
}

/// Is rp_filter on for an interface of this network namespace (`ip-sysctl`)?
fn filters(name: &str) -> bool {
    let value = std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
    value.map_or(true, |value| value.trim() != "0")
}

/// As many as there is room for; who was asked for longest ago makes way.
#[derive(Debug)]
struct Memory {
    /// Source, destination and interface: was it accepted?
    answers: Recent<(Addr, Addr, u32), bool, WAYS>,
    seed: u64,
}

impl Memory {
    fn new(seed: u64) -> Self {
        Self { answers: Recent::of(ENTRIES), seed }
    }

    fn recall(
        &mut self,
        src: &Addr,
        dst: &Addr,
        ingress: u32,
        now: u64,
        ask: impl FnOnce() -> io::Result<bool>,
    ) -> io::Result<bool> {
        let (hash, key) = (mix(mix(src.hi ^ self.seed, src.lo), dst.lo ^ dst.hi), (*src, *dst, ingress));
        if let Some((accepted, asked)) = self.answers.get(hash, &key)
            && now.saturating_sub(asked) < LIFE
        {
            return Ok(accepted);
        }
        let accepted = ask()?;
        self.answers.put(hash, key, accepted, now);
        Ok(accepted)
    }
}

#[cfg(test)]
mod tests {
    use vos_bench::NetNs;
    use vos_common::cases::{CALLER_V4, Packet};

    use super::*;

    const HOME: Addr = Addr::v4([192, 0, 2, 1]);
    const NIC: u32 = 2;
    const START: u64 = 5_000_000_000;

    fn caller(n: u32) -> Addr {
        Addr::v4((0xcb00_0000 + n).to_be_bytes())
    }

    #[test]
    fn the_kernel_is_asked_once_in_a_while_and_its_answer_kept() {
        let mut memory = Memory::new(7);
        let mut asked = 0;
        for n in 0..1_000 {
            for (source, expected) in [(caller(1), true), (caller(2), false)] {
                let answer = memory.recall(&source, &HOME, NIC, START + n * 1_000_000, || {
                    asked += 1;
                    Ok(expected)
                });
                assert_eq!(answer.unwrap(), expected);
            }
        }
        assert_eq!(asked, 2, "once for each");
        assert!(!memory.recall(&caller(1), &HOME, NIC, START + LIFE, || Ok(false)).unwrap(), "an answer has its time");
        assert!(memory.recall(&caller(1), &HOME, 3, START, || Ok(true)).unwrap(), "another VLAN");
        assert!(memory.recall(&caller(1), &Addr::v4([192, 0, 2, 2]), NIC, START, || Ok(true)).unwrap(), "another home");
    }

    #[test]
    fn an_error_is_no_answer() {
        let mut memory = Memory::new(7);
        assert!(memory.recall(&caller(1), &HOME, NIC, START, || Err(io::Error::other("no"))).is_err());
        assert!(memory.recall(&caller(1), &HOME, NIC, START, || Ok(true)).unwrap());
    }

    #[test]
    fn a_flood_of_sources_takes_no_more_room_and_leaves_who_was_asked_for_last() {
        let mut memory = Memory::new(7);
        for n in 0..100_000 {
            memory.recall(&caller(n), &HOME, NIC, START + u64::from(n), || Ok(true)).unwrap();
        }
        let mut known =
            |n| memory.recall(&caller(n), &HOME, NIC, START + 100_000, || Err(io::Error::other("no"))).is_ok();
        assert!((99_990..100_000).all(&mut known) && !known(0));
    }

    #[test]
    fn the_kernel_is_asked_where_it_checks_something() {
        for (v4, filters, rules, expected) in [
            (true, false, [false, true], false),
            (true, true, [false, false], true),
            (true, false, [true, false], true),
            (false, true, [true, false], false),
            (false, false, [false, true], true),
        ] {
            assert_eq!(is_checked(v4, filters, rules), expected, "{v4} {filters} {rules:?}");
        }
    }

    #[test]
    fn a_tag_is_what_the_kernel_makes_of_it() {
        let packet = || Packet::v4(CALLER_V4).sip(b"x");
        for (frame, tag) in [
            (packet().build(), Tag::Without),
            (packet().vlan(0x8100, 0xe000).build(), Tag::Without),
            (packet().vlan(0x8100, 0x600a).build(), Tag::Vlan(10)),
            (packet().vlan(0x88a8, 9).build(), Tag::Other),
            (packet().vlan(0x8100, 9).vlan(0x8100, 7).build(), Tag::Other),
            (vec![0x81; 13], Tag::Without),
        ] {
            assert_eq!(Tag::of(&frame), tag, "{frame:02x?}");
        }
    }

    /// Whom a host takes packets from, with a VLAN device or none for the tag.
    #[test]
    fn the_kernel_is_asked_for_the_device_of_the_tag() {
        let ns = NetNs::new("revpath").expect("a namespace (as root)");
        for words in [
            "link add d0 type veth peer name d1",
            "addr add 192.0.2.1/24 dev d0",
            "addr add 2001:db8::1/64 dev d0 nodad",
            "link set d0 up",
            "link set d1 up",
        ] {
            ns.ip(words).expect(words);
        }
        let has_vlans = ns.ip("link add link d0 name v10 type vlan id 10").is_ok();
        if has_vlans {
            ns.ip("addr add 198.51.100.1/24 dev v10").expect("an address");
            ns.ip("link set v10 up").expect("up");
        }
        let strict = |value: &str| {
            for name in ["all", "default", "d0", "v10"].iter().take(if has_vlans { 4 } else { 3 }) {
                ns.sysctl(&format!("net.ipv4.conf.{name}.rp_filter"), value).expect(name);
            }
        };
        strict("1");
        let made = ns.enter(|| ReversePath::new(&Netlink::open()?.link("d0")?, 7));
        let mut path = made.expect("entered").expect("rtnetlink");
        let (near, behind) = (Addr::v4([192, 0, 2, 10]), Addr::v4([198, 51, 100, 9]));
        let far6 = Addr::from_bytes([0x20; 16]);
        let mut now = START;
        let mut taken = |src: &Addr, dst: &Addr, tag, later: u64| {
            now += later;
            ns.enter(|| path.accepts(src, dst, tag, now)).expect("entered").expect("an answer")
        };
        let home6 = Addr::from_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(taken(&near, &HOME, Tag::Without, 0));
        assert!(!taken(&behind, &HOME, Tag::Without, 0));
        assert_eq!(taken(&behind, &HOME, Tag::Vlan(10), 0), has_vlans);
        assert_eq!(taken(&near, &HOME, Tag::Vlan(10), 0), !has_vlans);
        assert!(!taken(&behind, &HOME, Tag::Vlan(20), 0) && !taken(&behind, &HOME, Tag::Other, 0));
        assert!(taken(&far6, &home6, Tag::Without, 0), "IPv6 has no rp_filter");
        // Off, and nothing else is looked at; then a rule is.
        strict("0");
        assert!(taken(&behind, &HOME, Tag::Without, LIFE) && taken(&near, &HOME, Tag::Vlan(10), 0));
        // In front of the table of this host's own addresses, where else none is asked.
        for words in ["add pref 100 lookup local", "del pref 0", "add pref 10 from 198.51.100.9 blackhole"] {
            ns.ip(&format!("rule {words}")).expect(words);
        }
        assert!(!taken(&behind, &HOME, Tag::Without, LIFE) && taken(&near, &HOME, Tag::Without, 0));
    }
}
